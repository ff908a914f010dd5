"""NVRTC through ctypes: compiles CUDA C++ on a machine without an NVIDIA GPU (PyPI's nvidia-cuda-nvrtc)."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from pathlib import Path

__all__ = ["CompileError", "available", "compile_cuda"]

_Program = ctypes.c_void_p


class CompileError(RuntimeError):
    """The compiler's log."""


def _library_file() -> Path | None:
    spec = importlib.util.find_spec("nvidia")
    places = [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
    found = [file for place in places for file in sorted(place.glob("cu*/lib/libnvrtc.so.*"))]
    return found[0] if found else None


def available() -> bool:
    return _library_file() is not None


@functools.cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(str(_library_file()))


def compile_cuda(source: str, architecture: str = "sm_90", options: tuple[str, ...] = ()) -> bytes:
    """The cubin of a source. Raises CompileError with the compiler's log."""
    nvrtc, program = _library(), _Program()
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None))
    try:
        arguments = [
            f"--gpu-architecture={architecture}",
            "--std=c++20",
            "--device-as-default-execution-space",
            *options,
        ]
        encoded = (ctypes.c_char_p * len(arguments))(*(a.encode() for a in arguments))
        if nvrtc.nvrtcCompileProgram(program, len(arguments), encoded) != 0:
            raise CompileError(_text(program, "ProgramLog").decode())
        return _text(program, "CUBIN")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _text(program: _Program, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(getattr(_library(), f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(getattr(_library(), f"nvrtcGet{what}")(program, buffer))
    return buffer.raw


def _check(status: int) -> None:
    if status != 0:
        raise CompileError(f"NVRTC answers {status}")
