#include <metal_stdlib>
using namespace metal;

#ifndef T
#define T half
#endif

kernel void dynamic_threadgroup(device const T* x [[buffer(0)]], device T* y [[buffer(1)]],
                                threadgroup float* sums [[threadgroup(0)]], threadgroup uint* counts [[threadgroup(1)]],
                                uint i [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]]) {
  sums[i] = float(x[i]);
  counts[i] = 1;
  for (uint half_ = threads / 2; half_ > 0; half_ /= 2) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (i < half_) {
      sums[i] += sums[i + half_];
      counts[i] += counts[i + half_];
    }
  }
  if (i == 0) {
    y[0] = T(sums[0] / float(counts[0]));
  }
}
