// Where candidates come from: the rows of x, as integers, or lists of pairs.
#pragma once

#include "ordering.h"
#include "select_k_params.h"

// Bits of an element: 32 or 16 of a float, 64 of a pair.
#ifndef BITS
#define BITS 32
#endif

#if BITS == 16
#define ELEMENT ushort
#define PER_VECTOR 8u
#elif BITS == 32
#define ELEMENT uint
#define PER_VECTOR 4u
#else
#define ELEMENT ulong
#define PER_VECTOR 2u
#endif

// Elements that a thread looks at between two barriers.
#define PER_THREAD 16u
#define VECTORS (PER_THREAD / PER_VECTOR)

// The first element of a row.
inline long row_offset(constant SelectKParams& p, long row) {
  long offset = 0;
  for (int d = p.batch_dims - 1; d >= 0; d--) {
    offset += row % p.batch_shape[d] * p.batch_strides[d];
    row /= p.batch_shape[d];
  }
  return offset;
}

// The bits that order_key takes.
inline uint bits_of(ELEMENT element) {
#if BITS == 16
  return uint(element) << 16;
#elif BITS == 32
  return element;
#else
  return key_of(element);
#endif
}

inline uint key_of_element(ELEMENT element, constant SelectKParams& p) {
#if BITS == 64
  return key_of(element);
#else
  return order_key(bits_of(element), p.flip, p.infinity);
#endif
}

// The pair of an element, found at `index` of its row.
inline ulong pair_of_element(ELEMENT element, uint index, constant SelectKParams& p) {
#if BITS == 64
  return element;
#else
  return pair_of(order_key(bits_of(element), p.flip, p.infinity), index);
#endif
}

// The elements of a vector of 16 bytes.
inline void unpack(uint4 vector, thread uint* bits) {
#if BITS == 16
  bits[0] = vector.x << 16;
  bits[1] = vector.x & 0xffff0000u;
  bits[2] = vector.y << 16;
  bits[3] = vector.y & 0xffff0000u;
  bits[4] = vector.z << 16;
  bits[5] = vector.z & 0xffff0000u;
  bits[6] = vector.w << 16;
  bits[7] = vector.w & 0xffff0000u;
#else
  bits[0] = vector.x;
  bits[1] = vector.y;
  bits[2] = vector.z;
  bits[3] = vector.w;
#endif
}
