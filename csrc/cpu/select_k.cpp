#include "cpu/select_k.h"

#include "cpu/parallel.h"
#include "cpu/simd.h"
#include "cpu/topk.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int64_t kBlock = 4096;        // values of a strided row that are gathered at once
constexpr int64_t kTaskValues = 16384;  // what a task should read at least: about 10 microseconds
constexpr int64_t kSample = 4096;       // values that a guess is made from
constexpr int64_t kGuessFrom = 8192;    // shorter rows are read without a guess
constexpr int64_t kSegment = 65536;     // a row is split between threads in parts of at least this many values

template <typename T>
const T* row_start(const SelectKArgs& g, int64_t row) {
  int64_t offset = 0;
  for (int d = g.batch_dims - 1; d >= 0; d--) {
    offset += row % g.batch_shape[d] * g.batch_strides[d];
    row /= g.batch_shape[d];
  }
  return static_cast<const T*>(g.x) + offset;
}

// Values [begin, end) of a row into `top`.
template <typename T>
void feed(const SelectKArgs& g, const T* row, int64_t begin, int64_t end, TopK& top) {
  if (g.stride == 1) {
    top.feed(row + begin, end - begin, static_cast<int32_t>(begin));
    return;
  }
  T* block = static_cast<T*>(thread_scratch(Scratch::tile, kBlock * sizeof(T)));
  for (; begin < end; begin += kBlock) {
    int64_t n = end - begin < kBlock ? end - begin : kBlock;
    for (int64_t i = 0; i < n; i++) {
      block[i] = row[(begin + i) * g.stride];
    }
    top.feed(block, n, static_cast<int32_t>(begin));
  }
}

// A key that a few more than k values of [begin, end) should not exceed, from runs of 16 values (a cache line of
// float32) evenly spread; kNanKey where the row is too short for a guess to pay.
template <typename T>
uint32_t guess_key(const SelectKArgs& g, const T* row, int64_t begin, int64_t end) {
  constexpr int64_t kRun = 16;
  int64_t n = end - begin, wanted = n / 16 < kSample ? n / 16 : kSample;
  if (n < kGuessFrom || g.k > n / 16) {
    return kNanKey;
  }
  auto* keys = static_cast<uint32_t*>(thread_scratch(Scratch::tile, sizeof(uint32_t) * (kSample + W)));
  const vu flip = vu{} + (g.largest ? kSignBit : 0u);
  int64_t runs = wanted / kRun, sampled = runs * kRun;
  for (int64_t r = 0; r < runs; r++) {
    const T* p = row + (begin + r * (n / runs)) * g.stride;
    T run[kRun];
    for (int64_t i = 0; i < kRun; i++) {
      run[i] = p[i * g.stride];
    }
    for (int64_t i = 0; i < kRun; i += W) {
      vu key = order_key((vf)((vu)load(run + i) ^ flip));
      __builtin_memcpy(keys + r * kRun + i, &key, sizeof key);
    }
  }
  // Three standard deviations above the rank that k has among all.
  double rank = static_cast<double>(g.k) * static_cast<double>(sampled) / static_cast<double>(n);
  auto above = static_cast<int64_t>(rank + 3 * __builtin_sqrt(rank) + 3);
  return kth_smallest(keys, sampled, above < sampled ? above : sampled, keys);
}

// The k best of values [begin, end) of a row, sorted.
template <typename T>
Candidates best_of(const SelectKArgs& g, const T* row, int64_t begin, int64_t end) {
  int64_t n = end - begin;
  void* memory = thread_scratch(Scratch::candidates, TopK::bytes(g.k, n));
  TopK top(memory, g.k, n, g.largest);
  top.guess(guess_key(g, row, begin, end));
  feed(g, row, begin, end, top);
  if (top.count() < g.k) {
    top = TopK(memory, g.k, n, g.largest);
    feed(g, row, begin, end, top);
  }
  return top.sorted();
}

// Writes k sorted candidates as the result of a row.
template <typename T>
void write(const SelectKArgs& g, const T* x, int64_t row, const Candidates& best) {
  T* values = static_cast<T*>(g.values) + row * g.k;
  int64_t* indices = g.indices + row * g.k;
  for (int64_t i = 0; i < g.k; i++) {
    indices[i] = best.ids[i];
    values[i] = x[best.ids[i] * g.stride];  // not from the key: the sign of zero, the payload of NaN
  }
}

template <typename T>
void select_rows(const SelectKArgs& g) {
  int64_t per_task = kTaskValues / g.n > 1 ? kTaskValues / g.n : 1;
  parallel_for((g.rows + per_task - 1) / per_task, [&](int64_t task) {
    int64_t end = (task + 1) * per_task < g.rows ? (task + 1) * per_task : g.rows;
    for (int64_t row = task * per_task; row < end; row++) {
      const T* x = row_start<T>(g, row);
      write(g, x, row, best_of(g, x, 0, g.n));
    }
  });
}

// One long row: the k best of each segment, then the k best of these.
template <typename T>
void select_split(const SelectKArgs& g, int64_t row, int64_t segments) {
  const T* x = row_start<T>(g, row);
  int64_t length = (g.n + segments - 1) / segments, total = segments * g.k;
  Candidates all = Candidates::at(thread_scratch(Scratch::partial, Candidates::bytes(total)), total);
  parallel_for(segments, [&](int64_t s) {
    int64_t end = (s + 1) * length < g.n ? (s + 1) * length : g.n;
    Candidates best = best_of(g, x, s * length, end);
    __builtin_memcpy(all.keys + s * g.k, best.keys, sizeof(uint32_t) * g.k);
    __builtin_memcpy(all.ids + s * g.k, best.ids, sizeof(int32_t) * g.k);
  });
  all.sort_best(total, g.k);  // segments follow each other, so among equal keys the order is still that of the row
  write(g, x, row, all);
}

// How many parts to split rows into: 1 where there are rows enough for the threads, or where k leaves little to drop.
int64_t segments_of(const SelectKArgs& g) {
  int64_t wanted = 4 * num_threads() / g.rows;
  int64_t least = kSegment > 16 * g.k ? kSegment : 16 * g.k;
  int64_t possible = g.n / least;
  return wanted < possible ? wanted : possible;
}

template <typename T>
void select(const SelectKArgs& g) {
  int64_t segments = num_threads() > 1 ? segments_of(g) : 1;
  if (segments <= 1) {
    return select_rows<T>(g);
  }
  for (int64_t row = 0; row < g.rows; row++) {
    select_split<T>(g, row, segments);
  }
}

}  // namespace

void select_k(const SelectKArgs& g) {
  switch (g.type) {
    case Float::f32:
      return select<float>(g);
    case Float::f16:
      return select<half_t>(g);
    case Float::bf16:
      return select<bfloat_t>(g);
    case Float::code:  // which has no values to select from: of searches alone
      return;
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
