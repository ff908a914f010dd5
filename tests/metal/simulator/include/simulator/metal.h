// All of MSL that kernels may use, and last the words that a host compiler does not know.
#pragma once

#include "simulator/math.h"
#include "simulator/matrix.h"
#include "simulator/threads.h"
#include "simulator/types.h"

// threadgroup arrays of a kernel body: tests/metal/simulator/entry.py puts the macro in the place of the declaration.
#define SIM_THREADGROUP(INDEX, TYPE, NAME, DIMENSIONS)    \
  using sim_type_##NAME = TYPE DIMENSIONS;                \
  sim_type_##NAME& NAME = *static_cast<sim_type_##NAME*>( \
      sim_threadgroup(INDEX, #NAME, sizeof(sim_type_##NAME), alignof(sim_type_##NAME)));

#define float2(...) sim_make<float2>(__VA_ARGS__)
#define float3(...) sim_make<float3>(__VA_ARGS__)
#define float4(...) sim_make<float4>(__VA_ARGS__)
#define half2(...) sim_make<half2>(__VA_ARGS__)
#define half3(...) sim_make<half3>(__VA_ARGS__)
#define half4(...) sim_make<half4>(__VA_ARGS__)
#define bfloat2(...) sim_make<bfloat2>(__VA_ARGS__)
#define bfloat3(...) sim_make<bfloat3>(__VA_ARGS__)
#define bfloat4(...) sim_make<bfloat4>(__VA_ARGS__)
#define int2(...) sim_make<int2>(__VA_ARGS__)
#define int3(...) sim_make<int3>(__VA_ARGS__)
#define int4(...) sim_make<int4>(__VA_ARGS__)
#define uint2(...) sim_make<uint2>(__VA_ARGS__)
#define uint3(...) sim_make<uint3>(__VA_ARGS__)
#define uint4(...) sim_make<uint4>(__VA_ARGS__)
#define short2(...) sim_make<short2>(__VA_ARGS__)
#define short4(...) sim_make<short4>(__VA_ARGS__)
#define ushort2(...) sim_make<ushort2>(__VA_ARGS__)
#define ushort3(...) sim_make<ushort3>(__VA_ARGS__)
#define ushort4(...) sim_make<ushort4>(__VA_ARGS__)
#define uchar2(...) sim_make<uchar2>(__VA_ARGS__)
#define uchar4(...) sim_make<uchar4>(__VA_ARGS__)
#define char2(...) sim_make<char2>(__VA_ARGS__)
#define char4(...) sim_make<char4>(__VA_ARGS__)
#define bool2(...) sim_make<bool2>(__VA_ARGS__)
#define bool3(...) sim_make<bool3>(__VA_ARGS__)
#define bool4(...) sim_make<bool4>(__VA_ARGS__)
#define long2(...) sim_make<long2>(__VA_ARGS__)
#define ulong2(...) sim_make<ulong2>(__VA_ARGS__)

#define as_type metal::sim_bits
#define kernel static __attribute__((noinline))
#define inline inline __attribute__((always_inline))
#define device
#define threadgroup
#define thread
#define constant const
