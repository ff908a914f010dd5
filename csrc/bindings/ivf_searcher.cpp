// The search of a few NumPy queries, on the calling thread. What a program calls thousands of times a second touches
// little of Python: between two calls the caches hold inverted lists, and no interpreter.
#include <nanobind/stl/shared_ptr.h>

#include "bindings/bindings.h"
#include "ops/common.h"
#include "ops/ivf_search.h"

namespace metalfaiss {

namespace {

namespace mx = mlx::core;

constexpr Py_ssize_t kMostQueries = 64;  // for more, a graph costs nothing
constexpr int64_t kMostResults = 1 << 16;

// The memory of a NumPy array.
class Buffer {
 public:
  Buffer(nb::handle array, int flags) : held_(PyObject_GetBuffer(array.ptr(), &view_, flags) == 0) {
    if (!held_) {
      PyErr_Clear();
    }
  }
  ~Buffer() {
    if (held_) {
      PyBuffer_Release(&view_);
    }
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  bool is_vectors(int64_t d) const {
    return held_ && view_.format != nullptr && view_.format[0] == 'f' && view_.format[1] == 0 && view_.ndim == 2 &&
           view_.shape[1] == d && view_.shape[0] > 0 && reinterpret_cast<uintptr_t>(view_.buf) % sizeof(float) == 0;
  }
  Py_ssize_t rows() const { return view_.shape[0]; }
  template <typename T>
  T* data() const {
    return static_cast<T*>(view_.buf);
  }

 private:
  Py_buffer view_;
  bool held_;
};

// An integer from `least` to `most`, or -1.
int64_t integer(nb::handle value, int64_t least, int64_t most) {
  if (!PyLong_CheckExact(value.ptr())) {
    return -1;
  }
  int overflow = 0;
  int64_t number = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  return overflow == 0 && number >= least && number <= most ? number : -1;
}

// An index with inverted lists as a search needs it. Everything in it is constant, but for what the lists hold.
struct IvfSearcher {
  ops::Centers centers;
  std::shared_ptr<index::InvertedLists> lists;
  std::shared_ptr<index::Codec> codec;
  ops::Metric metric;
  nb::object empty, float32, int64;  // of NumPy

  nb::object search(nb::handle x, nb::handle k_given, nb::handle nprobe_given, nb::handle max_codes_given,
                    bool ensure_topk_full, std::shared_ptr<index::IdSelector> selector) const {
    int64_t k = integer(k_given, 1, kMostResults), nprobe = integer(nprobe_given, 1, INT64_MAX);
    int64_t max_codes = integer(max_codes_given, 0, int64_t{1} << 62);
    Buffer queries(x, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT);
    bool few = queries.is_vectors(codec->d) && queries.rows() <= kMostQueries;
    if (!few || k < 0 || nprobe < 0 || max_codes < 0 || mx::default_device() != mx::Device::cpu) {
      return nb::none();
    }
    auto shape = nb::make_tuple(queries.rows(), k_given);
    nb::object distances = empty(shape, float32), ids = empty(shape, int64);
    Buffer to_distances(distances, PyBUF_WRITABLE), to_ids(ids, PyBUF_WRITABLE);
    ops::IvfSource source{lists->snapshot(), codec, metric, {max_codes, ensure_topk_full, 0}, std::move(selector)};
    {
      nb::gil_scoped_release release;
      ops::ivf_assign_and_search(source, queries.data<const float>(), queries.rows(), centers,
                                 std::min(nprobe, lists->nlist()), k, to_distances.data<float>(),
                                 to_ids.data<int64_t>());
    }
    return nb::make_tuple(distances, ids);
  }
};

}  // namespace

void bind_ivf_searcher(nb::module_& m) {
  nb::class_<IvfSearcher>(m, "IvfSearcher",
                          "Searches lists by a few NumPy queries on the calling thread, without a graph. ``centers`` "
                          "are those of the quantizer: an evaluated array.")
      .def(
          "__init__",
          [](IvfSearcher* made, const mx::array& centers, int center_metric, bool add_centers,
             std::shared_ptr<index::InvertedLists> lists, std::shared_ptr<index::Codec> codec, int metric) {
            nb::module_ numpy = nb::module_::import_("numpy");
            ops::Centers all(centers, ops::metric_from_int("IvfSearcher", center_metric), add_centers);
            new (made) IvfSearcher{std::move(all),
                                   std::move(lists),
                                   std::move(codec),
                                   ops::metric_from_int("IvfSearcher", metric),
                                   numpy.attr("empty"),
                                   numpy.attr("dtype")("float32"),
                                   numpy.attr("dtype")("int64")};
          },
          "centers"_a, "center_metric"_a, "add_centers"_a, "lists"_a, "codec"_a, "metric"_a)
      .def("search", &IvfSearcher::search, "x"_a, "k"_a, "nprobe"_a, "max_codes"_a, "ensure_topk_full"_a = false,
           "selector"_a.none() = nb::none(),
           nb::sig("def search(self, x: object, k: object, nprobe: object, max_codes: object, "
                   "ensure_topk_full: bool = False, selector: IdSelector | None = None) -> typing.Any"),
           "Distances and ids, NumPy arrays. None where an argument is not of the plain kind, and for searches that "
           "are not small: ``ivf_search`` has them, and the errors.");
}

}  // namespace metalfaiss
