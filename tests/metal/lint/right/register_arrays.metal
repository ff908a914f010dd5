#include <metal_stdlib>
using namespace metal;

#define ROWS 4
#define COLUMNS 2

inline void scale_rows(thread float (&a)[ROWS][COLUMNS], thread const float* scale) {
  for (int r = 0; r < ROWS; r++) {
    for (int c = 0; c < COLUMNS; c++) {
      a[r][c] *= scale[r];
    }
  }
}
inline float total(const thread float* a, int n) {
  float sum = 0.0f;
  for (int j = 0; j < n; j++) {
    sum += a[j];
  }
  return sum;
}

kernel void register_arrays(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  float a[ROWS][COLUMNS] = {};
  float scale[ROWS] = {1.0f, 2.0f};
  a[0][1] = x[i];
  scale_rows(a, scale);
  x[i] = total(&a[0][0], ROWS * COLUMNS) + total(a[1], COLUMNS);
}
