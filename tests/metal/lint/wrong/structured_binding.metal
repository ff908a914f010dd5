// expect: MSL 3.2 is C\+\+14
#include <metal_stdlib>
using namespace metal;

struct Pair {
  float first, second;
};
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  Pair q = {x[i], 1.0f};
  auto [a, b] = q;  // <-
  x[i] = a + b;
}
