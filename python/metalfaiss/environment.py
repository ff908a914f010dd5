"""Threads, SIMD levels and versions, under FAISS's names."""

from __future__ import annotations

import resource
import sys
import time

import mlx.core as mx

from metalfaiss import _core, _host
from metalfaiss.errors import ArgumentError

__all__ = [
    "FAISS_VERSION_MAJOR",
    "FAISS_VERSION_MINOR",
    "FAISS_VERSION_PATCH",
    "VERSION_STRING",
    "SIMDConfig",
    "SIMDLevel_ARM_NEON",
    "SIMDLevel_ARM_SVE",
    "SIMDLevel_AVX2",
    "SIMDLevel_AVX512",
    "SIMDLevel_AVX512_SPR",
    "SIMDLevel_AVX512_VPOPCNT",
    "SIMDLevel_COUNT",
    "SIMDLevel_NONE",
    "SIMDLevel_RISCV_RVV",
    "check_openmp",
    "get_compile_options",
    "get_mem_usage_kb",
    "get_num_gpus",
    "get_version",
    "getmillisecs",
    "omp_get_max_threads",
    "omp_set_num_threads",
]

FAISS_VERSION_MAJOR, FAISS_VERSION_MINOR, FAISS_VERSION_PATCH = 1, 15, 1  # whose interface and files these are
VERSION_STRING = f"{FAISS_VERSION_MAJOR}.{FAISS_VERSION_MINOR}.{FAISS_VERSION_PATCH}"

# FAISS's numbers of all levels; there are kernels of four, and the others are never available.
SIMDLevel_NONE, SIMDLevel_AVX2, SIMDLevel_AVX512, SIMDLevel_AVX512_SPR, SIMDLevel_ARM_NEON = range(5)
SIMDLevel_ARM_SVE, SIMDLevel_RISCV_RVV, SIMDLevel_AVX512_VPOPCNT, SIMDLevel_COUNT = range(5, 9)

_LEVELS = {"portable": SIMDLevel_NONE, "avx2": SIMDLevel_AVX2, "avx512": SIMDLevel_AVX512, "neon": SIMDLevel_ARM_NEON}
_NAMES = {SIMDLevel_NONE: "NONE", SIMDLevel_AVX2: "AVX2", SIMDLevel_AVX512: "AVX512", SIMDLevel_ARM_NEON: "ARM_NEON"}


def omp_get_max_threads() -> int:
    """How many threads operations use."""
    return _core.num_threads()


def omp_set_num_threads(num_threads: int) -> None:
    """Sets how many threads operations use, in the whole process.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is less than 1.
    """
    _core.set_num_threads(_host.integer("omp_set_num_threads", "num_threads", num_threads, 1))


class SIMDConfig:
    """The SIMD level in use, in the whole process."""

    @staticmethod
    def get_level() -> int:
        """The level in use: one of ``SIMDLevel_*``."""
        return _LEVELS[_core.simd_level()]

    @staticmethod
    def get_level_name() -> str:
        """Its name, without ``SIMDLevel_``."""
        return _NAMES[SIMDConfig.get_level()]

    @staticmethod
    def get_dispatched_level() -> int:
        """The level in use: operations are never dispatched to another one."""
        return SIMDConfig.get_level()

    @staticmethod
    def is_simd_level_available(level: int) -> bool:
        """Whether this build has the level and this machine can run it."""
        return level in (_LEVELS[name] for name in _core.simd_levels())

    @staticmethod
    def set_level(level: int) -> None:
        """Uses a level from now on.

        Raises:
            ValueError: it is not available.
        """
        names = [name for name in _core.simd_levels() if _LEVELS[name] == level]
        if not names:
            available = ", ".join(_NAMES[_LEVELS[name]] for name in _core.simd_levels())
            raise ArgumentError(f"[SIMDConfig.set_level] level must be one of {available}. Received {level}.")
        _core.set_simd_level(names[0])


def get_compile_options() -> str:
    """What this build can use: ``OPTIMIZE`` and the names of its SIMD levels."""
    return " ".join(["OPTIMIZE", *(_NAMES[_LEVELS[name]] for name in _core.simd_levels_built())])


def get_version() -> str:
    """The version of FAISS whose interface this is."""
    return VERSION_STRING


def get_num_gpus() -> int:
    """How many GPUs MLX has; they are used through streams, not through GPU indexes."""
    return int(mx.device_count(mx.gpu))


def check_openmp() -> bool:
    """Whether operations can use several threads: always, though not by OpenMP."""
    return True


def getmillisecs() -> float:
    """Milliseconds since some fixed time."""
    return time.perf_counter() * 1e3


def get_mem_usage_kb() -> int:
    """The most memory that the process has used, in KiB."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used // 1024 if sys.platform == "darwin" else used
