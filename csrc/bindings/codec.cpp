#include "ops/codec.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>

#include "bindings/bindings.h"
#include "bindings/numpy_arrays.h"

namespace metalfaiss {

namespace {

using Floats = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Lists = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Vectors = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

}  // namespace

void bind_codec(nb::module_& m) {
  nb::class_<index::Codec>(m, "Codec", "How vectors are coded: see metalfaiss.scalar_quantizer. Immutable.")
      .def(
          "__init__",
          [](index::Codec* self, int type, int64_t d, const Floats& vmin, const Floats& vdiff) {
            new (self) index::Codec{static_cast<cpu::CodeType>(type),
                                    d,
                                    {vmin.data(), vmin.data() + vmin.size()},
                                    {vdiff.data(), vdiff.data() + vdiff.size()}};
          },
          "type"_a, "d"_a, "vmin"_a, "vdiff"_a)
      .def_prop_ro("code_size", &index::Codec::code_size);
  m.def(
      "encode",
      [](const mlx::core::array& x, std::shared_ptr<index::Codec> codec, mlx::core::StreamOrDevice s) {
        return ops::encode(x, codec, s);
      },
      "x"_a, "codec"_a, nb::kw_only(), "stream"_a = nb::none(), "Codes (n, code size), uint8, of vectors (n, d).");
  m.def(
      "encode_now",
      [](const Vectors& x, const index::Codec& codec, const std::optional<Vectors>& centroids,
         const std::optional<Lists>& lists) {
        const size_t n = x.shape(0), d = static_cast<size_t>(codec.d);
        const bool match = !centroids || (lists && centroids->shape(1) == d && lists->size() == n);
        ops::require(x.shape(1) == d && match, "encode_now", "Vectors and centroids must have ", d,
                     " dimensions, and every vector a list. Received others.");
        std::vector<uint8_t> codes;
        {
          nb::gil_scoped_release release;
          codes = ops::encode_now(x.data(), static_cast<int64_t>(n), codec, centroids ? centroids->data() : nullptr,
                                  centroids ? static_cast<int64_t>(centroids->shape(0)) : 0,
                                  centroids ? lists->data() : nullptr);
        }
        return numpy_array(std::move(codes), {n, static_cast<size_t>(codec.code_size())});
      },
      "x"_a, "codec"_a, "centroids"_a = nb::none(), "lists"_a = nb::none(),
      "encode at once; with centroids (nlist, d) and the list of each vector, of the differences to these.");
  m.def(
      "decode",
      [](const mlx::core::array& codes, std::shared_ptr<index::Codec> codec, mlx::core::StreamOrDevice s) {
        return ops::decode(codes, codec, s);
      },
      "codes"_a, "codec"_a, nb::kw_only(), "stream"_a = nb::none(), "Vectors (n, d), float32, of codes.");
  m.def(
      "knn_codes",
      [](const mlx::core::array& xq, const mlx::core::array& codes, std::shared_ptr<index::Codec> codec, int64_t k,
         int metric, mlx::core::StreamOrDevice s) {
        return ops::knn_codes(xq, codes, codec, k, ops::metric_from_int("knn_codes", metric), s);
      },
      "xq"_a, "codes"_a, "codec"_a, "k"_a, "metric"_a, nb::kw_only(), "stream"_a = nb::none(),
      "Distances (nq, k) and ids (nq, k) of the codes nearest to queries: knn of the decoded vectors, of which a few "
      "rows at a time are decoded.");
  m.def(
      "train_range",
      [](int stat, float arg, int64_t levels, const Floats& x) {
        nb::gil_scoped_release release;
        return index::train_range(static_cast<index::RangeStat>(stat), arg, static_cast<int64_t>(x.size()), levels,
                                  x.data());
      },
      "stat"_a, "arg"_a, "levels"_a, "x"_a, "Minimum and width of the range of values, learned as FAISS does.");
  m.def(
      "train_ranges",
      [](int stat, float arg, int64_t levels, const Vectors& x) {
        std::vector<float> out;
        {
          nb::gil_scoped_release release;
          out = index::train_ranges(static_cast<index::RangeStat>(stat), arg, static_cast<int64_t>(x.shape(0)),
                                    static_cast<int64_t>(x.shape(1)), levels, x.data());
        }
        return numpy_array(std::move(out));
      },
      "stat"_a, "arg"_a, "levels"_a, "x"_a, "Minima, then widths, of the ranges of each component.");
}

}  // namespace metalfaiss
