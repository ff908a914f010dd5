// expect: 32-bit product of a kernel's parameter
#include <metal_stdlib>
using namespace metal;

struct Params {
  long n;
  int k, m;
};
kernel void k(device float* x [[buffer(0)]], constant Params& p [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  const int width = p.k;
  long offset = int(i) * width;  // <-
  x[offset] = 1.0f;
}
