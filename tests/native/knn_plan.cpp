// The plan of an exact search: which kernels run, that they cover every query and row once, and bounds of scratch
// memory.
#include "gpu/plans/knn.h"

#include <algorithm>

#include "gpu/plans/knn_scan.h"
#include "knn_params.h"
#include "knn_scan_params.h"
#include "plan_check.h"

using namespace metalfaiss::gpu;

namespace {

constexpr int64_t kMost = (int64_t{1} << 31) - 1;

Knn problem(int64_t nq, int64_t nb, int64_t d, int64_t k) {
  return {"float", nq, nb, d, k, d, 1, {}, true};
}

bool covers(int64_t parts, int64_t rows, int64_t all) {
  return parts > 0 && parts * rows >= all && (parts - 1) * rows < all;
}

// Every query of every matrix is searched once, whatever the tiles; returns how many tiles there are.
size_t check_queries(const Plan& plan, const std::string& kernel, const Knn& g) {
  int64_t matrices = g.batch.size();
  std::vector<int> searched(matrices * g.nq);
  auto launches = launches_of(plan, kernel);
  for (const Launch& launch : launches) {
    auto p = params_of<KnnParams>(launch);
    CHECK(launch.groups.x == p.num_queries && p.out_matrix == g.nq);
    for (int64_t z = 0; z < launch.groups.z; z++) {
      for (int64_t q = 0; q < p.num_queries; q++) {
        searched.at(p.out_row + z * p.out_matrix + q)++;
      }
    }
    if (g.batch.shape.empty()) {
      CHECK(p.batch.a_offset == p.out_row * g.d);
    }
  }
  for (int n : searched) {
    CHECK(n == 1);
  }
  return launches.size();
}

void test_few_queries() {
  struct Case {
    int64_t nq, k, queries, list;
  };
  for (auto [nq, k, queries, list] :
       {Case{1, 1, 1, 32}, Case{1, 16, 1, 32}, Case{2, 17, 4, 128}, Case{4, 104, 4, 128}, Case{5, 10, 16, 32},
        Case{33, 105, 4, 512}, Case{16, 460, 4, 512}, Case{7, 461, 1, 2048}, Case{1, 1920, 1, 2048}}) {
    Knn g = problem(nq, 5000, 12, k);
    Plan plan = plan_knn(g);
    check_plan(plan);
    CHECK(plan.steps.size() == 4);
    auto launch = launches_of(plan, "knn_direct").at(0);
    auto p = params_of<KnnParams>(launch);
    CHECK(constant_of(launch, "QUERIES") == std::to_string(queries));
    CHECK(constant_of(launch, "LIST") == std::to_string(list));
    CHECK(list >= k + std::min<int64_t>(k, 16) || list > 1.06 * k);
    CHECK(launch.groups.x == p.slabs && covers(p.slabs, p.slab_rows, 5000));
    CHECK(launch.groups.y == (nq + queries - 1) / queries);
    CHECK(p.nb == 5000 && p.d == 12 && p.k == k && p.always == 0);
    CHECK(plan.scratch.at(std::get<Buffer>(launch.arguments[2]).memory.index) == 8 * nq * p.slabs * list);
    CHECK(check_queries(plan, "knn_finish", g) == 1 && check_queries(plan, "knn_exact_merge", g) == 1);
    int64_t room = queries == 1 ? 512 : queries == 4 ? 128 : 64;
    CHECK(8 * queries * (list + room) + 4 * (2 * queries + 3) <= 32768);
    CHECK(12 * list + 8 * 512 + 64 <= 32768);
  }
}

void test_large_k_is_exact_at_once() {
  Knn g = problem(3, 5000, 12, 1921);
  Plan plan = plan_knn(g);
  check_plan(plan);
  CHECK(plan.steps.size() == 2);
  auto p = params_of<KnnParams>(launches_of(plan, "knn_exact").at(0));
  CHECK(p.always == 1 && p.capacity >= 1921 + 256 && covers(p.slabs, p.slab_rows, 5000));
  check_queries(plan, "knn_exact_merge", g);
  CHECK(launches_of(plan_knn(problem(1, 10, (1 << 17) + 1, 3)), "knn_exact").size() == 1);
  CHECK(launches_of(plan_knn(problem(1, 10, (1 << 17) + 1, 3)), "knn_direct").empty());
}

// Checks the chunks of a search by products; returns how many there are.
int64_t check_chunks(const Plan& plan, const Knn& g) {
  int64_t next_row = 0, chunks = 0, queries = 0;
  for (const Step& step : plan.steps) {
    if (auto* product = std::get_if<Product>(&step)) {
      CHECK(product->k == g.d && product->b_transposed);
      CHECK(product->tf32 == (g.limits.product_error >= 0x1p-9));
      chunks++;
      queries = product->m;
      continue;
    }
    const auto& launch = std::get<Launch>(step);
    if (launch.kernel == "knn_finish") {
      CHECK(next_row == g.nb);
      next_row = 0;
    } else if (launch.kernel == "knn_select") {
      auto p = params_of<KnnSelectParams>(launch);
      CHECK(p.first_row == next_row && p.fresh == (next_row == 0));
      CHECK(launch.groups.x == p.segments && launch.groups.y == queries);
      CHECK(int64_t{p.segments} * p.segment_rows >= p.rows);
      next_row += p.rows;
    }
  }
  return chunks;
}

void test_many_queries() {
  for (bool l2 : {true, false}) {
    for (int64_t nb : {1, 700, 12345}) {
      Knn g = problem(100, nb, 8, 5);
      g.l2 = l2;
      g.limits.few_products = 1;
      g.limits.scratch = 256 << 10;
      Plan plan = plan_knn(g);
      check_plan(plan);
      CHECK(scratch_bytes(plan) <= g.limits.scratch * 5 / 4);
      size_t tiles = check_queries(plan, "knn_finish", g);
      CHECK(check_chunks(plan, g) >= static_cast<int64_t>(tiles));
      CHECK(tiles > 1);
      CHECK(launches_of(plan, "knn_center").size() == (l2 ? 1 : 0));
    }
  }
  CHECK(launches_of(plan_knn(problem(32, 1 << 20, 128, 10)), "knn_direct").size() == 1);
  CHECK(launches_of(plan_knn(problem(33, 1 << 20, 128, 10)), "knn_direct").empty());
  CHECK(launches_of(plan_knn(problem(1000, 100, 8, 10)), "knn_direct").size() > 0);
}

void test_float32_rows_of_inner_products_are_not_copied() {
  Knn g = problem(100, 1 << 20, 32, 5);
  g.l2 = false;
  for (bool half : {false, true}) {
    g.type = half ? "half" : "float";
    Plan plan = plan_knn(g);
    check_plan(plan);
    int64_t row = 0;
    for (const Step& step : plan.steps) {
      if (auto* product = std::get_if<Product>(&step)) {
        CHECK((product->b.kind == Memory::Kind::input) == !half);
        CHECK(half || product->b.offset == 4 * row * g.d);
        row += product->n;
      }
    }
    CHECK(row == g.nb);
  }
}

void test_batches() {
  for (bool many : {false, true}) {
    Knn g = problem(10, 300, 6, 4);
    g.batch = {{3, 5}, {5 * 60, 60}, {0, 1800}};
    g.limits.few_queries = many ? 1 : 32;
    g.limits.few_products = 1;
    g.limits.tile_queries = 45;
    Plan plan = plan_knn(g);
    check_plan(plan);
    CHECK(check_queries(plan, "knn_finish", g) == (many ? 15u : 6u));
    CHECK(check_queries(plan, "knn_exact_merge", g) == (many ? 15u : 6u));
  }
}

void test_scratch_is_bounded() {
  for (int64_t nq : {1, 20, 100, 1000, 1000000}) {
    for (int64_t d : {1, 128, 4096}) {
      for (int64_t k : {1, 10, 100, 1000, 5000}) {
        int64_t before = 0;
        for (int64_t nb : {int64_t{10000}, int64_t{1000000}, kMost}) {
          if (nq * nb > 50'000'000'000) {
            continue;  // more tiles of the same kind: only slow
          }
          Knn g = problem(nq, nb, d, k);
          Plan plan = plan_knn(g);
          check_plan(plan);
          CHECK(scratch_bytes(plan) <= (64 << 20) * 9LL / 8);
          before = std::max(before, scratch_bytes(plan));
        }
      }
    }
  }
  Knn g = problem(5, 1 << 22, 16, 1 << 21);  // more results than the limit has room for: one query at a time
  Plan plan = plan_knn(g);
  CHECK(check_queries(plan, "knn_exact_merge", g) == 5);
  CHECK(scratch_bytes(plan) <= 12 * 2 * g.k + 64);
}

void test_huge_shapes() {
  Knn g = problem(64, kMost, 4096, 10);
  Plan plan = plan_knn(g);
  check_plan(plan);
  auto last = launches_of(plan, "knn_prepare").back();
  auto p = params_of<KnnPrepareParams>(last);
  CHECK(p.offset > (int64_t{1} << 42) && p.offset / 4096 + p.rows == kMost);
  g = problem(1, kMost, 4096, 10);
  auto direct = params_of<KnnParams>(launches_of(plan_knn(g), "knn_direct").at(0));
  CHECK(covers(direct.slabs, direct.slab_rows, kMost) && direct.b_row == 4096);
  CHECK(int64_t{direct.slabs} * direct.slab_rows + 256 < int64_t{1} << 32);
}

void test_nothing_to_compare() {
  for (auto [nb, d] : {std::pair<int64_t, int64_t>{0, 4}, {7, 0}, {70000, 0}, {0, 0}}) {
    Knn g = problem(70000, nb, d, 300);
    Plan plan = plan_knn(g);
    check_plan(plan);
    CHECK(plan.steps.size() == 1 && plan.scratch.empty());
    const auto& launch = std::get<Launch>(plan.steps[0]);
    CHECK(launch.groups.x * launch.groups.y * 256 >= 70000 * 300);
  }
}

// Each tile is in one pass, as metal/include/knn_scan.h finds them.
void test_passes_of_a_scan() {
  for (int64_t tiles : {1, 2, 5, 31, 32, 33, 1000, 7813}) {
    for (int64_t first : {1, 7, 32}) {
      for (int64_t growth : {1, 2, 9, 64}) {
        std::vector<int> read(tiles);
        auto passes = scan_passes(tiles, first, growth);
        CHECK(passes[0].skip == 0 && passes[0].tiles <= first && passes.back().step == 1);
        for (auto [step, skip, count] : passes) {
          for (int64_t i = 0; i < count; i++) {
            read.at(static_cast<size_t>((skip == 0 ? i : i + i / (skip - 1) + 1) * step))++;
          }
        }
        CHECK(std::count(read.begin(), read.end(), 1) == tiles);
      }
    }
  }
}

void test_scans() {
  for (auto [nq, k] : {std::pair<int64_t, int64_t>{1, 10}, {4, 100}, {100, 10}, {3000, 400}}) {
    Knn g = problem(nq, 1 << 20, 128, k);
    g.limits.scan_columns = 256;
    g.limits.scratch = 256 << 20;
    Plan plan = plan_knn(g);
    check_plan(plan);
    CHECK(scratch_bytes(plan) <= g.limits.scratch * 9 / 8);
    if (nq <= 4) {
      auto p = params_of<KnnScanParams>(launches_of(plan, "knn_sample_few").at(0));
      CHECK(p.minima <= kScanMostMinima && p.minima >= 4 * std::min(p.rank, p.pass_tiles * 64));
      CHECK(launches_of(plan, "knn_finish_few").size() == 1 && launches_of(plan, "knn_finish").empty());
      continue;
    }
    size_t tiles = check_queries(plan, "knn_finish", g);
    auto scans = launches_of(plan, "knn_scan");
    CHECK(scans.size() == launches_of(plan, "knn_tighten").size() && scans.size() % tiles == 0);
    for (const Launch& launch : scans) {
      auto p = params_of<KnnScanParams>(launch);
      CHECK(p.filled <= p.capacity && launch.threadgroup_bytes < (228 << 10) / 3);
    }
  }
  CHECK(launches_of(plan_knn(problem(100, 1 << 20, 128, 10)), "knn_scan").empty());  // without matrix instructions
}

}  // namespace

int main() {
  test_few_queries();
  test_large_k_is_exact_at_once();
  test_many_queries();
  test_float32_rows_of_inner_products_are_not_copied();
  test_batches();
  test_scratch_is_bounded();
  test_huge_shapes();
  test_nothing_to_compare();
  test_passes_of_a_scan();
  test_scans();
  return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
