// The cache of compiled kernels: damaged files, other keys of one file, many writers.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "gpu/cuda/disk_cache.h"

namespace fs = std::filesystem;
using metalfaiss::cpu::failures;
using metalfaiss::cpu::simd_level;
using metalfaiss::cpu::simd_level_name;
using metalfaiss::gpu::DiskCache;

namespace {

fs::path the_file(const fs::path& folder) {
  return fs::directory_iterator(folder)->path();
}

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

void test_round_trip(const fs::path& folder) {
  DiskCache cache(folder / "a" / "b");
  CHECK(!cache.load("key"));
  std::string binary("cubin\0with\nall\xff kinds", 20);
  cache.store("key", binary);
  CHECK(cache.load("key") == binary);
  CHECK(DiskCache(folder / "a" / "b").load("key") == binary);
  CHECK(!cache.load("another"));
  cache.store("key", "replaced");
  CHECK(cache.load("key") == "replaced");
  cache.store("empty", "");
  CHECK(cache.load("empty") == "");
}

void test_damage(const fs::path& folder) {
  DiskCache cache(folder);
  cache.store("key", "value of some length");
  fs::path file = the_file(folder);
  std::string whole = read(file);
  for (size_t i = 0; i < whole.size(); i++) {
    std::string damaged = whole;
    damaged[i] ^= 1;
    write(file, damaged);
    CHECK(!cache.load("key"));
    write(file, whole.substr(0, i));
    CHECK(!cache.load("key"));
  }
  write(file, whole + "x");
  CHECK(!cache.load("key"));
  cache.store("key", "again");
  CHECK(cache.load("key") == "again");
}

void test_a_file_of_another_key(const fs::path& folder) {
  DiskCache cache(folder);
  cache.store("one", "first");
  std::string bytes = read(the_file(folder));
  fs::remove(the_file(folder));
  cache.store("two", "second");
  write(the_file(folder), bytes);
  CHECK(!cache.load("two"));
}

void test_many_writers(const fs::path& folder) {
  DiskCache cache(folder);
  std::vector<std::thread> writers;
  std::vector<int> wrong(4);
  for (int t = 0; t < 4; t++) {
    writers.emplace_back([&, t] {
      std::string mine(10000 + t, static_cast<char>('a' + t));
      for (int i = 0; i < 100; i++) {
        cache.store("key", mine);
        auto found = cache.load("key");
        wrong[t] += !found || found->find_first_not_of((*found)[0]) != std::string::npos ||
                    found->size() != static_cast<size_t>(10000 + (*found)[0] - 'a');
      }
    });
  }
  for (std::thread& writer : writers) {
    writer.join();
  }
  for (int count : wrong) {
    CHECK(count == 0);
  }
  CHECK(std::distance(fs::directory_iterator(folder), {}) == 1);  // no parts are left
}

void test_folders(const fs::path& folder) {
  DiskCache nowhere({});
  nowhere.store("key", "value");
  CHECK(!nowhere.load("key"));
  write(folder, "a file");
  DiskCache blocked(folder / "below");
  blocked.store("key", "value");
  CHECK(!blocked.load("key"));
  setenv("XDG_CACHE_HOME", "/cache", 1);
  CHECK(DiskCache::user_folder() == "/cache/metalfaiss");
  setenv("XDG_CACHE_HOME", "relative", 1);
  setenv("HOME", "/home/me", 1);
  CHECK(DiskCache::user_folder() == "/home/me/.cache/metalfaiss");
  setenv("HOME", "", 1);
  CHECK(DiskCache::user_folder().empty());
}

}  // namespace

int main() {
  std::string name = (fs::temp_directory_path() / "metalfaiss_XXXXXX").string();
  fs::path root = mkdtemp(name.data());
  test_round_trip(root / "1");
  test_damage(root / "2");
  test_a_file_of_another_key(root / "3");
  test_many_writers(root / "4");
  test_folders(root / "5");
  fs::remove_all(root);
  return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
