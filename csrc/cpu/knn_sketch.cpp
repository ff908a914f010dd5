// With q a query, less the centre (L2), and b a row less the centre, q = s i + f and b = t j + g for codes i and j:
//   q.b = s t i.j + q.g + f.t j, and |q.g + f.t j| <= |q| |g| + |f| (|b| + |g|).
// A row's rank, |b|^2 - 2 q.b or -q.b, lies in an interval. Rows whose lower end is not above the k-th upper end are
// scored in float64.
#include "cpu/knn_sketch.h"

#include "cpu/knn.h"
#include "cpu/knn_candidates.h"
#include "cpu/knn_prepare.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int kMost = 63;                  // of a query's code, before it is made positive
constexpr int64_t kBlockBytes = 64 << 10;  // of codes, handed out at a time
constexpr float kSlack = 0x1p-19f;         // of a rank: more than a few roundings to float32
constexpr float kTiniest = 0x1p-120f;      // and those of numbers that are hardly any

struct SketchedQuery {
  float scale, error, length;
  bool known;  // else it is too long, or not finite
};

// Codes from 0 to 2 kMost.
SketchedQuery sketch_query(const float* query, const float* center, int64_t d, uint8_t* codes) {
  double norm2 = 0, error2 = 0;
  float peak = 0;
  for (int64_t p = 0; p < d; p++) {
    double x = static_cast<double>(query[p]) - (center ? center[p] : 0.0f);
    norm2 += x * x;
    float size = static_cast<float>(x < 0 ? -x : x);
    peak = size > peak ? size : peak;
  }
  double norm = __builtin_sqrt(norm2);
  SketchedQuery out{};
  out.known = norm < kSketchLargestNorm;
  if (!out.known) {
    return out;
  }
  out.scale = peak > 1e-30f ? peak / kMost : 1;
  float inverse = 1 / out.scale;
  for (int64_t p = 0; p < d; p++) {
    double x = static_cast<double>(query[p]) - (center ? center[p] : 0.0f);
    float code = __builtin_rintf(static_cast<float>(x) * inverse);
    codes[p] = static_cast<uint8_t>(static_cast<int>(code) + kMost);
    double left = x - static_cast<double>(out.scale) * code;
    error2 += left * left;
  }
  out.error = round_up(__builtin_sqrt(error2));
  out.length = round_up(norm);
  return out;
}

// The product of n codes, a multiple of kSketchGroup: those of `a` from 0 to 2 kMost, so that two products fit into
// 16 bits.
METALFAISS_INLINE int32_t product(const uint8_t* a, const int8_t* b, int64_t n) {
#if defined(__AVX2__)
  __m256i sum = _mm256_setzero_si256();
  for (int64_t p = 0; p < n; p += kSketchGroup) {
    __m256i pairs = _mm256_maddubs_epi16(load_as<__m256i>(a + p), load_as<__m256i>(b + p));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
#else
  int32_t sum = 0;
  for (int64_t p = 0; p < n; p++) {
    sum += static_cast<int32_t>(a[p]) * b[p];
  }
  return sum;
#endif
}

// The ranks of rows [first, first + n) lie in [lower, upper].
template <bool kInnerProduct>
void bound_rows(const Sketch& s, const SketchedQuery& q, const uint8_t* codes, int64_t first, int64_t n, float* lower,
                float* upper) {
  constexpr float kFactor = kInnerProduct ? 1 : 2;
  for (int64_t i = first; i < first + n; i += W) {
    int lanes = static_cast<int>(at_most(W, first + n - i));
    vi dots{}, sums{};
    for (int lane = 0; lane < lanes; lane++) {
      dots[lane] = product(codes, s.codes + (i + lane) * s.stride, s.stride);
    }
    __builtin_memcpy(&sums, s.sum + i, lanes * sizeof(int32_t));
    vf scale = load_first(s.scale + i, lanes), length = load_first(s.length + i, lanes);
    vf rounding = load_first(s.error + i, lanes), norm2 = load_first(s.norm2 + i, lanes);
    norm2 = kInnerProduct ? vf{} : norm2;
    vf product = __builtin_convertvector(dots - kMost * sums, vf) * (kFactor * q.scale) * scale;
    vf error = q.length * rounding + q.error * (length + rounding);
    error = error * (kFactor * (1 + kSlack)) + (norm2 + kFactor * q.length * length) * kSlack + kTiniest;
    store_first(lower + i, norm2 - product - error, lanes);
    store_first(upper + i, norm2 - product + error, lanes);
  }
}

// Scores what may be among the k nearest.
void score_rows(const KnnSketchArgs& args, int64_t query, const float* lower, const float* upper) {
  const Matrix& b = args.database;
  const float* values = args.queries + query * b.cols;
  int64_t k = at_most(args.k, b.rows), num_near = 0;
  float tau = bound_of_kth(upper, b.rows, k);
  Arena arena(Scratch::tile, Arena::padded<Scored>(k) + Arena::padded<int32_t>(b.rows));
  TopK top(arena.take<Scored>(k), k);
  auto* near = arena.take<int32_t>(b.rows);
  for (int64_t i = 0; i < b.rows; i++) {
    near[num_near] = static_cast<int32_t>(i);
    num_near += lower[i] <= tau;
  }
  const float* rows = static_cast<const float*>(b.data);
  for (int64_t i = 0; i < num_near; i++) {
    if (i + 2 < num_near) {
      prefetch_row(b, near[i + 2]);
    }
    top.push({exact_score(values, rows + near[i] * b.row_stride, b.cols, args.inner_product), near[i]});
  }
  top.sort();
  write_results(top, args.k, args.inner_product, args.distances + query * args.k, args.ids + query * args.k);
}

}  // namespace

void knn_sketch(const KnnSketchArgs& args) {
  const Matrix& b = args.database;
  int64_t nq = args.num_queries, n = b.rows, stride = args.sketch.stride;
  Arena arena(Scratch::packed_b, Arena::padded<SketchedQuery>(nq) + Arena::padded<uint8_t>(nq * stride) +
                                     2 * Arena::padded<float>(nq * n));
  auto* queries = arena.take<SketchedQuery>(nq);
  auto* codes = arena.take<uint8_t>(nq * stride);
  auto* lower = arena.take<float>(nq * n);
  auto* upper = arena.take<float>(nq * n);
  __builtin_memset(codes, 0, nq * stride);
  for (int64_t q = 0; q < nq; q++) {
    queries[q] = sketch_query(args.queries + q * b.cols, args.inner_product ? nullptr : args.sketch.center, b.cols,
                              codes + q * stride);
    if (!queries[q].known) {
      Matrix all{args.queries, Float::f32, nq, b.cols, b.cols, 1};
      return knn({all, b, args.k, args.inner_product, args.distances, args.ids});
    }
  }
  int64_t step = at_least(1, kBlockBytes / stride), blocks = ceil_div(n, step);
  parallel_for(nq * blocks, [&](int64_t task) {
    int64_t q = task / blocks, first = task % blocks * step, count = at_most(step, n - first);
    auto bound = args.inner_product ? bound_rows<true> : bound_rows<false>;
    bound(args.sketch, queries[q], codes + q * stride, first, count, lower + q * n, upper + q * n);
  });
  parallel_for(nq, [&](int64_t q) { score_rows(args, q, lower + q * n, upper + q * n); });
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
