#include <metal_stdlib>
using namespace metal;

#include <metal_atomic>

kernel void atomics(device atomic_uint* histogram [[buffer(0)]], device atomic_int* best [[buffer(1)]],
                    device const uint* x [[buffer(2)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup atomic_uint counts[256];
  threadgroup atomic_int low;
  atomic_store_explicit(&counts[i & 255], 0, memory_order_relaxed);
  if (i == 0) {
    atomic_store_explicit(&low, INT_MAX, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint before = atomic_fetch_add_explicit(&counts[x[i] & 255], 1, memory_order_relaxed);
  atomic_fetch_min_explicit(&low, int(x[i]), memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint count = atomic_load_explicit(&counts[i & 255], memory_order_relaxed);
  atomic_fetch_add_explicit(histogram + i, count + before, memory_order_relaxed);
  atomic_fetch_max_explicit(best, atomic_load_explicit(&low, memory_order_relaxed), memory_order_relaxed);
  uint expected = atomic_exchange_explicit(&counts[0], 7u, memory_order_relaxed);
  while (!atomic_compare_exchange_weak_explicit(&histogram[0], &expected, expected + 1, memory_order_relaxed,
                                                memory_order_relaxed)) {
  }
}
