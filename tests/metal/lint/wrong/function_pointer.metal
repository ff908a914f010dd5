// expect: no pointers to functions
#include <metal_stdlib>
using namespace metal;

inline float apply(float (*f)(float), float a) { return f(a); }  // <-
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = 1.0f;
}
