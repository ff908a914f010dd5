// What the plans of select_k share.
#pragma once

#include <cstdint>

#include "gpu/plans/select_k.h"
#include "select_k_params.h"

namespace metalfaiss::gpu::select_k {

inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

inline int64_t ceil_power_of_2(int64_t n) {
  int64_t p = 1;
  while (p < n) {
    p *= 2;
  }
  return p;
}

inline constexpr int64_t kPairBytes = 8;

// Rows as the kernels see them: one segment each, no queue yet.
SelectKParams rows_of(const SelectKArgs& args);

// Rows (rows, n) of pairs that lie one behind the other.
SelectKParams pair_rows(int64_t rows, int64_t n, int64_t k);

// Threadgroups for `work` pieces of it.
int64_t groups_for(int64_t work, const SelectKSizes& sizes);

// A kernel on elements of `bits` bits: see BITS in select_k_source.h.
Launch launch(const char* kernel, int bits, int64_t groups, int64_t threads, std::vector<Argument> arguments);

// Beyond the queue: any k.
void plan_radix(Plan& plan, const SelectKArgs& args, const SelectKSizes& sizes);

}  // namespace metalfaiss::gpu::select_k
