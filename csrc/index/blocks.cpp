#include "index/blocks.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include "cpu/huge_pages.h"

namespace metalfaiss::index {

namespace {

constexpr uint64_t kHugePage = 2 << 20;
constexpr uint64_t kLarge = 4 * kHugePage;

struct Block {
  uint8_t* data;
  uint64_t size;
};

uint64_t rounded(uint64_t size, uint64_t to) {
  if (size > UINT64_MAX - to) {
    throw std::bad_alloc();
  }
  return std::max(to, (size + to - 1) / to * to);
}

uint8_t* fresh(uint64_t size, uint64_t alignment) {
  auto* data = static_cast<uint8_t*>(std::aligned_alloc(alignment, size));
  if (data == nullptr) {
    throw std::bad_alloc();
  }
  return data;
}

// Large blocks that nobody uses, the latest last. Where another thread is at it (in a forked child: was, for ever), the
// pool is passed by.
class Pool {
 public:
  // The smallest of at least `size` bytes, and at most twice as many; {} if there is none.
  Block take(uint64_t size) {
    std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) {
      return {};
    }
    auto best = blocks_.end();
    for (auto it = blocks_.begin(); it != blocks_.end(); ++it) {
      bool fits = it->size >= size && it->size / 2 <= size;
      best = fits && (best == blocks_.end() || it->size < best->size) ? it : best;
    }
    if (best == blocks_.end()) {
      return {};
    }
    Block block = *best;
    blocks_.erase(best);
    kept_ -= block.size;
    return block;
  }

  // Keeps it instead of the oldest ones.
  void give(Block block) {
    std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock || block.size > kKeptBlocks) {
      std::free(block.data);
      return;
    }
    madvise(block.data, block.size, MADV_FREE);
    while (kept_ + block.size > kKeptBlocks) {
      std::free(blocks_.front().data);
      kept_ -= blocks_.front().size;
      blocks_.erase(blocks_.begin());
    }
    blocks_.push_back(block);
    kept_ += block.size;
  }

 private:
  static std::vector<Block> reserved() {  // so that giving back does not throw
    std::vector<Block> blocks;
    blocks.reserve(kKeptBlocks / kLarge);
    return blocks;
  }

  std::mutex mutex_;
  std::vector<Block> blocks_ = reserved();
  uint64_t kept_ = 0;
};

// Lives as long as the process: blocks may be given back while it ends.
Pool& pool() {
  static Pool& pool = *new Pool;
  return pool;
}

}  // namespace

std::shared_ptr<uint8_t> allocate_block(uint64_t size) {
  if (size < kLarge) {
    return {fresh(rounded(size, kBlockAlignment), kBlockAlignment), [](uint8_t* p) { std::free(p); }};
  }
  uint64_t whole = rounded(size, kHugePage);
  Block block = pool().take(whole);
  if (block.data == nullptr) {
    block = {fresh(whole, kHugePage), whole};
    cpu::prefer_huge_pages(block.data, whole);
  }
  return {block.data, [block](uint8_t*) { pool().give(block); }};
}

}  // namespace metalfaiss::index
