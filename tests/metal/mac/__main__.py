"""Builds the extension for macOS on Apple silicon, here, and checks what it asks of MLX and of the system.

``python -m tests.metal.mac --cache DIR``: a proof, not a product: what it makes is never shipped. Needs the
extra kernel-test. DIR keeps downloads, zig's own cache and, where ccache is installed, what was compiled.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

from specialise import read as specialisations

from .symbols import check

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

# The wheels of the pinned MLX that macOS users get, and whether they have kernels for the matrix units of an M5. The
# first one's headers are used.
PLATFORMS = {"macosx_15_0_arm64": False, "macosx_26_0_arm64": True}

# What the check must find missing, to show that it can.
PROBE = """
namespace mlx::core::metal { void invented_by_the_probe(int); }
extern "C" void probe() { mlx::core::metal::invented_by_the_probe(1); }
"""
PROBE_SYMBOL = "__ZN3mlx4core5metal21invented_by_the_probeEi"


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


# zig's linker takes no response file (nanobind's names Python's symbols; symbols.py checks them), and ends in a
# segmentation fault on -bundle.
_TOOL = """#!/bin/sh
for argument; do
  shift
  case "$argument" in
    -Wl,@*) set -- "$@" -Wl,-undefined,dynamic_lookup ;;
    -bundle) set -- "$@" -shared ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec "{python}" -m ziglang {name} "$@"
"""


# In the place of Apple's compiler: "objects" are sources and a "library" is all of them.
_XCRUN = """#!/bin/sh
[ "$1 $2" = "-sdk macosx" ] || exit 1
shift 2
tool=$1 inputs=
shift
while [ $# -gt 0 ]; do
  case "$1" in
    --version) exit 0 ;;
    -o) out=$2; shift ;;
    -c | -*) ;;
    *) inputs="$inputs $1" ;;
  esac
  shift
done
cat $inputs >"$out"
"""


def tools(cache: Path) -> Path:
    """A folder with zig's c++, ar and ranlib as commands (CMake wants one word for each), and an xcrun."""
    folder = cache / "tools"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("c++", "ar", "ranlib"):
        tool = folder / name
        tool.write_text(_TOOL.format(python=sys.executable, name=name))
        tool.chmod(0o755)
    (folder / "xcrun").write_text(_XCRUN)
    (folder / "xcrun").chmod(0o755)
    return folder


def environment(cache: Path) -> dict[str, str]:
    """Of every compilation. ccache is to find a file again wherever the project and the Python environment lie."""
    return os.environ | {
        "ZIG_GLOBAL_CACHE_DIR": str(cache / "zig"),
        "ZIG_LOCAL_CACHE_DIR": str(cache / "zig"),
        "CCACHE_DIR": str(cache / "ccache"),
        "CCACHE_BASEDIR": str(ROOT),
        "CCACHE_NOHASHDIR": "1",
        "CCACHE_COMPILERTYPE": "clang",
        "CCACHE_COMPILERCHECK": f"string:zig {metadata.version('ziglang')} {_TOOL}",  # the tool names this Python
    }


def nanobind(cache: Path) -> Path:
    """nanobind's CMake package, at the same place for every Python environment."""
    version = metadata.version("nanobind")
    site = cache / f"nanobind-{version}"
    if not (site / "complete").exists():
        command = ["install", "--quiet", "--no-deps", "--target", str(site), f"nanobind=={version}"]
        subprocess.run([sys.executable, "-m", "pip", *command], check=True)
        (site / "complete").touch()
    return site / "nanobind/cmake"


def probe(cache: Path) -> Path:
    """A library that asks for something that MLX does not have."""
    source, library = cache / "probe.cpp", cache / "probe.so"
    source.write_text(PROBE)
    flags = ["-target", "aarch64-macos.15.0", "-shared", "-Wl,-undefined,dynamic_lookup"]
    compiler = str(cache / "tools/c++")
    subprocess.run([compiler, *flags, str(source), "-o", str(library)], check=True, env=environment(cache))
    return library


def missing_from_metallib(file: Path) -> list[str]:
    """The kernels of metal/specialisations.txt that the build did not put into metalfaiss.metallib."""
    names = [s.name for s in specialisations()]
    text = file.read_text() if file.exists() else ""
    return [f"metalfaiss.metallib: no {name}" for name in names if f" {name}\n" not in text]


def build(cache: Path, site: Path, out: Path) -> Path:
    """Configures and builds in the folder ``out``; returns the extension."""
    define = {
        "CMAKE_TOOLCHAIN_FILE": HERE / "toolchain.cmake",
        "METALFAISS_MAC_TOOLS": tools(cache),
        "XCRUN": cache / "tools/xcrun",
        "MLX_ROOT": site / "mlx/share/cmake/MLX",
        "MLX_LIBRARY": site / "mlx/lib/libmlx.dylib",
        "nanobind_ROOT": nanobind(cache),
        "CMAKE_CXX_COMPILER_LAUNCHER": "ccache" if shutil.which("ccache") else "",
        "Python_EXECUTABLE": sys.executable,
        "SKBUILD_PROJECT_VERSION": "0",
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_COMPILE_WARNING_AS_ERROR": "ON",
    }
    definitions = [f"-D{name}={value}" for name, value in define.items()]
    for command in (
        ["cmake", "-S", str(ROOT), "-B", str(out), "-G", "Ninja", "--log-level=WARNING", *definitions],
        ["cmake", "--build", str(out)],
    ):
        subprocess.run(command, check=True, env=environment(cache))
    return next(out.glob("_core.*.so"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=ROOT / "build/mac-cache")
    cache = parser.parse_args().cache.resolve()
    sites = {fetch(cache, platform): tf32 for platform, tf32 in PLATFORMS.items()}
    out = ROOT / "build/mac"
    extension = build(cache, next(iter(sites)), out)
    problems = [f"{site.name}: {problem}" for site, tf32 in sites.items() for problem in check(extension, site, tf32)]
    problems += missing_from_metallib(out / "metalfaiss.metallib")
    if check(probe(cache), next(iter(sites)), False) != [f"no symbol {PROBE_SYMBOL}"]:
        problems.append("the check does not find the probe's symbol missing")
    print("\n".join(problems) or f"{extension.name}: all that it asks of MLX and of macOS is there")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
