// What is wrong with a file, and where.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace metalfaiss::faiss_file {

// Python's IndexFileError. Messages read "[read_index] What is required. What was received (IxF2, byte 45)."
struct FileError : std::runtime_error {
  FileError(const std::string& message, uint64_t at) : std::runtime_error(message), offset(at) {}
  uint64_t offset;
};

// A file that is well formed as far as can be told, but holds what is not read. Python's NotImplementedError.
struct UnknownFormat : FileError {
  using FileError::FileError;
};

}  // namespace metalfaiss::faiss_file
