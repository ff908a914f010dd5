// expect: index arithmetic has 64 bits
#include <metal_stdlib>
using namespace metal;

struct Params {
  long n;
  int k, m;
};
kernel void k(device float* x [[buffer(0)]], constant Params& p [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  int row = p.n + 1;  // <-
  x[row] = float(i);
}
