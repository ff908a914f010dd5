#include <metal_stdlib>
using namespace metal;

struct Params {
  int64_t rows;
  int64_t stride;
  int32_t columns;
  int32_t tile;
};

kernel void pointer_arithmetic(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
                               constant Params& p [[buffer(2)]], uint3 group [[threadgroup_position_in_grid]],
                               uint i [[thread_index_in_threadgroup]]) {
  device const float* begin = x + long(group.x) * p.tile * p.stride;
  device const float* end = x + p.rows * p.stride;
  float sum = 0.0f;
  for (device const float* at = begin + i; at < end && at - begin < p.tile * p.stride; at += p.columns) {
    sum += *at;
  }
  const uint tile = 16 * group.y;
  const long offset = long(group.y) * p.columns + i;
  y[offset + tile] = sum;
  y[uint(i * p.tile)] += 1.0f;  // bounded: a tile is small
}
