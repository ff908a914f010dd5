"""Names that Apple's library declares in namespace metal, or defines as macros: a kernel file may not take them.

Under ``using namespace metal`` a call of ``dot`` or ``length`` would be ambiguous, or would not mean the file's own.
"""

from __future__ import annotations

import re

__all__ = ["MACROS", "NAMES"]

_MATH = """
    acos acosh asin asinh atan atan2 atanh ceil copysign cos cosh cospi divide exp exp10 exp2 fabs fdim floor
    fma fmax fmax3 fmedian3 fmin fmin3 fmod fract frexp ilogb ldexp log log10 log2 modf nextafter pow powr rint
    round rsqrt sin sincos sinh sinpi sqrt tan tanh tanpi trunc
"""
_COMMON = "clamp degrees max max3 median3 min min3 mix radians saturate sign smoothstep step"
_INTEGER = """
    abs absdiff addsat clz ctz extract_bits hadd insert_bits mad24 madhi madsat mul24 mulhi popcount
    reverse_bits rhadd rotate subsat
"""
_RELATIONAL = "all any isfinite isinf isnan isnormal isordered isunordered select signbit"
_GEOMETRIC = """
    cross determinant distance distance_squared dot faceforward length length_squared norm_inf normalize
    normalized reflect refract transpose
"""
_TYPES = """
    add_const array array_ref atomic bool_constant common_type conditional conditional_t decay enable_if
    enable_if_t false_type function_table initializer_list integral_constant is_arithmetic is_const
    is_floating_point is_integral is_same is_scalar is_vector is_void make_scalar make_scalar_t make_signed
    make_unsigned make_vector matrix numeric_limits patch ray remove_const remove_cv remove_reference span
    tensor true_type uniform vec visible_function_table void_t
"""
_TEXTURES = """
    access address border_color bias compare_func component coord filter gradient2d gradient3d gradientcube
    level lod_clamp mag_filter max_anisotropy min_filter min_lod_clamp mip_filter reduction sampler sparse_color
"""
_COMPUTE = """
    atomic_thread_fence clock command_buffer cooperative_tensor dextents extents imageblock intersector
    mem_flags memory_order memory_order_relaxed memory_scope origin primitive_type simd_vote quad_vote
    thread_scope thread_scope_device thread_scope_simdgroup thread_scope_thread thread_scope_threadgroup
"""

_LISTED = frozenset(f"{_MATH} {_COMMON} {_INTEGER} {_RELATIONAL} {_GEOMETRIC} {_TYPES} {_TEXTURES} {_COMPUTE}".split())
_FAMILIES = "|".join(
    (
        r"(?:simd|quad)_(?:active_threads_mask|all|and|any|ballot|broadcast|broadcast_first|is_first|is_helper_thread|max|min)",
        r"(?:simd|quad)_(?:or|prefix_(?:inclusive|exclusive)_(?:sum|product)|product|shuffle|shuffle_\w+|sum|vote|xor)",
        r"simdgroup_(?:async_copy|barrier|event|(?:float|half|bfloat)8x8|load|matrix|multiply|multiply_accumulate|store)",
        r"(?:threadgroup|quadgroup)_barrier|make_filled_simdgroup_matrix|as_type",
        r"atomic_(?:bool|int|uint|long|ulong|float|flag\w*|\w+_explicit)",
        r"packed_\w+[234]|(?:un)?pack_(?:float|half|[su]norm)\w*",
    )
)


class _Names:
    """The set of names: those listed, and those of families such as simd_sum's."""

    def __init__(self, listed: frozenset[str], families: str) -> None:
        self._listed, self._families = listed, re.compile(families)

    def __contains__(self, name: str) -> bool:
        return name in self._listed or self._families.fullmatch(name) is not None


NAMES = _Names(_LISTED, _FAMILIES)
MACROS = _Names(
    frozenset(
        ["ATOMIC_FLAG_INIT", "ATOMIC_VAR_INIT", "CHAR_BIT", "INFINITY", "MAXFLOAT", "MAXHALF", "NAN", "NULL", "assert"]
    ),
    r"(?:METAL|FLT|DBL|HALF|BFLT|FP|HUGE_VAL)_\w+|HUGE_VAL[FH]|M_\w+_[FH]|(?:S|U)?(?:CHAR|SHRT|INT|LONG)_(?:MAX|MIN)|__\w+",
)
