// simdgroup_matrix: 8 x 8, two elements a lane. Which lane holds what is not specified: accesses are the simdgroup's.
#pragma once

#include "simulator/threads.h"
#include "simulator/types.h"

extern "C" {
void sim_access_matrix(const void* p, sim_u64 size, int is_write, sim_u64 pc);
__attribute__((convergent, nomerge)) void sim_trail(sim_u64 pc);
int sim_row(int lane);
int sim_column(int lane);
__attribute__((convergent, nomerge)) void sim_multiply_accumulate(const float* ab, float* d, sim_u64 pc);
}

namespace metal {

template <typename T, int Columns, int Rows>
struct simdgroup_matrix {
  static_assert(Columns == 8 && Rows == 8, "simdgroup_matrix is 8 x 8");

  simdgroup_matrix() = default;
  // A diagonal matrix, as in MSL.
  SIM_INLINE explicit simdgroup_matrix(T diagonal) {
    int lane = static_cast<int>(sim_lane());
    sim_elements[0] = sim_row(lane) == sim_column(lane) ? diagonal : T(0);
    sim_elements[1] = sim_row(lane) == sim_column(lane) + 1 ? diagonal : T(0);
  }

  T sim_elements[2];
};

using simdgroup_float8x8 = simdgroup_matrix<float, 8, 8>;
using simdgroup_half8x8 = simdgroup_matrix<half, 8, 8>;
using simdgroup_bfloat8x8 = simdgroup_matrix<bfloat, 8, 8>;

template <typename T, int Columns, int Rows>
SIM_INLINE simdgroup_matrix<T, Columns, Rows> make_filled_simdgroup_matrix(T x) {
  simdgroup_matrix<T, Columns, Rows> m;
  m.sim_elements[0] = m.sim_elements[1] = x;
  return m;
}

template <typename T, int Columns, int Rows>
SIM_INLINE simdgroup_matrix<T, Columns, Rows> make_diagonal_simdgroup_matrix(T x) {
  return simdgroup_matrix<T, Columns, Rows>(x);
}

template <typename T>
SIM_INLINE T* sim_element(T* p, ulong stride, ulong2 origin, bool transposed, int i) {
  int lane = static_cast<int>(sim_lane()), row = sim_row(lane), column = sim_column(lane) + i;
  p += origin.y * stride + origin.x;
  return transposed ? p + static_cast<ulong>(column) * stride + row : p + static_cast<ulong>(row) * stride + column;
}

template <typename T>
SIM_SHIM void simdgroup_load(simdgroup_matrix<T, 8, 8>& d, const T* p, ulong elements_per_row = 8, ulong2 origin = 0,
                             bool transposed = false) {
  sim_u64 pc = SIM_CALLER;
  sim_trail(pc);
  for (int i = 0; i < 2; i++) {
    const T* element = sim_element(p, elements_per_row, origin, transposed, i);
    sim_access_matrix(element, sizeof(T), 0, pc);
    d.sim_elements[i] = *element;
  }
}

template <typename T>
SIM_SHIM void simdgroup_store(simdgroup_matrix<T, 8, 8> a, T* p, ulong elements_per_row = 8, ulong2 origin = 0,
                              bool transposed = false) {
  sim_u64 pc = SIM_CALLER;
  sim_trail(pc);
  for (int i = 0; i < 2; i++) {
    T* element = sim_element(p, elements_per_row, origin, transposed, i);
    sim_access_matrix(element, sizeof(T), 1, pc);
    *element = a.sim_elements[i];
  }
}

template <typename D, typename A, typename B, typename C>
SIM_SHIM void simdgroup_multiply_accumulate(simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8> a,
                                            simdgroup_matrix<B, 8, 8> b, simdgroup_matrix<C, 8, 8> c) {
  alignas(16) float ab[4] = {static_cast<float>(a.sim_elements[0]), static_cast<float>(a.sim_elements[1]),
                             static_cast<float>(b.sim_elements[0]), static_cast<float>(b.sim_elements[1])};
  float sum[2] = {static_cast<float>(c.sim_elements[0]), static_cast<float>(c.sim_elements[1])};
  sim_multiply_accumulate(ab, sum, SIM_CALLER);
  d.sim_elements[0] = static_cast<D>(sum[0]);
  d.sim_elements[1] = static_cast<D>(sum[1]);
}

template <typename D, typename A, typename B>
SIM_SHIM void simdgroup_multiply(simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8> a,
                                 simdgroup_matrix<B, 8, 8> b) {
  alignas(16) float ab[4] = {static_cast<float>(a.sim_elements[0]), static_cast<float>(a.sim_elements[1]),
                             static_cast<float>(b.sim_elements[0]), static_cast<float>(b.sim_elements[1])};
  float sum[2] = {0, 0};
  sim_multiply_accumulate(ab, sum, SIM_CALLER);
  d.sim_elements[0] = static_cast<D>(sum[0]);
  d.sim_elements[1] = static_cast<D>(sum[1]);
}

}  // namespace metal
