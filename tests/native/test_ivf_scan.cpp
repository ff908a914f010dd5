// Scans of inverted lists against plain sums over the decoded entries, in float64.
#include <algorithm>
#include <limits>
#include <tuple>

#include "check.h"
#include "cpu/ivf_scan.h"
#include "cpu/scalar_quantizer.h"

using namespace metalfaiss::cpu;

namespace {

constexpr int64_t kSizes[] = {0, 1, 47, 48, 49, 0, 130, 700};
constexpr int64_t kLists = std::size(kSizes);

struct Entry {
  float distance;
  int64_t id, list, offset;
};

struct Case {
  CodeType type;
  int64_t d, nq, nprobe;
  bool residual, inner_product, filtered, limited;
};

bool odd(int64_t id) {
  return id % 2;
}

// Lists, queries and what they probe, and what a scan shall find.
class Problem {
 public:
  explicit Problem(const Case& c) : c_(c), vmin_(c.d, -4), vdiff_(c.d, 8), codec_{c.type, c.d, nullptr, nullptr} {
    codec_.vmin = vmin_.data();
    codec_.vdiff = vdiff_.data();
    queries_ = normal(c.nq * c.d, 1);
    centroids_ = normal(kLists * c.d, 2);
    for (int64_t list = 0, id = 0; list < kLists; list++) {
      int64_t n = kSizes[list];
      auto x = normal(n * c.d, 3 + static_cast<unsigned>(list));
      codes_.emplace_back(n * codec_.code_size() + 1);
      decoded_.emplace_back(n * c.d + 1);
      ids_.emplace_back(n + 1);
      scalar_encode({codec_, n, x.data(), codes_.back().data(), nullptr, nullptr});
      scalar_decode({codec_, n, codes_.back().data(), decoded_.back().data()});
      for (int64_t i = 0; i < n; i++) {
        ids_.back()[i] = (id++ * 7919) % 100003;  // all different, in no order
        for (int64_t p = 0; c.residual && p < c.d; p++) {
          decoded_.back()[i * c.d + p] += centroids_[list * c.d + p];
        }
      }
    }
    for (int64_t list = 0; list < kLists; list++) {
      lists_.push_back({codes_[list].data(), ids_[list].data(), kSizes[list]});
    }
    for (int64_t i = 0; i < c.nq * c.nprobe; i++) {
      probes_.push_back((i / c.nprobe + 3 * (i % c.nprobe)) % (kLists + 1) - 1);  // some of them none
      limits_.push_back(i % 5 * 30);
    }
  }

  IvfScanArgs args() const {
    IvfScanArgs args{};
    args.queries = queries_.data();
    args.num_queries = c_.nq;
    args.codec = codec_;
    args.lists = lists_.data();
    args.nlist = kLists;
    args.probes = probes_.data();
    args.nprobe = c_.nprobe;
    args.centroids = c_.residual ? centroids_.data() : nullptr;
    args.inner_product = c_.inner_product;
    args.limits = c_.limited ? limits_.data() : nullptr;
    if (c_.filtered) {
      args.members = [](const void*, const int64_t* ids, int64_t n, uint8_t* out) {
        std::transform(ids, ids + n, out, odd);
      };
    }
    return args;
  }

  // All entries that a query looks at, best first.
  std::vector<Entry> entries(int64_t q) const {
    std::vector<Entry> out;
    for (int64_t j = q * c_.nprobe; j < (q + 1) * c_.nprobe; j++) {
      int64_t list = probes_[j];
      for (int64_t i = 0; list >= 0 && i < (c_.limited ? std::min(limits_[j], kSizes[list]) : kSizes[list]); i++) {
        if (!c_.filtered || odd(ids_[list][i])) {
          out.push_back({distance(q, list, i), ids_[list][i], list, i});
        }
      }
    }
    std::sort(out.begin(), out.end(), [&](const Entry& a, const Entry& b) {
      return std::tuple(c_.inner_product ? -a.distance : a.distance, a.id) <
             std::tuple(c_.inner_product ? -b.distance : b.distance, b.id);
    });
    return out;
  }

  int64_t lists_of_all() const {
    int64_t n = 0;
    for (size_t j = 0; j < probes_.size(); j++) {
      n += probes_[j] >= 0 && kSizes[probes_[j]] > 0 && (!c_.limited || limits_[j] > 0);
    }
    return n;
  }

 private:
  float distance(int64_t q, int64_t list, int64_t i) const {
    double sum = 0;
    for (int64_t p = 0; p < c_.d; p++) {
      double a = queries_[q * c_.d + p], b = decoded_[list][i * c_.d + p];
      sum += c_.inner_product ? a * b : (a - b) * (a - b);
    }
    return static_cast<float>(sum);
  }

  Case c_;
  std::vector<float> vmin_, vdiff_, queries_, centroids_;
  RowCodec codec_;
  std::vector<std::vector<uint8_t>> codes_;
  std::vector<std::vector<float>> decoded_;
  std::vector<std::vector<int64_t>> ids_;
  std::vector<ScanList> lists_;
  std::vector<int64_t> probes_, limits_;
};

bool close(float a, float b) {
  return std::abs(a - b) <= 1e-5 * std::abs(b) + 1e-5;
}

void test_nearest(const Case& c, int64_t k, bool places) {
  Problem problem(c);
  std::vector<float> distances(c.nq * k);
  std::vector<int64_t> ids(c.nq * k);
  IvfScanCounts counts{};
  IvfScanArgs args = problem.args();
  args.k = k;
  args.places = places;
  args.distances = distances.data();
  args.ids = ids.data();
  args.counts = &counts;
  ivf_scan(args);
  bool same = true;
  int64_t scanned = 0;
  for (int64_t q = 0; q < c.nq; q++) {
    auto wanted = problem.entries(q);
    int64_t n = static_cast<int64_t>(wanted.size());
    scanned += n;
    for (int64_t i = 0; i < k; i++) {
      float got = distances[q * k + i];
      int64_t id = ids[q * k + i];
      if (i >= n) {
        float worst = std::numeric_limits<float>::max();
        same = same && id == -1 && got == (c.inner_product ? -worst : worst);
        continue;
      }
      // Of entries as near as each other to rounding, any may stand here.
      bool found = std::any_of(wanted.begin(), wanted.end(), [&](const Entry& e) {
        return (places ? e.list << 32 | e.offset : e.id) == id && close(e.distance, got);
      });
      same = same && found && close(got, wanted[i].distance);
    }
  }
  CHECK(same);
  CHECK(counts.distances == scanned);
  CHECK(counts.lists == problem.lists_of_all());
  CHECK(counts.candidates <= scanned && (scanned == 0 || counts.candidates > 0));
}

void test_within(const Case& c) {
  using Found = std::vector<std::tuple<int64_t, int64_t>>;  // query, id
  Problem problem(c);
  float radius = c.inner_product ? 1.0f : 1.7f * static_cast<float>(c.d);
  std::vector<Found> found(num_threads());
  auto emit = [](void* sink, int64_t worker, int64_t query, float, int64_t id) {
    (*static_cast<std::vector<Found>*>(sink))[worker].emplace_back(query, id);
  };
  ivf_range_scan({problem.args(), radius, num_threads(), emit, &found});
  Found got, wanted;
  for (auto& of_worker : found) {
    got.insert(got.end(), of_worker.begin(), of_worker.end());
  }
  for (int64_t q = 0; q < c.nq; q++) {
    for (const Entry& e : problem.entries(q)) {
      if (c.inner_product ? e.distance > radius : e.distance < radius) {
        wanted.emplace_back(q, e.id);
      }
    }
  }
  std::sort(got.begin(), got.end());
  std::sort(wanted.begin(), wanted.end());
  CHECK(!wanted.empty() && got == wanted);
}

}  // namespace

int main() {
  return at_every_level([] {
    for (CodeType type : {CodeType::f32, CodeType::f16, CodeType::sq8, CodeType::sq4}) {
      for (int64_t nq : {1, 5, 60}) {
        for (int options = 0; options < 16; options++) {
          Case c{type, 19, nq, 4, (options & 1) != 0, (options & 2) != 0, (options & 4) != 0, (options & 8) != 0};
          test_nearest(c, options & 4 ? 300 : 5, (options & 8) == 0);
        }
      }
    }
    for (CodeType type : {CodeType::f32, CodeType::sq6}) {
      for (bool inner_product : {false, true}) {
        test_within({type, 19, 30, 4, true, inner_product, false, false});
        test_within({type, 33, 7, 3, false, inner_product, true, false});
        test_nearest({type, 150, 1, 4, false, inner_product, false, false}, 5, false);
      }
    }
  });
}
