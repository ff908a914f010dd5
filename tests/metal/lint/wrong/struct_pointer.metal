// expect: `data` points or refers to memory of no address space
#include <metal_stdlib>
using namespace metal;

struct Right {
  device float* first;
};
struct Wrong {
  float* data;  // <-
};
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  Right v = {x};
  x[i] = v.first[0];
}
