// expect: declares 33024 bytes of threadgroup memory
#include <metal_stdlib>
using namespace metal;

struct Pair {
  float value;
  uint id;
};
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  threadgroup float a[64][64];
  threadgroup Pair b[2080];  // <-
  a[0][0] = x[i];
  b[0].value = x[i];
  x[i] = a[0][0] + b[0].value;
}
