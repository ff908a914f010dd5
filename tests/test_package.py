"""The package as a whole: its names, its account of itself, its types, and what a broken installation is told."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

import metalfaiss
from metalfaiss import _core, _loader, config

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the backend is a package of its own on Linux only")


def python(code: str, *args: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    folders = [str(path) if path else "", os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders))}
    command = [sys.executable, *args, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


# --------------------------------------------------------------------------------------------- surface


def test_exports() -> None:
    def key(name: str) -> object:  # ruff's order: digits count as numbers
        parts = [part.zfill(9) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
        return not name.isupper(), name[0].islower(), parts

    assert sorted(metalfaiss.__all__, key=key) == metalfaiss.__all__
    for name in metalfaiss.__all__:
        assert getattr(metalfaiss, name) is not None
    for name in ("IndexFlatL2", "IndexFlatIP", "IndexFlat", "Index", "knn", "select_k", "pairwise_distances"):
        assert name in metalfaiss.__all__
    assert metalfaiss.__version__ == _loader.VERSION


def test_everything_public_is_documented() -> None:
    for name in metalfaiss.__all__:
        value = getattr(metalfaiss, name)
        if callable(value):
            assert inspect.getdoc(value), name
        if isinstance(value, type):
            for member, found in vars(value).items():
                if not member.startswith("_") and not inspect.ismemberdescriptor(found):
                    assert inspect.getdoc(found), f"{name}.{member}"


def test_a_program_written_for_faiss() -> None:
    """The flat index of FAISS's own introduction."""
    import metalfaiss as faiss

    d, nb, nq, k = 64, 2000, 50, 4
    rng = np.random.default_rng(1234)
    xb, xq = rng.random((nb, d)).astype("float32"), rng.random((nq, d)).astype("float32")
    xb[:, 0] += np.arange(nb) / 1000.0
    xq[:, 0] += np.arange(nq) / 1000.0
    index = faiss.IndexFlatL2(d)
    assert index.is_trained
    index.add(xb)
    assert index.ntotal == nb
    D, I = index.search(xb[:5], k)
    assert I[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert (D[:, 0] == 0).all()
    D, I = index.search(xq, k)
    assert D.shape == I.shape == (nq, k)
    D_knn, I_knn = faiss.knn(xq, xb, k, metric=faiss.METRIC_L2)
    np.testing.assert_array_equal(I, I_knn)
    np.testing.assert_array_equal(D, D_knn)


def test_import_is_light() -> None:
    done = python(
        """
        import sys, metalfaiss
        heavy = {"faiss", "sklearn", "scipy", "torch", "matplotlib", "rich", "pytest"} & set(sys.modules)
        assert not heavy, heavy
        """,
        "-W",
        "error",
    )
    assert done.returncode == 0, done.stderr


def test_threads_and_simd_level() -> None:
    threads, level = metalfaiss.num_threads(), metalfaiss.simd_level()
    x = np.ones((3, 4), np.float32)
    index = metalfaiss.IndexFlatL2(4)
    index.add(x)
    wanted = index.search(x, 2)
    try:
        for n in (1, 3):
            metalfaiss.set_num_threads(n)
            assert metalfaiss.num_threads() == n
            np.testing.assert_array_equal(index.search(x, 2)[1], wanted[1])
        metalfaiss.set_simd_level("portable")
        assert metalfaiss.simd_level() == "portable"
    finally:
        metalfaiss.set_num_threads(threads)
        metalfaiss.set_simd_level(level)
    with pytest.raises(ValueError, match=r"\[set_num_threads\] n must be at least 1. Received 0."):
        metalfaiss.set_num_threads(0)
    with pytest.raises(ValueError, match=r"\[set_simd_level\] level must be one of portable.* Received sse9."):
        metalfaiss.set_simd_level("sse9")


# ---------------------------------------------------------------------------------------------- config


def test_config() -> None:
    found = config.config()
    assert found["versions"]["metalfaiss"] == metalfaiss.__version__
    assert found["versions"]["mlx"] == found["versions"]["mlx (built with)"] == mx.__version__
    assert found["versions"]["numpy"] == np.__version__
    cpu = found["cpu"]
    assert cpu["simd level in use"] == metalfaiss.simd_level()
    assert "portable" in cpu["simd levels available"]
    assert set(cpu["simd levels available"]) <= set(cpu["simd levels built"])
    assert any(name in cpu["compiler"] for name in ("GCC", "Clang", "clang"))
    assert len(found["devices"]["gpu"]) == mx.device_count(mx.gpu)
    assert found["kernels"]["gpu"].startswith("none: ") == (_core.gpu_kernels() is None)


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    metalfaiss.show_config()
    shown = capsys.readouterr().out
    assert f"metalfaiss: {metalfaiss.__version__}" in shown
    assert f"simd level in use: {metalfaiss.simd_level()}" in shown
    done = subprocess.run([sys.executable, "-m", "metalfaiss"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "versions:"
    assert "kernels:" in done.stdout
    assert not done.stderr


# ----------------------------------------------------------------------------- a broken installation


IMPORT = """
try:
    import metalfaiss
except ImportError as e:
    print(e)
else:
    print("imported")
"""
BUILT = {"MLX_VERSION": _loader.MLX_VERSION, "NANOBIND_VERSION": _loader.NANOBIND_VERSION, "VERSION": _loader.VERSION}
WITH = f"MetalFaiss {_loader.VERSION} was built with it, and with nanobind {_loader.NANOBIND_VERSION}."


def told(before: str, path: Path | None = None) -> str:
    """What an import says after `before` broke something."""
    done = python(textwrap.dedent(before) + IMPORT, path=path)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def pretend(**built: str) -> str:
    """Code that makes the extension look as if it was built otherwise."""
    return f"""
import sys, types
sys.modules["metalfaiss._build"] = types.SimpleNamespace(**{BUILT | built!r})
"""


def install(path: Path, **distributions: str) -> None:
    """Fakes installed distributions, underscores for hyphens."""
    for name, version in distributions.items():
        info = path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n")


def fake_core(code: str) -> str:
    return f"""
import sys, types
sys.modules["metalfaiss._core"] = types.SimpleNamespace({code})
"""


def test_it_imports() -> None:
    assert told("") == "imported"


def test_another_version_of_mlx() -> None:
    said = told(pretend(MLX_VERSION="9.9.9"))
    assert said.startswith(f"[metalfaiss] MLX 9.9.9 must be installed: {WITH} Found MLX {mx.__version__}. ")
    assert "pip install" in said
    assert '==9.9.9"' in said


@on_linux
@pytest.mark.parametrize(
    ("backend", "extra"), [("mlx_cpu", "cpu"), ("mlx_cuda_12", "cuda12"), ("mlx_cuda_13", "cuda13")]
)
def test_the_cure_keeps_the_backend(backend: str, extra: str, tmp_path: Path) -> None:
    only = f"""
from importlib import metadata
real = metadata.version
def version(name):
    if name.startswith("mlx-") and name != {backend.replace("_", "-")!r}:
        raise metadata.PackageNotFoundError(name)
    return real(name)
metadata.version = version
"""
    install(tmp_path, **{backend: "0.32.4"})
    said = told(pretend(MLX_VERSION="9.9.9") + only, tmp_path)
    assert said.endswith(f'Run: pip install "mlx[{extra}]==9.9.9"')


def test_no_mlx() -> None:
    said = told("import sys; sys.modules['mlx'] = None\n" + NOTHING_INSTALLED)
    assert said.startswith(f"[metalfaiss] MLX {_loader.MLX_VERSION} must be installed: {WITH} Found no MLX. Run: pip ")


NOTHING_INSTALLED = """
from importlib import metadata
real = metadata.version
def version(name):
    if name.startswith("mlx"):
        raise metadata.PackageNotFoundError(name)
    return real(name)
metadata.version = version
"""


@on_linux
def test_mlx_without_a_backend(tmp_path: Path) -> None:
    (tmp_path / "mlx").mkdir()
    (tmp_path / "mlx" / "__init__.py").touch()
    missing = "libmlx.so: cannot open shared object file: No such file or directory"
    (tmp_path / "mlx" / "core.py").write_text(f"raise ImportError({missing!r})")
    install(tmp_path, mlx="0.32.4")
    said = told(NOTHING_INSTALLED.replace('"mlx"', '"mlx-"'), tmp_path)
    want = _loader.MLX_VERSION
    assert f"Found MLX 0.32.4, without a backend that it can load ({missing}). " in said
    assert f'Run: pip install "mlx[cpu]=={want}" for CPUs, or pip install "mlx[cuda13]=={want}" for NVIDIA GPUs' in said
    assert said.endswith("never both")


@on_linux
def test_mlx_for_cuda_without_a_gpu(tmp_path: Path) -> None:
    (tmp_path / "mlx").mkdir()
    (tmp_path / "mlx" / "__init__.py").touch()
    missing = "libcuda.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "mlx" / "core.py").write_text(f"raise ImportError({missing!r})")
    installed = f"""
from importlib import metadata
def version(name):
    if name not in ("mlx", "mlx-cuda-13"):
        raise metadata.PackageNotFoundError(name)
    return {_loader.MLX_VERSION!r}
metadata.version = version
"""
    said = told(installed, tmp_path)
    assert said.startswith(
        "[metalfaiss] An NVIDIA GPU, its driver and the nvidia packages of mlx-cuda-13 must be there: "
    )
    assert f"It said: {missing}. " in said
    assert f'pip install "mlx[cuda13]=={_loader.MLX_VERSION}". Without one, run: pip uninstall -y mlx-cuda-13, ' in said
    assert said.endswith(f'pip install "mlx[cpu]=={_loader.MLX_VERSION}"')


@on_linux
def test_two_backends(tmp_path: Path) -> None:
    install(tmp_path, mlx_cpu="0.32.4", mlx_cuda_13="0.32.4")
    several = (
        "Only one MLX backend must be installed, since each brings its own libmlx.so. Found mlx-cpu and mlx-cuda-13. "
        "Run: pip uninstall -y mlx-cpu mlx-cuda-13."
    )
    assert several in told(pretend(MLX_VERSION="9.9.9"), tmp_path)
    done = python(IMPORT, path=tmp_path)  # they may happen to work: then it is a warning
    assert done.stdout.strip() == "imported"
    assert f"RuntimeWarning: [metalfaiss] {several}" in done.stderr


def test_missing_symbols() -> None:
    said = told(
        """
        import sys
        class Broken:
            def find_spec(self, name, path=None, target=None):
                if name == "metalfaiss._core":
                    raise ImportError("undefined symbol: _ZN3mlx4core5arrayE")
        sys.meta_path.insert(0, Broken())
        """
    )
    assert said.startswith(f"[metalfaiss] MLX {_loader.MLX_VERSION} must be installed: {WITH} Found ")
    assert "that the extension cannot be linked to (undefined symbol: _ZN3mlx4core5arrayE). " in said
    assert "pip install" in said


def test_another_libmlx() -> None:
    said = told(fake_core("mlx_version=lambda: '0.1.2'"))
    assert f"[metalfaiss] MLX {_loader.MLX_VERSION} must be installed" in said
    assert "Found libmlx 0.1.2. Run: pip install" in said


def test_another_nanobind() -> None:
    refuses = f"mlx_version=lambda: {_loader.MLX_VERSION!r}, round_trip=lambda x, y: x"
    said = told(fake_core(refuses) + pretend(NANOBIND_VERSION="2.0.0"))
    assert said.startswith(f"[metalfaiss] MetalFaiss {_loader.VERSION} must be built with the nanobind that MLX ")
    assert f"MLX {_loader.MLX_VERSION} was built with. Found nanobind 2.0.0, " in said
    assert said.endswith("pip install --force-reinstall --no-deps .")


def test_sources_without_the_extension() -> None:
    said = told("import sys; sys.modules['metalfaiss._build'] = None\n")
    assert said.startswith("[metalfaiss] The package must be built and installed: pip install .")


# ----------------------------------------------------------------------------------------------- types


def installed(name: str) -> Path:
    """A file of the installed package, which an editable installation keeps in two folders."""
    found = [path for folder in metalfaiss.__path__ if (path := Path(folder) / name).exists()]
    assert found, f"{name} is not installed"
    return found[0]


def test_stubs_are_installed() -> None:
    stub = installed("_core.pyi").read_text()
    assert installed("py.typed")
    for name in dir(_core):
        if not name.startswith("_"):
            assert f"def {name}(" in stub or f"class {name}:" in stub, name
    assert "-> object" not in stub


USER = """
import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

import metalfaiss as faiss

index = faiss.IndexFlatL2(4, dtype=mx.bfloat16)
x: NDArray[np.float32] = np.zeros((2, 4), dtype=np.float32)
index.add(x)
index.add(mx.array(x))
D, I = index.search(x, 3)
D_is: NDArray[np.float32] = D
I_is: NDArray[np.int64] = I
lazy_D, lazy_I = index.search(mx.array(x), 3, stream=mx.default_stream(mx.default_device()))
lazy: mx.array = lazy_D + lazy_I
labels: NDArray[np.int64] = index.assign(x, 3)
n: int = index.ntotal + index.d
"""


def test_types(tmp_path: Path) -> None:
    """The package and a program that uses it, under mypy's strictest rules."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    for folder in reversed(list(metalfaiss.__path__)):
        shutil.copytree(folder, tmp_path / "metalfaiss", dirs_exist_ok=True)
    (tmp_path / "user.py").write_text(USER)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.10", "metalfaiss", "user.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
