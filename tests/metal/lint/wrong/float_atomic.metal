// expect: no float atomics
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], device atomic_float* s [[buffer(1)]], uint i [[thread_position_in_grid]]  /* <- */) {
  atomic_fetch_add_explicit(s, x[i], memory_order_relaxed);
}
