"""What this build is, and what it runs on."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

import mlx.core as mx

from metalfaiss import _core, _loader

__all__ = ["config", "main", "show_config"]


def config() -> dict[str, dict[str, Any]]:
    """The configuration, in sections.

    Returns:
        dict: ``versions`` (of MetalFaiss, MLX as installed and as built with, its backends, nanobind, NumPy, Python),
        ``cpu`` (SIMD level in use, those this machine can run, those built, threads, compiler), ``devices`` (MLX's
        default device, its CPU, its GPUs), ``kernels`` (how they were compiled, per device).
    """
    built = _core.simd_levels_built()
    return {
        "versions": {
            "metalfaiss": _loader.VERSION,
            "mlx": _core.mlx_version(),
            "mlx (built with)": _loader.MLX_VERSION,
            **_loader.mlx_backends(),
            "nanobind (built with)": _loader.NANOBIND_VERSION,
            "numpy": metadata.version("numpy"),
            "python": platform.python_version(),
        },
        "cpu": {
            "simd level in use": _core.simd_level(),
            "simd levels available": _core.simd_levels(),
            "simd levels built": built,
            "threads": _core.num_threads(),
            "compiler": _core.compiler(),
        },
        "devices": {
            "platform": f"{platform.system()} {platform.machine()}",
            "default": str(mx.default_device()),
            "cpu": _device_name(mx.Device(mx.cpu)),
            "gpu": [_device_name(mx.Device(mx.gpu, i)) for i in range(mx.device_count(mx.gpu))],
        },
        "kernels": {
            "cpu": f"ahead of time by {_core.compiler()}, for {', '.join(built)}; the level is chosen at run time",
            "gpu": _core.gpu_kernels()
            or f"none: operations run on CPU streams (stream=mx.cpu). {_core.why_no_gpu_kernels()}",
        },
    }


def show_config() -> None:
    """Prints ``config()``; also ``python -m metalfaiss``."""
    for section, fields in config().items():
        print(f"{section}:")
        for name, value in fields.items():
            print(f"  {name}: {', '.join(value) or 'none' if isinstance(value, list) else value}")


def main() -> None:
    show_config()


def _device_name(device: mx.Device) -> str:
    return str(mx.device_info(device).get("device_name", "unnamed"))
