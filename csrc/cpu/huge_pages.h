// Memory that is fresh from the system costs a page fault every 4 KB, which for 40 MB is more than many kernels.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace metalfaiss::cpu {

// Asks for pages of 2 MB within [data, data + size), where that is large. A wish: failing costs nothing.
inline void prefer_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] size_t size) {
#if defined(__linux__)
  constexpr uintptr_t kHugePage = 2 << 20;
  if (size >= 4 * kHugePage) {
    auto begin = reinterpret_cast<uintptr_t>(data);
    uintptr_t first = (begin + kHugePage - 1) / kHugePage * kHugePage, last = (begin + size) / kHugePage * kHugePage;
    madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
  }
#endif
}

}  // namespace metalfaiss::cpu
