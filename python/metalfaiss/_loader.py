"""Loads the extension, after checking that it was built for the MLX that is installed.

MLX promises no C++ ABI between releases, and nanobind shares types only between modules built with one ABI: a
mismatch would show as a missing symbol, or as a TypeError at the first call. Here it shows at import, with the cure.
"""

import sys

from metalfaiss._build import MLX_VERSION, NANOBIND_VERSION, VERSION

__all__ = ["MLX_VERSION", "NANOBIND_VERSION", "VERSION"]


def _extra() -> str:
    return "" if sys.platform == "darwin" else "[cpu]"


def _mismatch(found: str) -> ImportError:
    return ImportError(
        f"[metalfaiss] The extension was built for MLX {MLX_VERSION} (nanobind {NANOBIND_VERSION}). Found {found}. "
        f'Install the matching MLX: pip install "mlx{_extra()}=={MLX_VERSION}"'
    )


def _check_mlx() -> None:
    try:
        import mlx.core as mx
    except ImportError as e:
        raise ImportError(
            "[metalfaiss] MLX must be installed with a backend. Received: "
            f"{e}. Install one of the two (never both): "
            f'pip install "mlx[cpu]=={MLX_VERSION}" for the CPU, '
            f'pip install "mlx[cuda13]=={MLX_VERSION}" for NVIDIA GPUs.'
            if sys.platform != "darwin"
            else f'[metalfaiss] MLX must be installed. Received: {e}. pip install "mlx=={MLX_VERSION}"'
        ) from e
    if mx.__version__ != MLX_VERSION:
        raise _mismatch(f"MLX {mx.__version__}")


def _check_abi() -> None:
    import mlx.core as mx

    try:
        from metalfaiss import _core
    except ImportError as e:
        raise _mismatch(f"MLX {mx.__version__}, whose library it cannot link to: {e}") from e
    if _core.mlx_version() != MLX_VERSION:
        raise _mismatch(f"the MLX library {_core.mlx_version()}")
    try:
        _core.round_trip(mx.array(1.0))
    except TypeError as e:
        raise _mismatch(f"MLX {mx.__version__} built with another nanobind ABI") from e


_check_mlx()
_check_abi()
