#include <metal_stdlib>
using namespace metal;

kernel void half_arithmetic(device const half* x [[buffer(0)]], device half* y [[buffer(1)]],
                            uint i [[thread_position_in_grid]]) {
  half a = x[i];
  a = a * a + 0.5h;
  const float wide = a;
  half b = half(wide * 3.0f);
  b += half(1.0f);
  y[i] = max(fma(a, b, half(0)), abs(b)) + (half)i;
}
