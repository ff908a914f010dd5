"""From the source of a kernel to one that the host's compiler takes: threadgroup arrays and an entry of known type."""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path

_TOOLS = Path(__file__).resolve().parents[3] / "metal" / "tools"
if str(_TOOLS) not in sys.path:
    sys.path.insert(0, str(_TOOLS))

from flatten import METAL  # noqa: E402
from signatures import Kernel, Parameter, kernels, without_comments  # noqa: E402

__all__ = ["MAX_BUFFERS", "Kernel", "Parameter", "find_kernel", "host_source", "metal_lines"]

MAX_BUFFERS = 31  # of a kernel; its [[threadgroup(i)]] follow

_MAX_ARRAYS = 64  # kMaxArrays of runtime/memory.cpp: of all kernels of a file together

_DECLARATOR = r"\w+(?:\s*\[[^\]]*\])*"
_ARRAYS = re.compile(
    r"(?m)(?P<lead>^[ \t]*|[{};][ \t]*)threadgroup\s+(?:alignas\s*\([^)]*\)\s*)?"
    r"(?P<type>(?:unsigned\s+)?\w+(?:<\w+>)?)\s+"
    rf"(?P<list>{_DECLARATOR}(?:\s*,\s*{_DECLARATOR})*)\s*;"
)
_ATTRIBUTE = re.compile(r"\[\[[^\[\]]*\]\]")
_MISSED = re.compile(r"\bthreadgroup\b[^;{}()*&,]*[\[;]")

_VALUES = {
    "thread_position_in_grid": "t->group[{i}] * t->threads[{i}] + t->position[{i}]",
    "threadgroup_position_in_grid": "t->group[{i}]",
    "thread_position_in_threadgroup": "t->position[{i}]",
    "threads_per_threadgroup": "t->threads[{i}]",
    "dispatch_threads_per_threadgroup": "t->threads[{i}]",
    "threadgroups_per_grid": "t->groups[{i}]",
    "threads_per_grid": "t->groups[{i}] * t->threads[{i}]",
    "thread_index_in_threadgroup": "t->index",
    "thread_index_in_simdgroup": "t->lane",
    "simdgroup_index_in_threadgroup": "t->simd",
    "simdgroups_per_threadgroup": "t->simds",
    "threads_per_simdgroup": "32u",
    "thread_execution_width": "32u",
}

_ENTRY = """
#line 1 "entry"
namespace {{
template <typename P>
P sim_position(unsigned x, unsigned y, unsigned z) {{
  if constexpr (sim_vector<P>::size == 1) {{
    return static_cast<P>(x);
  }} else {{
    P p{{}};
    unsigned v[3] = {{x, y, z}};
    for (int i = 0; i < sim_vector<P>::size; i++) {{
      p[i] = static_cast<typename sim_vector<P>::element>(v[i]);
    }}
    return p;
  }}
}}
template <typename P>
constexpr bool sim_is_const = false;
template <typename P>
constexpr bool sim_is_const<const P> = true;
}}
struct SimThread {{
  unsigned group[3], position[3], groups[3], threads[3], index, lane, simd, simds;
}};
// For each parameter with an index: whether it is const, the bytes of what it points to, their alignment.
extern "C" __attribute__((visibility("default"))) const long sim_parameters[] = {{{table}0}};
extern "C" __attribute__((visibility("default"), no_sanitize("thread", "undefined")))
void sim_entry(const SimThread* t, void* const* b) {{
  {kernel}({arguments});
}}
"""


def find_kernel(source: str, name: str) -> Kernel:
    """The kernel of that name. Raises ValueError where there is none, or more than one."""
    found = [k for k in kernels(source) if k.name == name]
    if len(found) != 1:
        raise ValueError(f"the source has {len(found)} kernels called {name}")
    return found[0]


@functools.cache
def metal_lines() -> dict[str, str]:
    """Where in metal/ a line stands that is there once: {"x += y;": "metal/gemm.metal:57"}."""
    found: dict[str, str] = {}
    for file in sorted([*METAL.glob("*.metal"), *METAL.glob("include/*.h")]):
        for number, line in enumerate(file.read_text(encoding="ascii").split("\n"), 1):
            text = line.strip()
            found[text] = "" if text in found else f"{file.relative_to(METAL.parent).as_posix()}:{number}"
    return {text: place for text, place in found.items() if place}


def _arrays(source: str) -> str:
    """Puts SIM_THREADGROUP in the place of threadgroup variables of kernels' bodies; lines stay where they are."""
    text = _ATTRIBUTE.sub("", without_comments(source))
    parts, end, count = [], 0, 0
    for match in _ARRAYS.finditer(text):
        macros = []
        for declarator in re.findall(_DECLARATOR, match["list"]):
            name = re.match(r"\w+", declarator)
            assert name is not None
            dimensions = declarator[name.end() :].strip()
            macros.append(f"SIM_THREADGROUP({count}, {match['type']}, {name.group()}, {' '.join(dimensions.split())})")
            count += 1
        parts += [text[end : match.start()], match["lead"], *macros, "\n" * match.group().count("\n")]
        end = match.end()
    out = "".join([*parts, text[end:]])
    if count > _MAX_ARRAYS:
        raise ValueError(f"{count} threadgroup arrays: the simulator has room for {_MAX_ARRAYS}")
    missed = _MISSED.search(out)
    if missed:
        raise ValueError(f"not understood as the declaration of a threadgroup array: {missed.group()}")
    return out


def _pointee(parameter: Parameter) -> str:
    return parameter.type.rstrip("*& ")


def _argument(parameter: Parameter) -> str:
    if parameter.attribute in ("buffer", "threadgroup"):
        index = (parameter.index or 0) + (MAX_BUFFERS if parameter.attribute == "threadgroup" else 0)
        pointer = f"({_pointee(parameter)}*)b[{index}]"
        return f"*{pointer}" if parameter.type.endswith("&") else pointer
    value = _VALUES.get(parameter.attribute)
    if value is None:
        raise ValueError(f"the simulator does not know [[{parameter.attribute}]] of the parameter {parameter.name}")
    return f"sim_position<{parameter.type}>({', '.join(value.format(i=i) for i in range(3))})"


def host_source(name: str, source: str, kernel: Kernel) -> str:
    """C++ with `sim_entry`, which calls the kernel for one thread, and `sim_parameters`."""
    pointed = [p for p in kernel.parameters if p.attribute in ("buffer", "threadgroup")]
    table = "".join(
        f"sim_is_const<{_pointee(p)}>, (long)sizeof({_pointee(p)}), (long)alignof({_pointee(p)}), " for p in pointed
    )
    arguments = ", ".join(_argument(p) for p in kernel.parameters)
    entry = _ENTRY.format(table=table, kernel=kernel.name, arguments=arguments)
    return f'#line 1 "{name}"\n{_arrays(source)}{entry}'
