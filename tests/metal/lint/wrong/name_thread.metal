// expect: `thread` is a keyword of MSL
#include <metal_stdlib>
using namespace metal;

kernel void k(
    device float* x [[buffer(0)]],
    uint thread [[thread_index_in_threadgroup]] ) {  // <-
  x[0] = 1.0f;
}
