// The bytes of a file, in memory or mapped, shared by all that borrow from them.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

namespace metalfaiss::index {

class FileBytes {
 public:
  // Maps an open file from `offset` to its end, to be read only: no memory is used until something is read. A file that
  // is cut while it is mapped ends the process (SIGBUS), as everywhere. Throws std::system_error.
  static std::shared_ptr<FileBytes> map(int fd, uint64_t offset);

  // Reads it. In memory the byte at `align_at` is aligned to 64 bytes.
  static std::shared_ptr<FileBytes> read(int fd, uint64_t offset, uint64_t align_at);

  static std::shared_ptr<FileBytes> copy(const uint8_t* data, uint64_t size);

  // What `owner` keeps alive.
  static std::shared_ptr<FileBytes> borrow(const uint8_t* data, uint64_t size, std::shared_ptr<const void> owner);

  // Takes over memory of std::malloc.
  static std::shared_ptr<FileBytes> adopt(uint8_t* data, uint64_t size);

  const uint8_t* data() const { return data_; }
  uint64_t size() const { return size_; }

 private:
  FileBytes(const uint8_t* data, uint64_t size, std::shared_ptr<const void> owner)
      : data_(data), size_(size), owner_(std::move(owner)) {}

  const uint8_t* data_;
  uint64_t size_;
  std::shared_ptr<const void> owner_;
};

// memcpy, by all threads.
void copy_all(uint8_t* to, const uint8_t* from, uint64_t size);

// Has the file system find a place for `size` more bytes of a file, in one piece, where it can: they are then written
// in two thirds of the time. Throws std::system_error if there is no space.
void reserve(int fd, uint64_t size);

// Writes all parts, at most 1024, behind what the file has; changes them. Throws std::system_error.
void write_all(int fd, std::span<iovec> parts);

}  // namespace metalfaiss::index
