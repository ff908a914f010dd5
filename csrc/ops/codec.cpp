#include "ops/codec.h"

#include <algorithm>
#include <limits>

#include "cpu/knn.h"
#include "cpu/scalar_quantizer.h"
#include "ops/common.h"

namespace metalfaiss::ops {

namespace {

// What the operations on codes share. Rows are independent of each other, so that a batch of matrices is a longer one.
class OnCodes : public AtOnce {
 public:
  OnCodes(mx::Stream s, index::CodecPtr codec) : AtOnce(s), codec_(std::move(codec)) {}

  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    throw std::runtime_error(message(name(), "A GPU has no kernel for it: pass stream=mx.cpu. Received a GPU stream."));
  }

  std::vector<mx::array> jvp(const std::vector<mx::array>&, const std::vector<mx::array>&,
                             const std::vector<int>&) override {
    throw ArgumentError(message(name(),
                                "Codes have no derivative: use vectors stored as they are. Received a "
                                "transformation that needs one."));
  }
  std::vector<mx::array> vjp(const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
                             const std::vector<int>& argnums, const std::vector<mx::array>&) override {
    return jvp(primals, cotangents, argnums);
  }

 protected:
  index::CodecPtr codec_;
};

class Encode : public OnCodes {
 public:
  using OnCodes::OnCodes;

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    allocate(outputs[0]);
    schedule(stream(), [x = inputs[0], out = outputs[0], codec = codec_]() mutable {
      cpu::scalar_encode({codec->view(), x.shape(0), x.data<float>(), out.data<uint8_t>(), nullptr, nullptr});
    });
  }
  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    return {{inputs[0].shape(0), static_cast<int>(codec_->code_size())}};
  }
  const char* name() const override { return "encode"; }
  bool is_equivalent(const Primitive& other) const override {
    return codec_ == static_cast<const Encode&>(other).codec_;
  }
};

class Decode : public OnCodes {
 public:
  using OnCodes::OnCodes;

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    allocate(outputs[0]);
    schedule(stream(), [codes = inputs[0], out = outputs[0], codec = codec_]() mutable {
      cpu::scalar_decode({codec->view(), codes.shape(0), codes.data<uint8_t>(), out.data<float>()});
    });
  }
  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    return {{inputs[0].shape(0), static_cast<int>(codec_->d)}};
  }
  const char* name() const override { return "decode"; }
  bool is_equivalent(const Primitive& other) const override {
    return codec_ == static_cast<const Decode&>(other).codec_;
  }
};

class KnnCodes : public OnCodes {
 public:
  KnnCodes(mx::Stream s, index::CodecPtr codec, int64_t k, Metric metric)
      : OnCodes(s, std::move(codec)), k_(k), metric_(metric) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    allocate(outputs[0]);
    allocate(outputs[1]);
    schedule(stream(), [q = inputs[0], codes = inputs[1], distances = outputs[0], ids = outputs[1], codec = codec_,
                        k = k_, metric = metric_]() mutable {
      cpu::RowCodec view = codec->view();
      int64_t d = codec->d;
      cpu::Matrix queries{q.data<float>(), cpu::Float::f32, q.shape(0), d, d, 1};
      cpu::Matrix rows{codes.data<uint8_t>(), cpu::Float::code, codes.shape(0), d, codec->code_size(), 1, &view};
      if (codec->type == cpu::CodeType::f16 || codec->type == cpu::CodeType::bf16) {
        rows.type = codec->type == cpu::CodeType::f16 ? cpu::Float::f16 : cpu::Float::bf16;
        rows.row_stride = d;
      }
      cpu::knn({queries, rows, k, metric == Metric::inner_product, distances.data<float>(), ids.data<int64_t>()});
    });
  }
  std::pair<std::vector<mx::array>, std::vector<int>> vmap(const std::vector<mx::array>& inputs,
                                                           const std::vector<int>& axes) override {
    require(axes[1] < 0, "knn_codes", "Codes must not be mapped by vmap. Received axis ", axes[1], ".");
    mx::array q = mx::moveaxis(inputs[0], axes[0], 0, stream());
    int b = q.shape(0), n = q.shape(1), k = static_cast<int>(k_);
    auto [distances, ids] = knn_codes(mx::flatten(q, 0, 1, stream()), inputs[1], codec_, k_, metric_, stream());
    return {{mx::reshape(distances, {b, n, k}, stream()), mx::reshape(ids, {b, n, k}, stream())}, {0, 0}};
  }
  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    mx::Shape shape{inputs[0].shape(0), static_cast<int>(k_)};
    return {shape, shape};
  }
  const char* name() const override { return "knn_codes"; }
  bool is_equivalent(const Primitive& other) const override {
    auto& o = static_cast<const KnnCodes&>(other);
    return codec_ == o.codec_ && k_ == o.k_ && metric_ == o.metric_;
  }

 private:
  int64_t k_;
  Metric metric_;
};

void require_rows(const char* op, const char* name, const mx::array& a, int64_t columns) {
  require(a.ndim() == 2 && a.shape(1) == columns, op, name, " must have shape (n, ", columns, "). Received ", a.shape(),
          ".");
}

mx::array contiguous_rows(const mx::array& a, mx::Dtype type, mx::Stream s) {
  return row_contiguous(mx::astype(a, type, s), s);
}

}  // namespace

mx::array encode(const mx::array& x, const index::CodecPtr& codec, mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream("encode", s);
  require_rows("encode", "x", x, codec->d);
  mx::Shape shape{x.shape(0), static_cast<int>(codec->code_size())};
  return mx::array(shape, mx::uint8, std::make_shared<Encode>(stream, codec),
                   {contiguous_rows(x, mx::float32, stream)});
}

std::vector<uint8_t> encode_now(const float* x, int64_t n, const index::Codec& codec, const float* centroids,
                                int64_t nlist, const int64_t* lists) {
  const bool named = std::all_of(lists, lists + (lists ? n : 0), [&](int64_t list) { return list < nlist; });
  require(named, "encode_now", "lists must be less than ", nlist, ". Received another one.");
  std::vector<uint8_t> codes(n * codec.code_size());
  cpu::scalar_encode({codec.view(), n, x, codes.data(), centroids, lists});
  return codes;
}

mx::array decode(const mx::array& codes, const index::CodecPtr& codec, mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream("decode", s);
  require_rows("decode", "codes", codes, codec->code_size());
  mx::Shape shape{codes.shape(0), static_cast<int>(codec->d)};
  return mx::array(shape, mx::float32, std::make_shared<Decode>(stream, codec),
                   {contiguous_rows(codes, mx::uint8, stream)});
}

std::pair<mx::array, mx::array> knn_codes(const mx::array& xq, const mx::array& codes, const index::CodecPtr& codec,
                                          int64_t k, Metric metric, mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream("knn_codes", s);
  require_rows("knn_codes", "xq", xq, codec->d);
  require_rows("knn_codes", "codes", codes, codec->code_size());
  require(k >= 1 && k <= std::numeric_limits<mx::ShapeElem>::max(), "knn_codes",
          "k must be at least 1 and less than 2^31. Received ", k, ".");
  auto primitive = std::make_shared<KnnCodes>(stream, codec, k, metric);
  std::vector<mx::array> inputs{contiguous_rows(xq, mx::float32, stream), contiguous_rows(codes, mx::uint8, stream)};
  auto shapes = primitive->output_shapes(inputs);
  auto out = mx::array::make_arrays(shapes, {mx::float32, mx::int64}, primitive, inputs);
  return {out[0], out[1]};
}

}  // namespace metalfaiss::ops
