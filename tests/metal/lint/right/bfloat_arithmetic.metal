#include <metal_stdlib>
using namespace metal;

kernel void bfloat_arithmetic(device const bfloat* x [[buffer(0)]], device bfloat* y [[buffer(1)]],
                              uint i [[thread_position_in_grid]]) {
  const bfloat a = x[i], b = x[i + 1];
  bfloat c = a * b;
  c += b;
  float wide = a;
  wide = fma(wide, float(b), float(c));
  const bfloat zero = bfloat(0.0f);
  y[i] = c > zero ? bfloat(wide) : static_cast<bfloat>(sqrt(float(c)));
  y[i + 1] = bfloat(half(wide)) + bfloat(int(i)) + as_type<bfloat>(as_type<ushort>(a));
}
