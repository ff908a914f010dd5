// Where threads meet: barriers, simdgroup operations, atomics.
#pragma once

#include "simulator/math.h"
#include "simulator/types.h"

extern "C" {
__attribute__((convergent, nomerge)) void sim_barrier(int flags);
__attribute__((convergent, nomerge)) void sim_simdgroup_barrier(int flags);
__attribute__((convergent)) void* sim_meet(const char* operation, sim_u64 pc, const void* value, sim_u64 bytes);
unsigned sim_lane();
unsigned sim_members();
void sim_bad_lane(const char* operation, sim_u64 lane, sim_u64 pc);
void sim_uneven(const char* operation, sim_u64 pc);
void sim_access_atomic(const void* p, sim_u64 size, int reads, int writes, sim_u64 pc);
void* sim_threadgroup(int index, const char* name, sim_u64 bytes, sim_u64 alignment);
}

// Inlined into shims, whose own accesses are not a kernel's.
#define SIM_PLAIN inline __attribute__((always_inline, no_sanitize("thread", "undefined")))

namespace metal {

enum class mem_flags { mem_none = 0, mem_threadgroup = 1, mem_device = 2, mem_texture = 4 };

constexpr mem_flags operator|(mem_flags a, mem_flags b) {
  return static_cast<mem_flags>(static_cast<int>(a) | static_cast<int>(b));
}

#define threadgroup_barrier(FLAGS) sim_barrier(static_cast<int>(FLAGS))
#define simdgroup_barrier(FLAGS) sim_simdgroup_barrier(static_cast<int>(FLAGS))

template <typename T>
struct sim_slots {
  unsigned char* bytes;  // 16 a lane, then a result that lanes share, and whether it is there

  SIM_PLAIN T operator[](uint lane) const {
    T value;
    __builtin_memcpy(&value, bytes + lane * 16, sizeof(T));
    return value;
  }
};

template <typename T>
SIM_PLAIN sim_slots<T> sim_values(const char* operation, sim_u64 pc, const T& x) {
  static_assert(sizeof(T) <= 16);
  return {static_cast<unsigned char*>(sim_meet(operation, pc, &x, sizeof(T)))};
}

// In the order of a tree, as hardware does; lanes that are not there are left out. One lane does it for all.
template <typename T, typename F>
SIM_PLAIN T sim_reduce(sim_slots<T> values, F f) {
  if (values.bytes[33 * 16] == 0) {
    T tree[32];
    uint n = static_cast<uint>(__builtin_popcount(sim_members()));
    __builtin_memset(tree, 0, sizeof(tree));
    for (uint i = 0; i < n; i++) {
      tree[i] = values[i];
    }
    for (uint step = 1; step < n; step *= 2) {
      for (uint i = 0; i + step < n; i += 2 * step) {
        tree[i] = f(tree[i], tree[i + step]);
      }
    }
    __builtin_memcpy(values.bytes + 32 * 16, tree, sizeof(T));
    values.bytes[33 * 16] = 1;
  }
  return values[32];
}

#define SIM_REDUCTION(NAME, EXPRESSION)                                                                       \
  template <typename T>                                                                                       \
  SIM_SHIM T NAME(T x) {                                                                                      \
    return sim_reduce(sim_values(#NAME, SIM_CALLER, x), [](T a, T b) { return static_cast<T>(EXPRESSION); }); \
  }
SIM_REDUCTION(simd_sum, a + b)
SIM_REDUCTION(simd_product, a* b)
SIM_REDUCTION(simd_min, min(a, b))
SIM_REDUCTION(simd_max, max(a, b))
SIM_REDUCTION(simd_and, a& b)
SIM_REDUCTION(simd_or, a | b)
SIM_REDUCTION(simd_xor, a ^ b)

#define SIM_PREFIX(NAME, START, EXPRESSION, COUNT)          \
  template <typename T>                                     \
  SIM_SHIM T NAME(T x) {                                    \
    sim_slots<T> values = sim_values(#NAME, SIM_CALLER, x); \
    T a = static_cast<T>(START);                            \
    for (uint i = 0; i < COUNT; i++) {                      \
      T b = values[i];                                      \
      a = static_cast<T>(EXPRESSION);                       \
    }                                                       \
    return a;                                               \
  }
SIM_PREFIX(simd_prefix_exclusive_sum, 0, a + b, sim_lane())
SIM_PREFIX(simd_prefix_inclusive_sum, 0, a + b, sim_lane() + 1)
SIM_PREFIX(simd_prefix_exclusive_product, 1, a* b, sim_lane())
SIM_PREFIX(simd_prefix_inclusive_product, 1, a* b, sim_lane() + 1)

// The value of the lane that each asks for. `uniform`: all must ask for the same, or move by the same.
template <typename T>
SIM_PLAIN T sim_fetch(const char* operation, sim_u64 pc, T x, ushort argument, uint from, bool uniform) {
  constexpr bool has_room = sizeof(T) <= 8;  // beside the value, for the argument
  unsigned char both[16];
  __builtin_memcpy(both, &x, sizeof(T));
  __builtin_memcpy(both + 8, &argument, has_room ? sizeof(argument) : 0);
  auto* slots = static_cast<const unsigned char*>(sim_meet(operation, pc, both, has_room ? 10 : 16));
  if (uniform && has_room && __builtin_memcmp(slots + 8, both + 8, sizeof(argument)) != 0) {
    sim_uneven(operation, pc);
  }
  if (from >= 32 || !(sim_members() >> from & 1)) {
    sim_bad_lane(operation, from, pc);
    return x;
  }
  T value;
  __builtin_memcpy(&value, slots + from * 16, sizeof(T));
  return value;
}

template <typename T>
SIM_SHIM T simd_shuffle(T x, ushort lane) {
  return sim_fetch("simd_shuffle", SIM_CALLER, x, 0, lane, false);
}

template <typename T>
SIM_SHIM T simd_broadcast(T x, ushort lane) {
  return sim_fetch("simd_broadcast", SIM_CALLER, x, lane, lane, true);
}

template <typename T>
SIM_SHIM T simd_broadcast_first(T x) {
  return sim_fetch("simd_broadcast_first", SIM_CALLER, x, 0, 0, false);
}

template <typename T>
SIM_SHIM T simd_shuffle_xor(T x, ushort mask) {
  return sim_fetch("simd_shuffle_xor", SIM_CALLER, x, mask, sim_lane() ^ mask, true);
}

// Lanes that nothing is moved into keep their own value.
template <typename T>
SIM_SHIM T simd_shuffle_up(T x, ushort delta) {
  uint lane = sim_lane();
  return sim_fetch("simd_shuffle_up", SIM_CALLER, x, delta, lane >= delta ? lane - delta : lane, true);
}

template <typename T>
SIM_SHIM T simd_shuffle_down(T x, ushort delta) {
  uint lane = sim_lane();
  return sim_fetch("simd_shuffle_down", SIM_CALLER, x, delta, lane + delta < 32 ? lane + delta : lane, true);
}

template <typename T>
SIM_SHIM T simd_shuffle_rotate_up(T x, ushort delta) {
  return sim_fetch("simd_shuffle_rotate_up", SIM_CALLER, x, delta, (sim_lane() - delta) & 31, true);
}

template <typename T>
SIM_SHIM T simd_shuffle_rotate_down(T x, ushort delta) {
  return sim_fetch("simd_shuffle_rotate_down", SIM_CALLER, x, delta, (sim_lane() + delta) & 31, true);
}

SIM_SHIM inline uint sim_vote(const char* operation, sim_u64 pc, bool x) {
  sim_slots<bool> values = sim_values(operation, pc, x);
  uint mask = 0;
  for (uint lane = 0; lane < 32; lane++) {
    mask |= (sim_members() >> lane & 1) && values[lane] ? 1u << lane : 0;
  }
  return mask;
}

struct simd_vote {
  using vote_t = ulong;
  explicit constexpr simd_vote(vote_t v = 0) : bits(v) {}
  explicit constexpr operator vote_t() const { return bits; }
  bool any() const { return bits != 0; }
  bool all() const { return bits == 0xffffffff; }

 private:
  vote_t bits;
};

SIM_SHIM inline simd_vote simd_ballot(bool x) {
  return simd_vote(sim_vote("simd_ballot", SIM_CALLER, x));
}

SIM_SHIM inline bool simd_any(bool x) {
  return sim_vote("simd_any", SIM_CALLER, x) != 0;
}

SIM_SHIM inline bool simd_all(bool x) {
  return sim_vote("simd_all", SIM_CALLER, x) == sim_members();
}

enum memory_order { memory_order_relaxed };

template <typename T>
struct atomic {
  T sim_value;
};

using atomic_uint = atomic<uint>;
using atomic_int = atomic<int>;
using atomic_float = atomic<float>;
using atomic_bool = atomic<bool>;

template <typename T>
struct sim_type {
  using type = T;
};
template <typename T>
using sim_same = typename sim_type<T>::type;

template <typename T>
SIM_SHIM T atomic_load_explicit(const volatile atomic<T>* p, memory_order) {
  sim_access_atomic(const_cast<const atomic<T>*>(p), sizeof(T), 1, 0, SIM_CALLER);
  return p->sim_value;
}

template <typename T>
SIM_SHIM void atomic_store_explicit(volatile atomic<T>* p, sim_same<T> x, memory_order) {
  sim_access_atomic(const_cast<atomic<T>*>(p), sizeof(T), 0, 1, SIM_CALLER);
  p->sim_value = x;
}

template <typename T>
SIM_SHIM bool atomic_compare_exchange_weak_explicit(volatile atomic<T>* p, T* expected, sim_same<T> desired,
                                                    memory_order, memory_order) {
  sim_access_atomic(const_cast<atomic<T>*>(p), sizeof(T), 1, 1, SIM_CALLER);
  T old = p->sim_value;
  bool same = __builtin_memcmp(&old, expected, sizeof(T)) == 0;
  p->sim_value = same ? desired : old;
  *expected = old;
  return same;
}

#define SIM_ATOMIC(NAME, EXPRESSION)                                           \
  template <typename T>                                                        \
  SIM_SHIM T NAME(volatile atomic<T>* p, sim_same<T> b, memory_order) {        \
    sim_access_atomic(const_cast<atomic<T>*>(p), sizeof(T), 1, 1, SIM_CALLER); \
    T a = p->sim_value;                                                        \
    p->sim_value = static_cast<T>(EXPRESSION);                                 \
    return a;                                                                  \
  }
SIM_ATOMIC(atomic_exchange_explicit, b)
SIM_ATOMIC(atomic_fetch_add_explicit, a + b)
SIM_ATOMIC(atomic_fetch_sub_explicit, a - b)
SIM_ATOMIC(atomic_fetch_max_explicit, a < b ? b : a)
SIM_ATOMIC(atomic_fetch_min_explicit, b < a ? b : a)
SIM_ATOMIC(atomic_fetch_and_explicit, a& b)
SIM_ATOMIC(atomic_fetch_or_explicit, a | b)
SIM_ATOMIC(atomic_fetch_xor_explicit, a ^ b)

}  // namespace metal
