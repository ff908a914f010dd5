// Sketches: the centred vectors, or their product with a skinny matrix and the lengths of what is left, block by block;
// then as integers.
#include "cpu/gemm_block.h"
#include "cpu/integers.h"
#include "cpu/kmeans.h"
#include "cpu/kmeans_rows.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int64_t kSketchRows = 64;
constexpr double kRound = 0x1p-24;     // relative error of a float32 operation
constexpr double kTiny = 0x1p-148;     // twice the error of one that underflows
constexpr double kLength = 32000;      // of a vector of integers: 16 bits hold the length of any part of it
constexpr double kLongest = 1e18;      // above, a float32 squared norm may overflow; below 1 / kLongest, it underflows
constexpr float kInteger = 0x1.8p23f;  // added to a small float, leaves it rounded in the low bits

float* scratch_floats(Scratch slot, int64_t n) {
  return static_cast<float*>(thread_scratch(slot, n * sizeof(float)));
}

float round_up_float(double x) {
  return static_cast<float>(x + x * 0x1p-23);
}

// Appends to p coordinates the length of what they leave out, from the squared length of the centred vector. Returns a
// bound of the error of all of them.
double finish_projection(const KmeansSketchArgs& a, double norm2, float* sketch) {
  double rest = norm2 - squared_norm(sketch, a.p), tail = rest > 0 ? __builtin_sqrt(rest) : 0;
  double slack = 4 * (a.d + a.p + 16) * kRound * norm2 + a.d * kTiny, root = __builtin_sqrt(slack);
  double projection = 1.01 * (a.d + 4) * kRound * __builtin_sqrt(static_cast<double>(a.p) * norm2);
  sketch[a.p] = static_cast<float>(tail);
  return projection + (tail > root ? slack / tail : root);
}

// Writes a sketch of n coordinates in float32, with that error, as `width` integers of one scale.
void quantize(const float* sketch, int64_t n, int64_t width, double error, int16_t* out, float* scales) {
  double norm = __builtin_sqrt(squared_norm(sketch, n));
  bool known = norm <= kLongest && error <= kLongest, small = norm < 1 / kLongest;
  if (!known || small) {
    __builtin_memset(out, 0, width * sizeof(int16_t));
    scales[0] = 0;
    scales[1] = known ? round_up_float(error + 2 / kLongest) : __builtin_inff();
    return;
  }
  auto scale = static_cast<float>(norm / kLength);
  vf inverse = broadcast(1 / scale);
  for (int64_t p = 0; p < width; p += W) {
    int lanes = lanes_left(n > p ? n - p : 1), stored = lanes_left(width - p);
    vf value = n > p ? load_first(sketch + p, lanes) : vf{};
    vi rounded = (vi)fma(value, inverse, broadcast(kInteger)) - (vi)broadcast(kInteger);
    auto codes = __builtin_convertvector(rounded, vi16);
    __builtin_memcpy(out + p, &codes, stored * sizeof(int16_t));
  }
  scales[0] = scale;  // a rounding is off by half, and by the error of the division
  scales[1] = round_up_float(error + 0.51 * scale * __builtin_sqrt(static_cast<double>(n)));
}

}  // namespace

void kmeans_sketch(const KmeansSketchArgs& a) {
  int64_t width = kmeans_sketch_width(a.p, a.basis != nullptr);
  float* panels = nullptr;
  if (a.basis) {
    panels = scratch_floats(Scratch::packed_b, panels_size(a.d, a.p));
    copy_panels({a.basis, Float::f32, a.d, a.p, a.p, 1}, panels);
  }
  parallel_for(ceil_div(a.n, kSketchRows), [&](int64_t task) {
    int64_t first = task * kSketchRows, rows = at_most(kSketchRows, a.n - first);
    float* centred = scratch_floats(Scratch::tile, kSketchRows * (a.d + (a.basis ? a.p + 1 : 0)));
    float* projected = centred + kSketchRows * a.d;
    for (int64_t i = 0; i < rows; i++) {
      for (int64_t p = 0; p < a.d; p += W) {
        int lanes = lanes_left(a.d - p);
        store_first(centred + i * a.d + p,
                    load_first(a.x + (first + i) * a.d + p, lanes) - load_first(a.mean + p, lanes), lanes);
      }
    }
    if (a.basis) {
      block_av(centred, a.d, rows, a.d, panels, a.d, 0, a.p, projected, a.p + 1, false, false);
    }
    for (int64_t i = 0; i < rows; i++) {
      double norm2 = squared_norm(centred + i * a.d, a.d);
      float* sketch = a.basis ? projected + i * (a.p + 1) : centred + i * a.d;
      double error = a.basis ? finish_projection(a, norm2, sketch) : 1.01 * kRound * __builtin_sqrt(norm2);
      int16_t* out = a.codes + (first + i) * width;
      quantize(sketch, a.basis ? a.p + 1 : a.d, width, error, out, a.scales + 2 * (first + i));
    }
  });
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
