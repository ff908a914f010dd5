#include <metal_stdlib>
using namespace metal;

#ifndef T
#define T float
#endif
#ifndef SPLITS
#define SPLITS 4
#endif

inline float square(float a) {
  return a * a;
}

[[max_total_threads_per_threadgroup(256)]] kernel void partial(device const T* x [[buffer(0)]],
                                                               device float* sums [[buffer(1)]],
                                                               constant uint& n [[buffer(2)]],
                                                               uint group [[threadgroup_position_in_grid]],
                                                               uint lane [[thread_index_in_simdgroup]]) {
  float sum = 0.0f;
  for (uint i = group * 32 + lane; i < n; i += 32 * SPLITS) {
    sum += square(float(x[i]));
  }
  sum = simd_sum(sum);
  if (lane == 0) {
    sums[group] = sum;
  }
}

kernel void total(device const float* sums [[buffer(0)]], device float* y [[buffer(1)]],
                  uint lane [[thread_index_in_simdgroup]]) {
  const float sum = simd_sum(lane < SPLITS ? sums[lane] : 0.0f);
  if (lane == 0) {
    y[0] = sqrt(sum);
  }
}
