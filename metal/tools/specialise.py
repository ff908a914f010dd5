"""The kernels to compile when the package is built: ``python specialise.py DIR`` writes a source for each.

They are the lines of metal/specialisations.txt: ``family kernel NAME=VALUE ...``, the constants of launches in their
order. Prints the paths of the sources, each named as its kernel is.
"""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from flatten import METAL, flatten

__all__ = ["FILE", "Specialisation", "read"]

FILE = METAL / "specialisations.txt"

_SYSTEM = re.compile(r"(?:#include <[^\n]*\n)*")


@dataclass(frozen=True, order=True)
class Specialisation:
    """What csrc/gpu/launch.h calls a Launch, without its arguments."""

    family: str
    kernel: str
    constants: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """As Launch::name()."""
        return "_".join([self.kernel, *(re.sub(r"[ *-]", "_", value) for _, value in self.constants)])

    @property
    def line(self) -> str:
        return " ".join([self.family, self.kernel, *(shlex.quote(f"{name}={value}") for name, value in self.constants)])

    def source(self) -> str:
        """As specialised_source() of csrc/gpu/executor.cpp: behind the system's headers."""
        text = flatten(METAL / f"{self.family}.metal")
        system = _SYSTEM.match(text)
        assert system is not None
        defines = "".join(f"#define {name} {value}\n" for name, value in self.constants)
        return f"{system.group()}{defines}#define {self.kernel} {self.name}\n{text[system.end() :]}"


def read(file: Path = FILE) -> list[Specialisation]:
    lines = [line for line in file.read_text(encoding="ascii").splitlines() if line and not line.startswith("#")]
    return [_parse(line) for line in lines]


def _parse(line: str) -> Specialisation:
    family, kernel, *constants = shlex.split(line)
    return Specialisation(family, kernel, tuple((n, v) for n, _, v in (c.partition("=") for c in constants)))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for specialisation in read():
        file, source = folder / f"{specialisation.name}.metal", specialisation.source()
        if not file.exists() or file.read_text() != source:  # what has not changed is not compiled again
            file.write_text(source)
        print(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
