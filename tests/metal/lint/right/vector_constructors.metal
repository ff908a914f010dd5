#include <metal_stdlib>
using namespace metal;

#define LANES 4
#define VECTOR float4

kernel void vector_constructors(device float* x [[buffer(0)]], uint3 group [[threadgroup_position_in_grid]]) {
  const float2 a = float2(1, 2);
  const float3 b = float3(a, 3);
  const float4 c = float4(b, 4.0f) + float4(0.5f, b) + float4(a, a) + float4(1.0f, a, 2.0f);
  const int4 d = int4(c);
  const half4 e = half4(c);
  const bfloat4 f = bfloat4(c);
  const ulong2 g = ulong2(uint2(1, 2));
  const VECTOR h = VECTOR(float3(group), float(LANES));
  x[g.x] = h.x + float(e.y) + f.z + float(d.w);
}
