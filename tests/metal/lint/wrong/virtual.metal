// expect: `virtual`: MSL has no virtual functions
#include <metal_stdlib>
using namespace metal;

struct Shape {
  virtual float area();  // <-
};
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = 1.0f;
}
