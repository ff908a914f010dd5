// expect: compile-time constant|constant expression
#include <metal_stdlib>
using namespace metal;

inline float g(float a) { return a; }
constant float f = g(1.0f);  // <-
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = f;
}
