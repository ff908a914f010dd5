// expect: undeclared identifier 'sqrt'
#include <metal_stdlib>

kernel void k(device float* x [[buffer(0)]]) {
  x[0] = sqrt(x[1]);  // <-
}
