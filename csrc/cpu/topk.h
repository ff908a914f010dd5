// The k best of a stream of values: a threshold filter, radix selection and a stable radix sort, on 32-bit keys.
//
// A key orders as its value does and puts NaN last. Candidates stay in the order in which they came, so that among
// equal keys the first k of the stream win without comparing ids.
#pragma once

#include "cpu/compress.h"
#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

inline constexpr uint32_t kNanKey = 0xffffffffu;
inline constexpr uint32_t kSignBit = 0x80000000u;

// Ascending in v; -0 and 0 share a key.
METALFAISS_INLINE vu order_key(vf v) {
  vu b = (vu)(v + vf{});  // -0 + 0 = 0
  vu key = b ^ ((vu)((vi)b >> 31) | kSignBit);
  return key | (vu)(v != v);  // all ones: kNanKey
}

// The value of a key other than kNanKey.
METALFAISS_INLINE float value_of_key(uint32_t key) {
  uint32_t b = key & kSignBit ? key ^ kSignBit : ~key;
  float v;
  __builtin_memcpy(&v, &b, sizeof v);
  return v;
}

// The mask of the lanes of a vector that n values fill.
METALFAISS_INLINE uint32_t first_lanes(int64_t n) {
  return n >= W ? (1u << (W - 1)) * 2u - 1 : (1u << n) - 1;
}

METALFAISS_INLINE vi lane_numbers() {
  vi v;
  for (int i = 0; i < W; i++) {
    v[i] = i;
  }
  return v;
}

struct KeyRange {
  uint32_t lo, hi;
};

METALFAISS_INLINE KeyRange key_range(const uint32_t* keys, int64_t n) {
  KeyRange r{kNanKey, 0};
  for (int64_t i = 0; i < n; i++) {
    r.lo = keys[i] < r.lo ? keys[i] : r.lo;
    r.hi = keys[i] > r.hi ? keys[i] : r.hi;
  }
  return r;
}

// The k-th smallest of n keys, 1 <= k <= n. Each pass keeps one of 2^11 equal parts of the range that is left: three
// passes at most, whatever the keys. `tmp` holds n keys.
inline uint32_t kth_smallest(const uint32_t* keys, int64_t n, int64_t k, uint32_t* tmp) {
  constexpr int kBits = 11;
  for (;;) {
    auto [lo, hi] = key_range(keys, n);
    if (lo == hi) {
      return lo;
    }
    // Parts beyond a few per key only cost time to clear.
    int digit = 4;
    while (digit < kBits && (int64_t{1} << digit) < n) {
      digit++;
    }
    int shift = 32 - __builtin_clz(hi - lo) - digit;
    shift = shift > 0 ? shift : 0;
    uint32_t parts = ((hi - lo) >> shift) + 1;
    uint32_t count[1 << kBits];
    __builtin_memset(count, 0, sizeof(uint32_t) * parts);
    for (int64_t i = 0; i < n; i++) {
      count[(keys[i] - lo) >> shift]++;
    }
    uint32_t part = 0;
    while (k > count[part]) {
      k -= count[part++];
    }
    if (shift == 0) {
      return lo + part;
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i += W) {
      vu key = load_as<vu>(keys + i);
      uint32_t mask = bits((vi)((key - lo) >> shift == part)) & first_lanes(n - i);
      kept += compress_store(tmp + kept, key, mask);  // never behind i, so tmp may be keys itself
    }
    keys = tmp;
    n = kept;
  }
}

// Keys with ids, and as much scratch.
struct Candidates {
  uint32_t* keys;
  int32_t* ids;
  uint32_t* tmp_keys;
  int32_t* tmp_ids;

  static constexpr int64_t kPadding = 64;  // whole vectors are stored behind the last candidate
  static constexpr int64_t bytes(int64_t capacity) { return 4 * sizeof(uint32_t) * (capacity + kPadding); }

  static Candidates at(void* memory, int64_t capacity) {
    int64_t stride = capacity + kPadding;
    auto* p = static_cast<uint32_t*>(memory);
    return {p, reinterpret_cast<int32_t*>(p + stride), p + 2 * stride, reinterpret_cast<int32_t*>(p + 3 * stride)};
  }

  // Keeps the k best of n > k in their order; returns the k-th key.
  uint32_t keep_best(int64_t n, int64_t k) const {
    uint32_t last = kth_smallest(keys, n, k, tmp_keys);
    uint32_t less = 0;
    for (int64_t i = 0; i < n; i++) {
      less += keys[i] < last;
    }
    int64_t equal = k - less;  // how many keys like the last are among the best
    int64_t kept = 0;
    for (int64_t i = 0; kept < k; i += W) {
      vu key = load_as<vu>(keys + i);
      vi id = load_as<vi>(ids + i);
      uint32_t valid = first_lanes(n - i), mask = bits((vi)(key < last)) & valid;
      for (uint32_t ties = bits((vi)(key == last)) & valid; ties && equal > 0; ties &= ties - 1, equal--) {
        mask |= ties & -ties;
      }
      compress_store(keys + kept, key, mask);
      kept += compress_store(ids + kept, id, mask);
    }
    return last;
  }

  // Keeps the k best of n >= k, sorted: equal keys stay in their order.
  void sort_best(int64_t n, int64_t k) {
    if (n > k && (n > kRanked || n > 4 * k + 32)) {
      keep_best(n, k);
      n = k;
    }
    n <= kRanked ? rank_sort(n) : radix_sort(n);
  }

 private:
  // Up to here n^2 / W comparisons without a branch are cheaper than radix passes.
  static constexpr int64_t kRanked = 16 * W;

  // The place of a key is the number of those before it that are not greater and those behind it that are less.
  void rank_sort(int64_t n) {
    const int64_t padded = (n + W - 1) / W * W;
    for (int64_t i = n; i < padded; i++) {
      keys[i] = kNanKey;
    }
    auto ordered = [&](int64_t j) { return (vi)(load_as<vu>(keys + j) ^ kSignBit); };  // signed, for cheap comparisons
    for (int64_t own = 0; own < n; own += W) {
      for (int64_t i = own; i < own + W && i < n; i++) {
        const int32_t key = static_cast<int32_t>(keys[i] ^ kSignBit);
        vi place{}, same = ordered(own), before = lane_numbers() < static_cast<int32_t>(i - own);
        for (int64_t j = 0; j < own; j += W) {
          place += ordered(j) > key;  // -1 where true
        }
        place -= (before & ~(same > key)) | (~before & (same < key));
        for (int64_t j = own + W; j < padded; j += W) {
          place -= (vi)(ordered(j) < key);
        }
        const int64_t to = own + sum(place);
        tmp_keys[to] = keys[i];
        tmp_ids[to] = ids[i];
      }
    }
    swap(keys, tmp_keys);
    swap(ids, tmp_ids);
  }

  // Least significant digit first, which is stable.
  void radix_sort(int64_t n) {
    auto [lo, hi] = key_range(keys, n);
    int range = lo == hi ? 0 : 32 - __builtin_clz(hi - lo);
    n < 1024 ? radix_passes<8>(n, lo, range) : radix_passes<11>(n, lo, range);
  }

  template <int digit>
  void radix_passes(int64_t n, uint32_t lo, int range) {
    constexpr uint32_t kMask = (1 << digit) - 1;
    for (int shift = 0; shift < range; shift += digit) {
      uint32_t start[kMask + 1] = {};
      for (int64_t i = 0; i < n; i++) {
        start[((keys[i] - lo) >> shift) & kMask]++;
      }
      uint32_t sum = 0;
      for (uint32_t& s : start) {
        uint32_t count = s;
        s = sum;
        sum += count;
      }
      for (int64_t i = 0; i < n; i++) {
        uint32_t to = start[((keys[i] - lo) >> shift) & kMask]++;
        tmp_keys[to] = keys[i];
        tmp_ids[to] = ids[i];
      }
      swap(keys, tmp_keys);
      swap(ids, tmp_ids);
    }
  }

  template <typename T>
  static void swap(T& a, T& b) {
    T t = a;
    a = b;
    b = t;
  }
};

// The k smallest values of a stream, or the k largest (`flip`). Values that cannot be among them any more cost one
// comparison; the others are buffered, and a full buffer shrinks to its k best, which tightens the threshold.
class TopK {
 public:
  static constexpr int kUnroll = 4;
  static constexpr int64_t kGroup = kUnroll * W;

  // Candidates are dropped whenever there are as many too many as wanted, but not by fewer than 64: tuned on Zen 3 for
  // k = 1 to 5000 by benchmarks/bench_select_k.py. Twice as many would leave the caches, half as many cost time.
  static constexpr int64_t kSlack = 64;
  static constexpr int64_t kFirst = 256;

  // Never more than the stream has.
  static int64_t capacity_for(int64_t k, int64_t n) {
    int64_t wanted = 2 * k > kFirst ? 2 * k : kFirst;
    return (wanted < n ? wanted : n) + kGroup;
  }
  static int64_t bytes(int64_t k, int64_t n) { return Candidates::bytes(capacity_for(k, n)); }

  // n: how long the stream is at most.
  TopK(void* memory, int64_t k, int64_t n, bool largest)
      : best_(Candidates::at(memory, capacity_for(k, n))),
        k_(k),
        capacity_(capacity_for(k, n)),
        limit_(capacity_),
        flip_(vu{} + (largest ? kSignBit : 0u)) {}

  // To be called before the first value: drops values beyond that of `key` from the start. If fewer than k are left at
  // the end, the guess was wrong: start again without.
  void guess(uint32_t key) {
    float above = key < kNanKey ? value_of_key(key + 1) : 0;
    if (above == above && key < kNanKey) {  // nothing is beyond infinity
      accept_ = Accept::below;
      threshold_ = above;
    }
  }

  // The next n values, with ids first_id, first_id + 1, ...
  template <typename T>
  void feed(const T* x, int64_t n, int32_t first_id) {
    int64_t i = 0;
    while (i < n) {
      if (count_ + kGroup > limit_) {
        shrink();
      }
      switch (accept_) {
        case Accept::all:
          i = take_all(x, i, n, first_id);
          break;
        case Accept::numbers:
          i = filter<Accept::numbers>(x, i, n, first_id);
          break;
        case Accept::below:
          i = filter<Accept::below>(x, i, n, first_id);
          break;
      }
    }
  }

  // The k best, sorted; count() must have reached k.
  Candidates sorted() {
    best_.sort_best(count_, k_);
    return best_;
  }
  int64_t count() const { return count_; }

 private:
  // What passes the filter: until k values came, all; while the k-th best is NaN, numbers; then what is below the k-th.
  enum class Accept { all, numbers, below };

  void shrink() {
    if (count_ <= k_) {
      return;
    }
    uint32_t last = best_.keep_best(count_, k_);
    count_ = k_;
    int64_t limit = k_ + (k_ > kSlack ? k_ : kSlack) + kGroup;
    limit_ = limit < capacity_ ? limit : capacity_;
    accept_ = last == kNanKey ? Accept::numbers : Accept::below;
    threshold_ = last == kNanKey ? 0 : value_of_key(last);
  }

  METALFAISS_INLINE vf oriented(vf v) const { return (vf)((vu)v ^ flip_); }

  template <typename T>
  int64_t take_all(const T* x, int64_t i, int64_t n, int32_t first_id) {
    n = n - i < capacity_ - count_ ? n : i + capacity_ - count_;
    for (; i < n; i += W) {
      int64_t left = n - i;
      vf v = left >= W ? load(x + i) : load_first(x + i, static_cast<int>(left));
      vu key = order_key(oriented(v));
      vi id = lane_numbers() + (first_id + static_cast<int32_t>(i));
      __builtin_memcpy(best_.keys + count_, &key, sizeof key);
      __builtin_memcpy(best_.ids + count_, &id, sizeof id);
      count_ += left < W ? left : W;
    }
    return n;
  }

  // Runs to the end of x or until the buffer may not take another group; returns where it stopped.
  template <Accept accept, typename T>
  int64_t filter(const T* x, int64_t i, int64_t n, int32_t first_id) {
    const vf threshold = broadcast(threshold_);
    const vu flip = flip_;
    auto passes = [&](vf v) { return accept == Accept::numbers ? vi(v == v) : vi((vf)((vu)v ^ flip) < threshold); };
    for (; i + kGroup <= n; i += kGroup) {
      vf v[kUnroll];
      vi pass[kUnroll], any{};
      for (int u = 0; u < kUnroll; u++) {
        v[u] = load(x + i + u * W);
        pass[u] = passes(v[u]);
        any |= pass[u];
      }
      if (__builtin_expect(bits(any) != 0, 0)) {
        if (count_ + kGroup > limit_) {
          return i;
        }
        for (int u = 0; u < kUnroll; u++) {
          append(v[u], bits(pass[u]), first_id + static_cast<int32_t>(i) + u * W);
        }
      }
    }
    for (; i < n; i += W) {
      if (count_ + W > limit_) {
        return i;
      }
      int64_t left = n - i;
      vf v = left >= W ? load(x + i) : load_first(x + i, static_cast<int>(left));
      append(v, bits(passes(v)) & first_lanes(left), first_id + static_cast<int32_t>(i));
    }
    return n;
  }

  METALFAISS_INLINE void append(vf v, uint32_t mask, int32_t first_id) {
    if (!mask) {
      return;
    }
    compress_store(best_.keys + count_, order_key(oriented(v)), mask);
    count_ += compress_store(best_.ids + count_, lane_numbers() + first_id, mask);
  }

  Candidates best_;
  int64_t k_, capacity_, limit_, count_ = 0;
  vu flip_;  // the sign bit where the largest are wanted
  Accept accept_ = Accept::all;
  float threshold_ = 0;
};

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
