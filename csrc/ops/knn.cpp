#include "ops/knn.h"

#include <limits>

#include "cpu/knn.h"
#include "cpu/parallel.h"
#include "gpu/executor.h"
#include "ops/gpu_operands.h"

namespace metalfaiss::ops {

namespace {

constexpr const char* kKnn = "knn";

gpu::KnnLimits g_limits;

// Those of the tests, or those that suit the device.
gpu::KnnLimits limits(mx::Stream s) {
  gpu::KnnLimits out = g_limits;
  if (out.scratch == gpu::KnnLimits{}.scratch) {
    out.scratch = gpu::executor(s)->scratch_bytes();
  }
  if (out.scan_columns < 0) {
    out.scan_columns = gpu::executor(s)->scan_columns();
  }
  return out;
}

// Searches share a database where its batch dimensions are all 1: their queries are then one matrix.
bool is_one_matrix(const mx::array& a) {
  return batch_size(a.shape()) == 1;
}

// The rows of b that ids (..., nq, k) name: (..., nq, k, d), float32.
mx::array gather_rows(const mx::array& b, const mx::array& ids, mx::Stream s) {
  if (b.ndim() == 2) {
    return mx::astype(mx::take(b, ids, 0, s), mx::float32, s);
  }
  mx::Shape batch(b.shape().begin(), b.shape().end() - 2);
  mx::Shape column = batch;
  column.insert(column.end(), {1, 1});
  mx::array which = mx::reshape(mx::arange(batch_size(b.shape()), mx::int64, s), column, s);
  mx::array rows = mx::gather(mx::flatten(b, 0, -3, s), {which, ids}, {0, 1}, {1, 1, b.shape(-1)}, s);
  return mx::astype(mx::squeeze(rows, std::vector<int>{-3, -2}, s), mx::float32, s);
}

// Zeros of x's shape, whatever x holds. mx::zeros_like would keep the shape it was traced with.
mx::array zeros_shaped_as(const mx::array& x, mx::Stream s) {
  return mx::where(mx::array(false), x, mx::array(0, x.dtype()), s);
}

// The adjoint of gather_rows: sums rows (..., nq, k, d) into an array of b's shape.
mx::array scatter_rows(const mx::array& b, const mx::array& ids, const mx::array& rows, mx::Stream s) {
  mx::array zeros = zeros_shaped_as(mx::astype(b, mx::float32, s), s);
  if (b.ndim() == 2) {
    mx::array flat = mx::expand_dims(mx::flatten(ids, s), 1, s);
    mx::array sums = mx::scatter_add_axis(zeros, flat, mx::flatten(rows, 0, -2, s), 0, s);
    return mx::astype(sums, b.dtype(), s);
  }
  mx::array updates = mx::flatten(rows, -3, -2, s);
  mx::array batch = zeros_shaped_as(mx::sum(updates, std::vector<int>{-2, -1}, true, s), s);  // (..., 1, 1)
  mx::array flat = mx::expand_dims(mx::flatten(ids, -2, -1, s), -1, s);
  mx::array sums = mx::scatter_add_axis(mx::add(zeros, batch, s), flat, updates, -2, s);
  return mx::astype(sum_to_batch_of(sums, b, s), b.dtype(), s);
}

class Knn : public AtOnce {
 public:
  Knn(mx::Stream s, int64_t k, Metric metric) : AtOnce(s), k_(k), metric_(metric) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    if (runs_gpu_kernels(stream())) {
      return eval_gpu(inputs, outputs);
    }
    allocate(outputs[0]);
    allocate(outputs[1]);
    schedule(stream(), [q = inputs[0], b = inputs[1], rows = rows_of(inputs), distances = outputs[0], ids = outputs[1],
                        k = k_, metric = metric_]() mutable {
      const mx::Shape& out = distances.shape();
      bool one_database = is_one_matrix(b);
      // xq is row-contiguous; it has every batch dimension of the result where the database has none.
      auto search = [&](int64_t i) {
        cpu::Matrix queries = matrix_view(q, out, i);
        if (one_database) {
          queries.rows *= batch_size(out);
        }
        cpu::Matrix database = matrix_view(b, out, i);
        if (rows) {
          database.picked = rows->data<int64_t>();
          database.rows = rows->size();
        }
        int64_t at = i * out[out.size() - 2] * k;
        cpu::knn({queries, database, k, metric == Metric::inner_product, distances.data<float>() + at,
                  ids.data<int64_t>() + at});
      };
      int64_t searches = one_database ? 1 : batch_size(out);
      if (searches >= 4 * cpu::num_threads()) {  // enough of them to keep every thread busy
        cpu::parallel_for(searches, search);
      } else {
        for (int64_t i = 0; i < searches; i++) {
          search(i);
        }
      }
    });
  }

  void eval_gpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    const mx::array &q = inputs[0], &b = inputs[1];
    allocate(outputs[0], stream());
    allocate(outputs[1], stream());
    const mx::Shape& out = outputs[0].shape();
    if (outputs[0].size() == 0) {
      return;
    }
    gpu::Knn g{metal_type(b),
               out[out.size() - 2],
               b.shape(-2),
               b.shape(-1),
               k_,
               b.strides(-2),
               b.strides(-1),
               {},
               metric_ == Metric::l2,
               limits(stream()),
               q.offset() % 16 == 0 && b.offset() % (4 * static_cast<int64_t>(b.itemsize())) == 0,
               q.offset() % 16 == 0 && b.offset() % (8 * static_cast<int64_t>(b.itemsize())) == 0};
    if (is_one_matrix(b)) {
      g.nq *= batch_size(out);
    } else {
      g.batch = batch_of(q, b, out);
    }
    run(gpu::plan_knn(g), inputs, outputs, stream());
  }

  // The ids are piecewise constant: their tangent is zero. They are searched again, since a jvp does not see the
  // outputs (under mx.compile the two searches become one).
  std::vector<mx::array> jvp(const std::vector<mx::array>& primals, const std::vector<mx::array>& tangents,
                             const std::vector<int>& argnums) override {
    auto [distances, ids] = knn(primals[0], primals[1], k_, metric_, stream(), rows_of(primals));
    mx::array out = zeros_shaped_as(distances, stream());
    if (primals[1].shape(-2) > 0) {
      Neighbors n = neighbors(primals, ids);
      for (size_t i = 0; i < argnums.size(); i++) {
        mx::array t =
            argnums[i] == 0 ? mx::expand_dims(tangents[i], -2, stream()) : gather_rows(tangents[i], n.ids, stream());
        mx::array along = mx::multiply(t, argnums[i] == 0 ? n.d_query : n.d_row, stream());
        out =
            mx::add(out, mx::sum(mx::where(n.found, along, mx::array(0.0f), stream()), -1, false, stream()), stream());
      }
    }
    return {out, zeros_shaped_as(ids, stream())};
  }

  std::vector<mx::array> vjp(const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
                             const std::vector<int>& argnums, const std::vector<mx::array>& outputs) override {
    std::vector<mx::array> out;
    if (primals[1].shape(-2) == 0) {
      for (int arg : argnums) {
        out.push_back(zeros_shaped_as(primals[arg], stream()));
      }
      return out;
    }
    Neighbors n = neighbors(primals, outputs[1]);
    mx::array g = mx::expand_dims(cotangents[0], -1, stream());
    for (int arg : argnums) {
      mx::array rows = mx::multiply(g, arg == 0 ? n.d_query : n.d_row, stream());
      rows = mx::where(n.found, rows, mx::array(0.0f), stream());
      out.push_back(arg == 0 ? sum_to_batch_of(mx::sum(rows, -2, false, stream()), primals[0], stream())
                             : scatter_rows(primals[1], n.ids, rows, stream()));
    }
    return out;
  }

  std::pair<std::vector<mx::array>, std::vector<int>> vmap(const std::vector<mx::array>& inputs,
                                                           const std::vector<int>& axes) override {
    require(inputs.size() < 3 || (axes[1] < 0 && axes[2] < 0), kKnn, "vmap must not map xb or rows. Received axes ",
            axes[1], " and ", axes.back(), ".");
    auto mapped = map_to_front({inputs[0], inputs[1]}, {axes[0], axes[1]}, stream());
    auto [distances, ids] =
        knn(mapped[0], inputs.size() < 3 ? mapped[1] : inputs[1], k_, metric_, stream(), rows_of(inputs));
    return {{distances, ids}, {0, 0}};
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    mx::Shape shape = broadcast_batch(kKnn, inputs[0], inputs[1], {inputs[0].shape(-2), static_cast<int>(k_)});
    return {shape, shape};
  }

  const char* name() const override { return kKnn; }

  bool is_equivalent(const Primitive& other) const override {
    auto& o = static_cast<const Knn&>(other);
    return k_ == o.k_ && metric_ == o.metric_;
  }

 private:
  // What both derivatives need, (..., nq, k, d) or broadcasting to it.
  struct Neighbors {
    mx::array ids;      // (..., nq, k), missing ones replaced by 0
    mx::array found;    // (..., nq, k, 1): false where missing
    mx::array d_query;  // derivative of each distance with respect to its query,
    mx::array d_row;    // and to its database row
  };

  Neighbors neighbors(const std::vector<mx::array>& primals, const mx::array& found_ids) {
    mx::Stream s = stream();
    mx::array ids = mx::stop_gradient(found_ids, s), zero = mx::array(0, mx::int64);
    mx::array found = mx::expand_dims(mx::greater_equal(ids, zero, s), -1, s);
    mx::array safe = mx::maximum(ids, zero, s);
    mx::array query = mx::expand_dims(primals[0], -2, s);
    mx::array row = gather_rows(primals[1], safe, s);
    if (metric_ == Metric::inner_product) {
      return {safe, found, row, query};
    }
    mx::array d_query = mx::multiply(mx::array(2.0f), mx::subtract(query, row, s), s);
    return {safe, found, d_query, mx::negative(d_query, s)};
  }

  int64_t k_;
  Metric metric_;
};

// Where kernels take no row numbers: the search of a copy of the rows.
std::pair<mx::array, mx::array> knn_of_copied_rows(const mx::array& xq, const mx::array& xb, int64_t k, Metric metric,
                                                   const mx::array& rows, mx::Stream s) {
  auto [distances, ids] = knn(xq, mx::take(xb, rows, 0, s), k, metric, s);
  if (rows.size() == 0) {
    return {distances, ids};
  }
  mx::array at = mx::stop_gradient(ids, s), zero = mx::array(0, mx::int64);
  return {distances, mx::where(mx::less(at, zero, s), at, mx::take(rows, mx::maximum(at, zero, s), s), s)};
}

}  // namespace

void set_knn_limits(const gpu::KnnLimits& limits) {
  g_limits = limits;
}

std::pair<mx::array, mx::array> knn(const mx::array& xq, const mx::array& xb, int64_t k, Metric metric,
                                    mx::StreamOrDevice s, const std::optional<mx::array>& rows) {
  mx::Stream stream = kernel_stream(kKnn, s);
  require_matrix(kKnn, "xq", xq);
  require_matrix(kKnn, "xb", xb);
  require(xq.shape(-1) == xb.shape(-1), kKnn, "xq and xb must have the same number of columns. Received ", xq.shape(),
          " and ", xb.shape(), ".");
  require(k >= 1 && k <= std::numeric_limits<mx::ShapeElem>::max(), kKnn,
          "k must be at least 1 and less than 2^31. Received ", k, ".");
  floating_result_type(kKnn, {xq});
  mx::array b = mx::astype(xb, floating_result_type(kKnn, {xb}), stream);
  std::vector<mx::array> inputs{row_contiguous(mx::astype(xq, mx::float32, stream), stream), b};
  if (rows) {
    require(xb.ndim() == 2 && rows->ndim() == 1 && rows->dtype() == mx::int64, kKnn,
            "rows must be int64, of shape (n,), for xb of shape (nb, d). Received shapes ", rows->shape(), " and ",
            xb.shape(), ".");
    if (runs_gpu_kernels(stream)) {
      return knn_of_copied_rows(inputs[0], b, k, metric, *rows, stream);
    }
    inputs.push_back(row_contiguous(*rows, stream));
  }
  auto primitive = std::make_shared<Knn>(stream, k, metric);
  auto shapes = primitive->output_shapes(inputs);
  auto out = mx::array::make_arrays(shapes, {mx::float32, mx::int64}, primitive, inputs);
  return {out[0], out[1]};
}

}  // namespace metalfaiss::ops
