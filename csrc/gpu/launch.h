// What to run on a GPU, as data. A plan is made from shapes, strides and dtypes alone: it knows nothing of Metal or
// CUDA, so that every executor runs the same kernels with the same arguments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace metalfaiss::gpu {

// Memory that a plan speaks of: the operation's inputs and outputs, by their position, and the plan's own temporaries.
struct Memory {
  enum class Kind { input, output, scratch };
  Kind kind;
  int index;
  int64_t offset = 0;  // bytes behind the first element
};

inline Memory input(int index, int64_t offset = 0) {
  return {Memory::Kind::input, index, offset};
}

inline Memory output(int index, int64_t offset = 0) {
  return {Memory::Kind::output, index, offset};
}

inline Memory scratch(int index, int64_t offset = 0) {
  return {Memory::Kind::scratch, index, offset};
}

// What a kernel does with a buffer: executors order launches by it.
enum class Access { read, write, read_write };

struct Buffer {
  Memory memory;
  Access access;
};

inline Buffer read(Memory memory) {
  return {memory, Access::read};
}

inline Buffer write(Memory memory) {
  return {memory, Access::write};
}

inline Buffer read_write(Memory memory) {
  return {memory, Access::read_write};
}

using Bytes = std::vector<std::byte>;
using Argument = std::variant<Buffer, Bytes>;

// The parameters of a kernel, which it takes as `constant Params&`: a struct of metal/include.
template <typename Params>
Bytes bytes_of(const Params& params) {
  Bytes bytes(sizeof(Params));
  std::memcpy(bytes.data(), &params, sizeof(Params));
  return bytes;
}

// A preprocessor constant that specialises a kernel.
struct Constant {
  std::string name, value;
};

struct Size {
  int64_t x = 1, y = 1, z = 1;
};

struct Launch {
  std::string family;                // metal/<family>.metal
  std::string kernel;                // a function of that file
  std::vector<Constant> constants;   // defined behind the system's headers
  std::vector<Argument> arguments;   // the i-th is [[buffer(i)]]
  Size groups;                       // threadgroups of the grid
  Size threads;                      // threads of a threadgroup
  int64_t threadgroup_bytes = 0;     // of [[threadgroup(0)]], where the kernel has one
  std::optional<Memory> guard = {};  // a 32-bit integer: where it is 0 the launch does nothing. For executors that
                                     // honour it: see has_fast_float64()

  // Unique to the specialisation: gemm_av_float_8 for T=float and TILE=8.
  std::string name() const {
    std::string name = kernel;
    for (const Constant& constant : constants) {
      name += '_';
      for (char c : constant.value) {
        name += c == ' ' || c == '-' || c == '*' ? '_' : c;
      }
    }
    return name;
  }
};

// out (m, n) = A (m, k) B, all float32, through MLX's own product. Strides are in elements from row to row.
struct Product {
  Memory a, b, out;
  int64_t m, n, k;
  int64_t a_stride, b_stride;
  bool b_transposed;  // B is (n, k) in memory, otherwise (k, n)
  bool tf32 = false;  // whether operands may be rounded to 10 bits of fraction: an M5 then uses its matrix units
  bool a_transposed = false;  // A is (k, m) in memory: for executors that multiplies() is true of
};

using Step = std::variant<Launch, Product>;

struct Plan {
  std::vector<int64_t> scratch;  // bytes of each temporary
  std::vector<Step> steps;       // in order: a step sees what those before it wrote

  Memory allocate(int64_t bytes) {
    scratch.push_back(bytes);
    return gpu::scratch(static_cast<int>(scratch.size()) - 1);
  }
};

}  // namespace metalfaiss::gpu
