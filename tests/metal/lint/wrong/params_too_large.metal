// expect: Metal copies 4096 into a launch
#include <metal_stdlib>
using namespace metal;

struct Params {  // <-
  float v[1025];
};
kernel void k(device float* x [[buffer(0)]], constant Params& p [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  x[i] = p.v[i];
}
