#include <metal_stdlib>
using namespace metal;

namespace tile {

constant int kRows = 8;
inline int rows(int n) {
  return (n + kRows - 1) / kRows;
}

}  // namespace tile

kernel void namespaces(device int* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  using namespace tile;
  x[i] = rows(x[i]) + tile::kRows;
}
