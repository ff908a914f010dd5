#include <metal_stdlib>
using namespace metal;

constant float kTable[2][3] = {{1.0, 2.0, 3.0}, {4.0f, 5.0f, 6.0f}};
constant uint kTile = 8;
constexpr constant int kRounds = kTile * 2;
constant float4 kWeights = float4(1.0f, 2.0f, 3.0f, 4.0f);
constant half kHalf = half(0.5f);
enum { kQueue = 32 };
typedef float Distance;
static_assert(kQueue % kTile == 0, "a queue holds whole tiles");

kernel void program_constants(device Distance* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  constexpr uint columns = kTile * kQueue;
  Distance sum[kQueue];
  for (uint j = 0; j < kQueue; j++) {
    sum[j] = kTable[j & 1][j % 3] * kWeights[j & 3];
  }
  x[i * columns] = sum[i % kQueue] + float(kRounds) + kHalf;
}
