#include "ops/at_once.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "cpu/parallel.h"
#include "mlx/ops.h"
#include "mlx/stream.h"
#include "ops/common.h"

namespace metalfaiss::ops {

namespace {

constexpr int64_t kFew = 64;  // queries: for more, a computation takes all threads that it can get

thread_local bool at_once = false;

bool is_at_once(const mx::array& x) {
  return x.has_primitive() && dynamic_cast<const AtOnce*>(&x.primitive()) != nullptr;
}

bool is_done(const mx::array& x) {
  return x.status() != mx::array::Status::unscheduled && x.is_available();
}

bool collect(const mx::array& x, mx::Stream s, std::vector<mx::array>& nodes) {
  if (x.is_tracer()) {
    return false;
  }
  if (is_done(x)) {
    return true;
  }
  auto is_x = [&](const mx::array& y) { return y.id() == x.id(); };
  for (const mx::array& node : nodes) {
    const std::vector<mx::array>& siblings = node.siblings();
    if (is_x(node) || std::any_of(siblings.begin(), siblings.end(), is_x)) {
      return true;
    }
  }
  if (!is_at_once(x) || x.primitive().stream() != s) {
    return false;
  }
  for (const mx::array& input : x.inputs()) {
    if (!collect(input, s, nodes)) {
      return false;
    }
  }
  nodes.push_back(x);
  return true;
}

std::atomic<int> running{0};                // computations
std::atomic<int64_t> crowded_at{0};         // when there were several
constexpr int64_t kCrowdLasts = 2'000'000;  // nanoseconds

class Inline {
 public:
  Inline() { at_once = true; }
  ~Inline() { at_once = false; }
  Inline(const Inline&) = delete;
  Inline& operator=(const Inline&) = delete;
};

void compute(mx::array& node) {
  std::vector<mx::array> outputs = node.outputs();
  node.primitive().eval_cpu(node.inputs(), outputs);
  for (mx::array& output : outputs) {
    output.set_status(mx::array::Status::available);
  }
  node.detach();
}

}  // namespace

bool running_at_once() {
  return at_once;
}

std::vector<mx::array> computable_at_once(const std::vector<mx::array>& wanted) {
  std::optional<mx::Stream> s = mx::peek_default_stream(mx::Device::cpu);
  std::vector<mx::array> nodes;
  bool all = s && !runs_gpu_kernels(*s) &&
             std::all_of(wanted.begin(), wanted.end(), [&](const mx::array& x) { return collect(x, *s, nodes); });
  return all ? nodes : std::vector<mx::array>();
}

// For two milliseconds after there were several there are at least two: threads that search again and again meet each
// other all the time, but not at every moment.
Sharing::Sharing(int64_t queries) {
  int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
  int sharers = running.fetch_add(1) + 1;
  if (sharers > 1) {
    crowded_at = now;
  } else if (now - crowded_at < kCrowdLasts) {
    sharers = 2;
  }
  if (queries <= kFew) {
    share_.emplace(sharers);
  }
}

Sharing::~Sharing() {
  running.fetch_sub(1);
}

void compute_at_once(std::vector<mx::array>& nodes) {
  int64_t queries = 0;
  for (const mx::array& node : nodes) {
    queries = std::max<int64_t>(queries, node.ndim() > 0 ? node.shape(0) : 1);
  }
  Sharing sharing(queries);
  Inline here;
  for (mx::array& node : nodes) {
    compute(node);
  }
}

mx::array row_contiguous(const mx::array& x, mx::Stream s) {
  bool known = x.status() == mx::array::Status::available ? x.flags().row_contiguous && !x.is_tracer() : is_at_once(x);
  return known ? x : mx::contiguous(x, false, s);
}

}  // namespace metalfaiss::ops
