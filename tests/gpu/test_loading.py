"""The CUDA executor is always built on Linux, and loaded only where MLX is its CUDA variant and finds a GPU."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest

from metalfaiss import _core, _loader, knn

from .stand_ins import make, needed, undefined

EXECUTOR = Path(str(_core.__file__)).with_name("libmetalfaiss_cuda.so")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="MLX's CUDA variant is for Linux")
without_cuda = pytest.mark.skipif("mlx-cpu" not in _loader.mlx_backends(), reason="needs MLX's CPU variant")


def test_it_is_built() -> None:
    assert EXECUTOR.exists()


@without_cuda
def test_the_cpu_variant_of_mlx_lacks_what_it_needs() -> None:
    with pytest.raises(OSError, match="undefined symbol"):
        ctypes.CDLL(str(EXECUTOR), mode=os.RTLD_NOW)


@without_cuda
def test_why_there_is_no_gpu() -> None:
    assert _core.gpu_kernels() is None
    assert _core.why_no_gpu_kernels() == "The MLX that is installed finds no GPU."
    with pytest.raises(ValueError, match=r"GPU|gpu"):  # MLX's own refusal comes first
        knn(mx.zeros((2, 3)), mx.zeros((4, 3)), 1, stream=mx.gpu)


def test_it_needs_only_what_mlx_brings() -> None:
    """No CUDA runtime: MLX has its own inside, and the two must not meet."""
    assert [name for name in needed(EXECUTOR) if "cu" in name or "nv" in name] == []
    outside = [s.partition("@")[0] for s in undefined(EXECUTOR)]
    foreign = {s for s in outside if s.startswith(("cu", "nvrtc"))}
    assert {s for s in foreign if s.startswith("cuda")} == set()
    assert {"cuModuleLoadData", "cublasLtMatmul", "nvrtcCompileProgram"} <= foreign


def test_stand_ins(tmp_path: Path) -> None:
    """What `tests.gpu.wheel` loads the executor with: they answer CUDA_ERROR_NO_DEVICE, with versions of symbols."""
    source = tmp_path / "user.c"
    source.write_text("int cuInit(int); int call(void) { return cuInit(0); }")
    (tmp_path / "empty.c").touch()
    library, driver = tmp_path / "libuser.so", tmp_path / "libcuda.so.1"
    run = lambda *command: subprocess.run(["cc", "-shared", "-fPIC", *command], check=True)  # noqa: E731
    run("-Wl,-soname,libcuda.so.1", "-o", str(driver), str(tmp_path / "empty.c"))
    run("-Wl,--no-as-needed", "-o", str(library), str(source), str(driver))
    make([library], tmp_path / "stand_ins")
    ctypes.CDLL(str(tmp_path / "stand_ins" / "libcuda.so.1"), mode=ctypes.RTLD_GLOBAL)
    assert ctypes.CDLL(str(library)).call() == 100
