#include <metal_stdlib>
using namespace metal;

kernel void select_and_classify(device float4* x [[buffer(0)]], device half2* h [[buffer(1)]],
                                uint i [[thread_position_in_grid]]) {
  float4 v = x[i];
  v = select(v, float4(0.0f), v < 0.0f);
  const float4 limit = float4(INFINITY);
  if (any(v >= limit) || all(v == float4(1.0f)) || any((v < limit) && (v > -limit))) {
    v = clamp(v, float4(0.0f), float4(FLT_MAX));
  }
  v.x = select(v.x, 1.0f, isnan(v.x) || isinf(v.x));
  v.y = v.y != v.y ? NAN : v.y;
  h[i] = select(h[i], half2(half(0)), h[i] < half2(half(1.0f)));
  x[i] = v;
}
