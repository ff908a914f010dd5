// What plans an exact search: of plans/knn.cpp and knn_scan_steps.cpp alone.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "gpu/plans/knn.h"
#include "knn_params.h"
#include "knn_scan_params.h"

namespace metalfaiss::gpu::knn_plan {

// Of metal/knn.metal and metal/knn_exact.metal.
inline constexpr int64_t kThreads = 256;
inline constexpr int64_t kSimdgroups = 8;

inline constexpr double kRound = 0x1p-24;  // relative error of a float32 operation
inline constexpr double kTiny = 0x1p-126;  // error of one that underflows, where subnormal numbers are flushed

inline constexpr int64_t kScanFew = 4;  // queries that are scanned without matrix instructions

inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

inline float round_up(double x) {
  return static_cast<float>(x * (1 + 0x1p-22));
}

// How rows are divided among threadgroups.
struct Division {
  int64_t parts, rows;
};

class KnnPlanner {
 public:
  explicit KnnPlanner(const Knn& g);
  Plan make();

 private:
  void divide_rows();
  void allocate();
  Constant type() const { return {"T", g_.type}; }
  Constant metric() const { return {"L2", g_.l2 ? "1" : "0"}; }
  Constant list() const { return {"LIST", std::to_string(list_)}; }
  void launch(std::string kernel, std::vector<Constant> constants, std::vector<Argument> arguments, Size groups,
              int64_t threads = kThreads, int64_t threadgroup_bytes = 0);
  Plan trivial();
  KnnParams params(const BatchPart& part, int64_t first, int64_t queries, Division slabs) const;
  void search(const BatchPart& part, int64_t first, int64_t queries);
  void find_center(const BatchPart& part);
  struct Rows {
    Memory from;
    int64_t offset, row, col, count;  // strides in elements
  };
  void prepare(const std::string& type, Rows rows, Memory to, Memory norms, bool copied);
  float absolute_of_products() const { return round_up((4 * g_.d + 64) * kTiny); }
  float relative_of_products(double error, int64_t lanes = 32) const;
  void select_from_products(const BatchPart& part, int64_t first, int64_t queries);

  // In knn_scan_steps.cpp.
  bool scans() const;
  bool scans_few() const { return g_.nq <= kScanFew; }
  int64_t scan_capacity() const;
  int64_t scan_growth(int64_t rank) const;
  int64_t scan_threads() const;
  KnnScanParams scan_params(const BatchPart& part, int64_t first, int64_t queries, int64_t tiles) const;
  bool scans_vectors(const KnnScanParams& p, int64_t width) const;
  void scan_few(const BatchPart& part, int64_t first, int64_t queries);
  void scan(const BatchPart& part, int64_t first, int64_t queries);

  const Knn& g_;
  const KnnLimits& limits_;
  Plan plan_;
  bool many_, scan_ = false, copied_ = false;
  int64_t list_, capacity_, tile_, room_ = 0, chunk_ = 0, at_once_ = 0;
  Division exact_{}, slabs_{};
  Memory flags_{}, scores_{}, rows_{}, lists_{}, center_{}, queries_{}, query_norms_{}, database_{}, row_norms_{},
      products_{}, found_{}, counts_{}, thresholds_{}, terms_{}, filters_{}, minima_{};
};

}  // namespace metalfaiss::gpu::knn_plan
