// expect: 4 bytes of padding behind the last member
#include <metal_stdlib>
using namespace metal;

struct Params {
  long b;
  int a;
};
kernel void k(device float* x [[buffer(0)]], constant Params& p [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  x[i] = 1.0f + float(p.a);
}
