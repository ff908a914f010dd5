"""Compiles kernels, and the runtime under them, with clang; keeps what it made in the system's temporary directory."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["CompileError", "clang", "compile_kernel", "runtime_path"]

_HERE = Path(__file__).resolve().parent
_INCLUDE = _HERE / "include"
_RUNTIME = _HERE / "runtime"
_SUFFIX = ".dylib" if sys.platform == "darwin" else ".so"

_MACHINE = ["-mf16c", "-mfma"] if platform.machine() in ("x86_64", "AMD64") else ["-fsigned-char"]
_COMMON = ["-std=c++20", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti", *_MACHINE]
_RUNTIME_FLAGS = [*_COMMON, "-O2", "-g1", "-Wall", "-Wextra", "-Werror"]
_KERNEL_FLAGS = [
    *_COMMON,
    "-O1",
    "-g1",
    "-nostdinc",
    "-nostdinc++",
    f"-I{_INCLUDE}",
    # MSL's arithmetic: literals are float, half is rounded after each operation, nothing is contracted or reordered.
    "-Xclang",
    "-cl-single-precision-constant",
    "-Xclang",
    "-ffloat16-excess-precision=none",
    "-Xclang",
    "-fbfloat16-excess-precision=none",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-strict-aliasing",
    "-fno-builtin",
    # A call at every access, at undefined arithmetic and at indices outside of arrays; rubbish in what is not set.
    "-fsanitize=thread,array-bounds,integer-divide-by-zero,signed-integer-overflow,local-bounds",
    "-fno-sanitize-recover=all",
    "-mllvm",
    "-tsan-instrument-read-before-write=1",
    "-ftrivial-auto-var-init=pattern",
    # Calls where threads meet are known by their address: nothing may copy them (nor merge them: see SIM_SHIM).
    "-mllvm",
    "-disable-tail-duplicate",
    "-mllvm",
    "-disable-early-taildup",
    "-mllvm",
    "-tail-dup-placement=0",
    # Endless loops and null pointers stay, and stacks that overflow fault.
    "-fno-finite-loops",
    "-fno-delete-null-pointer-checks",
    "-fstack-clash-protection",
    "-ferror-limit=5",
    "-Wno-everything",
    "-Werror=uninitialized",
    "-Werror=sometimes-uninitialized",
    "-Werror=return-type",
    "-Werror=double-promotion",
    "-lm",
]


class CompileError(Exception):
    """A kernel that does not compile; its text is the compiler's."""


@functools.cache
def clang() -> str:
    """The compiler's path: clang 19 or newer. Raises RuntimeError where there is none."""
    candidates = [f"clang++-{v}" for v in (19, 20, 21)] + ["clang++", "/opt/homebrew/opt/llvm/bin/clang++"]
    for candidate in candidates:
        path = shutil.which(candidate)
        if path:
            text = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
            version = re.search(r"clang version (\d+)", text)
            if version and int(version[1]) >= 19 and "Apple" not in text:
                return path
    raise RuntimeError(
        "The Metal simulator compiles kernels with clang 19 or newer. None was found: install it "
        "(Debian: apt-get install clang-19 llvm-19; macOS: brew install llvm)."
    )


@functools.cache
def _cache() -> Path:
    path = Path(tempfile.gettempdir()) / f"metalfaiss-simulator-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


@functools.cache
def _compiler_digest() -> str:
    found = Path(clang()).resolve()
    texts = [p.read_text(encoding="ascii") for p in sorted(_INCLUDE.rglob("*")) if p.is_file()]
    return _digest(str(found), str(found.stat().st_mtime_ns), *_KERNEL_FLAGS, *texts)


def _compile(out: Path, arguments: list[str], source: str = "") -> None:
    """Writes `out` in one step, so that other processes see all of it or nothing. The source is of C++."""
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        made = Path(scratch) / out.name
        if source:
            text = Path(scratch) / "kernel.cpp"
            text.write_text(source, encoding="ascii")
            arguments = [*arguments, str(text)]
        run = subprocess.run([clang(), "-o", str(made), *arguments], capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise CompileError(run.stderr)
        made.replace(out)


@functools.cache
def runtime_path() -> Path:
    """The library that runs and watches kernels; compiled where it is not there yet."""
    sources = sorted(_RUNTIME.glob("*.cpp"))
    texts = [p.read_text(encoding="ascii") for p in sorted(_RUNTIME.iterdir()) if p.is_file()]
    found = Path(clang()).resolve()
    key = _digest(str(found), str(found.stat().st_mtime_ns), *_RUNTIME_FLAGS, *texts)
    out = _cache() / f"runtime-{key}{_SUFFIX}"
    if not out.exists():
        _compile(out, [*_RUNTIME_FLAGS, *map(str, sources)])
    return out


def compile_kernel(name: str, source: str) -> Path:
    """The shared library of a C++ source that uses the simulator's headers."""
    key = _digest(_compiler_digest(), runtime_path().name, source)
    out = _cache() / f"{name[:80]}-{key}{_SUFFIX}"
    if not out.exists():
        _compile(out, [*_KERNEL_FLAGS, str(runtime_path())], source)
    return out
