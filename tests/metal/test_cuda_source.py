"""Every kernel as CUDA C++: translated and compiled for sm_90 by NVRTC, which needs no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from cuda import header, translate
from embed_cuda import body
from flatten import METAL, flatten
from signatures import kernels
from specialise import Specialisation, read

from metalfaiss import _core

from . import nvrtc

pytestmark = pytest.mark.skipif(not nvrtc.available(), reason="needs nvidia-cuda-nvrtc (pip install '.[kernel-test]')")

FAST = ("--Ofast-compile=max",)

# Correct Metal that the lint accepts and CUDA does not have: what is missing there.
LIMITS = {
    "address_spaces": "functions that differ in address spaces alone",
    "dynamic_threadgroup": "several dynamic threadgroup arrays: a launch has one",
    "program_constants": "half and bfloat constants outside functions",
}

# One of those that differ in their types alone.
SPECIALISATIONS = {
    (s.kernel, tuple(v for _, v in s.constants if v not in ("float", "half", "bfloat"))): s for s in read()
}
RIGHT = sorted(Path(__file__).parent.glob("lint/right/*.metal"))

# What the dialect allows in a kernel, once each.
WORDS = """
#include <metal_stdlib>
#include <metal_simdgroup_matrix>
using namespace metal;
struct Params { int64_t n; float scale; };
constant float table[2] = {1.0f, 2.0f};
inline float scaled(device const half* x, constant Params& p, long i) { return float(x[i]) * p.scale; }
inline void add(threadgroup atomic_uint* counter, thread uint& place) {
  place = atomic_fetch_add_explicit(counter, 1u, memory_order_relaxed);
}
kernel void words(device const half* x [[buffer(0)]], device float4* out [[buffer(1)]],
                  constant Params& p [[buffer(2)]], device atomic_uint& total [[buffer(3)]],
                  threadgroup float* tile [[threadgroup(0)]], uint3 group [[threadgroup_position_in_grid]],
                  uint2 place2 [[thread_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
                  uint lane [[thread_index_in_simdgroup]], uint simd [[simdgroup_index_in_threadgroup]],
                  uint3 groups_in_grid [[threadgroups_per_grid]], uint3 size [[threads_per_threadgroup]]) {
  threadgroup float4 fixed[64];
  threadgroup atomic_uint counter[1];
  if (thread_index == 0u) {
    atomic_store_explicit(counter, 0u, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  uint place = 0u;
  add(counter, place);
  long i = long(group.x) * size.x + thread_index;
  float v = i < p.n ? scaled(x, p, i) : table[1];
  tile[thread_index] = simd_sum(v) + simd_max(v) + simd_shuffle_xor(v, ushort(1)) + simd_prefix_exclusive_sum(v);
  ulong votes = ulong(simd_ballot(v > 0.0f));
  fixed[thread_index % 64u] = float4(tile[thread_index], float(popcount(votes)), float(clz(place)), 0.0f);
  simdgroup_float8x8 a = make_filled_simdgroup_matrix<float, 8, 8>(1.0f), b;
  simdgroup_barrier(mem_flags::mem_threadgroup);
  simdgroup_load(b, tile, 8, ulong2(0, 0), true);
  simdgroup_multiply_accumulate(a, a, b, a);
  simdgroup_store(a, tile, 8);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  uint bits = as_type<uint>(tile[0]) ^ (simd + lane + place2.y + groups_in_grid.z);
  atomic_fetch_max_explicit(&total, bits, memory_order_relaxed);
  float4 r = fixed[thread_index % 64u] * 2.0f + float4(half4(half(1.0f)));
  r.x = select(r.x, fma(r.y, r.z, r.w), isnan(r.x));
  out[i] = clamp(r.x, 0.0f, 1.0f) > 0.5f ? r : -r;
}
"""


@pytest.mark.parametrize("dtype", ["float", "half", "bfloat"])
@pytest.mark.parametrize("family", _core.kernel_families())
def test_family_compiles(family: str, dtype: str) -> None:
    source = translate(f"#define T {dtype}\n" + _core.kernel_source(family))
    cubin = nvrtc.compile_cuda(source, options=FAST)
    for kernel in kernels(_core.kernel_source(family)):
        assert kernel.name.encode() in cubin


@pytest.mark.parametrize("specialisation", SPECIALISATIONS.values(), ids=lambda s: s.name)
def test_specialisation_compiles(specialisation: Specialisation) -> None:
    cubin = nvrtc.compile_cuda(embedded_source(specialisation), options=FAST)
    assert specialisation.name.encode() in cubin


def embedded_source(specialisation: Specialisation, threads: int = 32) -> str:
    """As cuda_source() of csrc/gpu/cuda/kernels.cpp."""
    family = body(flatten(METAL / f"{specialisation.family}.metal"))
    constants = (("MSL_THREADS", threads), *specialisation.constants, (specialisation.kernel, specialisation.name))
    defines = "".join(f"#define {name} {value}\n" for name, value in constants)
    return f"{header()}#define MSL_ONLY_{specialisation.kernel}\n{defines}{family}"


def test_embedded_source_holds_one_kernel() -> None:
    one = SPECIALISATIONS[next(key for key in SPECIALISATIONS if key[0] == "knn_finish")]
    cubin = nvrtc.compile_cuda(embedded_source(one), options=FAST)
    assert one.name.encode() in cubin
    assert b"knn_select" not in cubin


@pytest.mark.parametrize("file", RIGHT, ids=lambda file: file.stem)
def test_what_the_lint_accepts_compiles(file: Path) -> None:
    if file.stem in LIMITS:
        with pytest.raises((nvrtc.CompileError, ValueError)):
            nvrtc.compile_cuda(translate(flatten(file)), options=FAST)
    else:
        nvrtc.compile_cuda(translate(flatten(file)), options=FAST)


def test_threadgroup_variables_are_shared() -> None:
    text = translate(WORDS)
    kernel = text[text.index("__global__") :]
    assert kernel.count("__shared__") == 3
    assert "__shared__ float4 fixed[64]" in kernel
    assert "extern __shared__ uint4" in kernel


def test_words_of_the_dialect_compile() -> None:
    assert b"words" in nvrtc.compile_cuda(translate(WORDS), options=FAST)


def test_wrong_kernels_do_not() -> None:
    with pytest.raises(nvrtc.CompileError, match="simd_invented"):
        nvrtc.compile_cuda(translate(WORDS.replace("simd_sum(v)", "simd_invented(v)")), options=FAST)
    with pytest.raises(nvrtc.CompileError, match="const"):
        nvrtc.compile_cuda(translate(WORDS.replace("return float(x[i])", "p.n = 1; return float(x[i])")), options=FAST)
    with pytest.raises(ValueError, match="no counterpart in CUDA for lane"):
        translate(WORDS.replace("[[thread_index_in_simdgroup]]", "[[render_target_array_index]]"))
