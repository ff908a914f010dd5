// One of each: what the simulator's headers must compute as MSL does.
#include <metal_stdlib>
using namespace metal;

// 32 values in, one row of 32 out for each line below; `half` and `bfloat` round after every operation.
kernel void numbers(device const float* x [[buffer(0)]], device float* out [[buffer(1)]],
                    uint i [[thread_position_in_grid]]) {
  const float a = x[i], b = x[31 - i];
  const half h = half(a), g = half(b);
  const bfloat e = bfloat(a), f = bfloat(b);
  int row = 0;
  out[32 * row++ + i] = float(h * g + h);
  out[32 * row++ + i] = float(e * f + e);
  out[32 * row++ + i] = a * 0.1 + 1.0 / 3.0;
  out[32 * row++ + i] = fma(a, b, a);
  out[32 * row++ + i] = sqrt(abs(a)) + rsqrt(fabs(b) + 1);
  out[32 * row++ + i] = min(a, b) + 2 * max(a, b) + clamp(a, -1.0f, 1.0f);
  out[32 * row++ + i] = fmin(NAN, a) + fmax(b, NAN);
  out[32 * row++ + i] = select(a, b, a < b) + (isnan(a / 0 * 0) ? 1 : 0) + (isinf(b / 0) ? 2 : 0);
  out[32 * row++ + i] = floor(a) + ceil(b) + trunc(a) + round(b);
  out[32 * row++ + i] = float(half(a)) + float(bfloat(b));
}

kernel void vectors(device const float4* x [[buffer(0)]], device float* out [[buffer(1)]],
                    uint i [[thread_position_in_grid]]) {
  const float4 a = x[i];
  float4 b = float4(a.wzyx.xy, 2, a.x);
  b.yz += 1;
  int row = 0;
  out[32 * row++ + i] = b[0] + 2 * b.y + 4 * b.z + 8 * b.w;
  out[32 * row++ + i] = dot(a, b);
  out[32 * row++ + i] = float4(half4(a)).z + float4(1.5f).w + float2(uint2(3, 4)).y;
  out[32 * row++ + i] = any(a > b) ? 1 : all(a <= b) ? 2 : 3;
  out[32 * row++ + i] = length_squared(a.xyz) + as_type<float>(as_type<uint>(a.x) ^ 0x80000000u);
  out[32 * row++ + i] = min(a, b).x + max(a, b).y + abs(a).z + fma(a, b, a).w;
}

kernel void integers(device const uint* x [[buffer(0)]], device uint* out [[buffer(1)]],
                     uint lane [[thread_index_in_simdgroup]], uint3 where [[thread_position_in_threadgroup]],
                     ushort2 size [[threads_per_threadgroup]]) {
  const uint a = x[lane];
  int row = 0;
  out[32 * row++ + lane] = popcount(a) + 100 * clz(a) + 10000 * ctz(a);
  out[32 * row++ + lane] = clz((ushort)a) + 100 * ctz((uchar)0) + 10000 * clz(0u);
  out[32 * row++ + lane] = simd_sum(a);
  out[32 * row++ + lane] = simd_max(a) - simd_min(a);
  out[32 * row++ + lane] = simd_and(a | 1) + simd_or(a & 6) + simd_xor(a);
  out[32 * row++ + lane] = simd_prefix_exclusive_sum(a);
  out[32 * row++ + lane] = simd_prefix_inclusive_sum(a);
  out[32 * row++ + lane] = simd_shuffle(a, (ushort)(lane * 7 % 32));
  out[32 * row++ + lane] = simd_shuffle_xor(a, 5);
  out[32 * row++ + lane] = simd_shuffle_up(a, 3);
  out[32 * row++ + lane] = simd_shuffle_down(a, 3);
  out[32 * row++ + lane] = simd_broadcast(a, 9) + simd_broadcast_first(a);
  out[32 * row++ + lane] = (uint)(ulong)simd_ballot(a % 3 == 0);
  out[32 * row++ + lane] = simd_any(a == x[4]) + 2 * simd_all(a == x[4]) + 4 * simd_all(a >= 0);
  out[32 * row++ + lane] = where.x + 100 * where.y + 10000 * size.x + 1000000 * size.y;
  out[32 * row++ + lane] = abs((int)lane - 16) + max((int)lane, 5) + reverse_bits(a);
  out[32 * row++ + lane] = simd_shuffle_rotate_down(a, 3) + simd_shuffle_rotate_up(a, 3);
}

// Threads that add one to a counter without an atomic addition: a mistake that only the order of threads shows.
kernel void lost_updates(device atomic_uint* counter [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  if (i == 0) {
    atomic_store_explicit(counter, 0u, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_device);
  const uint count = atomic_load_explicit(counter, memory_order_relaxed);
  atomic_store_explicit(counter, count + 1, memory_order_relaxed);
}
