"""Stand-ins for the libraries that MLX's CUDA variant needs: ``python stand_ins.py libmlx.so FOLDER``.

They have every symbol that libmlx and MetalFaiss's CUDA executor ask for, and every function answers 100, which is
CUDA_ERROR_NO_DEVICE: so both load on a machine without a driver, and find no GPU.
"""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

__all__ = ["make"]

_SYSTEM = ("libstdc++", "libm.so", "libgcc_s", "libc.so", "ld-linux", "liblapack", "libblas", "libgfortran", "libmlx")


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed(library: Path) -> list[str]:
    """The libraries that it names, without those of the system."""
    lines = [line for line in _output("readelf", "-d", str(library)).splitlines() if "(NEEDED)" in line]
    names = [line.split("[")[1].rstrip("]") for line in lines]
    return [name for name in names if not name.startswith(_SYSTEM)]


def undefined(library: Path) -> list[str]:
    """Symbols it leaves to others, as ``name`` or ``name@version``, without those of versioned system libraries."""
    lines = _output("nm", "-D", "--undefined-only", str(library)).splitlines()
    names = [line.split()[1].replace("@@", "@") for line in lines if line.split()[0] == "U"]
    return [n for n in names if not any(v in n for v in ("@GLIBC", "@CXXABI", "@GCC"))]


def make(libraries: list[Path], folder: Path) -> None:
    """Writes the stand-ins for all of `libraries` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {name for library in libraries for name in needed(library)}
    versioned: dict[str, set[str]] = defaultdict(set)
    plain: set[str] = set()
    for symbol in {s for library in libraries for s in undefined(library)}:
        name, _, version = symbol.partition("@")
        if version in wanted:
            versioned[version].add(name)
        elif not name.startswith("_Z"):
            plain.add(name)
    plain -= {name for names in versioned.values() for name in names}
    for soname in wanted:
        names = versioned[soname] | (plain if soname == "libcuda.so.1" else set())
        source, script = folder / f"{soname}.c", folder / f"{soname}.map"
        source.write_text("".join(f"int {name}(void) {{ return 100; }}\n" for name in sorted(names)))
        script.write_text(f"{soname} {{ global: *; }};\n")
        versions = [f"-Wl,--version-script={script}"] if versioned[soname] else []
        command = ["cc", "-w", "-shared", "-fno-builtin", f"-Wl,-soname,{soname}", *versions]
        subprocess.run([*command, "-o", str(folder / soname), str(source)], check=True)


if __name__ == "__main__":
    make([Path(p) for p in sys.argv[1:-1]], Path(sys.argv[-1]))
