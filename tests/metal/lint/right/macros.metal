#include <metal_stdlib>
using namespace metal;

#define UNROLL _Pragma("clang loop unroll(full)")
#define LARGEST(a, b) ((a) > (b) ? (a) : (b))
#define NAMED(name, op)                 \
  inline float name(float a, float b) { \
    return a op b;                      \
  }
NAMED(plus, +)
NAMED(times, *)
#if defined(__METAL_VERSION__) && __METAL_VERSION__ >= 310
#define HAS_BFLOAT 1
#else
#define HAS_BFLOAT 0
#endif

kernel void macros(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  float sum = 0.0f;
  UNROLL
  for (uint j = 0; j < 4; j++) {
    sum = LARGEST(plus(sum, x[i + j]), times(sum, x[i + j]));
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    sum += x[j];
  }
#if HAS_BFLOAT
  sum = float(bfloat(sum));
#endif
  x[i] = sum;
}
