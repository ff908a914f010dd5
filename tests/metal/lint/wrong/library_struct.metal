// expect: `span` is a name of Apple's library
#include <metal_stdlib>
using namespace metal;

struct span {  // <-
  int begin, end;
};
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  span s = {0, 1};
  x[i] = float(s.begin);
}
