// Whatever the bytes are: the parser ends, reads none but them, allocates no more than it promises, and what it accepts
// is written back byte for byte. The same holds for hash tables, which lie packed in fields of their own.
//
//   clang++-19 -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Icsrc \
//       tests/fuzz/faiss_file.cpp csrc/index/faiss_file/*.cpp csrc/index/hash_*.cpp csrc/cpu/parallel.cpp -o fuzz
//   ./fuzz -max_len=4096 tests/fuzz/corpus
//
// With -DREPLAY and without -fsanitize=fuzzer, and any compiler, it runs the files and folders it is given.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

#include "index/faiss_file/reader.h"
#include "index/faiss_file/writer.h"
#include "index/hash_file.h"

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

namespace index = metalfaiss::index;

int64_t number(const Record& record, const char* name) {
  return static_cast<int64_t>(record.find(name)->bits);
}
std::span<const uint8_t> bytes(const Record& record, const char* name) {
  const Value* value = record.find(name);
  return {value->bytes.data, value->bytes.size};
}

// Hash tables as IndexBinaryHash and IndexBinaryMultiHash read them.
std::unique_ptr<index::HashTables> hash_tables(const Record& record) {
  bool lists = record.layout->fourcc == "IBHh";
  int64_t nhash = lists ? 1 : number(record, "nhash"), b = number(record, "b"), d = number(record, "d");
  if (d < 1 || b < 1 || b > 64 || nhash < 1 || nhash * b > d || number(record, "ntotal") > (1 << 20)) {
    return {};
  }
  auto tables = std::make_unique<index::HashTables>(nhash, static_cast<int>(b), d / 8, lists);
  if (lists) {
    index::read_hash_lists(*tables, number(record, "ntotal"),
                           {number(record, "size"), number(record, "il_nbit"), bytes(record, "buffer")},
                           bytes(record, "lists"));
  } else {
    std::vector<index::PackedTable> maps;
    for (const Record& map : record.find("maps")->children) {
      maps.push_back({number(map, "size"), number(map, "id_bits"), bytes(map, "buffer")});
    }
    index::read_hash_maps(*tables, number(record, "ntotal"), maps);
  }
  return tables;
}

void try_hash_tables(const Record& record) {
  uint64_t size = record.find("d")->offset + 4096, before = allocated;
  for (const char* name : {"buffer", "lists"}) {
    size += record.find(name) ? record.find(name)->bytes.size : 0;
  }
  if (const Value* maps = record.find("maps")) {
    for (const Record& map : maps->children) {
      size += map.find("buffer")->bytes.size * 8;
    }
  }
  highest = allocated;
  try {
    std::unique_ptr<index::HashTables> tables = hash_tables(record);
    require(highest - before <= 64 * size);
    if (tables && tables->keeps_codes()) {
      index::write_hash_lists(*tables);
    } else if (tables) {
      index::write_hash_maps(*tables);
    }
  } catch (const std::invalid_argument& e) {
    require(e.what()[0] == '[');
  }
}

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
    if (record.layout->fourcc == "IBHh" || record.layout->fourcc == "IBHm") {
      try_hash_tables(record);
    }
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
