#include "gpu/plans/qr_cholesky.h"

#include <algorithm>
#include <utility>

#include "qr_params.h"

namespace metalfaiss::gpu {

namespace {

// Of metal/qr_gram.metal and metal/qr_cholesky.metal.
constexpr int64_t kTile = QR_GRAM_TILE, kThreads = 256, kFactorThreads = 512, kInvertRows = 8, kComposeTile = 16;
constexpr int64_t kWide = 8;  // bytes

constexpr int64_t kGramGroups = 528;     // wanted: four for each core of a large GPU
constexpr int64_t kSplitRows = 256;      // at least, so that adding up the splits costs little
constexpr int64_t kLeastColumns = 16;    // a tree of fewer moves little more than its matrix
constexpr int64_t kLeastWork = 1 << 15;  // entries: a dozen launches take longer than a tree of a smaller matrix

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

class Planner {
 public:
  Planner(Plan& plan, const TallMatrix& a, Memory q, Memory r, int64_t r_stride)
      : plan_(plan),
        a_(a),
        q_(q),
        r_(r),
        r_stride_(r_stride),
        n_(a.columns),
        tiles_(ceil_div(n_, kTile) * (ceil_div(n_, kTile) + 1) / 2),
        splits_(std::clamp<int64_t>(kGramGroups / tiles_, 1, ceil_div(a.rows, kSplitRows))),
        parts_(plan.allocate(splits_ * tiles_ * kTile * kTile * kWide)),
        gram_(square()),
        sums_(plan.allocate(n_ * sizeof(float))),
        decisions_(plan.allocate(QR_DECISIONS * sizeof(int32_t))) {}

  Memory run() {
    const Triangles first{square(), square()}, second{square(), square()};
    const Memory composed = square();
    factor(a_, first, false, {});
    launch("qr_cholesky", "qr_judge", {read(sums_), write(decisions_)}, {}, decision(QR_PROCEEDS), 32);
    times(first.x, decision(QR_PROCEEDS));
    const Memory again = decision(QR_AGAIN);
    factor({q_, a_.rows, n_, n_, 1}, second, true, again);
    launch("qr_cholesky", "qr_compose",
           {read(first.x), read(second.x), read(first.r), read(second.r), write(composed), write(r_)},
           {2 * ceil_div(n_, kComposeTile) * ceil_div(n_, kComposeTile)}, again, kComposeTile * kComposeTile);
    times(composed, again);
    return decision(QR_FAILS);
  }

 private:
  struct Triangles {
    Memory r, x;  // x = r^-1
  };

  Memory square() { return plan_.allocate(n_ * n_ * kWide); }

  Memory decision(int which) const {
    Memory at = decisions_;
    at.offset = which * static_cast<int64_t>(sizeof(int32_t));
    return at;
  }

  // The triangles of a matrix, and R.
  void factor(const TallMatrix& a, const Triangles& to, bool again, const std::optional<Memory>& guard) {
    p_ = {};
    p_.rows = a.rows;
    p_.row_stride = a.row_stride;
    p_.column_stride = a.column_stride;
    p_.split_rows = ceil_div(a.rows, splits_);
    p_.r_stride = r_stride_;
    p_.columns = static_cast<int32_t>(n_);
    p_.tiles = static_cast<int32_t>(tiles_);
    p_.splits = static_cast<int32_t>(splits_);
    p_.again = again;
    launch("qr_gram", "qr_gram", {read(a.memory), write(parts_)}, {splits_ * tiles_}, guard, kThreads);
    launch("qr_gram", "qr_gram_sum", {read(parts_), write(gram_)}, {tiles_ * kTile * kTile / 32}, guard, kThreads);
    launch("qr_cholesky", "qr_cholesky", {read(gram_), read_write(to.r), write(decisions_)}, {}, guard, kFactorThreads);
    launch("qr_cholesky", "qr_invert", {read(gram_), read(to.r), read_write(to.x), write(r_), write(sums_)},
           {ceil_div(n_, kInvertRows)}, decision(again ? QR_AGAIN : QR_PROCEEDS), 32 * kInvertRows);
  }

  // Q = A X.
  void times(Memory x, Memory guard) {
    p_.row_stride = a_.row_stride;
    p_.column_stride = a_.column_stride;
    launch("qr_gram", "qr_times", {read(a_.memory), read(x), write(q_)},
           {ceil_div(a_.rows, kTile) * ceil_div(n_, kTile)}, guard, kThreads);
  }

  void launch(const char* family, const char* kernel, std::vector<Argument> arguments, Size groups,
              const std::optional<Memory>& guard, int64_t threads) {
    arguments.emplace_back(bytes_of(p_));
    plan_.steps.emplace_back(Launch{family, kernel, {}, std::move(arguments), groups, {threads}, 0, guard});
  }

  Plan& plan_;
  const TallMatrix a_;
  const Memory q_, r_;
  const int64_t r_stride_, n_, tiles_, splits_;
  const Memory parts_, gram_, sums_, decisions_;
  QrCholeskyParams p_{};
};

}  // namespace

bool takes_cholesky(const TallMatrix& a) {
  const bool fits = a.rows >= a.columns && a.columns >= kLeastColumns && a.columns <= QR_CHOLESKY_COLUMNS;
  return fits && (a.columns > QR_PANEL || a.rows * a.columns >= kLeastWork);
}

Memory add_cholesky(Plan& plan, const TallMatrix& a, Memory q, Memory r, int64_t r_stride) {
  return Planner(plan, a, q, r, r_stride).run();
}

}  // namespace metalfaiss::gpu
