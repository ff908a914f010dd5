// expect: `Leaf` has a base class
#include <metal_stdlib>
using namespace metal;

struct Base {
  float v;
};
struct Leaf : Base {  // <-
  float w;
};
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = 1.0f;
}
