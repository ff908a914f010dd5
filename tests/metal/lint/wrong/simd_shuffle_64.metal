// expect: simd functions take integers to 32 bits
#include <metal_stdlib>
using namespace metal;

kernel void k(device ulong* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = simd_shuffle_xor(x[i], 1);  // <-
}
