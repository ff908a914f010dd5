// expect: `template`: .*no templates
#include <metal_stdlib>
using namespace metal;

template <int N>  // <-
float f(float a) { return a * N; }
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = 1.0f;
}
