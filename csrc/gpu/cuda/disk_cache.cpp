#include "gpu/cuda/disk_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

namespace metalfaiss::gpu {

namespace {

namespace fs = std::filesystem;

constexpr char kMagic[8] = {'M', 'F', 'C', 'A', 'C', 'H', 'E', '1'};

// A file: this, the key, the value. The key is compared in full, so that two keys of one file name do no harm.
struct Header {
  char magic[8];
  uint64_t key_bytes, value_bytes, checksum;
};

// FNV-1a, 64 bits.
uint64_t hash(std::string_view text, uint64_t h = 0xcbf29ce484222325) {
  for (char c : text) {
    h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return h;
}

Header header_of(std::string_view key, std::string_view value) {
  Header header{{}, key.size(), value.size(), hash(value, hash(key))};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  return header;
}

bool write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::write(file, bytes.data(), bytes.size());
    if (n <= 0) {
      return false;
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

// Unique among processes and threads, also where several machines share the folder.
std::string unique_suffix() {
  static std::atomic<unsigned> count = 0;
  auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  return "." + std::to_string(::getpid()) + "." + std::to_string(now) + "." + std::to_string(count++) + ".part";
}

}  // namespace

fs::path DiskCache::user_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache && *cache == '/') {
    return fs::path(cache) / "metalfaiss";
  }
  const char* home = std::getenv("HOME");
  return home && *home == '/' ? fs::path(home) / ".cache" / "metalfaiss" : fs::path();
}

fs::path DiskCache::file(std::string_view key) const {
  char name[40];
  std::snprintf(name, sizeof(name), "%016llx%016llx", static_cast<unsigned long long>(hash(key)),
                static_cast<unsigned long long>(hash(key, 0x9e3779b97f4a7c15)));
  return folder_ / name;
}

std::optional<std::string> DiskCache::load(std::string_view key) const {
  if (folder_.empty()) {
    return std::nullopt;
  }
  std::ifstream in(file(key), std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(in), {}};
  Header header;
  if (bytes.size() < sizeof(header)) {
    return std::nullopt;
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  std::string_view rest = std::string_view(bytes).substr(sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0 || header.key_bytes != key.size() ||
      !rest.starts_with(key) || header.value_bytes != rest.size() - key.size()) {
    return std::nullopt;
  }
  std::string_view value = rest.substr(key.size());
  return header.checksum == header_of(key, value).checksum ? std::optional(std::string(value)) : std::nullopt;
}

void DiskCache::store(std::string_view key, std::string_view value) const {
  if (folder_.empty()) {
    return;
  }
  std::error_code error;
  fs::create_directories(folder_, error);
  fs::path to = file(key), part = to;
  part += unique_suffix();
  int out = ::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (out < 0) {
    return;
  }
  Header header = header_of(key, value);
  bool written = write_all(out, {reinterpret_cast<const char*>(&header), sizeof(header)}) && write_all(out, key) &&
                 write_all(out, value);
  written = ::close(out) == 0 && written;
  if (written) {
    fs::rename(part, to, error);
  }
  if (!written || error) {
    fs::remove(part, error);
  }
}

}  // namespace metalfaiss::gpu
