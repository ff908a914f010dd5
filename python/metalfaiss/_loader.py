"""Loads the extension, after checking that it was built for the MLX that is installed.

MLX promises no C++ ABI between releases, and nanobind shares types only between modules built with one ABI: a
mismatch would show as a missing symbol, or as a TypeError at the first call. Here it shows at import, with the cure.
"""

import sys
import warnings
from importlib import metadata

try:
    from metalfaiss._build import MLX_VERSION, NANOBIND_VERSION, VERSION
except ModuleNotFoundError as e:
    raise ImportError(
        "[metalfaiss] The package must be built and installed: pip install . in its source folder. "
        "Found its sources only."
    ) from e

__all__ = ["MLX_VERSION", "NANOBIND_VERSION", "VERSION", "mlx_backends"]

# On Linux each of these installs mlx/lib/libmlx.so, so that the last one wins; and the extra of mlx that brings it.
_BACKENDS = {"mlx-cpu": "cpu", "mlx-cuda-12": "cuda12", "mlx-cuda-13": "cuda13"}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def mlx_backends() -> dict[str, str]:
    """The MLX backends that are installed on Linux, with their versions."""
    found = {name: _version(name) for name in _BACKENDS}
    return {name: version for name, version in found.items() if version is not None}


def _install(extra: str) -> str:
    return f'pip install "mlx{extra}=={MLX_VERSION}"'


def _cure() -> str:
    if sys.platform != "linux":
        return f"Run: {_install('')}"
    backends = mlx_backends()
    if len(backends) == 1:
        return f"Run: {_install(f'[{_BACKENDS[next(iter(backends))]}]')}"
    choice = f"{_install('[cpu]')} for CPUs, or {_install('[cuda13]')} for NVIDIA GPUs, never both"
    return f"{_several(backends)} Then run: {choice}" if backends else f"Run: {choice}"


def _several(backends: dict[str, str]) -> str:
    return (
        f"Only one MLX backend must be installed, since each brings its own libmlx.so. Found {' and '.join(backends)}. "
        f"Run: pip uninstall -y {' '.join(backends)}."
    )


def _no_gpu(e: ImportError) -> str:
    """MLX's CUDA variant cannot be imported where CUDA is missing, not even for its CPU device."""
    backends = mlx_backends()
    if len(backends) > 1:
        return f"[metalfaiss] {_several(backends)} Then install one again."
    name = next(iter(backends))
    return (
        f"[metalfaiss] An NVIDIA GPU, its driver and the nvidia packages of {name} must be there: MLX is installed in "
        f"its CUDA variant, which cannot be imported without them. It said: {e}. On a machine with a GPU, update the "
        f"driver, or run: {_install(f'[{_BACKENDS[name]}]')}. Without one, run: pip uninstall -y {name}, then "
        f"{_install('[cpu]')}"
    )


def _mismatch(found: str) -> ImportError:
    return ImportError(
        f"[metalfaiss] MLX {MLX_VERSION} must be installed: MetalFaiss {VERSION} was built with it, and with nanobind "
        f"{NANOBIND_VERSION}. Found {found}. {_cure()}"
    )


def _check_mlx() -> None:
    try:
        import mlx.core as mx
    except ImportError as e:
        installed = _version("mlx")
        if installed == MLX_VERSION and any("cuda" in name for name in mlx_backends()):
            raise ImportError(_no_gpu(e)) from e
        raise _mismatch(
            "no MLX" if installed is None else f"MLX {installed}, without a backend that it can load ({e})"
        ) from e
    found: str = mx.__version__  # type: ignore[attr-defined]
    if found != MLX_VERSION:
        raise _mismatch(f"MLX {found}")


def _check_extension() -> None:
    import mlx.core as mx

    try:
        from metalfaiss import _core
    except ImportError as e:
        backends = ", ".join(f"{name} {version}" for name, version in mlx_backends().items())
        raise _mismatch(f"{backends or 'a libmlx'} that the extension cannot be linked to ({e})") from e
    if _core.mlx_version() != MLX_VERSION:
        raise _mismatch(f"libmlx {_core.mlx_version()}")
    try:
        _core.round_trip(mx.array(1.0))
    except TypeError as e:
        raise ImportError(
            f"[metalfaiss] MetalFaiss {VERSION} must be built with the nanobind that MLX {MLX_VERSION} was built with. "
            f"Found nanobind {NANOBIND_VERSION}, which cannot exchange arrays with MLX. Build it again from its source "
            "folder, with build isolation: pip install --force-reinstall --no-deps ."
        ) from e


def _check_backends() -> None:
    if sys.platform == "linux" and len(backends := mlx_backends()) > 1:
        warnings.warn(f"[metalfaiss] {_several(backends)} Then install one again.", RuntimeWarning, stacklevel=3)


_check_mlx()
_check_extension()
_check_backends()
