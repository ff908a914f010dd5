// expect: \[\[max_threads\]\]: MSL has no such attribute
#include <metal_stdlib>
using namespace metal;

[[max_threads(64)]] kernel void k(device float* x [[buffer(0)]]) {  // <-
  x[0] = 1.0f;
}
