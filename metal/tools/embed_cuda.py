"""Writes the C++ file that embeds the kernel families as CUDA C++: ``python embed_cuda.py cuda_kernels.cpp``."""

from __future__ import annotations

import sys
from pathlib import Path

from cuda import header, translate_body
from embed import literals
from flatten import METAL, families, flatten
from signatures import Kernel, kernels

__all__ = ["body", "order"]


def body(source: str) -> str:
    """A translated family of which a launch compiles one kernel: for MSL_ONLY_<kernel> and MSL_THREADS."""
    return translate_body(source, "MSL_THREADS", lambda name, text: f"#ifdef MSL_ONLY_{name}\n{text}\n#endif\n")


def order(kernel: Kernel) -> list[int]:
    """The indices of a launch's arguments in the order of the kernel's parameters."""
    return [p.index for p in kernel.parameters if p.is_buffer and p.index is not None]


def _family(name: str) -> tuple[str, str]:
    source = flatten(METAL / f"{name}.metal")
    found = kernels(source)
    orders = "".join(f"constexpr int k_{k.name}[] = {{{', '.join(map(str, order(k)))}}};\n" for k in found)
    table = ", ".join(f'{{"{k.name}", k_{k.name}}}' for k in found)
    return (
        f"{orders}constexpr CudaKernel k_{name}_kernels[] = {{{table}}};\n",
        f'{{"{name}",\n{literals(body(source))},\nk_{name}_kernels}},\n',
    )


def main(out: Path) -> None:
    tables, entries = zip(*(_family(name) for name in families()), strict=True)
    out.write_text(
        f"""// Made by metal/tools/embed_cuda.py.
#include "gpu/cuda/kernels.h"

namespace metalfaiss::gpu {{

namespace {{

{"".join(tables)}
constexpr CudaFamily kFamilies[] = {{
{"".join(entries)}}};

}}  // namespace

std::string_view cuda_header() {{
  return {literals(header())};
}}

std::span<const CudaFamily> cuda_families() {{
  return kFamilies;
}}

}}  // namespace metalfaiss::gpu
"""
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
