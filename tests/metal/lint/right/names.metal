#include <metal_stdlib>
using namespace metal;

// Free names in MSL that are words of OpenCL or look like keywords of MSL.
struct Range {
  int lo, hi;
  float half_width;
};

kernel void names(device float* x [[buffer(0)]], uint global [[thread_position_in_grid]],
                  uint local [[thread_index_in_threadgroup]], uint simd [[simdgroup_index_in_threadgroup]]) {
  const Range range = {int(local), int(global), 0.5f};
  float pipe = range.half_width, generic = float(range.hi - range.lo), read_only = 1.0f;
  const uint threads = 32, device_index = simd, std = 2, fast = 3, sample = 4, event = 5, image = 6;
  for (uint thread_ = 0; thread_ < threads; thread_++) {
    pipe += generic * read_only + float(std + fast + sample + event + image);
  }
  x[global + device_index] = pipe;
}
