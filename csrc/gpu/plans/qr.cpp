#include "gpu/plans/qr.h"

#include <algorithm>
#include <string>

#include "gpu/plans/qr_cholesky.h"
#include "qr_params.h"

namespace metalfaiss::gpu {

namespace {

constexpr int64_t kTile = 64, kSlab = 16, kStrip = 16, kThreads = 256;  // of metal/qr_blocked.metal
constexpr int64_t kFloat = 4;
constexpr int64_t kMostCholesky = 8;          // matrices: each has scratch of its own
constexpr int64_t kLeastOfSeveral = 1 << 20;  // entries

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// How a threadgroup holds a leaf: see metal/include/qr_leaf.h.
struct Shape {
  int lanes, cols, rows;

  int groups() const { return 32 / lanes; }
  int width() const { return lanes * cols; }
  int64_t rows_per_simdgroup() const { return int64_t{groups()} * rows; }

  // Threadgroup memory of a factorisation and of forming Q, in bytes.
  int64_t factor_bytes(int64_t simds) const {
    return kFloat * (2 * simds * groups() * (rows + 4) + 2 * simds * width() + 2 * width());
  }
  int64_t form_bytes(int64_t simds) const {
    const int64_t square = kFloat * width() * width();
    return square + std::max(square, factor_bytes(simds));
  }
  std::vector<Constant> constants() const {
    return {{"LANES", std::to_string(lanes)}, {"COLS", std::to_string(cols)}, {"ROWS", std::to_string(rows)}};
  }
};

// Rows of 8 where one simdgroup then holds the matrix. Trees of wide leaves have higher ones, as high as registers
// allow: what the tree moves is inverse to it.
Shape shape_for(int64_t rows, int64_t columns, int64_t simdgroups) {
  if (columns > 32) {
    return {32, 2, rows <= 32 * simdgroups ? 32 : 40};
  }
  Shape shape{columns <= 8 ? 8 : columns <= 16 ? 16 : 32, 1, 32};
  if (shape.groups() > 1 && rows <= 8 * shape.groups()) {
    shape.rows = 8;
  }
  return shape;
}

// Matrices somewhere in memory.
struct Matrices {
  Memory memory;
  int64_t rows, columns;
  int64_t row_stride, column_stride;
  std::vector<int64_t> batch, batch_strides;
  bool triangles = false;

  Matrices part(int64_t row, int64_t column, int64_t part_rows, int64_t part_columns) const {
    Matrices out = *this;
    out.memory.offset += kFloat * (row * row_stride + column * column_stride);
    out.rows = part_rows;
    out.columns = part_columns;
    return out;
  }

  Matrices matrix(int64_t i) const {
    Matrices out = *this;
    for (size_t d = batch.size(); d-- > 0; i /= batch[d]) {
      out.memory.offset += kFloat * (i % batch[d] * batch_strides[d]);
    }
    out.batch.clear();
    out.batch_strides.clear();
    return out;
  }
};

// Row-contiguous ones, `matrix_stride` apart, in plain order.
struct Rows {
  Memory memory;
  int64_t stride, matrix_stride;

  Rows at(int64_t row, int64_t column) const {
    Rows out = *this;
    out.memory.offset += kFloat * (row * stride + column);
    return out;
  }

  Rows matrix(int64_t i) const {
    return {{memory.kind, memory.index, memory.offset + kFloat * i * matrix_stride}, stride, matrix_stride};
  }
};

TallMatrix tall(const Matrices& a) {
  return {a.memory, a.rows, a.columns, a.row_stride, a.column_stride};
}

// A few matrices one after the other, where each fills the GPU; more of them are faster side by side.
bool goes_by_cholesky(const Matrices& a, int64_t matrices) {
  const bool fills_gpu = a.rows * a.columns >= kLeastOfSeveral;
  return takes_cholesky(tall(a)) && (matrices == 1 || (matrices <= kMostCholesky && fills_gpu));
}

class Planner {
 public:
  Planner(const QrTuning& tuning, int64_t matrices) : tuning_(tuning), matrices_(matrices) {}

  // Q and R of matrices of at most QR_PANEL columns, not wider than high. q: contiguous.
  void tree(const Matrices& a, Memory q, const Rows& r) {
    const int64_t n = a.columns;
    const Shape shape = shape_for(a.rows, n, tuning_.simdgroups);
    const int64_t needed = std::max<int64_t>(ceil_div(a.rows, shape.rows_per_simdgroup()), shape.cols);
    const int64_t simds = std::min<int64_t>(needed, tuning_.simdgroups);
    const int64_t leaf_rows = simds * shape.rows_per_simdgroup(), leaves = ceil_div(a.rows, leaf_rows);
    QrParams p = params(a);
    p.leaf_rows = static_cast<int32_t>(leaf_rows);
    p.leaves = leaves;
    p.r_stride = r.stride;
    p.r_matrix_stride = r.matrix_stride;
    auto leaf_launch = [&](const char* kernel, std::vector<Argument> arguments, int64_t bytes) {
      launch("qr", kernel, shape.constants(), std::move(arguments), p, matrices_ * leaves, 32 * simds, bytes);
    };
    if (leaves == 1) {
      leaf_launch("qr_root", {read(a.memory), write(q), write(r.memory)}, shape.form_bytes(simds));
      return;
    }
    const int64_t stack_rows = leaves * n;
    const Memory stack = floats(matrices_ * stack_rows * n), parents = floats(matrices_ * stack_rows * n);
    leaf_launch("qr_factor", {read(a.memory), write(stack)}, shape.factor_bytes(simds));
    tree({stack, stack_rows, n, n, 1, {matrices_}, {stack_rows * n}, true}, parents, r);
    leaf_launch("qr_form", {read(a.memory), read(parents), write(q)}, shape.form_bytes(simds));
  }

  // Q and R of matrices of more than QR_PANEL columns, not wider than high.
  void blocked(const Matrices& a, Memory q, const Rows& r) {
    const int64_t m = a.rows, n = a.columns, beside = n - QR_PANEL;
    const Rows w{floats(matrices_ * m * beside), beside, m * beside};  // the columns beside the first panel
    const Rows signs{floats(matrices_ * n), n, n};
    std::vector<Panel> panels;
    for (int64_t first = 0; first < n; first += QR_PANEL) {
      const Matrices c = first == 0 ? a : matrices(w.at(first, first - QR_PANEL), m - first, n - first);
      const int64_t width = std::min<int64_t>(QR_PANEL, n - first);
      const Panel panel{first, m - first, width, floats(matrices_ * (m - first) * width),
                        floats(matrices_ * width * width)};
      tree(c.part(0, 0, panel.rows, width), panel.v, r.at(first, first));
      reconstruct(panel, signs);
      if (first + width < n) {
        apply(panel, c.part(0, width, panel.rows, n - first - width), w.at(first, first + width - QR_PANEL), true);
      }
      panels.push_back(panel);
    }
    QrFinishParams p{m, n, r.stride, r.matrix_stride, matrices_, 0};
    launch("qr_blocked", "qr_begin", {}, {write(q), read(signs.memory)}, p, ceil_div(matrices_ * m * n, kThreads),
           kThreads);
    launch("qr_blocked", "qr_collect", {}, {read_write(r.memory), read(w.memory), read(signs.memory)}, p,
           ceil_div(matrices_ * n * n, kThreads), kThreads);
    for (auto panel = panels.rbegin(); panel != panels.rend(); ++panel) {
      const Rows part = Rows{q, n, m * n}.at(panel->first, panel->first);
      apply(*panel, matrices(part, panel->rows, n - panel->first), part, false);
    }
  }

  // out (columns of v x columns of c) = V^T C.
  void product(const Rows& v, int64_t width, const Matrices& c, const Rows& out) {
    QrBlockParams p = params(v, width, c, out);
    p.splits = 1;
    p.split_rows = c.rows;
    project(v, c, out.memory, p);
  }

  // Q and R of one matrix by its Gram matrix, and by Householder's method where that fails.
  void cholesky(const Matrices& a, Memory q, const Rows& r) {
    guard_ = add_cholesky(plan_, tall(a), q, r.memory, r.stride);
    householder(a, q, r);
    guard_.reset();
  }

  // Q and R of matrices not wider than high.
  void householder(const Matrices& a, Memory q, const Rows& r) {
    a.columns <= QR_PANEL ? tree(a, q, r) : blocked(a, q, r);
  }

  Plan take() { return std::move(plan_); }

 private:
  // Rows [first, m) of a panel: V and K of its reflector.
  struct Panel {
    int64_t first, rows, width;
    Memory v, k;
  };

  // A temporary that one update after the other uses.
  struct Shared {
    int index = -1;

    Memory room(Plan& plan, int64_t floats) {
      if (index < 0) {
        index = plan.allocate(0).index;
      }
      plan.scratch[index] = std::max(plan.scratch[index], kFloat * floats);
      return scratch(index);
    }
  };

  Memory floats(int64_t count) { return plan_.allocate(kFloat * count); }

  Matrices matrices(const Rows& rows, int64_t height, int64_t width) const {
    return {rows.memory, height, width, rows.stride, 1, {matrices_}, {rows.matrix_stride}};
  }

  void reconstruct(const Panel& panel, const Rows& signs) {
    QrBlockParams p{};
    p.v_stride = panel.width;
    p.v_matrix_stride = panel.rows * panel.width;
    p.width = static_cast<int32_t>(panel.width);
    p.out_matrix_stride = signs.matrix_stride;
    launch("qr_blocked", "qr_reconstruct", {},
           {read_write(panel.v), write(panel.k), write(signs.at(0, panel.first).memory)}, p, matrices_, kThreads);
  }

  // out = H C, or H^T C.
  void apply(const Panel& panel, const Matrices& c, const Rows& out, bool transposed) {
    const Rows v{panel.v, panel.width, panel.rows * panel.width};
    const int64_t tiles = ceil_div(c.columns, kTile) * matrices_;
    const int64_t splits = std::clamp<int64_t>(tuning_.groups / tiles, 1, ceil_div(c.rows, tuning_.split_rows));
    const int64_t split_rows = ceil_div(ceil_div(c.rows, splits), kSlab) * kSlab;
    QrBlockParams p = params(v, panel.width, c, {{}, c.columns, 0});
    p.split_rows = split_rows;
    p.splits = static_cast<int32_t>(ceil_div(c.rows, split_rows));
    p.out_matrix_stride = p.splits * panel.width * c.columns;
    p.transposed = transposed;
    const Memory parts = parts_.room(plan_, matrices_ * p.out_matrix_stride);
    project(v, c, parts, p);
    const Memory mixed = mixed_.room(plan_, matrices_ * panel.width * c.columns);
    launch("qr_blocked", "qr_multiply", {}, {read(parts), read(panel.k), write(mixed)}, p,
           matrices_ * ceil_div(c.columns, kStrip), kThreads);
    p.splits = 1;
    p.out_stride = out.stride;
    p.out_matrix_stride = out.matrix_stride;
    const bool in_place = c.memory.kind == out.memory.kind && c.memory.index == out.memory.index;
    std::vector<Argument> arguments{read(v.memory), read(mixed)};
    if (in_place) {
      arguments.push_back(read_write(out.memory));
    } else {
      arguments.insert(arguments.end(), {read(c.memory), write(out.memory)});
    }
    launch("qr_blocked", in_place ? "qr_update" : "qr_update_input", {}, arguments, p, tiles * ceil_div(c.rows, kTile),
           kThreads);
  }

  void project(const Rows& v, const Matrices& c, Memory out, const QrBlockParams& p) {
    launch("qr_blocked", "qr_project", {}, {read(v.memory), read(c.memory), write(out)}, p,
           matrices_ * p.splits * ceil_div(p.width, kTile) * ceil_div(p.columns, kTile), kThreads);
  }

  QrParams params(const Matrices& a) const {
    QrParams p{};
    p.rows = a.rows;
    p.row_stride = a.row_stride;
    p.column_stride = a.column_stride;
    p.batch_dims = static_cast<int32_t>(a.batch.size());
    std::copy(a.batch.begin(), a.batch.end(), p.batch_shape);
    std::copy(a.batch_strides.begin(), a.batch_strides.end(), p.batch_strides);
    p.columns = static_cast<int32_t>(a.columns);
    p.triangles = a.triangles;
    return p;
  }

  static QrBlockParams params(const Rows& v, int64_t width, const Matrices& c, const Rows& out) {
    QrBlockParams p{};
    p.rows = c.rows;
    p.columns = c.columns;
    p.v_stride = v.stride;
    p.v_matrix_stride = v.matrix_stride;
    p.width = static_cast<int32_t>(width);
    p.c_row_stride = c.row_stride;
    p.c_column_stride = c.column_stride;
    p.c_batch_dims = static_cast<int32_t>(c.batch.size());
    std::copy(c.batch.begin(), c.batch.end(), p.c_batch_shape);
    std::copy(c.batch_strides.begin(), c.batch_strides.end(), p.c_batch_strides);
    p.out_stride = out.stride;
    p.out_matrix_stride = out.matrix_stride;
    return p;
  }

  // Adds launches of at most max_groups threadgroups.
  template <typename Params>
  void launch(const char* family, const char* kernel, const std::vector<Constant>& constants,
              std::vector<Argument> arguments, Params p, int64_t groups, int64_t threads, int64_t bytes = 0) {
    arguments.emplace_back(Bytes{});
    for (int64_t first = 0; first < groups; first += tuning_.max_groups) {
      p.first_group = first;
      arguments.back() = bytes_of(p);
      plan_.steps.emplace_back(Launch{family,
                                      kernel,
                                      constants,
                                      arguments,
                                      {std::min(groups - first, tuning_.max_groups)},
                                      {threads},
                                      bytes,
                                      guard_});
    }
  }

  const QrTuning& tuning_;
  const int64_t matrices_;
  Plan plan_;
  std::optional<Memory> guard_;  // of launches
  Shared parts_, mixed_;
};

// Gives the matrices the batch dimensions that are needed to step through them; returns how many there are.
int64_t collapse(const QrProblem& problem, Matrices& a) {
  int64_t count = 1;
  for (size_t i = 0; i < problem.batch.size(); i++) {
    const int64_t size = problem.batch[i], stride = problem.batch_strides[i];
    count *= size;
    if (size == 1) {
      continue;
    }
    if (!a.batch.empty() && a.batch_strides.back() == size * stride) {
      a.batch.back() *= size;
      a.batch_strides.back() = stride;
    } else {
      a.batch.push_back(size);
      a.batch_strides.push_back(stride);
    }
  }
  return count;
}

}  // namespace

Plan plan_qr(const QrProblem& problem, const QrTuning& tuning) {
  const int64_t m = problem.rows, n = problem.columns, k = std::min(m, n);
  Matrices a{input(0), m, n, problem.row_stride, problem.column_stride, {}, {}};
  const int64_t count = collapse(problem, a);
  const Rows q{output(0), k, m * k}, r{output(1), n, k * n};
  const Matrices leading = a.part(0, 0, m, k);
  if (tuning.cholesky && goes_by_cholesky(leading, count)) {
    Planner planner(tuning, 1);
    for (int64_t i = 0; i < count; i++) {
      const Rows q_i = q.matrix(i), r_i = r.matrix(i);
      planner.cholesky(leading.matrix(i), q_i.memory, r_i);
      if (n > k) {
        planner.product(q_i, k, a.matrix(i).part(0, k, m, n - k), r_i.at(0, k));
      }
    }
    return planner.take();
  }
  Planner planner(tuning, count);
  planner.householder(leading, q.memory, r);
  if (n > k) {
    planner.product(q, k, a.part(0, k, m, n - k), r.at(0, k));
  }
  return planner.take();
}

}  // namespace metalfaiss::gpu
