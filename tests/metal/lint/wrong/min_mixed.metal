// expect: overloads take arguments of one type
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], constant long& n [[buffer(1)]]) {
  x[min(n, 4)] = 1.0f;  // <-
}
