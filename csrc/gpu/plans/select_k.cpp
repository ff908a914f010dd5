#include "gpu/plans/select_k.h"

#include <algorithm>

#include "gpu/plans/select_k_parts.h"

namespace metalfaiss::gpu {

namespace select_k {

namespace {

constexpr int64_t kSimdK = 128;     // 4 pairs a lane
constexpr int64_t kSimdRows = 8;    // simdgroups of a threadgroup
constexpr int64_t kPerThread = 16;  // values between two barriers
constexpr int64_t kPlaces = 32;     // below so many, a queue costs the same

// A queue: what a merge costs grows with its capacity, so larger ones gather more before it and share it among more
// threads.
struct Queue {
  int64_t capacity, room, threads;

  // Of k pairs, fed `n` at a time to `per_thread` each.
  Queue(int64_t k, int64_t n, int64_t per_thread)
      : capacity(std::max(ceil_power_of_2(k), kPlaces)),
        room(std::clamp<int64_t>(capacity, 256, 1024)),
        threads(std::clamp<int64_t>(ceil_power_of_2(ceil_div(n, per_thread)), 32, capacity <= 256 ? 256 : 512)) {}

  int64_t bytes() const { return (capacity + room) * kPairBytes; }

  template <typename Params>
  void into(Params& p) const {
    p.capacity = static_cast<uint32_t>(capacity);
    p.room = static_cast<uint32_t>(room);
    p.threads = static_cast<uint32_t>(threads);
  }
};

void plan_simd(Plan& plan, const SelectKArgs& args, const SelectKSizes& sizes) {
  SelectKParams p = rows_of(args);
  p.groups = groups_for(ceil_div(p.rows, kSimdRows), sizes);
  p.threads = 32 * kSimdRows;
  Launch l = launch("select_k_simd", 8 * args.element_bytes, p.groups, p.threads,
                    {read(input(0)), write(output(0)), write(output(1)), bytes_of(p)});
  l.constants.push_back({"LIST", std::to_string(args.k <= 32 ? 1 : 4)});
  plan.steps.push_back(l);
}

// The pairs of all segments, (rows, lists, k), to the result.
void plan_merges(Plan& plan, const SelectKArgs& args, SelectKParams p, Memory pairs, const SelectKSizes& sizes) {
  int64_t fan_in = std::max<int64_t>(2, sizes.fan_in / args.k);
  SelectKMergeParams m{};
  m.rows = p.rows;
  m.k = p.k;
  for (m.lists = p.segments;; m.lists = m.merged) {
    m.fan_in = std::min(fan_in, m.lists);
    m.merged = ceil_div(m.lists, m.fan_in);
    m.groups = groups_for(m.rows * m.merged, sizes);
    Queue queue(args.k, m.fan_in * args.k, 1);
    queue.into(m);
    queue.into(p);
    if (m.merged == 1) {
      Launch last = launch("select_k_merge", 8 * args.element_bytes, m.groups, queue.threads,
                           {read(pairs), read(input(0)), write(output(0)), write(output(1)), bytes_of(m), bytes_of(p)});
      last.threadgroup_bytes = queue.bytes();
      plan.steps.push_back(last);
      return;
    }
    Memory merged = plan.allocate(m.rows * m.merged * args.k * kPairBytes);
    Launch l = launch("select_k_merge_lists", 32, m.groups, queue.threads, {read(pairs), write(merged), bytes_of(m)});
    l.threadgroup_bytes = queue.bytes();
    plan.steps.push_back(l);
    pairs = merged;
  }
}

void plan_queue(Plan& plan, const SelectKArgs& args, const SelectKSizes& sizes) {
  SelectKParams p = rows_of(args);
  int64_t least = std::max(sizes.segment, sizes.segment_per_k * args.k);
  // Whole rows where that makes half of the groups that are wanted: a merge costs more than what the others would gain.
  int64_t segments = std::max<int64_t>(1, std::min(sizes.wanted_groups / p.rows, p.n / least));
  p.length = ceil_div(ceil_div(p.n, segments), kPerThread) * kPerThread;
  p.segments = ceil_div(p.n, p.length);
  p.groups = groups_for(p.rows * p.segments, sizes);
  Queue queue(args.k, p.length, kPerThread);
  queue.into(p);
  if (p.segments == 1) {
    Launch l = launch("select_k_rows", 8 * args.element_bytes, p.groups, queue.threads,
                      {read(input(0)), write(output(0)), write(output(1)), bytes_of(p)});
    l.threadgroup_bytes = queue.bytes();
    plan.steps.push_back(l);
    return;
  }
  Memory pairs = plan.allocate(p.rows * p.segments * args.k * kPairBytes);
  Launch l = launch("select_k_segments", 8 * args.element_bytes, p.groups, queue.threads,
                    {read(input(0)), write(pairs), bytes_of(p)});
  l.threadgroup_bytes = queue.bytes();
  plan.steps.push_back(l);
  plan_merges(plan, args, p, pairs, sizes);
}

}  // namespace

SelectKParams rows_of(const SelectKArgs& args) {
  SelectKParams p{};
  p.rows = 1;
  p.n = args.shape.back();
  p.segments = 1;
  p.length = p.n;
  p.col_stride = p.n == 1 ? 1 : args.strides.back();
  std::vector<int64_t> shape, strides;  // without dimensions of 1, neighbours joined where they can be
  for (size_t d = 0; d + 1 < args.shape.size(); d++) {
    p.rows *= args.shape[d];
    if (args.shape[d] == 1) {
      continue;
    }
    if (!shape.empty() && strides.back() == args.shape[d] * args.strides[d]) {
      shape.back() *= args.shape[d];
      strides.back() = args.strides[d];
    } else {
      shape.push_back(args.shape[d]);
      strides.push_back(args.strides[d]);
    }
  }
  p.batch_dims = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), p.batch_shape);
  std::copy(strides.begin(), strides.end(), p.batch_strides);
  p.misaligned = static_cast<uint32_t>(args.misaligned / args.element_bytes);
  p.k = static_cast<uint32_t>(args.k);
  p.flip = args.largest ? 0x80000000u : 0;
  p.infinity = args.element_bytes == 2 && args.half ? 0x7c000000u : 0x7f800000u;
  return p;
}

SelectKParams pair_rows(int64_t rows, int64_t n, int64_t k) {
  SelectKParams p{};
  p.rows = rows;
  p.n = n;
  p.segments = 1;
  p.length = n;
  p.col_stride = 1;
  p.batch_dims = 1;
  p.batch_shape[0] = rows;
  p.batch_strides[0] = n;
  p.k = static_cast<uint32_t>(k);
  return p;
}

int64_t groups_for(int64_t work, const SelectKSizes& sizes) {
  return std::min(work, sizes.max_groups);
}

Launch launch(const char* kernel, int bits, int64_t groups, int64_t threads, std::vector<Argument> arguments) {
  return {"select_k", kernel, {{"BITS", std::to_string(bits)}}, std::move(arguments), {groups, 1, 1}, {threads, 1, 1}};
}

}  // namespace select_k

Plan select_k_plan(const SelectKArgs& args, const SelectKSizes& sizes) {
  using namespace select_k;
  Plan plan;
  if (args.k > sizes.queue_k) {
    plan_radix(plan, args, sizes);
  } else if (args.shape.back() <= sizes.simd_n && args.k <= kSimdK) {
    plan_simd(plan, args, sizes);
  } else {
    plan_queue(plan, args, sizes);
  }
  return plan;
}

}  // namespace metalfaiss::gpu
