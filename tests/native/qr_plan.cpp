// The launches of qr: what they bind, that every memory is written before it is read and is large enough for its
// readers and writers, that grids cover the matrices, and shapes that no machine could hold.
#include "gpu/plans/qr.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "plan_check.h"
#include "qr_params.h"

using namespace metalfaiss::gpu;

namespace {

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

QrProblem problem(int64_t m, int64_t n, int64_t matrices = 1) {
  return {m, n, n, 1, {matrices}, {m * n}};
}

struct Signature {
  const char* family;
  std::vector<Access> buffers;
};

// As the kernels declare them.
const std::map<std::string, Signature> kKernels = {
    {"qr_factor", {"qr", {Access::read, Access::write}}},
    {"qr_root", {"qr", {Access::read, Access::write, Access::write}}},
    {"qr_form", {"qr", {Access::read, Access::read, Access::write}}},
    {"qr_reconstruct", {"qr_blocked", {Access::read_write, Access::write, Access::write}}},
    {"qr_project", {"qr_blocked", {Access::read, Access::read, Access::write}}},
    {"qr_multiply", {"qr_blocked", {Access::read, Access::read, Access::write}}},
    {"qr_update", {"qr_blocked", {Access::read, Access::read, Access::read_write}}},
    {"qr_update_input", {"qr_blocked", {Access::read, Access::read, Access::read, Access::write}}},
    {"qr_begin", {"qr_blocked", {Access::write, Access::read}}},
    {"qr_collect", {"qr_blocked", {Access::read_write, Access::read, Access::read}}},
    {"qr_gram", {"qr_gram", {Access::read, Access::write}}},
    {"qr_gram_sum", {"qr_gram", {Access::read, Access::write}}},
    {"qr_times", {"qr_gram", {Access::read, Access::read, Access::write}}},
    {"qr_cholesky", {"qr_cholesky", {Access::read, Access::read_write, Access::write}}},
    {"qr_invert", {"qr_cholesky", {Access::read, Access::read, Access::read_write, Access::write, Access::write}}},
    {"qr_judge", {"qr_cholesky", {Access::read, Access::write}}},
    {"qr_compose",
     {"qr_cholesky", {Access::read, Access::read, Access::read, Access::read, Access::write, Access::write}}},
};

const Memory& memory_of(const Launch& launch, size_t i) {
  return std::get<Buffer>(launch.arguments.at(i)).memory;
}

int64_t constant(const Launch& launch, const std::string& name) {
  return std::stoll(constant_of(launch, name));
}

struct Checker {
  const Plan& plan;
  const QrProblem& qr;
  int64_t matrices = 1, k = std::min(qr.rows, qr.columns);
  int64_t together = 1;  // matrices of a launch
  std::set<std::pair<int, int>> written = {};

  int64_t bytes(const Memory& memory) const {
    switch (memory.kind) {
      case Memory::Kind::scratch:
        return plan.scratch.at(memory.index);
      case Memory::Kind::output:
        return 4 * matrices * k * (memory.index == 0 ? qr.rows : qr.columns);
      default:
        return 4 * matrices * qr.rows * qr.columns;
    }
  }

  // [first, first + count) floats of an argument lie in its memory.
  void check_extent(const Launch& launch, size_t argument, int64_t count) const {
    const Memory& memory = memory_of(launch, argument);
    CHECK(memory.offset >= 0 && memory.offset % 4 == 0);
    CHECK(memory.offset + 4 * count <= bytes(memory));
  }

  void run() {
    for (int64_t size : qr.batch) {
      matrices *= size;
    }
    together = is_guarded() ? 1 : matrices;
    for (const Step& step : plan.steps) {
      check_launch(std::get<Launch>(step));
    }
    CHECK(written.count({static_cast<int>(Memory::Kind::output), 0}) == 1);
    CHECK(written.count({static_cast<int>(Memory::Kind::output), 1}) == 1);
    for (size_t i = 0; i < plan.scratch.size(); i++) {
      CHECK(plan.scratch[i] > 0);
      CHECK(written.count({static_cast<int>(Memory::Kind::scratch), static_cast<int>(i)}) == 1);
    }
  }

  void check_launch(const Launch& launch) {
    const Signature& kernel = kKernels.at(launch.kernel);
    CHECK(launch.family == kernel.family);
    CHECK(launch.arguments.size() == kernel.buffers.size() + 1);
    for (size_t i = 0; i < kernel.buffers.size(); i++) {
      const auto& buffer = std::get<Buffer>(launch.arguments.at(i));
      CHECK(buffer.access == kernel.buffers[i]);
      const std::pair<int, int> id{static_cast<int>(buffer.memory.kind), buffer.memory.index};
      CHECK(buffer.access == Access::write || buffer.memory.kind == Memory::Kind::input || written.count(id) == 1 ||
            launch.kernel == "qr_cholesky" || launch.kernel == "qr_invert");  // which write before they read
      CHECK(buffer.access == Access::read || buffer.memory.kind != Memory::Kind::input);
      if (buffer.access != Access::read) {
        written.insert(id);
      }
    }
    CHECK(!launch.guard || written.count({static_cast<int>(launch.guard->kind), launch.guard->index}) == 1);
    CHECK(launch.groups.x >= 1 && launch.groups.x < int64_t{1} << 31);
    CHECK(launch.groups.y == 1 && launch.groups.z == 1 && launch.threads.y == 1 && launch.threads.z == 1);
    CHECK(launch.threads.x >= 32 && launch.threads.x % 32 == 0);
    if (launch.family == "qr") {
      check_tree(launch);
    } else if (launch.family == "qr_blocked") {
      CHECK(launch.threads.x == 256 && launch.threadgroup_bytes == 0 && launch.constants.empty());
      if (launch.kernel == "qr_project" || launch.kernel.starts_with("qr_update")) {
        check_tiles(launch);
      }
    } else {
      check_gram(launch);
    }
  }

  void check_gram(const Launch& launch) {
    auto p = params_of<QrCholeskyParams>(launch);
    const int64_t n = p.columns, across = ceil_div(n, QR_GRAM_TILE), size = QR_GRAM_TILE * QR_GRAM_TILE;
    CHECK(p.rows == qr.rows && n == k && n <= QR_CHOLESKY_COLUMNS && p.r_stride == qr.columns);
    CHECK(p.tiles == across * (across + 1) / 2 && p.splits >= 1);
    CHECK(p.splits * p.split_rows >= p.rows && (p.splits - 1) * p.split_rows < p.rows);
    if (launch.kernel == "qr_gram") {
      CHECK(launch.groups.x == p.splits * p.tiles);
      check_extent(launch, 1, 2 * launch.groups.x * size);
    } else if (launch.kernel == "qr_gram_sum") {
      CHECK(launch.groups.x * 32 == p.tiles * size);
      check_extent(launch, 0, 2 * p.splits * p.tiles * size);
      check_extent(launch, 1, 2 * n * n);
    } else if (launch.kernel == "qr_times") {
      CHECK(launch.groups.x == ceil_div(p.rows, QR_GRAM_TILE) * across);
      check_extent(launch, 1, 2 * n * n);
      check_extent(launch, 2, p.rows * n);
    } else if (launch.kernel == "qr_invert") {
      CHECK(launch.groups.x * launch.threads.x >= 32 * n);
      check_extent(launch, 2, 2 * n * n);
      check_extent(launch, 3, (n - 1) * p.r_stride + n);
      check_extent(launch, 4, n);
    } else if (launch.kernel == "qr_compose") {
      CHECK(launch.groups.x * launch.threads.x >= 2 * n * n);
      check_extent(launch, 4, 2 * n * n);
      check_extent(launch, 5, (n - 1) * p.r_stride + n);
    } else {
      CHECK(launch.groups.x == 1);
    }
  }

  // Householder's launches, at least, have guards where Cholesky's method is tried.
  bool is_guarded() const {
    return std::any_of(plan.steps.begin(), plan.steps.end(),
                       [](const Step& step) { return std::get<Launch>(step).guard.has_value(); });
  }

  void check_tree(const Launch& launch) {
    auto p = params_of<QrParams>(launch);
    const int64_t simds = launch.threads.x / 32, lanes = constant(launch, "LANES");
    const int64_t width = lanes * constant(launch, "COLS"), groups = 32 / lanes, rows = constant(launch, "ROWS");
    const int64_t n = p.columns, factor = 2 * simds * groups * (rows + 4) + 2 * simds * width + 2 * width;
    CHECK(simds >= 1 && simds <= 16 && launch.threads.x >= width);
    CHECK(n >= 1 && n <= width && width <= QR_PANEL && (width == 8 || n > width / 2));
    CHECK(p.leaf_rows == simds * groups * rows);
    CHECK(p.leaves == ceil_div(p.rows, p.leaf_rows));
    CHECK(p.first_group + launch.groups.x <= together * p.leaves);
    CHECK(launch.threadgroup_bytes <= 32768);
    const bool is_root = launch.kernel == "qr_root";
    CHECK(launch.threadgroup_bytes ==
          4 * (launch.kernel == "qr_factor" ? factor : width * width + std::max(width * width, factor)));
    CHECK(is_root == (p.leaves == 1));
    CHECK(!is_root || p.rows >= n);  // what is no row of the matrix must not become a pivot
    if (p.triangles) {
      CHECK(p.rows % n == 0 && p.row_stride == n && p.column_stride == 1);
      check_extent(launch, 0, together * p.rows * n);
    }
    if (launch.kernel == "qr_factor") {
      check_extent(launch, 1, together * p.leaves * n * n);
    } else if (is_root) {
      check_extent(launch, 1, together * p.rows * n);
      check_extent(launch, 2, (together - 1) * p.r_matrix_stride + (n - 1) * p.r_stride + n);
    } else {
      check_extent(launch, 1, together * p.leaves * n * n);
      check_extent(launch, 2, together * p.rows * n);
    }
  }

  void check_tiles(const Launch& launch) {
    auto p = params_of<QrBlockParams>(launch);
    const bool is_project = launch.kernel == "qr_project";
    const int64_t height = is_project ? p.width : p.rows;
    CHECK(p.first_group + launch.groups.x <= together * p.splits * ceil_div(height, 64) * ceil_div(p.columns, 64));
    CHECK(p.splits >= 1 && (!is_project || p.splits * p.split_rows >= p.rows));
    CHECK(!is_project || (p.splits - 1) * p.split_rows < p.rows);
    check_extent(launch, 0, (together - 1) * p.v_matrix_stride + (p.rows - 1) * p.v_stride + p.width);
    const int64_t last = (p.splits - 1) * p.width * p.out_stride + (height - 1) * p.out_stride + p.columns;
    check_extent(launch, launch.arguments.size() - 2, (together - 1) * p.out_matrix_stride + last);
  }
};

void check(const QrProblem& qr, const QrTuning& tuning = {}) {
  Plan plan = plan_qr(qr, tuning);
  check_plan(plan);
  Checker{plan, qr}.run();
}

int count(const Plan& plan, const std::string& kernel) {
  return static_cast<int>(std::count_if(plan.steps.begin(), plan.steps.end(),
                                        [&](const Step& step) { return std::get<Launch>(step).kernel == kernel; }));
}

void test_shapes() {
  for (int64_t matrices : {1, 3}) {
    for (int64_t m : {1, 2, 7, 8, 9, 31, 32, 33, 64, 65, 129, 511, 512, 513, 640, 641, 1025, 2049, 9001, 100000}) {
      for (int64_t n : {1, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 200, 300}) {
        check(problem(m, n, matrices));
        check(problem(m, n, matrices), {.simdgroups = 4, .split_rows = 16, .groups = 7});
      }
    }
  }
}

// By the Gram matrix: in place of nothing, with Householder's launches behind a guard.
void test_gram() {
  const QrTuning tuning{.cholesky = true};
  for (auto [m, n] : {std::pair<int64_t, int64_t>{66, 65}, {2048, 16}, {100000, 64}, {70, 130}, {1 << 20, 1024}}) {
    check(problem(m, n), tuning);
    Plan plan = plan_qr(problem(m, n), tuning);
    CHECK(count(plan, "qr_gram") == 2 && count(plan, "qr_times") == 2 && count(plan, "qr_judge") == 1);
    for (size_t i = 0; i < plan.steps.size(); i++) {
      const auto& launch = std::get<Launch>(plan.steps[i]);
      const bool is_beside = n > m && i + 1 == plan.steps.size();
      CHECK(launch.guard.has_value() == (i >= 3 && !is_beside));
      CHECK(!launch.guard ||
            (launch.family == "qr" || launch.family == "qr_blocked" ? launch.guard->offset == 4 * QR_FAILS
                                                                    : launch.guard->offset < 4 * QR_FAILS));
    }
  }
  for (auto [m, n, matrices] :
       {std::array<int64_t, 3>{2047, 16, 1}, {1 << 20, 15, 1}, {1100, 1025, 1}, {100, 80, 2}, {1 << 16, 64, 9}}) {
    CHECK(count(plan_qr(problem(m, n, matrices), tuning), "qr_gram") == 0);
  }
}

// A few large matrices, one after the other: each with what is its own.
void test_several() {
  const int64_t m = 1 << 14, n = 66;
  check(problem(m, n, 3), {.cholesky = true});
  const Plan one = plan_qr(problem(m, n), {.cholesky = true});
  const Plan plan = plan_qr({m, n, n, 1, {2, 3}, {-7, 1000}}, {.cholesky = true});
  CHECK(plan.steps.size() == 6 * one.steps.size());
  for (int64_t i = 0; i < 6; i++) {
    const auto& gram = std::get<Launch>(plan.steps[i * one.steps.size()]);
    const auto& invert = std::get<Launch>(plan.steps[i * one.steps.size() + 3]);
    CHECK(gram.kernel == "qr_gram" && memory_of(gram, 0).offset == 4 * (i / 3 * -7 + i % 3 * 1000));
    CHECK(invert.kernel == "qr_invert" && memory_of(invert, 3).offset == 4 * i * n * n);
  }
}

void test_tree() {
  Plan plan = plan_qr(problem(1 << 20, 64));
  CHECK(plan.steps.size() == 2 * 4 + 1);  // 1639 leaves, 164, 17, 2, 1
  CHECK(count(plan, "qr_factor") == 4 && count(plan, "qr_root") == 1 && count(plan, "qr_form") == 4);
  CHECK(4 * scratch_bytes(plan) < int64_t{4} << 26);
  CHECK(2 * scratch_bytes(plan_qr(problem(641, 64))) < 4 * 641 * 64);
  CHECK(plan_qr(problem(512, 64)).steps.size() == 1);
  CHECK(plan_qr(problem(640, 64)).steps.size() == 1);
  CHECK(plan_qr(problem(641, 64)).steps.size() == 3);
  CHECK(plan_qr(problem(513, 32)).steps.size() == 3);
  CHECK(plan_qr(problem(2048, 8)).steps.size() == 1);
  CHECK(plan_qr(problem(1024, 16)).steps.size() == 1);
  CHECK(plan_qr(problem(64, 16, 10000)).steps.size() == 1);
  CHECK(plan_qr(problem(20, 50)).steps.size() == 2);  // and R beside the square
}

// Levels fit together: a level's rows are the triangles of the leaves below, and its Q is theirs to read.
void test_levels() {
  Plan plan = plan_qr(problem(100000, 20, 2));
  const size_t levels = plan.steps.size() / 2;
  for (size_t i = 0; i < levels; i++) {
    const auto& up = std::get<Launch>(plan.steps[i]);
    const auto& above = std::get<Launch>(plan.steps[i + 1]);
    const auto& down = std::get<Launch>(plan.steps[2 * levels - i]);
    auto p = params_of<QrParams>(up), next = params_of<QrParams>(above);
    CHECK(up.kernel == "qr_factor" && down.kernel == "qr_form");
    CHECK(next.rows == p.leaves * 20 && next.triangles && next.batch_strides[0] == next.rows * 20);
    CHECK(memory_of(up, 1).index == memory_of(above, 0).index);
    CHECK(memory_of(up, 0).index == memory_of(down, 0).index && memory_of(up, 0).kind == memory_of(down, 0).kind);
    CHECK(std::get<Bytes>(up.arguments.back()) == std::get<Bytes>(down.arguments.back()));
    CHECK(up.constants.size() == 3 && up.name().substr(9) == down.name().substr(7));  // the same tile
    const auto& parents = std::get<Launch>(plan.steps[2 * levels - i - 1]);
    CHECK(memory_of(down, 1).index == memory_of(parents, parents.kernel == "qr_root" ? 1 : 2).index);
  }
}

void test_panels() {
  Plan plan = plan_qr(problem(1000, 200));
  CHECK(count(plan, "qr_reconstruct") == 4);
  CHECK(count(plan, "qr_project") == 3 + 4);
  CHECK(count(plan, "qr_update_input") == 1 && count(plan, "qr_update") == 2 + 4);
  CHECK(count(plan, "qr_begin") == 1 && count(plan, "qr_collect") == 1);
  CHECK(count(plan_qr(problem(100, 130)), "qr_project") == 1 + 2 + 1);
  for (auto [m, n] : {std::pair<int64_t, int64_t>{4096, 256}, {1024, 1024}, {100000, 1000}, {70, 70}}) {
    CHECK(scratch_bytes(plan_qr(problem(m, n))) < 3 * 4 * m * n + (16 << 20));
    CHECK(scratch_bytes(plan_qr(problem(m, n, 1000))) < 1000 * 3 * 4 * m * n + (16 << 20));
  }
}

void test_strides() {
  Plan plan = plan_qr({7, 3, -2, 50, {1, 4, 5, 6}, {9, 1000, 200, 0}});
  auto p = params_of<QrParams>(std::get<Launch>(plan.steps.at(0)));
  CHECK(p.row_stride == -2 && p.column_stride == 50);
  CHECK(p.batch_dims == 2 && p.batch_shape[0] == 20 && p.batch_shape[1] == 6);
  CHECK(p.batch_strides[0] == 200 && p.batch_strides[1] == 0);
  CHECK(std::get<Launch>(plan.steps[0]).groups.x == 120);
}

void test_huge() {
  check(problem(int64_t{1} << 34, 64));
  check(problem(int64_t{1} << 32, 100));
  check(problem(100, int64_t{1} << 33));
  check(problem(int64_t{1} << 20, int64_t{1} << 14));
  const int64_t many = int64_t{3} << 30;
  Plan plan = plan_qr(problem(4, 4, many));
  check(problem(4, 4, many));
  CHECK(plan.steps.size() == 3);
  int64_t groups = 0;
  for (const Step& step : plan.steps) {
    CHECK(params_of<QrParams>(std::get<Launch>(step)).first_group == groups);
    groups += std::get<Launch>(step).groups.x;
  }
  CHECK(groups == many);
}

}  // namespace

int main() {
  test_shapes();
  test_gram();
  test_several();
  test_tree();
  test_levels();
  test_panels();
  test_strides();
  test_huge();
  std::printf("qr plan: %s\n", failures ? "FAILED" : "ok");
  return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
