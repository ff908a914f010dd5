"""One source text from a kernel file and what it includes: a kernel compiled at run time has no include path.

``#include "x.h"`` is replaced by metal/include/x.h, once each; ``#include <metal_stdlib>`` and its like stay.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

METAL = Path(__file__).resolve().parent.parent

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)".*\n', re.MULTILINE)
_SYSTEM = re.compile(r"^[ \t]*#[ \t]*(include[ \t]+<[^>]+>|pragma[ \t]+once).*\n", re.MULTILINE)


def flatten(file: Path) -> str:
    """The text of a kernel file with its headers in place, ASCII, system includes first and once each."""
    included: set[str] = set()

    def expand(text: str) -> str:
        def replace(match: re.Match[str]) -> str:
            name = match.group(1)
            if name in included:
                return ""
            included.add(name)
            return expand((METAL / "include" / name).read_text(encoding="ascii"))

        return _INCLUDE.sub(replace, text)

    text = expand(file.read_text(encoding="ascii"))
    system = dict.fromkeys(f"#{m.group(1)}\n" for m in _SYSTEM.finditer(text) if m.group(1).startswith("include"))
    return "".join(system) + _SYSTEM.sub("", text)


def families() -> list[str]:
    """The kernel families: the stems of metal/*.metal."""
    return sorted(file.stem for file in METAL.glob("*.metal"))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        sys.stdout.write(flatten(Path(argument)))
