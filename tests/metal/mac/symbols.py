"""What an extension for macOS asks of others at load time and at run time, and whether they have it."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import nanobind
import ziglang
from macholib.MachO import MachO
from macholib.SymbolTable import SymbolTable

ROOT = Path(__file__).resolve().parents[3]

# What neither MLX, Python nor libSystem has: the framework or library of macOS that does.
FRAMEWORKS = {"_objc_msgSend": "libobjc", "_cblas_sgemm": "Accelerate"}


def undefined(file: Path) -> set[str]:
    """The symbols that a Mach-O file leaves to others."""
    return {name.decode() for _, name in SymbolTable(MachO(str(file))).undefsyms}


@cache
def exported(file: Path) -> set[str]:
    """The symbols that a Mach-O file has for others."""
    return {name.decode() for _, name in SymbolTable(MachO(str(file))).extdefsyms}


def python_symbols() -> set[str]:
    """What the interpreter has, as nanobind tells Apple's linker: lines of ``-U _PyBytes_Type``."""
    file = Path(nanobind.cmake_dir()) / "darwin-ld-cpython.sym"
    return set(re.findall(r"-U (\S+)", file.read_text()))


def system_symbols() -> set[str]:
    """What libSystem has, by the stub that zig links against."""
    stub = Path(ziglang.__file__).parent / "lib/libc/darwin/libSystem.tbd"
    return set(re.findall(r"[\w$.]+", stub.read_text())) | FRAMEWORKS.keys()


def missing(wanted: Iterable[str], *providers: set[str]) -> list[str]:
    return sorted(set(wanted).difference(*providers))


def gemm_kernels(tf32: bool) -> list[str]:
    """The kernels of MLX that csrc/gpu/metal_product.cpp asks for by name."""
    text = (ROOT / "csrc/gpu/metal_product.cpp").read_text()
    tiles = re.findall(r'GemmKernel \w+\{"(\w+)", (\d+), (\d+), (\d+), (\d+), (\d+)\}', text)
    assert tiles, "no GEMM kernels found in metal_product.cpp"
    return [
        f"{family}_{transposed}_float32_float32_bm{bm}_bn{bn}_bk{bk}_wm{wm}_wn{wn}"
        for family, bm, bn, bk, wm, wn in tiles
        for transposed in ("nn", "nt")
        if family.endswith("nax") == tf32
    ]


def missing_kernels(metallib: Path, names: Iterable[str]) -> list[str]:
    with metallib.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return [name for name in names if data.find(name.encode() + b"\0") < 0]


def check(extension: Path, site: Path, tf32: bool) -> list[str]:
    """What the extension asks for and nobody has, where MLX is the wheel unpacked to `site`.

    `tf32`: whether the wheel has kernels for the matrix units of an M5.
    """
    mlx = site / "mlx/lib"
    symbols = missing(undefined(extension), exported(mlx / "libmlx.dylib"), python_symbols(), system_symbols())
    names = gemm_kernels(tf32=False) + (gemm_kernels(tf32=True) if tf32 else [])
    return [f"no symbol {symbol}" for symbol in symbols] + [
        f"no kernel {name} in mlx.metallib" for name in missing_kernels(mlx / "mlx.metallib", names)
    ]
