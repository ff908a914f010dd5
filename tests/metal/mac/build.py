"""Builds the extension for macOS on Apple silicon, here, and checks what it asks of MLX and of the system.

``python tests/metal/mac/build.py --cache DIR``: a proof, not a product: what it makes is never shipped. Needs PyPI's
ziglang and lief, and what the build needs (CMake, ninja, nanobind, mlx). DIR keeps downloads, zig's cache and objects.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

from symbols import check

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

# The wheels of the pinned MLX that macOS users get; the first one's headers are used.
PLATFORMS = ("macosx_15_0_arm64", "macosx_26_0_arm64")


def fetch(cache: Path, platform: str) -> Path:
    """The site-packages of the wheel for the platform: mlx/include, mlx/share, mlx/lib."""
    version = metadata.version("mlx")
    site = cache / f"mlx_metal-{version}-{platform}"
    if (site / "complete").exists():
        return site
    wheels = cache / "wheels" / platform
    command = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--platform", platform, "--dest", str(wheels)]
    subprocess.run([sys.executable, "-m", "pip", *command, f"mlx-metal=={version}"], check=True)
    with zipfile.ZipFile(next(wheels.glob(f"mlx_metal-{version}-*.whl"))) as wheel:
        wheel.extractall(site)
    (site / "complete").touch()
    return site


def tools(cache: Path) -> Path:
    """A folder with zig's c++, ar and ranlib as commands: CMake wants one word for each."""
    folder = cache / "tools"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("c++", "ar", "ranlib"):
        tool = folder / name
        tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ziglang {name} "$@"\n')
        tool.chmod(0o755)
    return folder


def build(cache: Path, site: Path) -> Path:
    """Configures and builds; returns the extension."""
    out = cache / "build"
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(cache / "zig"), "ZIG_LOCAL_CACHE_DIR": str(cache / "zig")}
    define = {
        "CMAKE_TOOLCHAIN_FILE": HERE / "toolchain.cmake",
        "METALFAISS_MAC_TOOLS": tools(cache),
        "MLX_ROOT": site / "mlx/share/cmake/MLX",
        "MLX_LIBRARY": site / "mlx/lib/libmlx.dylib",
        "Python_EXECUTABLE": sys.executable,
        "SKBUILD_PROJECT_VERSION": "0",
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_COMPILE_WARNING_AS_ERROR": "ON",
    }
    definitions = [f"-D{name}={value}" for name, value in define.items()]
    for command in (
        ["cmake", "-S", str(ROOT), "-B", str(out), "-G", "Ninja", "--log-level=WARNING", *definitions],
        ["cmake", "--build", str(out), "--target", "_core"],
    ):
        subprocess.run(command, check=True, env=environment)
    return next(out.glob("_core.*so"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=ROOT / "build/mac")
    cache = parser.parse_args().cache.resolve()
    sites = [fetch(cache, platform) for platform in PLATFORMS]
    extension = build(cache, sites[0])
    problems = [f"{site.name}: {problem}" for site in sites for problem in check(extension, site)]
    print("\n".join(problems) or f"{extension.name}: all that it asks of MLX and of macOS is there")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
