#include "ops/kmeans.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>

#include "bindings/bindings.h"
#include "bindings/numpy_arrays.h"

namespace metalfaiss {

void bind_kmeans(nb::module_& m) {
  m.def("kmeans_sketch", &ops::kmeans_sketch, "x"_a, "mean"_a, "basis"_a.none(), nb::kw_only(), "stream"_a = nb::none(),
        R"(Short forms of vectors whose distances bound those of the vectors from below. CPU streams only.

Args:
    x (array): vectors, shape ``(n, d)``; used as float32.
    mean (array): what is taken off first, shape ``(d,)``.
    basis (array or None): shape ``(d, p)``, its largest singular value at most 1; None for all coordinates.
    stream (Stream or Device, optional): where to run.

Returns:
    tuple(array, array): ``(n, w)``, int16: coordinates, the length of the rest, and zeros; ``(n, 2)``, float32: what
    the integer 1 stands for, and a bound of the error.

Raises:
    ValueError: shapes do not match, or the stream is not of the CPU.
)");
  m.def("kmeans_assign", &ops::kmeans_assign, "x"_a, "centroids"_a, "x_sketch"_a, "centroid_sketch"_a, "guess"_a.none(),
        "lead"_a, nb::kw_only(), "stream"_a = nb::none(),
        R"(The nearest centroid of each vector, of equally near ones the first. CPU streams only.

Exact whatever the guess, which decides how many centroids have to be measured. Where no distance is finite, the id is
-1 and the distance the largest float32.

Args:
    x (array): vectors, shape ``(n, d)``; used as float32.
    centroids (array): shape ``(k, d)``.
    x_sketch, centroid_sketch (tuple(array, array)): what ``kmeans_sketch`` says of both, with one mean and one basis.
    guess (array or None): a centroid for each vector, shape ``(n,)``.
    lead (int): how many integers of the sketches are looked at for all pairs; of the others only their length is.
    stream (Stream or Device, optional): where to run.

Returns:
    tuple(array, array, array): squared distances, float32, and ids, int64, both of shape ``(n,)``; and how many
    distances of whole sketches and of vectors were computed, int64, shape ``(2,)``.

Raises:
    ValueError: shapes do not match, or the stream is not of the CPU.
)");
  m.def(
      "kmeans_nearest",
      [](const nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>& x,
         const mlx::core::array& centroids, const mlx::core::array& mean, const std::optional<mlx::core::array>& basis,
         int lead) {
        ops::require(centroids.ndim() == 2 && static_cast<int>(x.shape(1)) == centroids.shape(1), "kmeans_nearest",
                     "centroids must have shape (k, ", x.shape(1), "). Received ", centroids.shape(), ".");
        std::vector<int64_t> ids(x.shape(0));
        {
          nb::gil_scoped_release release;
          ops::kmeans_nearest(x.data(), static_cast<int64_t>(x.shape(0)), centroids, mean, basis, lead, ids.data());
        }
        return numpy_array(std::move(ids));
      },
      "x"_a, "centroids"_a, "mean"_a, "basis"_a.none(), "lead"_a,
      "The ids of kmeans_assign for a NumPy matrix, at once, of evaluated row-contiguous arrays, with sketches made "
      "here.");
  m.def("kmeans_means", &ops::kmeans_means, "x"_a, "ids"_a, "weights"_a.none(), "k"_a, nb::kw_only(),
        "stream"_a = nb::none(),
        R"(The mean of the vectors of each cluster, summed in float64. CPU streams only.

Args:
    x (array): vectors, shape ``(n, d)``; used as float32.
    ids (array): the cluster of each, shape ``(n,)``; vectors whose id is not from 0 to ``k - 1`` belong to none.
    weights (array or None): shape ``(n,)``.
    k (int): how many clusters.
    stream (Stream or Device, optional): where to run.

Returns:
    tuple(array, array): means ``(k, d)``, zero where a cluster is empty, and total weights ``(k,)``, float32.

Raises:
    ValueError: shapes do not match, ``k`` < 1, or the stream is not of the CPU.
)");
}

}  // namespace metalfaiss
