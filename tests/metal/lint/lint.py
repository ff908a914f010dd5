"""The lint as a whole, and where its sources come from."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .finding import Finding, Source
from .frontend import FLAGS, parse, prelude
from .prepass import for_clang, signatures, words
from .rules import RULES, probes
from .tree import Tree

ROOT = Path(__file__).resolve().parents[3]
METAL = ROOT / "metal"
sys.path.insert(0, str(METAL / "tools"))
from flatten import flatten  # noqa: E402

__all__ = ["METAL", "lint", "lint_all", "load", "specialised"]

_QUOTED = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"')
_SYSTEM = re.compile(r"^[ \t]*#[ \t]*(include[ \t]+<|pragma[ \t]+once)")


def lint(source: Source, disabled: Collection[str] = ()) -> list[Finding]:
    """Every finding of a source, but those of the disabled rules. The tree is looked at once the words are right."""
    found = [f for f in words(source) if f.rule not in disabled]
    if not found:
        found = [f for f in signatures(source) if f.rule not in disabled]
        flags = [flag for flag in FLAGS if flag.removeprefix("-W") not in disabled]
        flags += [f"-Wno-{rule}" for rule in disabled if rule not in RULES]
        diagnostics, declarations = parse(source, probes(source.text), [*flags, "-Wno-unknown-warning-option"])
        tree, text = Tree(declarations), for_clang(source)
        for name, rule in RULES.items():
            if name not in disabled:
                found += [source.finding(line, name, message) for line, message in rule(tree, text)]
        found += diagnostics
    return sorted(set(found))


def lint_all(sources: Iterable[Source]) -> list[list[Finding]]:
    """The findings of each source; clang runs on every core."""
    prelude()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lint, sources))


def load(file: Path) -> Source:
    """A file flattened as the extension embeds it, with the origin of every line."""
    text = flatten(file)
    lines = [*_system(text, file), *_lines(file, set())]
    if [line for line, _, _ in lines] != text.splitlines():
        raise RuntimeError(f"[lint] the lines of {file} and of its flattened source must agree")
    return Source(text, _shown(file), tuple((_shown(path), number) for _, path, number in lines))


def specialised(source: Source, constants: dict[str, str]) -> Source:
    """A source with preprocessor constants before it, as the executor gives it to Metal."""
    defines = "".join(f"#define {name} {value}\n" for name, value in constants.items())
    label = f"{source.name} ({', '.join(f'{n}={v}' for n, v in constants.items())})" if constants else source.name
    origin = ((label, 0),) * len(constants) + source.origin if source.origin else ()
    return Source(defines + source.text, label, origin)


def _system(text: str, file: Path) -> list[tuple[str, Path, int]]:
    count = 0
    for line in text.splitlines():
        if not re.match(r"^#include[ \t]+<", line):
            break
        count += 1
    return [(line, file, 1) for line in text.splitlines()[:count]]


def _lines(file: Path, included: set[str]) -> list[tuple[str, Path, int]]:
    """The lines of a file with its headers in place, as flatten orders them."""
    out: list[tuple[str, Path, int]] = []
    for number, line in enumerate(file.read_text(encoding="ascii").splitlines(), 1):
        if match := _QUOTED.match(line):
            if match[1] not in included:
                included.add(match[1])
                out += _lines(METAL / "include" / match[1], included)
        elif not _SYSTEM.match(line):
            out.append((line, file, number))
    return out


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
