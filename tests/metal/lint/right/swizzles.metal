#include <metal_stdlib>
using namespace metal;

kernel void swizzles(device float4* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  float4 v = x[i];
  v.xy = v.yx;
  v.zw *= 2.0f;
  v = v.wzyx + v.xxxx - v.rgba;
  const float3 w = v.xyz;
  v.w = dot(w, w.zyx) + v[i & 3];
  x[i] = v;
}
