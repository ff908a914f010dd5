// expect: no 64-bit atomics
#include <metal_stdlib>
using namespace metal;

kernel void k(device atomic_ulong* s [[buffer(0)]], uint i [[thread_position_in_grid]]  /* <- */) {
  atomic_fetch_add_explicit(s, i, memory_order_relaxed);
}
