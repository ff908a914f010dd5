// Errors with a class of their own in Python, from every layer (csrc/bindings/module.cpp translates).
#pragma once

#include <stdexcept>

namespace metalfaiss {

// metalfaiss.errors.ArgumentError, which is a ValueError and what FAISS raises in its place.
struct ArgumentError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// Python's TypeError.
struct TypeError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

}  // namespace metalfaiss
