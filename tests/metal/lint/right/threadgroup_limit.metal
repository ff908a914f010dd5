#include <metal_stdlib>
using namespace metal;

// Exactly all of a threadgroup's memory.
kernel void threadgroup_limit(device float* x [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup half a[64][64];
  threadgroup float b[6144];
  a[i & 63][0] = half(x[i]);
  b[i] = x[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[i] = b[i ^ 1] + float(a[0][0]);
}
