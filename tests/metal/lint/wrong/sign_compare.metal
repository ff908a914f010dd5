// expect: a comparison of signed and unsigned
#include <metal_stdlib>
using namespace metal;

struct Params {
  long n;
  int k, m;
};
kernel void k(device float* x [[buffer(0)]], constant Params& p [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  if (i < p.k) x[i] = 1.0f;  // <-
}
