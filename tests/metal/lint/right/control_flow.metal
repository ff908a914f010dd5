#include <metal_stdlib>
using namespace metal;

inline int steps(int n) {
  int count = 0;
  do {
    n = (n & 1) != 0 ? 3 * n + 1 : n / 2;
    if (++count > 100) {
      break;
    }
  } while (n > 1);
  return count;
}

kernel void control_flow(device int* x [[buffer(0)]], constant int& mode [[buffer(1)]],
                         uint i [[thread_position_in_grid]]) {
  if (i >= 1024) {
    return;
  }
  switch (mode) {
    case 0:
      x[i] = steps(x[i]);
      break;
    case 1: {
      for (int j = 0, k = 4; j < k; j++, k--) {
        if (j == 1) {
          continue;
        }
        x[i] += j;
      }
      break;
    }
    default:
      x[i] = -1;
  }
}
