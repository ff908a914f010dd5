"""``python -m tests.metal.lint [metal/gemm.metal ...] [-D NAME=VALUE ...]``: prints findings, fails if there are any.

Without files every family is read; without -D with its defaults, with every dtype, and with every value that an #if
compares a constant to.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import METAL, MissingClang, lint_files


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.metal.lint", description="Lints Metal kernels.")
    parser.add_argument("files", nargs="*", type=Path, help="kernel files; all of metal/ by default")
    parser.add_argument("-D", dest="constants", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    files = [f.resolve() for f in arguments.files] or sorted(METAL.glob("*.metal"))
    chosen = dict(constant.partition("=")[::2] for constant in arguments.constants)
    try:
        findings, sources = lint_files(files, chosen)
    except MissingClang as error:
        parser.error(str(error))
    print("\n".join([*map(str, findings), f"{len(files)} files, {sources} variants: {len(findings)} findings"]))
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
