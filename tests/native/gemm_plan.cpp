// The launches of gemm_av, gemm_at_b and z_step: what they bind, that their grids make every output once from the whole
// contraction, and shapes that no machine could hold.
#include "gpu/plans/gemm.h"

#include <map>
#include <tuple>

#include "check.h"
#include "gemm_params.h"
#include "tile_order.h"

using namespace metalfaiss::gpu;
using metalfaiss::cpu::failures;
using metalfaiss::cpu::Float;
using metalfaiss::cpu::simd_level;
using metalfaiss::cpu::simd_level_name;

namespace {

GemmProblem problem(GemmOp op, int64_t m, int64_t n, int64_t k, std::vector<int64_t> batch = {},
                    Float type = Float::f32) {
  int64_t rows = op == GemmOp::at_b ? m : n;
  GemmProblem p{op, type, {m, n, n, 1}, {rows, k, k, 1}, batch};
  int64_t a = m * n, b = rows * k;
  for (size_t d = batch.size(); d-- > 0; a *= batch[d], b *= batch[d]) {
    p.a.batch_strides.insert(p.a.batch_strides.begin(), a);
    p.b.batch_strides.insert(p.b.batch_strides.begin(), b);
  }
  return p;
}

const Launch& launch_of(const Step& step) {
  return std::get<Launch>(step);
}

const Buffer& buffer_of(const Launch& launch, size_t i) {
  return std::get<Buffer>(launch.arguments.at(i));
}

template <typename Params>
Params params_of(const Launch& launch) {
  Params params;
  const Bytes& bytes = std::get<Bytes>(launch.arguments.back());
  CHECK(bytes.size() == sizeof(Params));
  std::memcpy(&params, bytes.data(), sizeof(Params));
  return params;
}

std::string constant(const Launch& launch, const std::string& name) {
  for (const Constant& c : launch.constants) {
    if (c.name == name) {
      return c.value;
    }
  }
  return "";
}

int64_t number(const Launch& launch, const std::string& name) {
  return std::stoll(constant(launch, name));
}

bool same(const Memory& a, const Memory& b) {
  return a.kind == b.kind && a.index == b.index;
}

// What holds for every launch: arguments and directions as the kernels declare them, and a grid that a GPU takes.
void check_launch(const Launch& launch) {
  bool is_sum = launch.kernel == "gemm_sum";
  size_t out = is_sum ? 1 : 2;
  CHECK(launch.family == (launch.kernel == "z_step" ? "z_step" : "gemm"));
  CHECK(launch.arguments.size() == out + 2);
  for (size_t i = 0; i < out; i++) {
    CHECK(buffer_of(launch, i).access == Access::read);
    CHECK(buffer_of(launch, i).memory.kind != Memory::Kind::output);
    CHECK(!same(buffer_of(launch, i).memory, buffer_of(launch, out).memory));
  }
  CHECK(buffer_of(launch, out).access != Access::read);
  CHECK(buffer_of(launch, out).memory.kind != Memory::Kind::input);
  for (int64_t groups : {launch.groups.x, launch.groups.y, launch.groups.z}) {
    CHECK(groups >= 1 && groups < int64_t{1} << 31);
  }
  CHECK(launch.groups.y < 65536 && launch.groups.z < 65536);
  CHECK(launch.threads.x <= 1024 && launch.threads.x % 32 == 0 && launch.threads.y == 1 && launch.threads.z == 1);
  if (is_sum) {
    CHECK(launch.threads.x == 256);
    CHECK(params_of<GemmSumParams>(launch).groups_x == launch.groups.x);
    return;
  }
  auto p = params_of<GemmParams>(launch);
  CHECK((buffer_of(launch, 2).access == Access::read_write) == (p.accumulate != 0));
  if (launch.kernel == "z_step") {
    CHECK(launch.threads.x == 32 * number(launch, "SIMDS_N") * number(launch, "SIMDS_K"));
    CHECK(p.rows <= number(launch, "CHUNK") * number(launch, "CHUNKS") && p.columns <= number(launch, "Z_K"));
    CHECK(number(launch, "CHUNK") * number(launch, "CHUNKS") * number(launch, "Z_K") <=
          launch.threads.x * (launch.threads.x < 512 ? 32 : 64));
    CHECK(p.slab % number(launch, "PANEL") == 0);
  } else {
    CHECK(launch.threads.x == 32 * number(launch, "SIMDS_M") * number(launch, "SIMDS_K"));
    CHECK(p.slab % number(launch, "TILE_N") == 0);
    CHECK(number(launch, "TILE_M") % (8 * number(launch, "SIMDS_M")) == 0);
    CHECK(number(launch, "TILE_K") % (8 * number(launch, "SIMDS_K")) == 0);
  }
}

// What the kernels do with the grid, counted: for every element of the memory that a launch writes, the parts of the
// contraction that it is made from.
using Place = std::tuple<int, int, int64_t>;  // kind, index, element
std::map<Place, int64_t> written(const Launch& launch) {
  auto p = params_of<GemmParams>(launch);
  bool z = launch.kernel == "z_step";
  int64_t tile_m = z ? p.rows : number(launch, "TILE_M"), tile_k = z ? p.columns : number(launch, "TILE_K");
  const Memory& out = buffer_of(launch, 2).memory;
  std::map<Place, int64_t> parts;
  for (int64_t x = 0; x < launch.groups.x; x++) {
    for (int64_t y = 0; y < launch.groups.y; y++) {
      for (int64_t batch = 0; batch < launch.groups.z; batch++) {
        int64_t slab = z ? x : y, tile = z ? 0 : x;
        int64_t row = tile / p.column_tiles * tile_m, column = tile % p.column_tiles * tile_k;
        int64_t begin = slab * p.slab, end = std::min(begin + p.slab, p.contraction);
        CHECK(begin < p.contraction || p.contraction == 0);
        for (int64_t i = row; i < std::min(row + tile_m, p.rows); i++) {
          for (int64_t j = column; j < std::min(column + tile_k, p.columns); j++) {
            int64_t element = ((slab * p.batches + p.out_batch + batch) * p.rows + i) * p.columns + j;
            Place place{static_cast<int>(out.kind), out.index, element};
            CHECK(parts.count(place) == 0);
            parts[place] = end - begin;
          }
        }
      }
    }
  }
  return parts;
}

// The whole plan: each output element is made once, from slabs that add up to the contraction.
void check_covers(const GemmProblem& problem, const GemmTuning& tuning = {}) {
  Plan plan = plan_gemm(problem, tuning);
  int64_t batches = 1;
  for (int64_t b : problem.batch) {
    batches *= b;
  }
  int64_t m = problem.a.rows, n = problem.a.columns, k = problem.b.columns;
  int64_t size = batches * (problem.op == GemmOp::av ? m : n) * k;
  int64_t contraction = problem.op == GemmOp::av ? n : m;
  std::map<Place, int64_t> made;
  for (const Step& step : plan.steps) {
    const Launch& launch = launch_of(step);
    check_launch(launch);
    for (const Argument& argument : launch.arguments) {
      if (auto* b = std::get_if<Buffer>(&argument); b && b->memory.kind == Memory::Kind::scratch) {
        CHECK(b->memory.index < static_cast<int>(plan.scratch.size()));
      }
    }
    if (launch.kernel == "gemm_sum") {
      auto p = params_of<GemmSumParams>(launch);
      const Memory &from = buffer_of(launch, 0).memory, &to = buffer_of(launch, 1).memory;
      CHECK(launch.groups.x * launch.groups.y * 32 >= p.size);
      CHECK(plan.scratch.at(from.index) >= p.size * p.slabs * 4);
      for (int64_t i = 0; i < p.size; i++) {
        int64_t sum = 0;
        for (int64_t s = 0; s < p.slabs; s++) {
          Place place{static_cast<int>(from.kind), from.index, s * p.size + i};
          CHECK(made.count(place) == 1);
          sum += made[place];
        }
        made[{static_cast<int>(to.kind), to.index, i}] = sum;
      }
      continue;
    }
    bool accumulate = params_of<GemmParams>(launch).accumulate;
    for (auto [place, parts] : written(launch)) {
      CHECK(!accumulate || made.count(place) == 1);
      made[place] = parts + (accumulate ? made[place] : 0);
      if (std::get<0>(place) == static_cast<int>(Memory::Kind::scratch)) {
        CHECK((std::get<2>(place) + 1) * 4 <= plan.scratch.at(std::get<1>(place)));
      }
    }
  }
  int64_t outputs = 0;
  for (auto [place, parts] : made) {
    if (std::get<0>(place) == static_cast<int>(Memory::Kind::output)) {
      outputs++;
      CHECK(parts == contraction);
      CHECK(std::get<2>(place) < size);
    }
  }
  CHECK(outputs == size);
}

void test_covers() {
  for (GemmOp op : {GemmOp::av, GemmOp::at_b, GemmOp::z_step}) {
    for (int64_t m : {1, 16, 65, 130}) {
      for (int64_t n : {1, 17, 65}) {
        for (int64_t k : {1, 9, 40, 129}) {
          check_covers(problem(op, m, n, k));
        }
      }
    }
    for (int64_t k : {3, 200}) {  // nothing to sum
      check_covers(op == GemmOp::av ? problem(op, 5, 0, k) : problem(op, 0, 5, k));
    }
    check_covers(problem(op, 70, 40, 129, {2, 3}));
    check_covers(problem(op, 70, 20, 3, {7}));
    check_covers(problem(op, 1500, 40, 8));
    check_covers(problem(op, 8, 5000, 8));
    check_covers(problem(op, 1100, 9, 140, {}, Float::f16));
  }
  GemmTuning tight;
  tight.y_bytes = 4 * 140 * 128;
  tight.batches = 2;
  check_covers(problem(GemmOp::z_step, 400, 20, 140), tight);
  check_covers(problem(GemmOp::z_step, 400, 20, 140, {}, Float::bf16), tight);
  check_covers(problem(GemmOp::z_step, 301, 520, 33, {5}), tight);
  check_covers(problem(GemmOp::av, 10, 20, 7, {5}), tight);
}

void test_kernels() {
  auto kernel = [](const GemmProblem& p, size_t i = 0) { return launch_of(plan_gemm(p).steps.at(i)).kernel; };
  // Storage decides which kernel reads A along its rows.
  GemmProblem av = problem(GemmOp::av, 5000, 300, 32), at_b = problem(GemmOp::at_b, 5000, 300, 32);
  CHECK(kernel(av) == "gemm_av" && kernel(at_b) == "gemm_at_b");
  for (GemmProblem* p : {&av, &at_b}) {
    CHECK(params_of<GemmParams>(launch_of(plan_gemm(*p).steps[0])).a_order == ORDER_VECTORS);
    p->a.row_stride = 1;
    p->a.column_stride = 5000;
    CHECK(params_of<GemmParams>(launch_of(plan_gemm(*p).steps[0])).a_order == ORDER_VECTORS);
  }
  CHECK(kernel(av) == "gemm_at_b" && kernel(at_b) == "gemm_av");
  // Vectors need aligned rows.
  for (int64_t row_stride : {300, 302, -300, -301}) {
    for (bool aligned : {true, false}) {
      av.a = {5000, 300, row_stride, 1, {}, aligned};
      auto p = params_of<GemmParams>(launch_of(plan_gemm(av).steps[0]));
      CHECK(p.a_order == (aligned && row_stride % 4 == 0 ? ORDER_VECTORS : ORDER_ROWS));
    }
  }
  GemmProblem odd = problem(GemmOp::av, 50, 30, 4, {3});  // matrices of 1500 elements, rows of 30
  CHECK(params_of<GemmParams>(launch_of(plan_gemm(odd).steps[0])).b_order == ORDER_VECTORS);
  odd.b.batch_strides = {121};
  CHECK(params_of<GemmParams>(launch_of(plan_gemm(odd).steps[0])).b_order == ORDER_ROWS);
  odd.b = {30, 4, 1, 30, {0}};
  CHECK(params_of<GemmParams>(launch_of(plan_gemm(odd).steps[0])).b_order == ORDER_COLUMNS);

  // z_step: one pass over A while the sum fits into registers.
  for (auto [n, k] : std::vector<std::pair<int64_t, int64_t>>{{4096, 8}, {1024, 32}, {512, 64}, {256, 128}, {64, 1}}) {
    Plan plan = plan_gemm(problem(GemmOp::z_step, 100000, n, k));
    CHECK(plan.steps.size() == 2 && launch_of(plan.steps[0]).kernel == "z_step");
  }
  for (auto [n, k] :
       std::vector<std::pair<int64_t, int64_t>>{{4097, 8}, {1025, 32}, {513, 64}, {257, 128}, {10, 129}}) {
    CHECK(kernel(problem(GemmOp::z_step, 5000, n, k)) == "gemm_av");
  }
  // Sums in the output's own memory: they are float32 and one slab.
  Plan plan = plan_gemm(problem(GemmOp::z_step, 60, 60, 130));
  CHECK(plan.steps.size() == 2 && plan.scratch.size() == 1);
  CHECK(launch_of(plan.steps[0]).kernel == "gemm_av" && launch_of(plan.steps[1]).kernel == "gemm_at_b");

  // Small products: enough threadgroups, few launches.
  for (GemmOp op : {GemmOp::av, GemmOp::at_b, GemmOp::z_step}) {
    Plan small = plan_gemm(problem(op, 512, 256, 32));
    Size groups = launch_of(small.steps[0]).groups;
    CHECK(small.steps.size() <= 2 && groups.x * groups.y >= 16);
  }
}

// Constants follow the types: A's, B's (float32 for what a kernel made) and the output's.
void test_types() {
  auto types = [](const Launch& l) { return constant(l, "T") + " " + constant(l, "TB") + " " + constant(l, "O"); };
  for (auto [type, name] : {std::pair{Float::f32, "float"}, {Float::f16, "half"}, {Float::bf16, "bfloat"}}) {
    std::string t = name;
    Plan one = plan_gemm(problem(GemmOp::av, 5000, 30, 20, {}, type));
    CHECK(one.steps.size() == 1 && types(launch_of(one.steps[0])) == t + " " + t + " " + t);
    Plan slabs = plan_gemm(problem(GemmOp::at_b, 5000, 30, 20, {}, type));
    CHECK(slabs.steps.size() == 2 && types(launch_of(slabs.steps[0])) == t + " " + t + " float");
    CHECK(constant(launch_of(slabs.steps[1]), "T") == t);
    Plan two = plan_gemm(problem(GemmOp::z_step, 60, 60, 130, {}, type));
    CHECK(types(launch_of(two.steps[0])) == t + " " + t + " float");
    CHECK(types(launch_of(two.steps[1])) == t + " float " + t);
  }
}

// Broadcast, merged and outer batch dimensions: where each launch's matrices lie.
void test_batches() {
  GemmProblem p = problem(GemmOp::av, 4, 4, 4, {2, 3, 5});
  auto params = params_of<GemmParams>(launch_of(plan_gemm(p).steps.at(0)));
  CHECK(params.batch_dims == 1 && params.batch_shape[0] == 30 && params.a_batch[0] == 16);
  p.b.batch_strides = {48, 16, 0};  // the last dimension is broadcast
  params = params_of<GemmParams>(launch_of(plan_gemm(p).steps.at(0)));
  CHECK(params.batch_dims == 2 && params.batch_shape[0] == 6 && params.batch_shape[1] == 5);
  CHECK(params.a_batch[0] == 80 && params.b_batch[0] == 16 && params.b_batch[1] == 0);

  GemmProblem many = problem(GemmOp::av, 4, 4, 4, {2, 2, 2, 2, 2, 2});
  many.a.batch_strides = {0, 16, 0, 32, 0, 64};
  many.b.batch_strides = {16, 0, 32, 0, 64, 0};
  Plan plan = plan_gemm(many);
  CHECK(plan.steps.size() == 4);
  for (int64_t i = 0; i < 4; i++) {
    const Launch& launch = launch_of(plan.steps[i]);
    CHECK(buffer_of(launch, 0).memory.offset == 4 * 16 * (i % 2));
    CHECK(buffer_of(launch, 1).memory.offset == 4 * 16 * (i / 2));
    params = params_of<GemmParams>(launch);
    CHECK(params.batch_dims == 4 && params.out_batch == 16 * i && params.first_batch == 0 && launch.groups.z == 16);
  }
  check_covers(many);

  Plan split = plan_gemm(problem(GemmOp::av, 1, 1, 1, {100000}));
  CHECK(split.steps.size() == 4);
  params = params_of<GemmParams>(launch_of(split.steps[3]));
  CHECK(params.first_batch == 3 * 32768 && params.out_batch == 3 * 32768);
  CHECK(launch_of(split.steps[3]).groups.z == 100000 - 3 * 32768);
}

// Matrices beyond any memory: grids, strides and offsets still fit.
void test_huge() {
  for (GemmOp op : {GemmOp::av, GemmOp::at_b, GemmOp::z_step}) {
    for (auto [m, n, k] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{
             {int64_t{1} << 31, 1 << 20, 8}, {int64_t{1} << 33, 64, 32}, {1 << 20, int64_t{1} << 31, 100}}) {
      GemmTuning tuning;
      tuning.y_bytes = int64_t{1} << 40;
      Plan plan = plan_gemm(problem(op, m, n, k), tuning);
      for (const Step& step : plan.steps) {
        check_launch(launch_of(step));
      }
      auto p = params_of<GemmParams>(launch_of(plan.steps[0]));
      CHECK(std::max(std::abs(p.a_row), std::abs(p.a_column)) == n);
      CHECK(p.rows * p.contraction == m * n || op == GemmOp::z_step);
    }
  }
  // The sums of slabs are bounded by A's size, and A V by what was asked for.
  for (int64_t m : {1 << 20, 1 << 24}) {
    Plan at_b = plan_gemm(problem(GemmOp::at_b, m, 64, 128));
    CHECK(at_b.scratch.size() == 1 && at_b.scratch[0] <= m * 64 * 4 / 4);
    Plan z = plan_gemm(problem(GemmOp::z_step, m, 2000, 128));
    CHECK(z.scratch.size() == 2 && z.scratch[0] <= 4 << 20 && z.scratch[1] <= m * 2000);
  }
  // A later part of A begins beyond 2^32 bytes.
  Plan z = plan_gemm(problem(GemmOp::z_step, 1 << 24, 2000, 128));
  int64_t last = buffer_of(launch_of(z.steps[z.steps.size() - 2]), 0).memory.offset;
  CHECK(last == ((int64_t{1} << 24) - 8192) * 2000 * 4);
}

}  // namespace

int main() {
  test_covers();
  test_kernels();
  test_types();
  test_batches();
  test_huge();
  std::printf("gemm_plan: %s\n", failures ? "FAILED" : "ok");
  return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
