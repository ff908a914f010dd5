// What the fast pass of a scan keeps: for every query, the entries that may still be among its k nearest. As
// knn_candidates.h, but for entries of lists: a candidate is a place and an interval that holds its score.
#pragma once

#include "cpu/ivf_scan.h"
#include "cpu/knn_candidates.h"
#include "cpu/sq_rows.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

METALFAISS_INLINE int64_t list_of(int64_t place) {
  return place >> 32;
}
METALFAISS_INLINE int64_t offset_of(int64_t place) {
  return place & 0xffffffff;
}

// The vector of an entry: where it lies if it is stored so, else decoded into `scratch` (d floats).
METALFAISS_INLINE const float* entry_row(const IvfScanArgs& args, int64_t list, int64_t offset, float* scratch) {
  const uint8_t* code = args.lists[list].codes + offset * args.codec.code_size();
  if (args.codec.type == CodeType::f32 && !args.centroids) {
    return reinterpret_cast<const float*>(code);
  }
  decode_row(args.codec, code, args.centroids ? args.centroids + list * args.codec.d : nullptr, scratch);
  return scratch;
}

METALFAISS_INLINE double score_entry(const IvfScanArgs& args, int64_t query, int64_t place, float* scratch) {
  const float* row = entry_row(args, list_of(place), offset_of(place), scratch);
  return exact_score(args.queries + query * args.codec.d, row, args.codec.d, args.inner_product);
}

// A scan of a chunk of queries; read-only while workers run, but for `tau`.
struct Scan {
  const IvfScanArgs* args;
  int64_t first_query, num_queries, k, capacity;
  float* tau;  // of each query, an upper bound of its k-th smallest score, by atomic accesses; FLT_MAX at first
};

class EntryCandidates {
 public:
  static size_t bytes(int64_t num_queries, int64_t capacity) { return num_queries * (capacity * 16 + 12) + 64; }

  void attach(const Scan* scan, char* storage) {
    scan_ = scan;
    int64_t n = scan->num_queries, c = scan->capacity;
    place_ = reinterpret_cast<int64_t*>(storage);
    lower_ = reinterpret_cast<float*>(place_ + n * c);
    upper_ = lower_ + n * c;
    size_ = reinterpret_cast<int32_t*>(upper_ + n * c);
    tau_ = reinterpret_cast<float*>(size_ + n);
    for (int64_t q = 0; q < n; q++) {
      size_[q] = 0;
      tau_[q] = kFloatMax;
    }
  }

  // Takes over what other workers found.
  float refresh(int64_t q) {
    float tau = load_shared(scan_->tau + q);
    tau_[q] = tau < tau_[q] ? tau : tau_[q];
    return tau_[q];
  }
  float tau(int64_t q) const { return tau_[q]; }
  int64_t size(int64_t q) const { return size_[q]; }
  int64_t taken() const { return taken_; }  // of all queries, also those that had to go again
  const float* lower(int64_t q) const { return lower_ + q * scan_->capacity; }
  const float* upper(int64_t q) const { return upper_ + q * scan_->capacity; }
  const int64_t* places(int64_t q) const { return place_ + q * scan_->capacity; }

  METALFAISS_INLINE void insert(int64_t q, int64_t place, float lower, float upper) {
    if (lower > tau_[q]) {
      return;
    }
    if (size_[q] == scan_->capacity) {
      compact(q);
      if (lower > tau_[q]) {
        return;
      }
    }
    append(q, place, lower, upper);
    taken_++;
  }

  void insert_exactly(int64_t q, int64_t place, float* scratch) {
    double score = score_entry(*scan_->args, scan_->first_query + q, place, scratch);
    if (is_result(score)) {
      insert(q, place, round_down(score), round_up(score));
    }
  }

 private:
  METALFAISS_INLINE void append(int64_t q, int64_t place, float lower, float upper) {
    int64_t at = q * scan_->capacity + size_[q]++;
    lower_[at] = lower;
    upper_[at] = upper;
    place_[at] = place;
  }

  void lower_tau(int64_t q, float tau) {
    if (tau < tau_[q]) {
      tau_[q] = tau;
      if (tau < load_shared(scan_->tau + q)) {  // a race may lose a bound, never invent one
        store_shared(scan_->tau + q, tau);
      }
    }
  }

  // Makes room for at least a quarter of what is not needed.
  __attribute__((noinline)) void compact(int64_t q) {
    int64_t capacity = scan_->capacity, k = scan_->k, at = q * capacity, n = size_[q];
    lower_tau(q, bound_of_kth(upper_ + at, n, k));
    float tau = refresh(q);
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
      float lower = lower_[at + i], upper = upper_[at + i];
      int64_t place = place_[at + i];
      lower_[at + kept] = lower;
      upper_[at + kept] = upper;
      place_[at + kept] = place;
      kept += lower <= tau;
    }
    size_[q] = static_cast<int32_t>(kept);
    if (kept > capacity - (capacity - k + 3) / 4) {
      rescore(q);
    }
  }

  // Too many are within the error of each other: keeps the k that are nearest in float64. Of equal ones those with the
  // lowest ids, as the results.
  void rescore(int64_t q) {
    const IvfScanArgs& args = *scan_->args;
    int64_t at = q * scan_->capacity, n = size_[q], k = scan_->k;
    char* scratch =
        static_cast<char*>(thread_scratch(Scratch::partial, k * (sizeof(Scored) + 8) + n * 8 + args.codec.d * 4 + 4));
    Scored* scored = reinterpret_cast<Scored*>(scratch);
    int64_t* places = reinterpret_cast<int64_t*>(scored + k);
    int64_t* key = places + k;
    float* row = reinterpret_cast<float*>(key + n);
    // By (score, id), then by what came first: the heap holds where in the buffer a candidate is, ordered by id.
    for (int64_t i = 0; i < n; i++) {
      key[i] = i;
    }
    sort_by_id(args, place_ + at, key, n);
    TopK top(scored, k);
    for (int64_t i = 0; i < n; i++) {
      double score = score_entry(args, scan_->first_query + q, place_[at + key[i]], row);
      if (is_result(score)) {
        top.push({score, i});
      }
    }
    for (int64_t i = 0; i < top.size(); i++) {
      places[i] = place_[at + key[top[i].id]];
    }
    size_[q] = 0;
    float worst = -kFloatMax;
    for (int64_t i = 0; i < top.size(); i++) {
      float upper = round_up(top[i].score);
      append(q, places[i], round_down(top[i].score), upper);
      worst = upper > worst ? upper : worst;
    }
    if (top.size() == k) {
      lower_tau(q, worst);
    }
  }

  static int64_t id_at(const IvfScanArgs& args, int64_t place) {
    return args.places ? place : args.lists[list_of(place)].ids[offset_of(place)];
  }

  // Heap sort of `key` by the ids of the places it names.
  static void sort_by_id(const IvfScanArgs& args, const int64_t* places, int64_t* key, int64_t n) {
    auto sift = [&](int64_t i, int64_t end) {
      int64_t x = key[i], id = id_at(args, places[x]);
      for (int64_t child = 2 * i + 1; child < end; child = 2 * i + 1) {
        if (child + 1 < end && id_at(args, places[key[child]]) < id_at(args, places[key[child + 1]])) {
          child++;
        }
        if (id_at(args, places[key[child]]) <= id) {
          break;
        }
        key[i] = key[child];
        i = child;
      }
      key[i] = x;
    };
    for (int64_t i = n / 2 - 1; i >= 0; i--) {
      sift(i, n);
    }
    for (int64_t end = n - 1; end > 0; end--) {
      int64_t last = key[end];
      key[end] = key[0];
      key[0] = last;
      sift(0, end);
    }
  }

  const Scan* scan_;
  int64_t* place_;
  float *lower_, *upper_;
  int32_t* size_;
  float* tau_;
  int64_t taken_ = 0;
};

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
