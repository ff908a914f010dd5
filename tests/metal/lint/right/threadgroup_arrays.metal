#include <metal_stdlib>
using namespace metal;

#define TILE 16
#define PAD 1

struct Entry {
  float value;
  uint id;
};

kernel void threadgroup_arrays(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
                               uint i [[thread_index_in_threadgroup]]) {
  threadgroup float tiles[2][TILE][TILE + PAD];
  threadgroup Entry queue[TILE];
  threadgroup float4 wide[TILE];
  const uint row = i / TILE, column = i % TILE;
  tiles[0][row][column] = x[i];
  queue[row].value = x[i];
  queue[row].id = column;
  wide[column] = float4(x[i]);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  threadgroup const float* line = tiles[0][column];
  threadgroup float(*tile)[TILE + PAD] = tiles[1];
  tile[row][column] = line[row] + queue[column].value + wide[row].x;
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  y[i] = tiles[1][column][row];
}
