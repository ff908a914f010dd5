"""The CUDA executor against MLX's CUDA wheel, without a GPU: ``python -m tests.gpu.wheel [--cache DIR]``.

Fetches the wheel (90 MB, without its dependencies of 2 GB), and loads the executor beside the libmlx in it, with every
symbol bound. In the place of the libraries of NVIDIA stand `stand_ins`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from metalfaiss import _core, _loader

from .stand_ins import make

LOAD = """
import ctypes, os, sys
executor = ctypes.CDLL(sys.argv[1], mode=os.RTLD_NOW)
executor.metalfaiss_cuda_executor.restype = ctypes.c_void_p
assert executor.metalfaiss_cuda_executor()
print("loaded")
"""


def libmlx(cache: Path) -> Path:
    """That of the CUDA wheel."""
    name = f"mlx-cuda-13=={_loader.MLX_VERSION}"
    folder = cache / name
    if not (folder / "mlx/lib/libmlx.so").exists():
        download = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--only-binary=:all:",
            "-d",
            str(folder),
        ]
        subprocess.run([*download, name], check=True)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        wheel.unlink()
    return folder / "mlx/lib/libmlx.so"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "metalfaiss-cuda")
    args = parser.parse_args()
    mlx = libmlx(args.cache)
    with tempfile.TemporaryDirectory() as name:
        executor = Path(name) / "metalfaiss/libmetalfaiss_cuda.so"
        executor.parent.mkdir()
        shutil.copy(Path(str(_core.__file__)).with_name(executor.name), executor)
        stand_ins = Path(name) / "stand_ins"
        make([mlx, executor], stand_ins)
        environment = {**os.environ, "LD_LIBRARY_PATH": f"{mlx.parent}:{stand_ins}"}
        subprocess.run([sys.executable, "-c", LOAD, str(executor)], check=True, env=environment)


if __name__ == "__main__":
    main()
