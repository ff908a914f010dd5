"""The lint as a whole, and where its sources come from."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat, takewhile
from pathlib import Path

from flatten import flatten
from signatures import without_comments
from specialise import read

from .finding import Finding, Source
from .frontend import FLAGS, parse, prelude
from .prepass import for_clang, signatures, words
from .rules import RULES, in_threadgroup_memory, probes
from .tree import Tree

ROOT = Path(__file__).resolve().parents[3]
METAL = ROOT / "metal"

__all__ = ["METAL", "lint", "lint_all", "lint_files", "load", "specialised", "variants"]

DTYPES = ("float", "half", "bfloat")

_QUOTED = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"')
_OFFERED = re.compile(r"^[ \t]*#[ \t]*ifndef[ \t]+(\w+).*\n[ \t]*#[ \t]*define[ \t]+\1[ \t]+(\w+)", re.MULTILINE)
_CONDITION = re.compile(r"^[ \t]*#[ \t]*(?:el)?if\b(.*)", re.MULTILINE)
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
        # clang reasons about one thread, but another may write what lies in threadgroup memory.
        shared = in_threadgroup_memory(tree)
        found += [d for d in diagnostics if "uninitialized" not in d.rule or not shared & set(d.message.split("'"))]
    return sorted(set(found))


def lint_all(sources: Iterable[Source], disabled: Iterable[Collection[str]] | None = None) -> list[list[Finding]]:
    """The findings of each source, but those of the rules disabled for it; clang runs on every core."""
    prelude()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lint, sources, repeat(()) if disabled is None else disabled))


def lint_files(files: Iterable[Path], constants: dict[str, str] | None = None) -> tuple[list[Finding], int]:
    """The findings of kernel files with some constants, or with all their variants; and the number of sources read.

    The variants are those of the file and, of a family, those that metal/specialisations.txt lists.

    What one variant leaves unused another needs: it is a finding where every variant leaves it.
    """
    files = list(files)
    sources = []
    for file in files:
        source = load(file)
        chosen = [constants] if constants else variants(source)
        if not constants and file.parent == METAL:
            listed = dict.fromkeys(s.constants for s in read() if s.family == file.stem)
            chosen += [v for v in map(dict, listed) if v not in chosen]
        sources.append([specialised(source, v) for v in chosen])
    found = iter(lint_all(source for of_one in sources for source in of_one))
    kept: set[Finding] = set()
    for of_one in sources:
        each = [set(next(found)) for _ in of_one]
        everywhere = set.intersection(*each)
        kept |= {f for of_variant in each for f in of_variant if not f.rule.startswith("unused-") or f in everywhere}
    return sorted(kept), sum(map(len, sources))


def load(file: Path) -> Source:
    """A file flattened as the extension embeds it, with the origin of every line."""
    text = flatten(file)
    lines = [*_system(text, file), *_lines(file, set())]
    if [line for line, _, _ in lines] != text.splitlines():
        raise RuntimeError(f"[lint] the lines of {file} and of its flattened source must agree")
    return Source(text, _shown(file), tuple((_shown(path), number) for _, path, number in lines))


def specialised(source: Source, constants: dict[str, str]) -> Source:
    """A source with preprocessor constants behind the system's headers, as the executor gives it to Metal."""
    defines = [f"#define {name} {value}\n" for name, value in constants.items()]
    label = f"{source.name} ({', '.join(f'{n}={v}' for n, v in constants.items())})" if constants else source.name
    lines = source.text.splitlines(keepends=True)
    system = len(list(takewhile(lambda line: line.startswith("#include <"), lines)))
    origin = source.origin[:system] + ((label, 0),) * len(constants) + source.origin[system:] if source.origin else ()
    return Source("".join([*lines[:system], *defines, *lines[system:]]), label, origin)


def variants(source: Source) -> list[dict[str, str]]:
    """The constants to lint a file with: its defaults, every dtype, and every value that an #if compares a constant to.

    A constant is what the file gives a default: ``#ifndef T`` and ``#define T float``. Types are set together, which is
    combined with each value, and one by one.
    """
    offered = dict(_OFFERED.findall(without_comments(source.text)))
    types = [n for n, default in offered.items() if default in DTYPES or offered.get(default) in DTYPES]
    values: list[dict[str, str]] = [{}]
    for condition in _CONDITION.findall(without_comments(source.text)):
        for name, value in _compared(condition):
            if name in offered and {name: value} not in values:
                values.append({name: value})
    together: list[dict[str, str]] = [dict.fromkeys(types, dtype) for dtype in DTYPES] if types else []
    alone = [{name: dtype} for name in types for dtype in DTYPES] if len(types) > 1 else []
    found = [*values, *(t | v for v in values for t in together), *alone]
    return [v for i, v in enumerate(found) if v not in found[:i]]


def _compared(condition: str) -> Iterator[tuple[str, str]]:
    """The values that the condition of an #if tells apart: X == 64 is of 64, and X alone of 0 and 1."""
    for match in re.finditer(r"\w+", condition):
        before, after = condition[: match.start()].rstrip(), condition[match.end() :].lstrip()
        if equal := re.match(r"[=!]=\s*(\d+)", after):
            yield match.group(), equal.group(1)
        elif re.search(r"(^|[!(]|&&|\|\|)$", before) and re.match(r"$|\)|&&|\|\|", after):
            yield match.group(), "0"
            yield match.group(), "1"


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
