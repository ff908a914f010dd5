// expect: a kernel returns void
#include <metal_stdlib>
using namespace metal;

kernel int k(device float* x [[buffer(0)]]) {  // <-
  x[0] = 1.0f;
  return 0;
}
