// A histogram in two launches: atomics in threadgroup and device memory, scratch that a later launch reads.
#include <metal_stdlib>
using namespace metal;

#define BINS 64
#define THREADS 128

kernel void clear_bins(device atomic_uint* bins [[buffer(0)]], uint tid [[thread_index_in_threadgroup]]) {
  if (tid < BINS) {
    atomic_store_explicit(&bins[tid], 0u, memory_order_relaxed);
  }
}

kernel void count_bins(device const uchar* x [[buffer(0)]], device atomic_uint* bins [[buffer(1)]],
                       constant uint& n [[buffer(2)]], uint position [[thread_position_in_grid]],
                       uint tid [[thread_index_in_threadgroup]], uint groups [[threadgroups_per_grid]]) {
  threadgroup atomic_uint counts[BINS];
  if (tid < BINS) {
    atomic_store_explicit(&counts[tid], 0u, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint i = position; i < n; i += groups * THREADS) {
    atomic_fetch_add_explicit(&counts[x[i] % BINS], 1u, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (tid < BINS) {
    const uint count = atomic_load_explicit(&counts[tid], memory_order_relaxed);
    atomic_fetch_add_explicit(&bins[tid], count, memory_order_relaxed);
  }
}

// out[i]: how many values lie in the bins below i. The bins travel through device memory.
kernel void scan_bins(device const uint* bins [[buffer(0)]], device uint* swap [[buffer(1)]],
                      device uint* out [[buffer(2)]], uint tid [[thread_index_in_threadgroup]],
                      uint lane [[thread_index_in_simdgroup]], uint simd [[simdgroup_index_in_threadgroup]]) {
  const uint before = simd_prefix_exclusive_sum(bins[tid]);
  const uint total = simd_shuffle(before + bins[tid], (ushort)31);
  swap[tid] = total;
  threadgroup_barrier(mem_flags::mem_device);
  const uint first = swap[0];
  out[tid] = before + (simd == 0 ? 0 : first);
}
