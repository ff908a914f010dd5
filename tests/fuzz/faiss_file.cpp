// Whatever the bytes are: the parser ends, reads none but them, allocates no more than it promises, and what it accepts
// is written back byte for byte.
//
//   clang++-19 -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Icsrc \
//       tests/fuzz/faiss_file.cpp csrc/index/faiss_file/*.cpp -o fuzz && ./fuzz -max_len=4096 tests/fuzz/corpus
//
// With -DREPLAY and without -fsanitize=fuzzer, and any compiler, it runs the files and folders it is given.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "index/faiss_file/reader.h"
#include "index/faiss_file/writer.h"

namespace {

thread_local uint64_t allocated = 0, highest = 0;  // bytes

}  // namespace

// The sanitizers' allocator has these, and calls the hooks; GCC ships no header for it.
extern "C" size_t __sanitizer_get_allocated_size(const volatile void*);

extern "C" void __sanitizer_malloc_hook(const volatile void*, size_t size) {
  allocated += size;
  highest = allocated > highest ? allocated : highest;
}

extern "C" void __sanitizer_free_hook(const volatile void* p) {
  allocated -= __sanitizer_get_allocated_size(p);
}

namespace {

using namespace metalfaiss::faiss_file;

void require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

// Compares what is written with what was read.
struct Comparison : Sink {
  explicit Comparison(const uint8_t* data) : at(data) {}
  void write(std::span<const Bytes> pieces) override {
    for (auto [data, size] : pieces) {
      require(std::memcmp(at, data, size) == 0);
      at += size;
    }
  }
  const uint8_t* at;
};

void try_domain(Domain domain, const uint8_t* data, size_t size) {
  uint64_t end = 0, before = allocated;
  highest = allocated;
  try {
    Memory memory({data, size});
    Record record = read("read_index", domain, memory, &end);
    require(highest - before <= size + kRecordBudget + 4096);  // strings of messages and names
    require(end <= size);
    require(metalfaiss::faiss_file::size(record) == end);
    Comparison sink(data);
    write("write_index", record, sink);
    require(sink.at == data + end);
  } catch (const FileError& e) {
    require(e.offset <= size);
    require(e.what()[0] == '[');
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  find_layout(Domain::index, "null");  // allocates once
  bool found = false;
  for (Domain domain : {Domain::index, Domain::binary, Domain::transform, Domain::lists}) {
    if (size >= 4 && find_layout(domain, {reinterpret_cast<const char*>(data), 4})) {
      try_domain(domain, data, size);
      found = true;
    }
  }
  if (!found) {
    try_domain(Domain::index, data, size);
  }
  return 0;
}

#ifdef REPLAY
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

int main(int argc, char** argv) {
  int count = 0;
  auto run = [&](const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::vector<char> read{std::istreambuf_iterator<char>(file), {}};
    std::vector<uint8_t> bytes(read.begin(), read.end());  // of its size: a read behind it is seen
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    ++count;
  };
  for (int i = 1; i < argc; ++i) {
    if (std::filesystem::is_directory(argv[i])) {
      for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
        run(entry.path());
      }
    } else {
      run(argv[i]);
    }
  }
  std::printf("%d files\n", count);
  return count > 0 ? 0 : 1;
}
#endif
