// What compiled kernels call: a hook at every access (those of clang's thread sanitizer), at every call, at undefined
// arithmetic, and the parts of the shims that need to know the state.
#include <cmath>
#include <cstdio>
#include <cstring>

#include "state.h"

using namespace sim;

namespace {

[[gnu::cold, gnu::noinline]] void misaligned(uint64_t address, uint64_t size, bool is_write, uint64_t pc) {
  if (address - reinterpret_cast<uint64_t>(g.arena) >= kArenaBytes) {
    return;
  }
  access(address, size, is_write, g.who, pc);  // says so where it is out of bounds as well
  if (Finding* f = find(What::misaligned, pc)) {
    const Memory& m = g.memories[g.slots[(address - reinterpret_cast<uint64_t>(g.arena)) >> kSlotShift]];
    f->memory = static_cast<int>(&m - g.memories);
    f->offset = static_cast<int64_t>(address - reinterpret_cast<uint64_t>(m.begin));
    f->size = static_cast<int32_t>(size);
    f->is_write = is_write;
  }
  abort_launch();
}

inline void aligned(void* p, uint64_t size, bool is_write, uint64_t pc) {
  auto address = reinterpret_cast<uint64_t>(p);
  if (address & (size - 1)) [[unlikely]] {
    misaligned(address, size, is_write, pc);
  }
  access(address, size, is_write, g.who, pc);
}

void undefined(uint64_t pc, const char* format, long long a, const char* b) {
  if (Finding* f = find(What::undefined, pc)) {
    std::snprintf(f->text, sizeof(f->text), format, a, b);
  }
  abort_launch();
}

struct Type {
  uint16_t kind, info;
  char name[];
};

struct Site {
  const char* file;
  uint32_t line, column;
  const Type* type;
};

}  // namespace

#define SIM_HOOKS(N)                                                \
  SIM_API void __tsan_read##N(void* p) {                            \
    aligned(p, N, false, SIM_PC);                                   \
  }                                                                 \
  SIM_API void __tsan_write##N(void* p) {                           \
    aligned(p, N, true, SIM_PC);                                    \
  }                                                                 \
  SIM_API void __tsan_unaligned_read##N(void* p) {                  \
    access(reinterpret_cast<uint64_t>(p), N, false, g.who, SIM_PC); \
  }                                                                 \
  SIM_API void __tsan_unaligned_write##N(void* p) {                 \
    access(reinterpret_cast<uint64_t>(p), N, true, g.who, SIM_PC);  \
  }
SIM_HOOKS(1)
SIM_HOOKS(2)
SIM_HOOKS(4)
SIM_HOOKS(8)
SIM_HOOKS(16)

SIM_API void __tsan_init() {}

SIM_API void __tsan_func_entry(void* pc) {
  Fiber& f = *g.fiber;
  f.callers[f.depth & 31] = reinterpret_cast<uint64_t>(pc);
  f.calls ^= reinterpret_cast<uint64_t>(pc) * static_cast<uint64_t>(2 * f.depth + 1);
  f.depth++;
}

SIM_API void __tsan_func_exit() {
  Fiber& f = *g.fiber;
  f.depth--;
  f.calls ^= f.callers[f.depth & 31] * static_cast<uint64_t>(2 * f.depth + 1);
}

SIM_API void* __tsan_memcpy(void* to, const void* from, size_t n) {
  if (n > 0) {
    access(reinterpret_cast<uint64_t>(from), n, false, g.who, SIM_PC);
    access(reinterpret_cast<uint64_t>(to), n, true, g.who, SIM_PC);
  }
  return std::memcpy(to, from, n);
}

SIM_API void* __tsan_memmove(void* to, const void* from, size_t n) {
  if (n > 0) {
    access(reinterpret_cast<uint64_t>(from), n, false, g.who, SIM_PC);
    access(reinterpret_cast<uint64_t>(to), n, true, g.who, SIM_PC);
  }
  return std::memmove(to, from, n);
}

SIM_API void* __tsan_memset(void* to, int value, size_t n) {
  if (n > 0) {
    access(reinterpret_cast<uint64_t>(to), n, true, g.who, SIM_PC);
  }
  return std::memset(to, value, n);
}

SIM_API void __ubsan_handle_out_of_bounds_abort(Site* site, uintptr_t index) {
  undefined(SIM_PC, "index %lld is outside of %s", static_cast<long long>(static_cast<intptr_t>(index)),
            site->type->name);
}

SIM_API void __ubsan_handle_add_overflow_abort(Site* site, uintptr_t, uintptr_t) {
  undefined(SIM_PC, "a sum overflows%.0lld %s", 0, site->type->name);
}

SIM_API void __ubsan_handle_sub_overflow_abort(Site* site, uintptr_t, uintptr_t) {
  undefined(SIM_PC, "a difference overflows%.0lld %s", 0, site->type->name);
}

SIM_API void __ubsan_handle_mul_overflow_abort(Site* site, uintptr_t, uintptr_t) {
  undefined(SIM_PC, "a product overflows%.0lld %s", 0, site->type->name);
}

SIM_API void __ubsan_handle_negate_overflow_abort(Site* site, uintptr_t) {
  undefined(SIM_PC, "a negation overflows%.0lld %s", 0, site->type->name);
}

SIM_API void __ubsan_handle_divrem_overflow_abort(Site* site, uintptr_t, uintptr_t) {
  undefined(SIM_PC, "a division by zero, or one that overflows%.0lld %s", 0, site->type->name);
}

// Conversions to bfloat round to nearest, ties to even.
SIM_API __bf16 __truncsfbf2(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  bits = std::isnan(x) ? (bits >> 16) | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  auto half = static_cast<uint16_t>(bits);
  __bf16 out;
  std::memcpy(&out, &half, 2);
  return out;
}

SIM_API __bf16 __truncdfbf2(double x) {
  return __truncsfbf2(static_cast<float>(x));
}

SIM_API void sim_access(const void* p, uint64_t size, int is_write, uint64_t pc) {
  aligned(const_cast<void*>(p), size, is_write, pc);
}

SIM_API void sim_access_atomic(const void* p, uint64_t size, int reads, int writes, uint64_t pc) {
  auto address = reinterpret_cast<uint64_t>(p);
  if (address & (size - 1)) {
    misaligned(address, size, writes, pc);
  }
  pause();
  auto who = static_cast<Who>(g.who | kAtomic);
  if (reads) {
    access(address, size, false, who, pc);
  }
  if (writes) {
    access(address, size, true, who, pc);
  }
}

// An element of a matrix that some lane of the simdgroup loads or stores.
SIM_API void sim_access_matrix(const void* p, uint64_t size, int is_write, uint64_t pc) {
  auto address = reinterpret_cast<uint64_t>(p);
  if (address & (size - 1)) {
    misaligned(address, size, is_write, pc);
  }
  access(address, size, is_write, static_cast<Who>((g.who & ~63) | kCollective), pc);
}

SIM_API void sim_bad_lane(const char* operation, uint64_t lane, uint64_t pc) {
  if (Finding* f = find(What::shuffle, pc)) {
    std::snprintf(f->text, sizeof(f->text), "%s asks for lane %llu, which is not there", operation,
                  static_cast<unsigned long long>(lane));
  }
}

SIM_API void sim_uneven(const char* operation, uint64_t pc) {
  if (Finding* f = find(What::shuffle, pc)) {
    std::snprintf(f->text, sizeof(f->text), "%s gets different lanes or distances in one simdgroup", operation);
  }
}

SIM_API int sim_row(int lane) {
  return (lane / 4 & 4) + lane / 2 % 4;
}

SIM_API int sim_column(int lane) {
  return (lane / 4 & 2) * 2 + lane % 2 * 2;
}

SIM_API void* sim_meet(const char* operation, uint64_t pc, const void* value, uint64_t bytes);

// d = a b + c for 8 x 8 matrices, of which each lane brings two elements of a and b in `ab` and two of c in `d`.
SIM_API void sim_multiply_accumulate(const float* ab, float* d, uint64_t pc) {
  const auto* lanes = static_cast<const float(*)[4]>(sim_meet("simdgroup_multiply_accumulate", pc, ab, 16));
  static int lane_at[8][8] = {};
  if (lane_at[0][2] == 0) {
    for (int lane = 0; lane < kLanes; lane++) {
      lane_at[sim_row(lane)][sim_column(lane)] = lane_at[sim_row(lane)][sim_column(lane) + 1] = lane;
    }
  }
  int lane = g.fiber->thread % kLanes, row = sim_row(lane), column = sim_column(lane);
  for (int k = 0; k < 8; k++) {
    float a = lanes[lane_at[row][k]][k % 2];
    const float* b = lanes[lane_at[k][column]] + 2;
    d[0] = __builtin_fmaf(a, b[0], d[0]);
    d[1] = __builtin_fmaf(a, b[1], d[1]);
  }
}
