"""Fails if an object file of a SIMD level defines code under a name that another level could share.

The linker keeps one copy of a weak symbol. If that copy was compiled with AVX-512 and a narrower machine runs it, the
process dies of an illegal instruction. So every symbol that a kernel file defines must belong to its level's namespace.
"""

import argparse
import re
import subprocess
import sys


def foreign_symbols(nm: str, level: str, objects: list[str]) -> list[str]:
    out = subprocess.run(
        [nm, "-C", "--defined-only", "-o", *objects], capture_output=True, text=True, check=True
    ).stdout
    bad = []
    for line in out.splitlines():
        kind, name = re.match(r".*?:[0-9a-f]*\s+(\w) (.*)", line).groups()
        # Upper case is global, u and v are shared in other ways; lower-case t, r, d, b are private to the file.
        if (kind.isupper() or kind in "uvw") and f"metalfaiss::cpu::{level}::" not in name:
            bad.append(line)
    return bad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nm", required=True)
    parser.add_argument("--level", required=True)
    parser.add_argument("objects", nargs="+")
    args = parser.parse_args()
    if bad := foreign_symbols(args.nm, args.level, args.objects):
        sys.exit(f"symbols outside metalfaiss::cpu::{args.level}:\n" + "\n".join(bad))
    print(f"{len(args.objects)} object files of {args.level} share nothing")


if __name__ == "__main__":
    main()
