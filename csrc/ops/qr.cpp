#include "ops/qr.h"

#include <algorithm>

#include "cpu/parallel.h"
#include "cpu/qr.h"
#include "gpu/executor.h"
#include "gpu/plans/qr.h"
#include "mlx/linalg.h"
#include "ops/gemm.h"

namespace metalfaiss::ops {

namespace {

// Factors every matrix of a. Small ones are handed out in groups, large ones use all threads themselves: neither
// changes a result.
void factor_all(const mx::array& a, mx::array& q, mx::array& r) {
  const int64_t m = a.shape(-2), n = a.shape(-1), k = std::min(m, n), matrices = batch_size(a.shape());
  if (q.size() == 0 || r.size() == 0) {
    return;
  }
  auto factor = [&](int64_t i) {
    cpu::qr({matrix_view(a, a.shape(), i), q.data<float>() + i * m * k, r.data<float>() + i * k * n});
  };
  constexpr int64_t kTaskFlops = 1 << 20;  // about 10 microseconds
  const int64_t group = std::max<int64_t>(1, kTaskFlops / (4 * m * n * k));
  const int64_t tasks = (matrices + group - 1) / group;
  if (tasks < cpu::num_threads()) {
    for (int64_t i = 0; i < matrices; i++) {
      factor(i);
    }
    return;
  }
  cpu::parallel_for(tasks, [&](int64_t task) {
    for (int64_t i = task * group; i < std::min(matrices, (task + 1) * group); i++) {
      factor(i);
    }
  });
}

// float32 in, float32 out: qr() casts around it.
class Qr : public mx::Primitive {
 public:
  explicit Qr(mx::Stream s) : Primitive(s) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    if (runs_gpu_kernels(stream())) {
      return eval_gpu(inputs, outputs);
    }
    allocate(outputs[0]);
    allocate(outputs[1]);
    schedule(stream(), [a = inputs[0], q = outputs[0], r = outputs[1]]() mutable { factor_all(a, q, r); });
  }

  void eval_gpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    const mx::array& a = inputs[0];
    allocate(outputs[0], stream());
    allocate(outputs[1], stream());
    if (a.size() == 0) {
      return;
    }
    const auto dims = static_cast<int64_t>(a.ndim()) - 2;
    gpu::QrTuning tuning;
    tuning.cholesky = gpu::executor(stream())->has_fast_float64();
    run(gpu::plan_qr({a.shape(-2),
                      a.shape(-1),
                      a.strides(-2),
                      a.strides(-1),
                      {a.shape().begin(), a.shape().begin() + dims},
                      {a.strides().begin(), a.strides().begin() + dims}},
                     tuning),
        inputs, outputs, stream());
  }

  std::vector<mx::array> jvp(const std::vector<mx::array>& primals, const std::vector<mx::array>& tangents,
                             const std::vector<int>& argnums) override;

  std::vector<mx::array> vjp(const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
                             const std::vector<int>& argnums, const std::vector<mx::array>& outputs) override;

  std::pair<std::vector<mx::array>, std::vector<int>> vmap(const std::vector<mx::array>& inputs,
                                                           const std::vector<int>& axes) override {
    auto [q, r] = qr(map_to_front(inputs, axes, stream())[0], stream());
    return {{q, r}, {0, 0}};
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    mx::Shape q = inputs[0].shape(), r = q;
    auto k = std::min(q[q.size() - 2], q[q.size() - 1]);
    q[q.size() - 1] = r[r.size() - 2] = k;
    return {q, r};
  }

  const char* name() const override { return "qr"; }
  bool is_equivalent(const Primitive&) const override { return true; }

 private:
  // Of an upper triangle, column blocks of double the size at a time. mx::linalg has no GPU version.
  mx::array inverse_of(const mx::array& r) {
    const mx::Stream s = stream();
    if (!runs_gpu_kernels(s)) {
      return mx::linalg::tri_inv(r, true, s);
    }
    const int n = r.shape(-1);
    const mx::array zero(0.0f), one(1), index = mx::arange(n, s);
    auto select = [&](const mx::array& where, const mx::array& x) { return mx::where(where, x, zero, s); };
    mx::array row = mx::expand_dims(index, 1, s), column = mx::expand_dims(index, 0, s);
    mx::array inverse = select(mx::equal(row, column, s), mx::reciprocal(r, s));
    for (int size = 1; size < n; size *= 2) {
      mx::array shift(size);
      mx::array block = mx::floor_divide(row, shift, s), right = mx::floor_divide(column, shift, s);
      mx::array above =
          mx::logical_and(mx::equal(mx::bitwise_or(block, one, s), right, s), mx::less(block, right, s), s);
      inverse = mx::subtract(inverse, ab(ab(inverse, select(above, r)), inverse), s);
    }
    return inverse;
  }

  mx::array transpose(const mx::array& x) { return mx::swapaxes(x, -1, -2, stream()); }
  mx::array columns(const mx::array& x, int begin, int end) {
    mx::Shape from(x.ndim(), 0), to = x.shape();
    from.back() = begin;
    to.back() = end;
    return mx::slice(x, from, to, stream());
  }
  mx::array ab(const mx::array& a, const mx::array& b) { return gemm_av(a, b, stream()); }
  mx::array atb(const mx::array& a, const mx::array& b) { return gemm_at_b(a, b, stream()); }
};

// With S = Q^T dA R^-1 and X = tril(S, -1) - tril(S, -1)^T: dQ = Q X + (dA R^-1 - Q S), dR = (S - X) R.
std::vector<mx::array> Qr::jvp(const std::vector<mx::array>& primals, const std::vector<mx::array>& tangents,
                               const std::vector<int>&) {
  const mx::Stream s = stream();
  const mx::array &a = primals[0], &da = tangents[0];
  const int m = a.shape(-2), n = a.shape(-1), k = std::min(m, n);
  auto [q, r] = qr(a, s);
  mx::array inverse = inverse_of(columns(r, 0, k));
  mx::array da_inverse = ab(columns(da, 0, k), inverse);
  mx::array projected = atb(q, da_inverse);
  mx::array lower = mx::tril(projected, -1, s);
  mx::array x = mx::subtract(lower, transpose(lower), s);
  mx::array dq = mx::add(da_inverse, ab(q, mx::subtract(x, projected, s)), s);
  mx::array dr = mx::triu(ab(mx::subtract(projected, x, s), columns(r, 0, k)), 0, s);
  if (m < n) {
    mx::array rest = mx::add(atb(dq, columns(a, k, n)), atb(q, columns(da, k, n)), s);
    dr = mx::concatenate({dr, rest}, -1, s);
  }
  return {dq, dr};
}

// dA = (dQ + Q copyltu(M)) R^-T, M = R dR^T - dQ^T Q, copyltu(M) = tril(M) + tril(M, -1)^T. Where m < n, A = [A1 A2]
// and R2 = Q^T A2 hand A2 dR2^T on to dQ. (Walter, Lehmann, Lamour: On evaluating higher-order derivatives of the QR
// decomposition of tall matrices with full column rank, 2012.)
std::vector<mx::array> Qr::vjp(const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
                               const std::vector<int>&, const std::vector<mx::array>& outputs) {
  const mx::Stream s = stream();
  const mx::array &a = primals[0], &q = outputs[0], &r = outputs[1], &gr = cotangents[1];
  const int m = a.shape(-2), n = a.shape(-1), k = std::min(m, n);
  mx::array gq = cotangents[0];
  if (m < n) {
    gq = mx::add(gq, ab(columns(a, k, n), transpose(columns(gr, k, n))), s);
  }
  mx::array r1 = columns(r, 0, k);
  mx::array mm = mx::subtract(ab(r1, transpose(columns(gr, 0, k))), atb(gq, q), s);
  mx::array symmetric = mx::add(mx::tril(mm, 0, s), transpose(mx::tril(mm, -1, s)), s);
  mx::array inverse = inverse_of(r1);
  mx::array ga = ab(mx::add(gq, ab(q, symmetric), s), transpose(inverse));
  if (m < n) {
    ga = mx::concatenate({ga, ab(q, columns(gr, k, n))}, -1, s);
  }
  return {ga};
}

}  // namespace

std::pair<mx::array, mx::array> qr(const mx::array& a, mx::StreamOrDevice s) {
  mx::Stream stream = kernel_stream("qr", s);
  require_matrix("qr", "A", a);
  mx::Dtype type = floating_result_type("qr", {a});
  std::vector<mx::array> inputs{mx::astype(a, mx::float32, stream)};
  if (runs_gpu_kernels(stream) && a.ndim() > gpu::kMaxQrBatchDims + 2) {
    inputs[0] = mx::contiguous(inputs[0], false, stream);  // whose batch dimensions are one
  }
  auto primitive = std::make_shared<Qr>(stream);
  auto out = mx::array::make_arrays(primitive->output_shapes(inputs), {mx::float32, mx::float32}, primitive, inputs);
  return {mx::astype(out[0], type, stream), mx::astype(out[1], type, stream)};
}

}  // namespace metalfaiss::ops
