// expect: undeclared identifier 'memory_order_seq_cst'
#include <metal_stdlib>
using namespace metal;

kernel void k(device atomic_uint* n [[buffer(0)]]) {
  atomic_fetch_add_explicit(n, 1u, memory_order_seq_cst);  // <-
}
