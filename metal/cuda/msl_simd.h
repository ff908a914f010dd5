// A simdgroup is a warp; a threadgroup is a block.
#pragma once

#include "msl.h"

#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fc00000)
#endif
#ifndef FLT_MAX
#define FLT_MAX 3.402823466e38f
#endif
#ifndef FLT_MIN
#define FLT_MIN 1.175494351e-38f
#endif
#ifndef FLT_EPSILON
#define FLT_EPSILON 1.192092896e-07f
#endif
#ifndef INT_MAX
#define INT_MAX 2147483647
#endif
#ifndef INT_MIN
#define INT_MIN (-INT_MAX - 1)
#endif
#ifndef UINT_MAX
#define UINT_MAX 4294967295u
#endif

namespace metal {

// --------------------------------------------------------------------------------------------------- barriers

enum class mem_flags {
  mem_none = 0,
  mem_device = 1,
  mem_threadgroup = 2,
  mem_texture = 4,
  mem_threadgroup_imageblock = 8
};
MSL_FN mem_flags operator|(mem_flags a, mem_flags b) {
  return mem_flags(int(a) | int(b));
}

MSL_FN void threadgroup_barrier(mem_flags) {
  __syncthreads();
}
MSL_FN void simdgroup_barrier(mem_flags) {
  __syncwarp();
}

// --------------------------------------------------------------------------------------------------- simd operations

constexpr uint kAllLanes = 0xffffffffu;

// Moves values of any type between lanes, a word at a time.
#define MSL_SHUFFLE(name, intrinsic)                                  \
  template <typename T>                                               \
  MSL_FN T name(const T& x, ushort argument) {                        \
    uint words[(sizeof(T) + 3) / 4] = {};                             \
    memcpy(words, &x, sizeof(T));                                     \
    _Pragma("unroll") for (int i = 0; i < (sizeof(T) + 3) / 4; i++) { \
      words[i] = intrinsic(kAllLanes, words[i], argument);            \
    }                                                                 \
    T r;                                                              \
    memcpy(&r, words, sizeof(T));                                     \
    return r;                                                         \
  }
MSL_SHUFFLE(simd_shuffle, __shfl_sync)
MSL_SHUFFLE(simd_shuffle_xor, __shfl_xor_sync)
MSL_SHUFFLE(simd_shuffle_down, __shfl_down_sync)
MSL_SHUFFLE(simd_shuffle_up, __shfl_up_sync)
MSL_SHUFFLE(simd_broadcast, __shfl_sync)

template <typename T>
MSL_FN T simd_broadcast_first(const T& x) {
  return simd_shuffle(x, 0);
}

MSL_FN uint msl_lane() {
  uint lane;
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
  return lane;
}
MSL_FN bool simd_is_first() {
  return msl_lane() == 0;
}

#define MSL_REDUCTION(name, expression)                                      \
  template <typename T>                                                      \
  MSL_FN T name(T a) {                                                       \
    _Pragma("unroll") for (int distance = 16; distance > 0; distance /= 2) { \
      T b = simd_shuffle_xor(a, distance);                                   \
      a = expression;                                                        \
    }                                                                        \
    return a;                                                                \
  }
MSL_REDUCTION(simd_sum, a + b)
MSL_REDUCTION(simd_product, a* b)
MSL_REDUCTION(simd_max, max(a, b))
MSL_REDUCTION(simd_min, min(a, b))
MSL_REDUCTION(simd_and, a& b)
MSL_REDUCTION(simd_or, a | b)
MSL_REDUCTION(simd_xor, a ^ b)

MSL_FN int simd_sum(int x) {
  return __reduce_add_sync(kAllLanes, x);
}
MSL_FN uint simd_sum(uint x) {
  return __reduce_add_sync(kAllLanes, x);
}
MSL_FN int simd_max(int x) {
  return __reduce_max_sync(kAllLanes, x);
}
MSL_FN uint simd_max(uint x) {
  return __reduce_max_sync(kAllLanes, x);
}
MSL_FN int simd_min(int x) {
  return __reduce_min_sync(kAllLanes, x);
}
MSL_FN uint simd_min(uint x) {
  return __reduce_min_sync(kAllLanes, x);
}

template <typename T>
MSL_FN T simd_prefix_inclusive_sum(T x) {
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    T y = simd_shuffle_up(x, distance);
    x = msl_lane() >= distance ? T(x + y) : x;
  }
  return x;
}
template <typename T>
MSL_FN T simd_prefix_exclusive_sum(T x) {
  T y = simd_shuffle_up(simd_prefix_inclusive_sum(x), 1);
  return msl_lane() == 0 ? T(0) : y;
}

class simd_vote {
 public:
  typedef ulong vote_t;
  explicit MSL_FN simd_vote(vote_t mask) : mask_(mask) {}
  explicit MSL_FN operator vote_t() const { return mask_; }
  MSL_FN bool all() const { return mask_ == kAllLanes; }
  MSL_FN bool any() const { return mask_ != 0; }

 private:
  vote_t mask_;
};

MSL_FN simd_vote simd_ballot(bool x) {
  return simd_vote(__ballot_sync(kAllLanes, x));
}
MSL_FN bool simd_all(bool x) {
  return __all_sync(kAllLanes, x);
}
MSL_FN bool simd_any(bool x) {
  return __any_sync(kAllLanes, x);
}

// --------------------------------------------------------------------------------------------------- atomics

enum memory_order {
  memory_order_relaxed,
  memory_order_acquire,
  memory_order_release,
  memory_order_acq_rel,
  memory_order_seq_cst
};
enum thread_scope { thread_scope_thread, thread_scope_simdgroup, thread_scope_threadgroup, thread_scope_device };

MSL_FN void atomic_thread_fence(mem_flags, memory_order, thread_scope scope = thread_scope_device) {
  if (scope == thread_scope_device) {
    __threadfence();
  } else {
    __threadfence_block();
  }
}

template <typename T>
struct atomic {
  T value;
};
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;

template <typename T>
MSL_FN T atomic_load_explicit(const atomic<T>* a, memory_order) {
  return *(const volatile T*)&a->value;
}
template <typename T, typename U>
MSL_FN void atomic_store_explicit(atomic<T>* a, U x, memory_order) {
  *(volatile T*)&a->value = T(x);
}
#define MSL_ATOMIC(name, function)                 \
  template <typename T, typename U>                \
  MSL_FN T name(atomic<T>* a, U x, memory_order) { \
    return function(&a->value, T(x));              \
  }
MSL_ATOMIC(atomic_exchange_explicit, ::atomicExch)
MSL_ATOMIC(atomic_fetch_add_explicit, ::atomicAdd)
MSL_ATOMIC(atomic_fetch_sub_explicit, ::atomicSub)
MSL_ATOMIC(atomic_fetch_max_explicit, ::atomicMax)
MSL_ATOMIC(atomic_fetch_min_explicit, ::atomicMin)
MSL_ATOMIC(atomic_fetch_and_explicit, ::atomicAnd)
MSL_ATOMIC(atomic_fetch_or_explicit, ::atomicOr)
MSL_ATOMIC(atomic_fetch_xor_explicit, ::atomicXor)

template <typename T>
MSL_FN bool atomic_compare_exchange_weak_explicit(atomic<T>* a, T* expected, T desired, memory_order, memory_order) {
  T old = ::atomicCAS(&a->value, *expected, desired);
  bool same = old == *expected;
  *expected = old;
  return same;
}

// --------------------------------------------------------------------------------------------------- simdgroup_matrix
// Lane l holds the elements (l / 4, 2 (l % 4)) and the one to the right: as mma.sync holds its accumulators.

template <typename T, int Rows, int Columns>
struct simdgroup_matrix {
  static_assert(Rows == 8 && Columns == 8, "matrices are 8 by 8");
  T elements[2];
  simdgroup_matrix() = default;
  explicit MSL_FN simdgroup_matrix(T diagonal) {
    for (int i = 0; i < 2; i++) {
      elements[i] = msl_lane() / 4 == 2 * (msl_lane() % 4) + i ? diagonal : T(0.0f);
    }
  }
  MSL_FN T* thread_elements() { return elements; }
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;

template <typename T, int Rows, int Columns>
MSL_FN simdgroup_matrix<T, Rows, Columns> make_filled_simdgroup_matrix(T x) {
  simdgroup_matrix<T, Rows, Columns> m;
  m.elements[0] = m.elements[1] = x;
  return m;
}

template <typename T, typename U>
MSL_FN void simdgroup_load(simdgroup_matrix<T, 8, 8>& m, const U* from, ulong stride = 8, ulong2 origin = ulong2(0ul),
                           bool transposed = false) {
  uint row = msl_lane() / 4, column = 2 * (msl_lane() % 4);
#pragma unroll
  for (int i = 0; i < 2; i++) {
    ulong r = transposed ? column + i : row, c = transposed ? row : column + i;
    m.elements[i] = from[(origin.y + r) * stride + origin.x + c];
  }
}

template <typename T, typename U>
MSL_FN void simdgroup_store(const simdgroup_matrix<T, 8, 8>& m, U* to, ulong stride = 8, ulong2 origin = ulong2(0ul),
                            bool transposed = false) {
  uint row = msl_lane() / 4, column = 2 * (msl_lane() % 4);
#pragma unroll
  for (int i = 0; i < 2; i++) {
    ulong r = transposed ? column + i : row, c = transposed ? row : column + i;
    to[(origin.y + r) * stride + origin.x + c] = m.elements[i];
  }
}

// d = a b + c in float32, elements from lane to lane. Tensor cores would want three TF32 products for the same digits.
template <typename D, typename A, typename B, typename C>
MSL_FN void simdgroup_multiply_accumulate(simdgroup_matrix<D, 8, 8>& d, const simdgroup_matrix<A, 8, 8>& a,
                                          const simdgroup_matrix<B, 8, 8>& b, const simdgroup_matrix<C, 8, 8>& c) {
  uint row = msl_lane() / 4, column = msl_lane() % 4;
  float sum[2] = {float(c.elements[0]), float(c.elements[1])};
  float left[2] = {float(a.elements[0]), float(a.elements[1])};
  float right[2] = {float(b.elements[0]), float(b.elements[1])};
#pragma unroll
  for (int k = 0; k < 8; k++) {
    float x = __shfl_sync(kAllLanes, left[k % 2], 4 * row + k / 2);
    sum[0] = __fmaf_rn(x, __shfl_sync(kAllLanes, right[0], 4 * k + column), sum[0]);
    sum[1] = __fmaf_rn(x, __shfl_sync(kAllLanes, right[1], 4 * k + column), sum[1]);
  }
  d.elements[0] = D(sum[0]);
  d.elements[1] = D(sum[1]);
}
template <typename D, typename A, typename B>
MSL_FN void simdgroup_multiply(simdgroup_matrix<D, 8, 8>& d, const simdgroup_matrix<A, 8, 8>& a,
                               const simdgroup_matrix<B, 8, 8>& b) {
  simdgroup_multiply_accumulate(d, a, b, make_filled_simdgroup_matrix<float, 8, 8>(0.0f));
}

// --------------------------------------------------------------------------------------------------- tensor cores
// For metal/include/tensor_tile.h.

MSL_FN void msl_tensor_multiply(float* sum, const float* left, const float* right) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(__float_as_uint(left[0])), "r"(__float_as_uint(left[1])), "r"(__float_as_uint(left[2])),
        "r"(__float_as_uint(left[3])), "r"(__float_as_uint(right[0])), "r"(__float_as_uint(right[1])));
}

MSL_FN void msl_opaque(float& x) {
  asm volatile("" : "+f"(x));
}

MSL_FN void msl_copy_later(float* to, const float* from, bool exists) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(uint(__cvta_generic_to_shared(to))), "l"(from),
               "r"(exists ? 16 : 0)
               : "memory");
}
MSL_FN void msl_copy_group() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
MSL_FN void msl_copy_wait(bool but_one) {
  if (but_one) {
    asm volatile("cp.async.wait_group 1;" ::: "memory");
  } else {
    asm volatile("cp.async.wait_group 0;" ::: "memory");
  }
}

// --------------------------------------------------------------------------------------------------- the grid

// CUDA's grids have at most 65535 blocks along y and z: beyond, a launch lays them all along x.
constexpr uint kGridLimit = 65535;

MSL_FN uint3 msl_group(const uint3& groups) {
  if (groups.y <= kGridLimit && groups.z <= kGridLimit) {
    return uint3(blockIdx.x, blockIdx.y, blockIdx.z);
  }
  uint rest = blockIdx.x / groups.x;
  return uint3(blockIdx.x % groups.x, rest % groups.y, rest / groups.y);
}
MSL_FN uint3 msl_thread() {
  return uint3(threadIdx.x, threadIdx.y, threadIdx.z);
}
MSL_FN uint3 msl_threads() {
  return uint3(blockDim.x, blockDim.y, blockDim.z);
}
MSL_FN uint msl_thread_index() {
  return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}
MSL_FN uint msl_total(const uint3& size) {
  return size.x * size.y * size.z;
}

// What a kernel declares of a position: one, two or three numbers of some integer type.
template <typename T>
MSL_FN void msl_assign(T& to, const uint3& from) {
  to = T(from.x);
}
template <typename T>
MSL_FN void msl_assign(vec<T, 2>& to, const uint3& from) {
  to = vec<T, 2>(from.x, from.y);
}
template <typename T>
MSL_FN void msl_assign(vec<T, 3>& to, const uint3& from) {
  to = vec<T, 3>(from.x, from.y, from.z);
}

}  // namespace metal
