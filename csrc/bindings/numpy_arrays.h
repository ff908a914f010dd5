// C++ vectors as NumPy arrays, without a copy.
#pragma once

#include <nanobind/ndarray.h>

#include <utility>
#include <vector>

#include "bindings/bindings.h"

namespace metalfaiss {

template <typename T>
using NumpyVector = nb::ndarray<nb::numpy, T, nb::ndim<1>>;

template <typename T>
NumpyVector<T> numpy_array(std::vector<T> values) {
  auto* owned = new std::vector<T>(std::move(values));
  nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return {owned->data(), {owned->size()}, owner};
}

// The same as a matrix.
template <typename T>
nb::ndarray<nb::numpy, T, nb::ndim<2>> numpy_array(std::vector<T> values, std::pair<size_t, size_t> shape) {
  auto* owned = new std::vector<T>(std::move(values));
  nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return {owned->data(), {shape.first, shape.second}, owner};
}

}  // namespace metalfaiss
