#include <metal_stdlib>
using namespace metal;

struct Candidate {
  float distance;
  uint id;
};

inline void store(device Candidate& out, Candidate c) {
  out = c;
}
inline Candidate at(device const Candidate* list, long i) {
  return list[i];
}

kernel void device_structs(device const Candidate* in [[buffer(0)]], device Candidate* out [[buffer(1)]],
                           uint i [[thread_position_in_grid]]) {
  threadgroup Candidate shared[32];
  shared[i & 31] = in[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  Candidate c = shared[(i + 1) & 31];
  c.distance = fmin(c.distance, at(in, i).distance);
  store(out[i], c);
  device Candidate* next = &out[i + 1];
  next->id = (*next).id + 1;
}
