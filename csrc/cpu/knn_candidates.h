// What the approximate pass of a search keeps: for every query, the rows that may still be among its k nearest.
//
// Ranks are compared as `t`, smaller being nearer: t = score * scale - shift, a function of the exact score that is
// monotone for one query. A candidate is an interval [lower, upper] that holds its t. With tau an upper bound of the
// k-th smallest t, rows whose lower end is above tau are none of the k nearest. Every row that is not proven to be so
// reaches the exact rescoring: the result does not depend on the order of the rows or on the threads.
#pragma once

#include "cpu/knn_exact.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

inline constexpr double kRound = 0x1p-24;     // relative error of a float32 operation
inline constexpr double kTiny = 0x1p-148;     // twice the error of one that underflows
inline constexpr double kLargest = 0x1p124;   // squared norms up to here cannot overflow in a fast pass
inline constexpr int64_t kLongest = 1 << 17;  // more dimensions are left to the exact pass

METALFAISS_INLINE float round_down(double x) {
  float f = static_cast<float>(x - __builtin_fabs(x) * 0x1p-23);
  return f < kFloatMax ? f : kFloatMax;  // +inf is no lower bound
}
METALFAISS_INLINE float round_up(double x) {
  return static_cast<float>(x + __builtin_fabs(x) * 0x1p-23);
}

// How a query takes part.
enum class Pass : uint8_t {
  fast,
  exact,    // too large for float32 arithmetic: every row is scored in float64
  excluded  // NaN or infinite: has no results
};

struct Query {
  const float* values;  // d of them
  double scale, shift;  // see above
  double norm;          // of the query as the fast pass sees it, an upper bound
  Pass pass;
};

// One search of a chunk of queries; read-only while workers run, but for `tau`.
struct Search {
  const Matrix* database;
  bool inner_product;
  int64_t k, capacity, num_queries;
  const Query* queries;
  int64_t num_workers;
  // What workers tell each other, by atomic accesses; FLT_MAX at first. Each worker has bounds of its own k-th smallest
  // t and of its k / num_workers-th. The smallest of the former bounds the k-th smallest t of all, and so does the
  // largest of the latter.
  float* tau;    // num_queries
  float* share;  // num_workers x num_queries
};

METALFAISS_INLINE float load_shared(const float* x) {
  int32_t bits = __atomic_load_n(reinterpret_cast<const int32_t*>(x), __ATOMIC_RELAXED);
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}
METALFAISS_INLINE void store_shared(float* x, float value) {
  int32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  __atomic_store_n(reinterpret_cast<int32_t*>(x), bits, __ATOMIC_RELAXED);
}

METALFAISS_INLINE void prefetch_row(const Matrix& m, int64_t i) {
  const char* row = static_cast<const char*>(m.data) + m.stored_row(i) * m.row_stride * size_of(m.type);
  for (int64_t at = 0; at < m.cols * size_of(m.type); at += 64) {
    __builtin_prefetch(row + at);
  }
}

METALFAISS_INLINE double score_row(const Search& s, const Query& q, int64_t row, float* scratch) {
  return exact_score(q.values, float_row(*s.database, row, scratch), s.database->cols, s.inner_product);
}

// The order of floats as the order of integers; its own inverse.
METALFAISS_INLINE int32_t float_key(int32_t bits) {
  return bits ^ ((bits >> 31) & 0x7fffffff);
}

METALFAISS_INLINE int64_t count_up_to(const float* x, int64_t n, float bound) {
  vi count[2] = {};
  vf b = broadcast(bound);
  int64_t i = 0;
  for (; i + 2 * W <= n; i += 2 * W) {
    count[0] -= load(x + i) <= b;
    count[1] -= load(x + i + W) <= b;
  }
  int64_t total = sum(count[0] + count[1]);
  for (; i < n; i++) {
    total += x[i] <= bound;
  }
  return total;
}

// A value that at least k of the n values do not exceed, near the k-th smallest: bisection, since counting is a few
// cycles a vector. FLT_MAX where fewer than k values are finite.
inline __attribute__((noinline)) float bound_of_kth(const float* x, int64_t n, int64_t k) {
  float low = kFloatMax, high = -kFloatMax;
  int64_t i = 0;
  if (n >= W) {
    vf lows = broadcast(low), highs = broadcast(high);
    for (; i + W <= n; i += W) {
      vf v = load(x + i);
      lows = min(v, lows);
      highs = select(v > broadcast(kFloatMax), highs, max(v, highs));
    }
    for (int lane = 0; lane < W; lane++) {
      low = lows[lane] < low ? lows[lane] : low;
      high = highs[lane] > high ? highs[lane] : high;
    }
  }
  for (; i < n; i++) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high && x[i] <= kFloatMax ? x[i] : high;
  }
  if (n < k || count_up_to(x, n, high) < k) {
    return kFloatMax;
  }
  for (int step = 0; low < high; step++) {
    float middle = low * 0.5f + high * 0.5f;
    if (step % 2 || !(middle > low && middle < high)) {  // halves the number of floats between the two
      int32_t a, b;
      __builtin_memcpy(&a, &low, 4);
      __builtin_memcpy(&b, &high, 4);
      int64_t between = (static_cast<int64_t>(float_key(a)) + float_key(b)) >> 1;
      int32_t bits = float_key(static_cast<int32_t>(between));
      __builtin_memcpy(&middle, &bits, 4);
      if (!(middle > low)) {  // neighbours, or low itself is the answer
        return count_up_to(x, n, low) >= k ? low : high;
      }
    }
    int64_t count = count_up_to(x, n, middle);
    if (count >= k) {
      high = middle;
      if (count <= k + k / 16) {
        break;
      }
    } else {
      low = middle;
    }
  }
  return high;
}

// One worker's candidates of all queries of a chunk.
class Candidates {
 public:
  static size_t bytes(int64_t num_queries, int64_t capacity) {
    return num_queries * (capacity * 3 + 5) * sizeof(float) + 64;
  }

  void attach(const Search* search, int64_t worker, char* storage) {
    search_ = search;
    share_ = search->share + worker * search->num_queries;
    int64_t n = search->num_queries, c = search->capacity;
    lower_ = reinterpret_cast<float*>(storage);
    upper_ = lower_ + n * c;
    row_ = reinterpret_cast<int32_t*>(upper_ + n * c);
    size_ = row_ + n * c;
    tau_ = reinterpret_cast<float*>(size_ + n);
    slack_ = tau_ + n;
    threshold_ = slack_ + n;
  }

  void clear() {
    for (int64_t q = 0; q < search_->num_queries; q++) {
      share_[q] = kFloatMax;
      size_[q] = 0;
      tau_[q] = kFloatMax;
      set_slack(q, 0);
    }
  }

  // What a fast pass compares its values with: at least tau * relative + slack.
  const float* thresholds() const { return threshold_; }
  void set_relative(double relative) { relative_ = relative; }
  void set_slack(int64_t q, double slack) {
    slack_[q] = round_up(slack);
    update(q);
  }
  // Takes over what other workers found.
  void refresh(int64_t q) {
    float share = -kFloatMax;
    for (int64_t w = 0; w < search_->num_workers && share < kFloatMax; w++) {
      float theirs = load_shared(search_->share + w * search_->num_queries + q);
      share = theirs > share ? theirs : share;
    }
    float tau = load_shared(search_->tau + q);
    tau = share < tau ? share : tau;
    tau_[q] = tau < tau_[q] ? tau : tau_[q];
    update(q);
  }

  float tau(int64_t q) const { return tau_[q]; }
  int64_t size(int64_t q) const { return size_[q]; }
  const float* lower(int64_t q) const { return lower_ + q * search_->capacity; }
  const float* upper(int64_t q) const { return upper_ + q * search_->capacity; }
  const int32_t* rows(int64_t q) const { return row_ + q * search_->capacity; }

  METALFAISS_INLINE void insert(int64_t q, int64_t row, float lower, float upper) {
    if (lower > tau_[q]) {
      return;
    }
    if (size_[q] == search_->capacity) {
      compact(q);
      if (lower > tau_[q]) {
        return;
      }
    }
    append(q, row, lower, upper);
  }

  // Scores the row in float64 first; `scratch` holds d floats.
  void insert_exactly(int64_t q, int64_t row, float* scratch) {
    double score = score_row(*search_, search_->queries[q], row, scratch);
    if (is_result(score)) {
      float lower, upper;
      interval(q, score, &lower, &upper);
      insert(q, row, lower, upper);
    }
  }

 private:
  METALFAISS_INLINE void append(int64_t q, int64_t row, float lower, float upper) {
    int64_t at = q * search_->capacity + size_[q]++;
    lower_[at] = lower;
    upper_[at] = upper;
    row_[at] = static_cast<int32_t>(row);
  }

  void update(int64_t q) {
    bool fast = search_->queries[q].pass == Pass::fast;
    float threshold = round_up(tau_[q] * relative_ + slack_[q]);
    // Rows that take no part have +inf: not even the first threshold lets them pass.
    threshold_[q] = fast ? (threshold < kFloatMax ? threshold : kFloatMax) : -__builtin_inff();
  }

  void lower_tau(int64_t q, float tau) {
    if (tau < tau_[q]) {
      tau_[q] = tau;
      update(q);
      if (tau < load_shared(search_->tau + q)) {  // a race may lose a bound, never invent one
        store_shared(search_->tau + q, tau);
      }
    }
  }

  // The t of an exact score, with the rounding of both.
  void interval(int64_t q, double score, float* lower, float* upper) const {
    const Query& query = search_->queries[q];
    double t = score * query.scale - query.shift;
    double error =
        (__builtin_fabs(score * query.scale) + __builtin_fabs(query.shift)) * (search_->database->cols + 64) * 0x1p-52;
    *lower = round_down(t - error - kTiny);
    *upper = round_up(t + error + kTiny);
  }

  // Makes room for at least a quarter of what is not needed.
  __attribute__((noinline)) void compact(int64_t q) {
    int64_t capacity = search_->capacity, k = search_->k, at = q * capacity, n = size_[q];
    lower_tau(q, bound_of_kth(upper_ + at, n, k));
    if (search_->num_workers > 1) {
      int64_t part = (k + search_->num_workers - 1) / search_->num_workers;
      store_shared(share_ + q, bound_of_kth(upper_ + at, n, part));
      refresh(q);
    }
    float tau = tau_[q];
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
      float lower = lower_[at + i], upper = upper_[at + i];
      int32_t row = row_[at + i];
      lower_[at + kept] = lower;
      upper_[at + kept] = upper;
      row_[at + kept] = row;
      kept += lower <= tau;
    }
    size_[q] = static_cast<int32_t>(kept);
    if (kept > capacity - (capacity - k + 3) / 4) {
      rescore(q);
    }
  }

  // Too many are within the error of each other: keeps the k that are nearest in float64.
  void rescore(int64_t q) {
    int64_t at = q * search_->capacity, n = size_[q], d = search_->database->cols;
    char* scratch = static_cast<char*>(thread_scratch(Scratch::partial, search_->k * sizeof(Scored) + d * 4 + 4));
    TopK top(reinterpret_cast<Scored*>(scratch), search_->k);
    float* row = reinterpret_cast<float*>(scratch + search_->k * sizeof(Scored));
    for (int64_t i = 0; i < n; i++) {
      double score = score_row(*search_, search_->queries[q], row_[at + i], row);
      if (is_result(score)) {
        top.push({score, row_[at + i]});
      }
    }
    size_[q] = 0;
    float worst = -kFloatMax;
    for (int64_t i = 0; i < top.size(); i++) {
      float lower, upper;
      interval(q, top[i].score, &lower, &upper);
      append(q, top[i].id, lower, upper);
      worst = upper > worst ? upper : worst;
    }
    if (top.size() == search_->k) {
      lower_tau(q, worst);
    }
  }

  const Search* search_;
  float *lower_, *upper_;
  int32_t *row_, *size_;
  float *tau_, *slack_, *threshold_, *share_;
  double relative_ = 1;
};

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
