"""A kernel source as CUDA C++: ``python cuda.py gemm.metal > gemm.cu``.

Takes a flattened source, with or without a launch's constants, and gives one for NVRTC or nvcc that needs no other
file. Kernels become ``extern "C" __global__`` functions with the same buffers and parameters in the same order, and two
parameters behind them: ``msl_groups``, the launch's threadgroups as three 32-bit integers, and ``msl_guard``, null or
the address of an integer: where that is 0 the kernel does nothing. Address spaces vanish as words: a macro named
``device`` would break ``__device__``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from flatten import METAL, flatten
from signatures import Kernel, Parameter, kernels, without_comments

__all__ = ["header", "translate", "translate_body"]

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*(?:pragma[ \t]+once|include[ \t]+["<][^\n]*)\n', re.MULTILINE)
_USING = re.compile(r"^[ \t]*using\s+namespace\s+metal\s*;", re.MULTILINE)
_KERNEL = re.compile(r"(?P<attributes>(?:\[\[[^\]]*\]\]\s*)?)\bkernel\s+void\s+(?P<name>\w+)\s*\(")
_SPACE = re.compile(r"\b(?:device|thread|constant)\b")
_THREADGROUP = re.compile(r"\bthreadgroup\b([^;,(){}=\[]*(?:\(\s*[*&])?)")
_TABLE = re.compile(
    r"\b(?:static\s+|constexpr\s+)*constant\s+(?:constexpr\s+|const\s+)*((?:\w+\s+)+\w+\s*(?:\[[^\]]*\])*\s*=)"
)
_SWIZZLE = re.compile(r"\.([xyzw]{2,4}|rgba?)\b(?!\s*\()")
_HALF = re.compile(r"(?<![\w.])(\d+\.\d*|\.\d+)[hH]\b")

# RESIDENT: threadgroups that a multiprocessor's registers must have room for at once, where a launch says so.
_BOUNDS = """#ifdef RESIDENT
#define MSL_BOUNDS(threads) __launch_bounds__(threads, RESIDENT)
#else
#define MSL_BOUNDS(threads) __launch_bounds__(threads)
#endif
"""

# What each attribute of a parameter stands for.
_POSITIONS = {
    "threadgroup_position_in_grid": "msl_group(msl_groups)",
    "thread_position_in_threadgroup": "msl_thread()",
    "thread_position_in_grid": "msl_group(msl_groups) * msl_threads() + msl_thread()",
    "threads_per_threadgroup": "msl_threads()",
    "threadgroups_per_grid": "msl_groups",
    "threads_per_grid": "msl_groups * msl_threads()",
    "thread_index_in_threadgroup": "uint3(msl_thread_index())",
    "thread_index_in_simdgroup": "uint3(msl_lane())",
    "simdgroup_index_in_threadgroup": "uint3(msl_thread_index() / 32)",
    "simdgroups_per_threadgroup": "uint3((msl_total(msl_threads()) + 31) / 32)",
    "threads_per_simdgroup": "uint3(32)",
}


HEADERS = ("msl.h", "msl_simd.h", "msl_tensor.h", "msl_wide.h")


def header() -> str:
    """The compatibility header in one piece."""
    return "".join(_INCLUDE.sub("", (METAL / "cuda" / name).read_text()) for name in HEADERS)


def translate(source: str, threads: int = 1024, only: str | None = None) -> str:
    """The CUDA C++ of a Metal source: of all its kernels, or of one. `threads` bounds those of a block."""
    return (
        f"{header()}\n{translate_body(source, str(threads), lambda name, text: text if only in (None, name) else '')}"
    )


def translate_body(source: str, threads: str, wrap: Callable[[str, str], str]) -> str:
    """The same without the header, where constants of a launch go between the two.

    Args:
        threads: that bound a block: a number, or the name of a constant.
        wrap: of the name and the text of each kernel, what is to stand there.
    """
    text = _USING.sub("", _INCLUDE.sub("", without_comments(source)))
    declared = {kernel.name: kernel for kernel in kernels(text)}
    out, end = "", 0
    for match in _KERNEL.finditer(text):
        brace = text.index("{", match.end())
        out += _functions(text[end : match.start()])
        end = _matching_brace(text, brace) + 1
        out += wrap(match["name"], _kernel_head(declared[match["name"]], threads) + _words(text[brace + 1 : end]))
    out += _functions(text[end:])
    return f"{_BOUNDS}namespace metal {{\n{out}\n}}  // namespace metal\n"


def _kernel_head(kernel: Kernel, threads: str) -> str:
    parameters, lines = [], []
    for p in kernel.parameters:
        if p.is_constant:
            parameters.append(f"const __grid_constant__ {_words(p.type).removeprefix('const ').rstrip('& ')} {p.name}")
        elif p.is_buffer and p.type.endswith("&"):
            parameters.append(f"{_words(p.type).rstrip('& ')}* {p.name}_address")
            lines.append(f"{_words(p.type)} {p.name} = *{p.name}_address;")
        elif p.is_buffer:
            parameters.append(f"{_words(p.type)} {p.name}")
        else:
            lines.append(_position(p))
    lines.insert(0, "if (msl_guard && *msl_guard == 0) { return; }")
    signature = ", ".join([*parameters, "const __grid_constant__ uint3 msl_groups", "const int* msl_guard"])
    return f'extern "C" __global__ void MSL_BOUNDS({threads}) {kernel.name}({signature}) {{\n  ' + "\n  ".join(lines)


def _position(p: Parameter) -> str:
    if p.attribute == "threadgroup":
        if p.index != 0:
            raise ValueError(f"only [[threadgroup(0)]] has a counterpart in CUDA: {p.name} is {p.index}")
        return f"extern __shared__ uint4 msl_dynamic[]; {_words(p.type)} {p.name} = ({_words(p.type)})msl_dynamic;"
    if p.attribute not in _POSITIONS:
        raise ValueError(f"no counterpart in CUDA for {p.name} [[{p.attribute}]]")
    return f"{p.type} {p.name}; msl_assign({p.name}, {_POSITIONS[p.attribute]});"


def _words(text: str) -> str:
    """Code without address spaces, swizzles and literals of Metal's own; threadgroup variables are shared."""
    text = _THREADGROUP.sub(lambda m: ("" if re.search("[*&]", m.group(1)) else "__shared__") + m.group(1), text)
    text = _SWIZZLE.sub(lambda m: f".swizzle<{', '.join(str('xyzwrgba'.index(c) % 4) for c in m.group(1))}>()", text)
    text = _HALF.sub(r"half(\1f)", text)
    text = re.sub(r"\bconst\s+constant\b|\bconstant\s+const\b", "constant", text)
    return _SPACE.sub(lambda m: "const" if m.group() == "constant" else "", text)


def _functions(text: str) -> str:
    """Declarations outside kernels: functions run on the device, and constants lie there."""
    text = _TABLE.sub(r"static constexpr __device__ \1", text)
    out, begin, i = "", 0, 0
    while i < len(text):
        if text[i] == "#":  # a directive, with its continued lines
            i = _end_of_directive(text, i)
            out += text[begin:i]
            begin = i
        elif text[i] == "(" and text.rfind("enum", begin, i) < 0:
            i = _matching(text, i, "(", ")") + 1
            rest = re.match(r"\s*(?:const\s*)?([{;])", text[i:])
            if rest and "=" not in text[begin:i].split("(")[0]:
                lead = re.match(r"\s*", text[begin:])
                assert lead is not None
                out += text[begin : begin + lead.end()] + "__device__ " + text[begin + lead.end() : i]
                begin = i
        elif text[i] == "{":
            i = _matching_brace(text, i) + 1
            out += text[begin:i]
            begin = i
        elif text[i] == ";":
            i += 1
            out += text[begin:i]
            begin = i
        else:
            i += 1
    return _words(out + text[begin:])


def _end_of_directive(text: str, i: int) -> int:
    while True:
        end = text.find("\n", i)
        if end < 0:
            return len(text)
        if text[end - 1] != "\\":
            return end + 1
        i = end + 1


def _matching_brace(text: str, i: int) -> int:
    return _matching(text, i, "{", "}")


def _matching(text: str, i: int, opening: str, closing: str) -> int:
    depth = 0
    for j in range(i, len(text)):
        depth += (text[j] == opening) - (text[j] == closing)
        if depth == 0:
            return j
    raise ValueError(f"a {opening} has no {closing}")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        sys.stdout.write(translate(flatten(Path(argument))))
