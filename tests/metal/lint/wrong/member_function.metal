// expect: `twice` is a member function
#include <metal_stdlib>
using namespace metal;

struct Value {
  float v;
  float twice() { return 2.0f * v; }  // <-
};
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = 1.0f;
}
