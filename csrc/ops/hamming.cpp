#include "ops/hamming.h"

#include <algorithm>
#include <limits>

#include "cpu/hamming.h"
#include "cpu/parallel.h"
#include "mlx/transforms.h"

namespace metalfaiss::ops {

namespace {

constexpr const char* kKnnHamming = "knn_hamming";
constexpr const char* kAll = "hammings";
constexpr const char* kRangeHamming = "range_search_hamming";

// Matrix `batch` of both operands; a set of codes without batch dimensions of its own is searched by all queries.
cpu::HammingArgs view(const mx::array& q, const mx::array& b, const mx::Shape& out, int64_t batch) {
  auto start = [&](const mx::array& a) { return reinterpret_cast<const uint8_t*>(matrix_view(a, out, batch).data); };
  return {start(q), q.shape(-2), start(b), nullptr, b.shape(-2), b.shape(-1)};
}

class KnnHamming : public AtOnce {
 public:
  KnnHamming(mx::Stream s, int64_t k) : AtOnce(s), k_(k) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    allocate(outputs[0]);
    allocate(outputs[1]);
    schedule(stream(), [inputs, distances = outputs[0], ids = outputs[1], k = k_]() mutable {
      const mx::Shape& out = distances.shape();
      int64_t results = out[out.size() - 2] * k;
      for (int64_t i = 0; results && i < batch_size(out); i++) {
        cpu::HammingArgs g = view(inputs[0], inputs[1], out, i);
        if (inputs.size() == 3) {
          g.rows = inputs[2].data<int64_t>();
          g.n = inputs[2].shape(0);
        }
        cpu::knn_hamming({g, k, distances.data<int32_t>() + i * results, ids.data<int64_t>() + i * results});
      }
    });
  }

  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    throw std::runtime_error(
        message(kKnnHamming, "It runs on CPU streams: pass stream=mx.cpu. Received a GPU stream."));
  }

  // Codes are integers: nothing here has a derivative other than zero.
  std::vector<mx::array> jvp(const std::vector<mx::array>& primals, const std::vector<mx::array>&,
                             const std::vector<int>&) override {
    auto shapes = output_shapes(primals);
    return {mx::zeros(shapes[0], mx::int32, stream()), mx::zeros(shapes[1], mx::int64, stream())};
  }

  std::vector<mx::array> vjp(const std::vector<mx::array>& primals, const std::vector<mx::array>&,
                             const std::vector<int>& argnums, const std::vector<mx::array>&) override {
    std::vector<mx::array> out;
    for (int i : argnums) {
      out.push_back(mx::zeros_like(primals[i], stream()));
    }
    return out;
  }

  std::pair<std::vector<mx::array>, std::vector<int>> vmap(const std::vector<mx::array>& inputs,
                                                           const std::vector<int>& axes) override {
    require(inputs.size() == 2, kKnnHamming, "rows must be None under vmap. Received an array.");
    auto moved = map_to_front(inputs, axes, stream());
    auto [distances, ids] = knn_hamming(moved[0], moved[1], k_, {}, stream());
    return {{distances, ids}, {0, 0}};
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    auto k = static_cast<mx::ShapeElem>(k_);
    mx::Shape shape = broadcast_batch(kKnnHamming, inputs[0], inputs[1], {inputs[0].shape(-2), k});
    return {shape, shape};
  }

  const char* name() const override { return kKnnHamming; }

  bool is_equivalent(const Primitive& other) const override { return k_ == static_cast<const KnnHamming&>(other).k_; }

 private:
  int64_t k_;
};

class Hammings : public AtOnce {
 public:
  explicit Hammings(mx::Stream s) : AtOnce(s) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    allocate(outputs[0]);
    schedule(stream(), [q = inputs[0], b = inputs[1], distances = outputs[0]]() mutable {
      const mx::Shape& out = distances.shape();
      constexpr int64_t rows = 64;  // of a task
      int64_t nq = out[out.size() - 2], nb = out.back(), tasks = (nq + rows - 1) / rows;
      cpu::parallel_for(batch_size(out) * tasks, [&](int64_t task) {
        int64_t i = task / tasks, first = task % tasks * rows;
        cpu::HammingArgs g = view(q, b, out, i);
        g.queries += first * g.code_size;
        g.nq = std::min(rows, nq - first);
        cpu::hammings({g, distances.data<int32_t>() + (i * nq + first) * nb});
      });
    });
  }

  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    throw std::runtime_error(message(kAll, "It runs on CPU streams: pass stream=mx.cpu. Received a GPU stream."));
  }

  std::vector<mx::array> jvp(const std::vector<mx::array>& primals, const std::vector<mx::array>&,
                             const std::vector<int>&) override {
    return {mx::zeros(output_shapes(primals)[0], mx::int32, stream())};
  }

  std::vector<mx::array> vjp(const std::vector<mx::array>& primals, const std::vector<mx::array>&,
                             const std::vector<int>& argnums, const std::vector<mx::array>&) override {
    std::vector<mx::array> out;
    for (int i : argnums) {
      out.push_back(mx::zeros_like(primals[i], stream()));
    }
    return out;
  }

  std::pair<std::vector<mx::array>, std::vector<int>> vmap(const std::vector<mx::array>& inputs,
                                                           const std::vector<int>& axes) override {
    auto moved = map_to_front(inputs, axes, stream());
    return {{hammings(moved[0], moved[1], stream())}, {0}};
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    return {broadcast_batch(kAll, inputs[0], inputs[1], {inputs[0].shape(-2), inputs[1].shape(-2)})};
  }

  const char* name() const override { return kAll; }

  bool is_equivalent(const Primitive&) const override { return true; }
};

// Row-contiguous operands of matching code sizes.
std::vector<mx::array> operands(const char* op, const mx::array& xq, const mx::array& xb, mx::Stream s) {
  for (auto [name, a] : {std::pair{"xq", &xq}, {"xb", &xb}}) {
    if (a->dtype() != mx::uint8) {
      throw TypeError(message(op, name, " must be an array of uint8. Received another dtype."));
    }
    require_matrix(op, name, *a);
  }
  constexpr int64_t most = 1 << 27;  // bytes: distances are int32
  require(xq.shape(-1) == xb.shape(-1), op, "xq and xb must have the same number of columns. Received ", xq.shape(),
          " and ", xb.shape(), ".");
  require(xq.shape(-1) >= 1 && xq.shape(-1) < most, op, "Codes must have from 1 to 2^27 - 1 bytes. Received ",
          xq.shape(), ".");
  return {row_contiguous(xq, s), row_contiguous(xb, s)};
}

void add_rows(const char* op, const std::optional<mx::array>& rows, std::vector<mx::array>& inputs, mx::Stream s) {
  if (rows) {
    require(rows->ndim() == 1, op, "rows must have 1 dimension. Received shape ", rows->shape(), ".");
    require(inputs[1].ndim() == 2, op, "xb must have 2 dimensions where rows are given. Received shape ",
            inputs[1].shape(), ".");
    inputs.push_back(row_contiguous(mx::astype(*rows, mx::int64, s), s));
  }
}

}  // namespace

std::pair<mx::array, mx::array> knn_hamming(const mx::array& xq, const mx::array& xb, int64_t k,
                                            const std::optional<mx::array>& rows, mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream(kKnnHamming, s);
  require(k >= 1 && k <= std::numeric_limits<mx::ShapeElem>::max(), kKnnHamming,
          "k must be at least 1 and less than 2^31. Received ", k, ".");
  auto inputs = operands(kKnnHamming, xq, xb, stream);
  add_rows(kKnnHamming, rows, inputs, stream);
  auto primitive = std::make_shared<KnnHamming>(stream, k);
  auto shapes = primitive->output_shapes(inputs);
  auto out = mx::array::make_arrays(shapes, {mx::int32, mx::int64}, primitive, inputs);
  return {out[0], out[1]};
}

mx::array hammings(const mx::array& xq, const mx::array& xb, mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream(kAll, s);
  auto inputs = operands(kAll, xq, xb, stream);
  auto primitive = std::make_shared<Hammings>(stream);
  auto shape = primitive->output_shapes(inputs)[0];
  return mx::array(shape, mx::int32, primitive, inputs);
}

std::tuple<mx::array, mx::array, mx::array> range_search_hamming(const mx::array& xq, const mx::array& xb,
                                                                 int64_t radius, const std::optional<mx::array>& rows) {
  mx::Stream stream = mx::default_stream(mx::Device::cpu);
  auto inputs = operands(kRangeHamming, xq, xb, stream);
  require(xq.ndim() == 2 && xb.ndim() == 2, kRangeHamming, "xq and xb must have 2 dimensions. Received ", xq.shape(),
          " and ", xb.shape(), ".");
  add_rows(kRangeHamming, rows, inputs, stream);
  mx::eval(inputs);

  cpu::HammingArgs whole = view(inputs[0], inputs[1], inputs[1].shape(), 0);
  if (rows) {
    whole.rows = inputs[2].data<int64_t>();
    whole.n = inputs[2].shape(0);
  }
  // Parts of the codes, each by one thread; the hits of a query lie in order within a part.
  constexpr int64_t least = 1 << 14;
  int64_t parts = std::max<int64_t>(1, std::min<int64_t>(4 * cpu::num_threads(), whole.n / least));
  int64_t length = (whole.n + parts - 1) / parts;
  std::vector<std::vector<cpu::HammingHit>> hits(parts);
  cpu::parallel_for(parts, [&](int64_t part) {
    cpu::HammingArgs g = whole;
    int64_t begin = std::min(part * length, whole.n);
    g.n = std::min(length, whole.n - begin);
    g.rows = whole.rows ? whole.rows + begin : nullptr;
    g.codes = whole.rows ? whole.codes : whole.codes + begin * whole.code_size;
    auto found = [](void* to, const cpu::HammingHit* h, int64_t n) {
      auto& v = *static_cast<std::vector<cpu::HammingHit>*>(to);
      v.insert(v.end(), h, h + n);
    };
    cpu::range_hamming({g, radius, found, &hits[part]});
    if (!whole.rows) {
      for (cpu::HammingHit& h : hits[part]) {
        h.id += begin;
      }
    }
  });

  int64_t nq = whole.nq;
  std::vector<int64_t> lims(nq + 1), at;
  for (const auto& part : hits) {
    for (const cpu::HammingHit& h : part) {
      lims[h.query + 1]++;
    }
  }
  for (int64_t q = 0; q < nq; q++) {
    lims[q + 1] += lims[q];
  }
  at = lims;
  std::vector<float> distances(lims.back());
  std::vector<int64_t> ids(lims.back());
  for (const auto& part : hits) {
    for (const cpu::HammingHit& h : part) {
      int64_t to = at[h.query]++;
      distances[to] = static_cast<float>(h.distance);
      ids[to] = h.id;
    }
  }
  auto shape = [](size_t n) { return mx::Shape{static_cast<mx::ShapeElem>(n)}; };
  return {mx::array(lims.data(), shape(lims.size()), mx::int64),
          mx::array(distances.data(), shape(distances.size()), mx::float32),
          mx::array(ids.data(), shape(ids.size()), mx::int64)};
}

}  // namespace metalfaiss::ops
