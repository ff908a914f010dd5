// expect: variable length array|constant expression
#include <metal_stdlib>
using namespace metal;

struct Params {
  long n;
  int k, m;
};
kernel void k(device float* x [[buffer(0)]], constant Params& p [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  float r[p.k];  // <-
  r[0] = x[i];
  x[i] = r[0];
}
