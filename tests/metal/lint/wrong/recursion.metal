// expect: `depth` calls itself
#include <metal_stdlib>
using namespace metal;

inline int depth(int n) { return n > 0 ? depth(n - 1) + 1 : 0; }  // <-
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = float(depth(3));
}
