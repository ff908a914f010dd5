// Memory for files and lists: uninitialised, aligned to 64 bytes, on huge pages where it is large.
//
// Memory fresh from the system costs a fault and zeros for every page, three times what reading a file into it does. So
// up to kKeptBlocks bytes of what is given back wait for the next who asks. The system may take their pages at any time
// (MADV_FREE).
#pragma once

#include <cstdint>
#include <memory>

namespace metalfaiss::index {

constexpr int64_t kBlockAlignment = 64;
constexpr uint64_t kKeptBlocks = 256 << 20;

// Throws std::bad_alloc.
std::shared_ptr<uint8_t> allocate_block(uint64_t size);

}  // namespace metalfaiss::index
