#include <metal_stdlib>
using namespace metal;

kernel void integers(device ulong* x [[buffer(0)]], constant long& n [[buffer(1)]],
                     uint2 at [[thread_position_in_grid]]) {
  const uint bits = clz(at.x) + ctz(at.y) + popcount(at.x ^ at.y);
  const long m = min(n, 4L) + max(long(at.x), n) + abs(-n);
  const int c = clamp(int(at.x), 0, 255) + min(int(at.y), 3);
  ulong packed = (ulong(at.x) << 32) | at.y;
  packed ^= 0xffffffff00000000ul >> (bits & 31);
  x[at.x] = packed + ulong(m) + ulong(c) + (ulong)numeric_limits<uint>::max();
  x[at.y] = sizeof(float4) + size_t(numeric_limits<int>::lowest() < 0);
}
