// Sketches: a product of the centred vectors with a skinny matrix, block by block, and the lengths of what is left.
#include "cpu/gemm_block.h"
#include "cpu/integers.h"
#include "cpu/kmeans.h"
#include "cpu/kmeans_rows.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int64_t kSketchRows = 64;
constexpr double kRound = 0x1p-24;  // relative error of a float32 operation
constexpr double kTiny = 0x1p-148;  // twice the error of one that underflows

float* scratch_floats(Scratch slot, int64_t n) {
  return static_cast<float*>(thread_scratch(slot, n * sizeof(float)));
}

float round_up_float(double x) {
  return static_cast<float>(x + x * 0x1p-23);
}

// The tail and the error of a sketch, from the squared length of the centred vector.
void finish_sketch(const KmeansSketchArgs& a, double norm2, float* sketch) {
  double rest = norm2 - squared_norm(sketch, a.p), tail = rest > 0 ? __builtin_sqrt(rest) : 0;
  double slack = 4 * (a.d + a.p + 16) * kRound * norm2 + a.d * kTiny, root = __builtin_sqrt(slack);
  double projection = 1.01 * (a.d + 4) * kRound * __builtin_sqrt(static_cast<double>(a.p) * norm2);
  sketch[a.p] = static_cast<float>(tail);
  sketch[a.p + 1] = round_up_float(projection + (tail > root ? slack / tail : root));
}

}  // namespace

void kmeans_sketch(const KmeansSketchArgs& a) {
  float* panels = scratch_floats(Scratch::packed_b, panels_size(a.d, a.p));
  copy_panels({a.basis, Float::f32, a.d, a.p, a.p, 1}, panels);
  parallel_for(ceil_div(a.n, kSketchRows), [&](int64_t task) {
    int64_t first = task * kSketchRows, rows = at_most(kSketchRows, a.n - first);
    float* centred = scratch_floats(Scratch::tile, kSketchRows * a.d);
    for (int64_t i = 0; i < rows; i++) {
      for (int64_t p = 0; p < a.d; p += W) {
        int lanes = lanes_left(a.d - p);
        store_first(centred + i * a.d + p,
                    load_first(a.x + (first + i) * a.d + p, lanes) - load_first(a.mean + p, lanes), lanes);
      }
    }
    float* out = a.out + first * (a.p + 2);
    block_av(centred, a.d, rows, a.d, panels, a.d, 0, a.p, out, a.p + 2, false, false);
    for (int64_t i = 0; i < rows; i++) {
      finish_sketch(a, squared_norm(centred + i * a.d, a.d), out + i * (a.p + 2));
    }
  });
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
