#include <metal_stdlib>
using namespace metal;

// Every address space through functions, overloaded by it.
inline float first(device const float* a) {
  return a[0];
}
inline float first(threadgroup const float* a) {
  return a[0];
}
inline float first(thread const float* a) {
  return a[0];
}
inline float first(constant float* a) {
  return a[0];
}
inline void add(thread float& sum, const float term) {
  sum += term;
}
inline void add(threadgroup float& sum, const float term) {
  sum += term;
}

kernel void address_spaces(device float* x [[buffer(0)]], constant float* table [[buffer(1)]],
                           uint i [[thread_index_in_threadgroup]]) {
  threadgroup float shared[32];
  thread float own[4] = {1.0f, 2.0f, 3.0f, 4.0f};
  shared[i & 31] = x[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float sum = 0.0f;
  add(sum, first(x) + first(shared));
  add(sum, first(own) + first(table));
  add(shared[i & 31], sum);
  x[i] = shared[i & 31];
}
