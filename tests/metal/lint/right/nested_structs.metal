#include <metal_stdlib>
using namespace metal;

struct Extent {
  int32_t rows, columns;
};
struct Operand {
  int64_t stride[2];
  Extent extent;
};
struct Params {
  Operand a, b;
  int64_t batch[4];
  float scale;
  uint32_t count;
};

inline long offset(constant Operand& o, long row, long column) {
  return row * o.stride[0] + column * o.stride[1];
}

struct Pair {
  float value;
  uint id;
};
inline bool less(Pair a, Pair b) {
  return a.value < b.value || (a.value == b.value && a.id < b.id);
}
inline void exchange(thread Pair& a, thread Pair& b) {
  const Pair t = a;
  a = b;
  b = t;
}

kernel void nested_structs(device const float* x [[buffer(0)]], device Pair* y [[buffer(1)]],
                           constant Params& p [[buffer(2)]], uint2 at [[thread_position_in_grid]]) {
  Pair best = {x[offset(p.a, at.y, at.x)] * p.scale, at.x}, other = {x[offset(p.b, at.y, at.x)], at.x + p.count};
  if (less(other, best)) {
    exchange(best, other);
  }
  y[long(at.y) * p.a.extent.columns + at.x + p.batch[0]] = best;
}
