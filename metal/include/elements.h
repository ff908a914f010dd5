// Elements of any type, as float32.
#pragma once
#include <metal_stdlib>
using namespace metal;

#define ELEMENT_FLOAT 0
#define ELEMENT_HALF 1
#define ELEMENT_BFLOAT 2

// The type that a pointer points to: a constant once inlined.
inline int element_type(device const float*) {
  return ELEMENT_FLOAT;
}

inline int element_type(device const half*) {
  return ELEMENT_HALF;
}

inline int element_type(device const bfloat*) {
  return ELEMENT_BFLOAT;
}

inline int element_size(int type) {
  return type == ELEMENT_FLOAT ? 4 : 2;
}

inline float load_element(device const uchar* x, int type) {
  if (type == ELEMENT_FLOAT) {
    return *(device const float*)x;
  }
  if (type == ELEMENT_HALF) {
    return float(*(device const half*)x);
  }
  return float(*(device const bfloat*)x);
}

// Four neighbours of 16 bits each.
inline float4 elements4_of(uint2 bits, int type) {
  if (type == ELEMENT_HALF) {
    return float4(as_type<half4>(bits));
  }
  return float4(as_type<float>(bits.x << 16), as_type<float>(bits.x & 0xffff0000u), as_type<float>(bits.y << 16),
                as_type<float>(bits.y & 0xffff0000u));
}

// Four neighbours at once. The first lies at a multiple of their size.
inline float4 load_elements4(device const uchar* x, int type) {
  if (type == ELEMENT_FLOAT) {
    return *(device const float4*)x;
  }
  return elements4_of(*(device const uint2*)x, type);
}
