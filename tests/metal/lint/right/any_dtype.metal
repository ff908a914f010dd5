#include <metal_stdlib>
using namespace metal;

#ifndef T
#define T bfloat
#endif
#define CONCAT_(a, b) a##b
#define CONCAT(a, b) CONCAT_(a, b)
#define T4 CONCAT(T, 4)

// The same text for float, half and bfloat.
inline float load(device const T* x, long i) {
  return float(x[i]);
}

kernel void any_dtype(device const T* x [[buffer(0)]], device T* y [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  const T4 v = *(device const T4*)(x + 4 * long(i));
  const float4 wide = float4(v);
  y[i] = T(dot(wide, wide) + load(x, i)) + T(0) * T(1.0f);
}
