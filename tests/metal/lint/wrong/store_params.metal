// expect: read only
#include <metal_stdlib>
using namespace metal;

struct Params {
  int n;
};
kernel void k(device float* x [[buffer(0)]], constant Params& p [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  p.n = 3;  // <-
  x[i] = 1.0f;
}
