// expect: `b` of Params is `bool`
#include <metal_stdlib>
using namespace metal;

struct Params {
  int a;
  bool b;  // <-
};
kernel void k(device float* x [[buffer(0)]], constant Params& p [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  x[i] = 1.0f + float(p.a);
}
