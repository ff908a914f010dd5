#include <metal_stdlib>
using namespace metal;

/* double x; goto end; [[buffer(99)]] kernel void gone(float* p) */
// template <typename T> class std::vector; throw new int;

kernel void comments(device float* x [[buffer(0)]],  // device float* y [[buffer(0)]]
                     /* uint thread, */ uint i [[thread_position_in_grid]]) {
  x[i] = 1.0f;  // x[i] = 1.0l
}
