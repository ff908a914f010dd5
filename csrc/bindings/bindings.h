// One bind function per family; module.cpp calls them all.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/variant.h>  // StreamOrDevice

#include "mlx/utils.h"

namespace metalfaiss {

namespace nb = nanobind;
using namespace nb::literals;

void bind_codec(nb::module_& m);
void bind_config(nb::module_& m);
void bind_faiss_file(nb::module_& m);
void bind_file_bytes(nb::module_& m);
void bind_gemm(nb::module_& m);
void bind_gpu(nb::module_& m);
void bind_graph(nb::module_& m);
void bind_host_arrays(nb::module_& m);
void bind_hamming(nb::module_& m);
void bind_hash(nb::module_& m);
void bind_id_selector(nb::module_& m);
void bind_inverted_lists(nb::module_& m);
void bind_ivf_search(nb::module_& m);
void bind_ivf_searcher(nb::module_& m);
void bind_kmeans(nb::module_& m);
void bind_knn(nb::module_& m);
void bind_pairwise_distances(nb::module_& m);
void bind_qr(nb::module_& m);
void bind_square_svd(nb::module_& m);
void bind_range_search(nb::module_& m);
void bind_select_k(nb::module_& m);

}  // namespace metalfaiss
