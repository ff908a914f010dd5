#include <metal_stdlib>
using namespace metal;

kernel void casts(device uint* x [[buffer(0)]], device const float* f [[buffer(1)]],
                  uint i [[thread_position_in_grid]]) {
  const int signed_index = int(i);
  const uint bits = as_type<uint>(f[signed_index]);
  const uint flipped = bits ^ (uint(-int(bits >> 31)) | 0x80000000u);
  const half2 pair = as_type<half2>(flipped);
  const ushort low = static_cast<ushort>(flipped & 0xffffu);
  const long wide = (long)flipped << 32 | long(low);
  x[i] = uint(wide >> 32) + uint(float(pair.x)) + uint(as_type<int>(f[i]));
}
