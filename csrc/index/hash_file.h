// Hash tables as FAISS's files have them: numbers of any width packed into bytes, from the lowest bit up.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "index/hash_tables.h"

namespace metalfaiss::index {

// Of a file with codes (IBHh): hashes and sizes, packed; then for each hash its ids and its codes, with their counts.
struct HashLists {
  int64_t size = 0;
  int size_bits = 0;
  std::vector<uint8_t> sizes, lists;
};
HashLists write_hash_lists(const HashTables& tables);

// Of a file without (IBHm), for each table: every hash, how many ids it has, and these, packed.
struct HashMap {
  int64_t size = 0;
  int id_bits = 0;
  std::vector<uint8_t> packed;
};
std::vector<HashMap> write_hash_maps(const HashTables& tables);

// What these wrote. Throw std::invalid_argument where a number cannot be.
struct PackedTable {
  int64_t size;
  int64_t bits;  // of sizes or ids
  std::span<const uint8_t> packed;
};
void read_hash_lists(HashTables& tables, int64_t ntotal, const PackedTable& sizes, std::span<const uint8_t> lists);
void read_hash_maps(HashTables& tables, int64_t ntotal, std::span<const PackedTable> maps);

}  // namespace metalfaiss::index
