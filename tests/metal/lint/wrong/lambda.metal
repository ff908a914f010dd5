// expect: a lambda expression
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  auto f = [](float a) { return a + 1.0f; };  // <-
  x[i] = f(x[i]);
}
