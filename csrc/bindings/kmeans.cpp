#include "ops/kmeans.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/tuple.h>

#include "bindings/bindings.h"
#include "bindings/numpy_arrays.h"

namespace metalfaiss {

void bind_kmeans(nb::module_& m) {
  nb::class_<ops::KmeansMemory>(m, "KmeansMemory", R"(What assignments of the same vectors leave for the next one.

It makes ``kmeans_assign`` faster where centroids move little, and changes nothing else. It holds a byte for each
coordinate of a vector, and with bounds a byte for each pair of a vector and a centroid.

Args:
    n (int): how many vectors.
    k (int): how many centroids.
    d (int): the dimension.
    bounds (bool): whether lower bounds of all distances are kept.
)")
      .def(
          "__init__",
          [](ops::KmeansMemory* self, int64_t n, int64_t k, int64_t d, bool bounds) {
            ops::require(n >= 0 && k > 0 && d >= 0, "KmeansMemory", "n and d must not be negative, nor k less than 1. ",
                         "Received ", n, ", ", d, " and ", k, ".");
            new (self) ops::KmeansMemory(n, k, d, bounds);
          },
          "n"_a, "k"_a, "d"_a, "bounds"_a = true)
      .def("forget", &ops::KmeansMemory::forget, nb::call_guard<nb::gil_scoped_release>(),
           "Says that the next centroids are not near to the last ones.")
      .def(
          "bounds",
          [](const ops::KmeansMemory& self) {
            auto [bounds, step] = self.bounds();
            const size_t width = self.n > 0 ? bounds.size() / self.n : 0;
            return std::pair(numpy_array(std::move(bounds), {width > 0 ? self.n : 0, width}), step);
          },
          "The lower bounds, uint8, (n, at least k), or (0, 0) where there are none yet, and their unit.");
  m.def("kmeans_assign", &ops::kmeans_assign, "x"_a, "centroids"_a, "memory"_a = nb::none(), nb::kw_only(),
        "stream"_a = nb::none(),
        R"(The nearest centroid of each vector, of equally near ones the first. CPU streams only.

Where no distance is finite, the id is -1 and the distance the largest float32.

Args:
    x (array): vectors, shape ``(n, d)``; used as float32.
    centroids (array): shape ``(k, d)``.
    memory (KmeansMemory, optional): of this x. Assignments with one memory are computed in the order of evaluation.
    stream (Stream or Device, optional): where to run.

Returns:
    tuple(array, array, array): squared distances, float32, and ids, int64, both of shape ``(n,)``; and how many
    distances were computed, beside bounds of all of them, int64, shape ``(1,)``.

Raises:
    ValueError: shapes do not match, or the stream is not of the CPU.
)");
  m.def(
      "kmeans_nearest",
      [](const nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>& x,
         const mlx::core::array& centroids) {
        ops::require(centroids.ndim() == 2 && static_cast<int>(x.shape(1)) == centroids.shape(1), "kmeans_nearest",
                     "centroids must have shape (k, ", x.shape(1), "). Received ", centroids.shape(), ".");
        std::vector<int64_t> ids(x.shape(0));
        {
          nb::gil_scoped_release release;
          ops::kmeans_nearest(x.data(), static_cast<int64_t>(x.shape(0)), centroids, ids.data());
        }
        return numpy_array(std::move(ids));
      },
      "x"_a, "centroids"_a,
      "The ids of kmeans_assign for a NumPy matrix, at once, of evaluated row-contiguous centroids.");
  m.def("kmeans_means", &ops::kmeans_means, "x"_a, "ids"_a, "weights"_a.none(), "k"_a, "before"_a = nb::none(),
        nb::kw_only(), "stream"_a = nb::none(),
        R"(The mean of the vectors of each cluster, summed in float64. CPU streams only.

Args:
    x (array): vectors, shape ``(n, d)``; used as float32.
    ids (array): the cluster of each, shape ``(n,)``; vectors whose id is not from 0 to ``k - 1`` belong to none.
    weights (array or None): shape ``(n,)``.
    k (int): how many clusters.
    before (tuple(array, array) or None): the ids and the sums of another call for the same vectors, without weights:
        only vectors that moved are read then. The means are as exact.
    stream (Stream or Device, optional): where to run.

Returns:
    tuple(array, array, array): means ``(k, d)``, zero where a cluster is empty, and total weights ``(k,)``, float32;
    and sums, float64, for a later call.

Raises:
    ValueError: shapes do not match, ``k`` < 1, there are both weights and ``before``, or the stream is not of the CPU.
)");
}

}  // namespace metalfaiss
