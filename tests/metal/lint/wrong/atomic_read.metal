// expect: an atomic is touched by atomic_load_explicit
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], device atomic_uint* n [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  x[i] = float(n[0]);  // <-
}
