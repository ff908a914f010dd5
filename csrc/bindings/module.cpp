#include "bindings/bindings.h"
#include "errors.h"

NB_MODULE(_core, m) {
  namespace nb = nanobind;
  m.doc() = "The native operations of MetalFaiss.";
  nb::module_::import_("mlx.core");  // registers the array and stream types
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const metalfaiss::TypeError& e) {
      PyErr_SetString(PyExc_TypeError, e.what());
    } catch (const metalfaiss::ArgumentError& e) {
      PyErr_SetString(nb::module_::import_("metalfaiss.errors").attr("ArgumentError").ptr(), e.what());
    }
  });
  metalfaiss::bind_graph(m);
  metalfaiss::bind_host_arrays(m);
  metalfaiss::bind_config(m);
  metalfaiss::bind_file_bytes(m);
  metalfaiss::bind_faiss_file(m);
  metalfaiss::bind_codec(m);
  metalfaiss::bind_gemm(m);
  metalfaiss::bind_gpu(m);
  metalfaiss::bind_hamming(m);
  metalfaiss::bind_id_selector(m);
  metalfaiss::bind_inverted_lists(m);
  metalfaiss::bind_hash(m);
  metalfaiss::bind_ivf_search(m);
  metalfaiss::bind_ivf_searcher(m);
  metalfaiss::bind_kmeans(m);
  metalfaiss::bind_knn(m);
  metalfaiss::bind_pairwise_distances(m);
  metalfaiss::bind_qr(m);
  metalfaiss::bind_square_svd(m);
  metalfaiss::bind_range_search(m);
  metalfaiss::bind_select_k(m);
}
