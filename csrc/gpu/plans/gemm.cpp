#include "gpu/plans/gemm.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <optional>
#include <string>

#include "gemm_params.h"
#include "tile_order.h"

namespace metalfaiss::gpu {

namespace {

constexpr int64_t kLargestGridX = 1 << 30;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

std::string msl_name(cpu::Float type) {
  return type == cpu::Float::f32 ? "float" : type == cpu::Float::f16 ? "half" : "bfloat";
}

Constant constant(const char* name, int64_t value) {
  return {name, std::to_string(value)};
}

// ------------------------------------------------------------------ batches

// Batch dimensions, outermost first, without those of one matrix and with neighbours merged where strides allow.
struct Batch {
  std::vector<int64_t> shape, a, b;

  int64_t size() const { return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()); }
};

Batch merged(const GemmProblem& problem) {
  Batch out;
  for (size_t d = 0; d < problem.batch.size(); d++) {
    int64_t size = problem.batch[d], a = problem.a.batch_strides[d], b = problem.b.batch_strides[d];
    if (size == 1) {
      continue;
    }
    if (!out.shape.empty() && out.a.back() == size * a && out.b.back() == size * b) {
      out.shape.back() *= size;
      out.a.back() = a;
      out.b.back() = b;
    } else {
      out.shape.push_back(size);
      out.a.push_back(a);
      out.b.push_back(b);
    }
  }
  return out;
}

// Where the matrices lie that one launch multiplies.
struct Part {
  int64_t a_offset, b_offset;  // elements
  int64_t out_batch, first_batch, count;
};

// Kernels count through the last GEMM_BATCH_DIMS dimensions; the others, and what a grid does not hold, are launches.
std::vector<Part> parts(const Batch& batch, int64_t most) {
  size_t outer = batch.shape.size() - std::min<size_t>(batch.shape.size(), GEMM_BATCH_DIMS);
  int64_t inner = 1;
  for (size_t d = outer; d < batch.shape.size(); d++) {
    inner *= batch.shape[d];
  }
  std::vector<Part> out;
  for (int64_t i = 0; i < batch.size() / inner; i++) {
    int64_t a = 0, b = 0, rest = i;
    for (size_t d = outer; d-- > 0; rest /= batch.shape[d]) {
      a += rest % batch.shape[d] * batch.a[d];
      b += rest % batch.shape[d] * batch.b[d];
    }
    for (int64_t first = 0; first < inner; first += most) {
      out.push_back({a, b, i * inner + first, first, std::min(most, inner - first)});
    }
  }
  return out;
}

// ------------------------------------------------------------------ operands

// A matrix that a kernel reads: an operand of the plan, or a temporary of it.
struct Operand {
  Memory memory;
  cpu::Float type;
  GemmOperand matrix;

  Operand transposed() const {
    Operand out = *this;
    std::swap(out.matrix.rows, out.matrix.columns);
    std::swap(out.matrix.row_stride, out.matrix.column_stride);
    return out;
  }

  Operand rows(int64_t first, int64_t count) const {
    Operand out = *this;
    out.memory.offset += first * matrix.row_stride * size_of(type);
    out.matrix.rows = count;
    return out;
  }
};

Operand contiguous(Memory memory, cpu::Float type, int64_t rows, int64_t columns, const Batch& batch) {
  GemmOperand matrix{rows, columns, columns, 1, std::vector<int64_t>(batch.shape.size())};
  int64_t stride = rows * columns;
  for (size_t d = batch.shape.size(); d-- > 0; stride *= batch.shape[d]) {
    matrix.batch_strides[d] = stride;
  }
  return {memory, type, matrix};
}

// How threads follow it: along the smaller stride, in vectors where all of them are aligned.
int32_t order_of(const GemmOperand& x) {
  bool vectors = x.aligned && x.column_stride == 1 && x.columns >= 4 && (x.rows == 1 || x.row_stride % 4 == 0);
  for (int64_t stride : x.batch_strides) {
    vectors = vectors && stride % 4 == 0;
  }
  bool along_rows = x.rows == 1 || (x.columns > 1 && std::abs(x.column_stride) <= std::abs(x.row_stride));
  return vectors ? ORDER_VECTORS : along_rows ? ORDER_ROWS : ORDER_COLUMNS;
}

// ------------------------------------------------------------------ one product

// out (rows, columns), of which `slabs` lie behind each other.
struct Target {
  Memory memory;
  int64_t rows, columns, contraction;
  int64_t slab;
  bool accumulate;
};

struct Grid {
  std::string family, kernel;
  std::vector<Constant> constants;
  int64_t groups, column_tiles, threads;
};

GemmParams params_of(const Operand& a, const Operand& b, const Target& out, const Batch& batch) {
  GemmParams p{};
  p.rows = out.rows;
  p.contraction = out.contraction;
  p.columns = out.columns;
  p.a_row = a.matrix.row_stride;
  p.a_column = a.matrix.column_stride;
  p.b_row = b.matrix.row_stride;
  p.b_column = b.matrix.column_stride;
  p.slab = out.slab;
  p.batches = batch.size();
  p.a_order = order_of(a.matrix);
  p.b_order = order_of(b.matrix);
  p.accumulate = out.accumulate;
  p.batch_dims = static_cast<int32_t>(std::min<size_t>(batch.shape.size(), GEMM_BATCH_DIMS));
  for (int d = 0; d < p.batch_dims; d++) {
    size_t from = batch.shape.size() - p.batch_dims + d;
    p.batch_shape[d] = batch.shape[from];
    p.a_batch[d] = a.matrix.batch_strides[from];
    p.b_batch[d] = b.matrix.batch_strides[from];
  }
  return p;
}

void launch(Plan& plan, const Grid& grid, const Operand& a, const Operand& b, const Target& out, const Batch& batch,
            int64_t most_batches) {
  GemmParams p = params_of(a, b, out, batch);
  p.column_tiles = static_cast<int32_t>(grid.column_tiles);
  int64_t slabs = std::max<int64_t>(1, ceil_div(out.contraction, out.slab));
  bool slabs_in_x = grid.kernel == "z_step";
  Access access = out.accumulate ? Access::read_write : Access::write;
  Batch outer = batch;
  outer.a = a.matrix.batch_strides;
  outer.b = b.matrix.batch_strides;
  for (const Part& part : parts(outer, most_batches)) {
    Memory a_memory = a.memory, b_memory = b.memory;
    a_memory.offset += part.a_offset * size_of(a.type);
    b_memory.offset += part.b_offset * size_of(b.type);
    p.first_batch = part.first_batch;
    p.out_batch = part.out_batch;
    plan.steps.push_back(Launch{grid.family,
                                grid.kernel,
                                grid.constants,
                                {read(a_memory), read(b_memory), Buffer{out.memory, access}, bytes_of(p)},
                                {grid.groups * (slabs_in_x ? slabs : 1), slabs_in_x ? 1 : slabs, part.count},
                                {grid.threads}});
  }
}

// `slabs` outputs of `size` elements, one after the other in float32, become one.
void add_slabs(Plan& plan, Memory sums, int64_t slabs, int64_t size, Memory out, cpu::Float type) {
  int64_t groups = ceil_div(size, 32), x = std::min(groups, kLargestGridX);
  GemmSumParams p{size, static_cast<int32_t>(slabs), static_cast<int32_t>(x)};
  plan.steps.push_back(Launch{"gemm",
                              "gemm_sum",
                              {{"T", msl_name(type)}},
                              {read(sums), write(out), bytes_of(p)},
                              {x, ceil_div(groups, x)},
                              {256}});
}

// ------------------------------------------------------------------ tiles and slabs

struct Tile {
  int64_t m, n, k, simds_m, simds_k;
};

Tile tile_of(int64_t columns, bool small) {
  if (columns <= 8) {
    return small ? Tile{16, 64, 8, 2, 1} : Tile{64, 64, 8, 8, 1};
  }
  if (columns <= 32) {
    return small ? Tile{16, 32, 32, 2, 4} : Tile{64, 32, 32, 4, 2};
  }
  if (columns <= 64) {
    return small ? Tile{16, 32, 64, 2, 4} : Tile{64, 32, 64, 4, 2};
  }
  return small ? Tile{16, 16, 128, 2, 4} : Tile{64, 16, 128, 2, 4};
}

// The length of a slab of the contraction, a multiple of `step`: `groups` threadgroups of which a slab makes `tiles`,
// but sums of no more than a quarter of A's bytes unless there are too few threadgroups otherwise.
int64_t slab_length(int64_t contraction, int64_t step, int64_t shortest, int64_t tiles, int64_t groups, int64_t columns,
                    cpu::Float type, const GemmTuning& tuning) {
  int64_t affordable = contraction * size_of(type) / (32 * columns);
  int64_t slabs = std::max(affordable, ceil_div(tuning.few_groups, tiles));
  slabs = std::min({slabs, ceil_div(groups, tiles), contraction / shortest});
  return ceil_div(std::max<int64_t>(1, ceil_div(contraction, std::max<int64_t>(1, slabs))), step) * step;
}

// A product that one kernel makes, apart from adding its slabs.
struct Pass {
  Grid grid;
  Operand a, b;
  Target out;

  int64_t slabs() const { return std::max<int64_t>(1, ceil_div(out.contraction, out.slab)); }
  int64_t size(const Batch& batch) const { return batch.size() * out.rows * out.columns; }
};

// a b, for a (rows, contraction).
Pass pass_of(Operand a, const Operand& b, const Batch& batch, const GemmTuning& tuning) {
  int64_t rows = a.matrix.rows, contraction = a.matrix.columns, columns = b.matrix.columns;
  auto tiles_of = [&](const Tile& t) { return ceil_div(rows, t.m) * ceil_div(columns, t.k) * batch.size(); };
  Tile tile = tile_of(columns, false);
  if (rows <= 16 || (tiles_of(tile) < 2 * tuning.few_groups && contraction <= tuning.long_contraction)) {
    tile = tile_of(columns, true);
  }
  int64_t slab = slab_length(contraction, tile.n, 2 * tile.n, tiles_of(tile), tuning.groups, columns, a.type, tuning);
  bool by_columns = order_of(a.matrix) == ORDER_COLUMNS;  // the other kernel reads along the smaller stride
  if (by_columns) {
    a = a.transposed();
  }
  std::vector<Constant> constants{
      {"T", msl_name(a.type)},           {"TB", msl_name(b.type)},         {"O", "float"},
      constant("TILE_M", tile.m),        constant("TILE_N", tile.n),       constant("TILE_K", tile.k),
      constant("SIMDS_M", tile.simds_m), constant("SIMDS_K", tile.simds_k)};
  int64_t column_tiles = ceil_div(columns, tile.k);
  Grid grid{"gemm",       by_columns ? "gemm_at_b" : "gemm_av", constants, ceil_div(rows, tile.m) * column_tiles,
            column_tiles, 32 * tile.simds_m * tile.simds_k};
  return {grid, a, b, {{}, rows, columns, contraction, slab, false}};
}

void launch_to(Plan& plan, Pass pass, Memory out, cpu::Float type, const Batch& batch, const GemmTuning& tuning) {
  pass.out.memory = out;
  for (Constant& c : pass.grid.constants) {
    if (c.name == "O") {
      c.value = msl_name(type);
    }
  }
  launch(plan, pass.grid, pass.a, pass.b, pass.out, batch, tuning.batches);
}

// A temporary that several steps use, one after the other.
class Shared {
 public:
  Memory of(Plan& plan, int64_t bytes) {
    if (!memory_) {
      memory_ = plan.allocate(0);
    }
    int64_t& reserved = plan.scratch[memory_->index];
    reserved = std::max(reserved, bytes);
    return *memory_;
  }

 private:
  std::optional<Memory> memory_;
};

// Sends a pass to the output: at once for a single slab, otherwise by way of its sums.
void finish(Plan& plan, const Pass& pass, Shared& sums, Memory out, cpu::Float type, const Batch& batch,
            const GemmTuning& tuning) {
  if (pass.slabs() == 1) {
    return launch_to(plan, pass, out, type, batch, tuning);
  }
  Memory slabs = sums.of(plan, pass.slabs() * pass.size(batch) * 4);
  launch_to(plan, pass, slabs, cpu::Float::f32, batch, tuning);
  add_slabs(plan, slabs, pass.slabs(), pass.size(batch), out, type);
}

// ------------------------------------------------------------------ z_step

// A specialisation of z_step.metal: for k <= z_k and n <= chunk * chunks.
struct ZTile {
  int64_t panel, chunk, chunks, z_k, simds_n, simds_k;
};

// The smallest one that holds the n x k sum, where there is one.
std::optional<ZTile> z_tile(int64_t n, int64_t k) {
  static constexpr ZTile kLargest[] = {{32, 128, 8, 8, 8, 1},  {32, 128, 32, 8, 16, 1}, {32, 64, 4, 32, 4, 2},
                                       {64, 64, 16, 32, 8, 2}, {32, 32, 4, 64, 2, 4},   {32, 32, 16, 64, 4, 4},
                                       {32, 32, 8, 128, 4, 4}};
  for (ZTile tile : kLargest) {
    if (k <= tile.z_k && n <= tile.chunk * tile.chunks) {
      tile.chunks = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(ceil_div(n, tile.chunk))));
      return tile;
    }
  }
  return std::nullopt;
}

Pass one_pass(const Operand& a, const Operand& v, const ZTile& tile, const Batch& batch, const GemmTuning& tuning) {
  int64_t m = a.matrix.rows, n = a.matrix.columns, k = v.matrix.columns;
  int64_t slab = slab_length(m, tile.panel, tile.panel, batch.size(), tuning.z_groups, k, a.type, tuning);
  std::vector<Constant> constants{{"T", msl_name(a.type)},           {"O", "float"},
                                  constant("PANEL", tile.panel),     constant("CHUNK", tile.chunk),
                                  constant("CHUNKS", tile.chunks),   constant("Z_K", tile.z_k),
                                  constant("SIMDS_N", tile.simds_n), constant("SIMDS_K", tile.simds_k)};
  Grid grid{"z_step", "z_step", constants, 1, 1, 32 * tile.simds_n * tile.simds_k};
  return {grid, a, v, {{}, n, k, m, slab, false}};
}

// A V for some rows of A at a time, in float32, then A^T times it, added to the sums of those before.
void two_passes(Plan& plan, const Operand& a, const Operand& v, Memory out, cpu::Float type, const Batch& batch,
                const GemmTuning& tuning) {
  int64_t m = a.matrix.rows, k = v.matrix.columns;
  int64_t most = std::max<int64_t>(64, tuning.y_bytes / (4 * k * batch.size()) / 64 * 64);
  Shared y_scratch, y_sums, sums;
  Memory y_memory = y_scratch.of(plan, std::min(most, m) * k * batch.size() * 4);
  Memory z_memory = out;
  bool sums_are_output = false;
  int64_t slab = 0, slabs = 0, size = 0;
  for (int64_t first = 0; first < m; first += most) {
    int64_t count = std::min(most, m - first);
    Operand panel = a.rows(first, count);
    finish(plan, pass_of(panel, v, batch, tuning), y_sums, y_memory, cpu::Float::f32, batch, tuning);
    Pass pass = pass_of(panel.transposed(), contiguous(y_memory, cpu::Float::f32, count, k, batch), batch, tuning);
    if (first == 0) {
      slab = pass.out.slab;
      slabs = pass.slabs();
      size = pass.size(batch);
      sums_are_output = slabs == 1 && (type == cpu::Float::f32 || count == m);
      z_memory = sums_are_output ? out : sums.of(plan, slabs * size * 4);
    }
    pass.out.slab = slab;
    pass.out.accumulate = first > 0;
    launch_to(plan, pass, z_memory, sums_are_output ? type : cpu::Float::f32, batch, tuning);
  }
  if (!sums_are_output) {
    add_slabs(plan, z_memory, slabs, size, out, type);
  }
}

Operand operand(int index, cpu::Float type, GemmOperand matrix, const std::vector<int64_t>& batch_strides) {
  matrix.batch_strides = batch_strides;
  return {input(index), type, std::move(matrix)};
}

}  // namespace

Plan plan_gemm(const GemmProblem& problem, const GemmTuning& tuning) {
  Batch batch = merged(problem);
  Operand a = operand(0, problem.type, problem.a, batch.a), b = operand(1, problem.type, problem.b, batch.b);
  Plan plan;
  Shared sums;
  if (problem.op != GemmOp::z_step) {
    Pass pass = pass_of(problem.op == GemmOp::av ? a : a.transposed(), b, batch, tuning);
    finish(plan, pass, sums, output(0), problem.type, batch, tuning);
    return plan;
  }
  if (problem.a.rows == 0) {  // zeros: no matter what V is
    finish(plan, pass_of(a.transposed(), b, batch, tuning), sums, output(0), problem.type, batch, tuning);
  } else if (auto tile = z_tile(problem.a.columns, problem.b.columns)) {
    finish(plan, one_pass(a, b, *tile, batch, tuning), sums, output(0), problem.type, batch, tuning);
  } else {
    two_passes(plan, a, b, output(0), problem.type, batch, tuning);
  }
  return plan;
}

}  // namespace metalfaiss::gpu
