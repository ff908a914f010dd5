// The launches of select_k: what they bind, that every value is looked at once, and shapes that no machine could hold.
#include "gpu/plans/select_k.h"

#include <map>
#include <numeric>
#include <set>

#include "check.h"
#include "gpu/plans/select_k_parts.h"

using namespace metalfaiss::gpu;
using metalfaiss::cpu::failures;
using metalfaiss::cpu::simd_level;
using metalfaiss::cpu::simd_level_name;

namespace {

using Shape = std::vector<int64_t>;
using Names = std::vector<std::string>;
using Place = std::pair<Memory::Kind, int>;

SelectKArgs contiguous(Shape shape, int64_t k, int bytes = 4, bool largest = false) {
  Shape strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;) {
    strides[d - 1] = strides[d] * shape[d];
  }
  return {shape, strides, bytes, false, 0, k, largest};
}

template <typename Params>
Params params_of(const Launch& launch, size_t argument) {
  Params params{};
  const auto& bytes = std::get<Bytes>(launch.arguments.at(argument));
  CHECK(bytes.size() == sizeof(Params));
  std::memcpy(&params, bytes.data(), std::min(bytes.size(), sizeof(Params)));
  return params;
}

std::vector<Launch> launches_of(const Plan& plan) {
  std::vector<Launch> out;
  for (const Step& step : plan.steps) {
    out.push_back(std::get<Launch>(step));
  }
  return out;
}

Names kernels_of(const Plan& plan) {
  Names out;
  for (const Launch& l : launches_of(plan)) {
    out.push_back(l.kernel);
  }
  return out;
}

// What each kernel does with its buffers, as its signature says.
const std::map<std::string, std::vector<Access>> kAccess = {
    {"select_k_simd", {Access::read, Access::write, Access::write}},
    {"select_k_rows", {Access::read, Access::write, Access::write}},
    {"select_k_segments", {Access::read, Access::write}},
    {"select_k_merge_lists", {Access::read, Access::write}},
    {"select_k_merge", {Access::read, Access::read, Access::write, Access::write}},
    {"select_k_filter", {Access::read, Access::read_write, Access::write}},
    {"select_k_radix_row", {Access::read, Access::write}},
    {"select_k_radix_begin", {Access::write, Access::write}},
    {"select_k_radix_count", {Access::read, Access::read, Access::read_write}},
    {"select_k_radix_choose", {Access::read_write, Access::read_write}},
    {"select_k_radix_tally", {Access::read, Access::read, Access::write}},
    {"select_k_radix_offsets", {Access::read_write}},
    {"select_k_radix_gather", {Access::read, Access::read, Access::read, Access::write}},
    {"select_k_sort_tiles", {Access::read, Access::write}},
    {"select_k_merge_runs", {Access::read, Access::write}},
    {"select_k_write", {Access::read, Access::read, Access::write, Access::write}},
};

// Every launch fits a GPU, binds a memory once, in the right direction, and reads what was written before it.
void check_plan(const Plan& plan) {
  std::set<Place> written;
  std::map<Place, int> outputs;
  for (const Launch& l : launches_of(plan)) {
    CHECK(l.family == "select_k");
    CHECK(l.groups.x > 0 && l.groups.x < (int64_t{1} << 31) && l.groups.y == 1 && l.groups.z == 1);
    CHECK(l.threads.x % 32 == 0 && l.threads.x > 0 && l.threads.x <= 1024);
    CHECK(l.threadgroup_bytes <= 32768 - 16);
    const std::vector<Access>& accesses = kAccess.at(l.kernel);
    std::set<Place> bound;
    for (size_t i = 0; i < l.arguments.size(); i++) {
      const auto* buffer = std::get_if<Buffer>(&l.arguments[i]);
      CHECK((buffer != nullptr) == (i < accesses.size()));
      if (buffer == nullptr) {
        continue;
      }
      Place place{buffer->memory.kind, buffer->memory.index};
      CHECK(buffer->access == accesses[i]);
      CHECK(bound.insert(place).second);
      CHECK(buffer->access != Access::read || place.first == Memory::Kind::input || written.count(place));
      CHECK(place.first == Memory::Kind::input || buffer->access != Access::read_write || written.count(place) ||
            l.kernel == "select_k_filter");
      CHECK(place.first != Memory::Kind::scratch || plan.scratch.at(place.second) > 0);
      outputs[place] += place.first == Memory::Kind::output;
      if (buffer->access != Access::read) {
        CHECK(place.first != Memory::Kind::input);
        written.insert(place);
      }
    }
  }
  CHECK((outputs[{Memory::Kind::output, 0}] == 1 && outputs[{Memory::Kind::output, 1}] == 1));
}

void check_kernels(const SelectKArgs& args, const Names& expected, const SelectKSizes& sizes = {}) {
  Plan plan = select_k_plan(args, sizes);
  check_plan(plan);
  Names kernels = kernels_of(plan);
  CHECK(kernels == expected);
  if (kernels != expected) {
    for (const auto& k : kernels) {
      std::printf("  %s\n", k.c_str());
    }
  }
}

const Names kDigits32 = {"select_k_radix_count",  "select_k_radix_choose", "select_k_radix_count",
                         "select_k_radix_choose", "select_k_radix_count",  "select_k_radix_choose"};
const Names kDigits16(kDigits32.begin(), kDigits32.begin() + 4);

Names join(std::initializer_list<Names> parts) {
  Names out;
  for (const Names& part : parts) {
    out.insert(out.end(), part.begin(), part.end());
  }
  return out;
}

void test_which_kernels() {
  const Names gather = {"select_k_radix_tally", "select_k_radix_offsets", "select_k_radix_gather"};
  check_kernels(contiguous({3, 1024}, 128), {"select_k_simd"});
  check_kernels(contiguous({3, 1024}, 129), {"select_k_rows"});
  check_kernels(contiguous({3, 1025}, 1), {"select_k_rows"});
  check_kernels(contiguous({1, 2048}, 2048), {"select_k_rows"});
  check_kernels(contiguous({1, 40000}, 1), {"select_k_segments", "select_k_merge"});
  check_kernels(contiguous({2000, 40000}, 1), {"select_k_rows"});  // threadgroups enough
  check_kernels(contiguous({1, 100'000'000}, 1000),
                {"select_k_segments", "select_k_merge_lists", "select_k_merge_lists", "select_k_merge"});
  check_kernels(contiguous({1, 2049}, 2049), {"select_k_sort_tiles", "select_k_merge_runs", "select_k_write"});
  for (int64_t n : {10'000, 16'384}) {
    check_kernels(contiguous({1, n}, 3000),
                  {"select_k_radix_row", "select_k_sort_tiles", "select_k_merge_runs", "select_k_write"});
  }
  check_kernels(contiguous({1, 16'385}, 3000),
                join({{"select_k_radix_begin"},
                      kDigits32,
                      gather,
                      {"select_k_sort_tiles", "select_k_merge_runs", "select_k_write"}}));
  check_kernels(contiguous({1, 20'000}, 3000, 2),
                join({{"select_k_radix_begin"},
                      kDigits16,
                      gather,
                      {"select_k_sort_tiles", "select_k_merge_runs", "select_k_write"}}));
  check_kernels(contiguous({1, 60'000}, 3000),
                {"select_k_filter", "select_k_sort_tiles", "select_k_merge_runs", "select_k_write"});
  check_kernels(contiguous({1, 100'000}, 3000),
                join({{"select_k_filter", "select_k_radix_begin"},
                      kDigits32,
                      gather,
                      {"select_k_sort_tiles", "select_k_merge_runs", "select_k_write"}}));
}

// Segments of rows cover them, and every one has a place for its pairs.
void test_segments() {
  for (int64_t n : {64, 65, 127, 128, 1000, 1001}) {
    for (int64_t rows : {1, 3}) {
      for (int64_t k : {1, 2, 3}) {
        SelectKSizes sizes;
        sizes.simd_n = 8;
        sizes.segment = 32;
        sizes.segment_per_k = 10;
        sizes.fan_in = 7;
        sizes.wanted_groups = 16;
        Plan plan = select_k_plan(contiguous({rows, n}, k), sizes);
        check_plan(plan);
        Launch first = launches_of(plan)[0];
        CHECK(first.kernel == "select_k_segments");
        auto p = params_of<SelectKParams>(first, 2);
        CHECK(p.rows == rows && p.n == n && p.segments > 1);
        CHECK((p.segments - 1) * p.length < n && n <= p.segments * p.length);
        CHECK(first.groups.x == p.rows * p.segments && p.groups == first.groups.x);
        CHECK(plan.scratch.at(0) == p.rows * p.segments * k * 8);
        int64_t lists = p.segments;
        for (const Launch& l : launches_of(plan)) {
          if (l.kernel == "select_k_segments") {
            continue;
          }
          auto m = params_of<SelectKMergeParams>(l, l.kernel == "select_k_merge" ? 4 : 2);
          CHECK(m.lists == lists && m.rows == rows && m.fan_in >= 2 && m.merged * m.fan_in >= lists);
          CHECK((m.merged - 1) * m.fan_in < lists);
          lists = m.merged;
        }
        CHECK(lists == 1);
      }
    }
  }
}

void test_constants() {
  for (int bytes : {2, 4}) {
    for (bool half : {false, true}) {
      SelectKArgs args = contiguous({5, 2000}, 10, bytes, true);
      args.half = half;
      args.misaligned = 12;
      Launch l = launches_of(select_k_plan(args))[0];
      auto p = params_of<SelectKParams>(l, 3);
      CHECK(l.name() == (bytes == 2 ? "select_k_rows_16" : "select_k_rows_32"));
      CHECK(p.flip == 0x80000000u && p.infinity == (bytes == 2 && half ? 0x7c000000u : 0x7f800000u));
      CHECK(p.misaligned == 12u / bytes && p.k == 10 && p.capacity == 32 && p.room == 256);
      CHECK(l.threadgroup_bytes == 8 * (32 + 256));
      CHECK(p.threads == 128 && l.threads.x == 128);
    }
  }
  CHECK(launches_of(select_k_plan(contiguous({9, 64}, 32)))[0].name() == "select_k_simd_32_1");
  CHECK(launches_of(select_k_plan(contiguous({9, 64}, 33)))[0].name() == "select_k_simd_32_4");
  CHECK(launches_of(select_k_plan(contiguous({9, 64}, 33)))[0].groups.x == 2);
  CHECK(launches_of(select_k_plan(contiguous({1, 5000}, 2048)))[0].threadgroup_bytes == 8 * (2048 + 1024));
}

void test_strides() {
  SelectKArgs args{{2, 3, 4, 5, 50}, {3600, 1200, 250, 50, -1}, 4, false, 0, 5, false};
  auto p = params_of<SelectKParams>(launches_of(select_k_plan(args))[0], 3);
  CHECK(p.batch_dims == 2 && p.rows == 120 && p.col_stride == -1);
  CHECK(p.batch_shape[0] == 6 && p.batch_strides[0] == 1200 && p.batch_shape[1] == 20 && p.batch_strides[1] == 50);
  args = {{1, 3, 1, 50}, {999, 0, 77, 2}, 4, false, 0, 5, false};
  p = params_of<SelectKParams>(launches_of(select_k_plan(args))[0], 3);
  CHECK(p.batch_dims == 1 && p.batch_shape[0] == 3 && p.batch_strides[0] == 0 && p.col_stride == 2);
  p = params_of<SelectKParams>(launches_of(select_k_plan(contiguous({50}, 3)))[0], 3);
  CHECK(p.batch_dims == 0 && p.rows == 1);
}

// More rows than a grid has threadgroups, more than 2^32 elements, the longest row.
void test_huge() {
  for (int64_t k : {1, 100, 2048, 2049, 30'000, 1'000'000, 2'147'483'647}) {
    for (const Shape& shape : {Shape{2'147'483'647}, Shape{70'000, 70'000}, Shape{3, 2'000'000'000},
                               Shape{2'000'000'000, 4, 3}, Shape{65'536, 65'536, 1}, Shape{100'000'000, 129}}) {
      if (k <= shape.back()) {
        Plan plan = select_k_plan(contiguous(shape, k));
        check_plan(plan);
        int64_t elements = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
        for (int64_t bytes : plan.scratch) {
          CHECK(bytes > 0 && bytes <= 16 * elements + (int64_t{1} << 31));
        }
        for (const Launch& l : launches_of(plan)) {
          CHECK(l.groups.x <= 1 << 20);
        }
      }
    }
  }
  SelectKSizes few;
  few.max_groups = 2;
  for (int64_t k : {5, 500, 2060}) {
    Plan plan = select_k_plan(contiguous({7, 5000}, k), few);
    check_plan(plan);
    for (const Launch& l : launches_of(plan)) {
      CHECK(l.groups.x <= 2);
    }
  }
}

// Scratch of the selection stays within a quarter of x where k is small.
void test_scratch() {
  for (int64_t k : {1, 10, 100, 1000, 2048}) {
    Plan plan = select_k_plan(contiguous({10, 50'000'000}, k));
    CHECK(std::accumulate(plan.scratch.begin(), plan.scratch.end(), int64_t{0}) < 10 * 50'000'000);
  }
}

}  // namespace

int main() {
  test_which_kernels();
  test_segments();
  test_constants();
  test_strides();
  test_huge();
  test_scratch();
  std::printf("%d failures\n", failures);
  return failures != 0;
}
