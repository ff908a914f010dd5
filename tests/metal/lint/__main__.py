"""``python -m tests.metal.lint [metal/gemm.metal ...] [-D NAME=VALUE ...]``: prints findings, fails if there are any.

Without files every family is read, and without -D with its own defaults and with T of each dtype.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import METAL, MissingClang, lint_all, load, specialised

DTYPES = ("float", "half", "bfloat")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.metal.lint", description="Lints Metal kernels.")
    parser.add_argument("files", nargs="*", type=Path, help="kernel files; all of metal/ by default")
    parser.add_argument("-D", dest="constants", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    files = [f.resolve() for f in arguments.files] or sorted(METAL.glob("*.metal"))
    chosen = dict(constant.partition("=")[::2] for constant in arguments.constants)
    variants = [chosen] if chosen else [{}, *({"T": dtype} for dtype in DTYPES)]
    sources = [specialised(load(file), constants) for file in files for constants in variants]
    try:
        findings = {str(f): None for found in lint_all(sources) for f in found}
    except MissingClang as error:
        parser.error(str(error))
    print("\n".join(findings) if findings else f"{len(sources)} sources of {len(files)} files: no findings")
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
