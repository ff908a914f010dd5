"""The lint of the Metal kernels: it rejects every wrong file for its own reason, accepts every right one, and finds
nothing in the project's kernels. The first line of a wrong file is ``// expect: <regex>``; ``<-`` marks the lines."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import flatten
import pytest

from .lint import METAL, Finding, Source, driver, lint, lint_all, lint_files, load, specialised, variants
from .lint.frontend import clang
from .lint.rules import RULES

_FOLDER = Path(__file__).resolve().parent / "lint"
_WRONG = sorted((_FOLDER / "wrong").glob("*.metal"))
_RIGHT = sorted((_FOLDER / "right").glob("*.metal"))


def _source(file: Path) -> Source:
    return Source(file.read_text(encoding="utf-8"), file.name)


def _expected(text: str) -> re.Pattern[str]:
    first = text.split("\n", 1)[0]
    assert first.startswith("// expect: "), first
    return re.compile(first.removeprefix("// expect: "))


@pytest.fixture(scope="session")
def findings() -> dict[str, list[Finding]]:
    """The findings of every wrong and right file: clang runs once a file, on every core."""
    files = [*_WRONG, *_RIGHT]
    return {file.stem: found for file, found in zip(files, lint_all(map(_source, files)), strict=True)}


def test_clang_is_there() -> None:
    assert clang()  # otherwise an error that says what to install


def test_there_are_enough_files() -> None:
    assert len(_WRONG) >= 55
    assert len(_RIGHT) >= 24


@pytest.mark.parametrize("file", _WRONG, ids=lambda file: file.stem)
def test_wrong_is_rejected_for_its_own_reason(file: Path, findings: dict[str, list[Finding]]) -> None:
    text = file.read_text(encoding="utf-8")
    expected, marked = _expected(text), {n for n, line in enumerate(text.split("\n"), 1) if "<-" in line}
    assert findings[file.stem], "accepted"
    for finding in findings[file.stem]:
        assert expected.search(str(finding))
        assert not marked or finding.line in marked


@pytest.mark.parametrize("file", _RIGHT, ids=lambda file: file.stem)
def test_right_is_accepted(file: Path, findings: dict[str, list[Finding]]) -> None:
    assert [str(f) for f in findings[file.stem]] == []


@pytest.fixture(scope="session")
def mutants(findings: dict[str, list[Finding]]) -> dict[str, list[Finding]]:
    """The findings of every wrong file without the rules that reject it. An error of clang's cannot be disabled."""
    disabled = {file: {f.rule for f in findings[file.stem]} - {"clang"} for file in _WRONG}
    chosen = [file for file in _WRONG if disabled[file]]
    found = lint_all(map(_source, chosen), [disabled[file] for file in chosen])
    return {file.stem: of_one for file, of_one in zip(chosen, found, strict=True)}


def test_every_rule_is_live(findings: dict[str, list[Finding]], mutants: dict[str, list[Finding]]) -> None:
    """Without its rule, a wrong file is no longer rejected for its reason: no other rule did the work."""
    assert len(mutants) >= 90
    for file in _WRONG:
        expected = _expected(file.read_text(encoding="utf-8"))
        assert not [str(f) for f in mutants.get(file.stem, []) if expected.search(str(f)) and f.rule != "clang"]


def test_every_rule_of_the_tree_has_a_wrong_file(findings: dict[str, list[Finding]]) -> None:
    found = {f.rule for file in _WRONG for f in findings[file.stem]}
    assert set(RULES) <= found


def test_the_kernels_of_the_project() -> None:
    """Every family with its defaults, every dtype and every value that it compares a constant to."""
    files = sorted(METAL.glob("*.metal"))
    assert files, "metal/ has no kernels"
    findings, _ = lint_files(files)
    assert [str(f) for f in findings] == []


def test_variants() -> None:
    text = """
#ifndef T  // of the input
#define T float
#endif
#ifndef O
#define O T
#endif
#ifndef L2
#define L2 1
#endif
#ifndef TILE
#define TILE 8
#endif
#ifndef BITS
#define BITS 32
#endif
#if !L2 && 4 * TILE > 16
#elif BITS == 64
#endif
"""
    found = variants(Source(text))
    assert found[:4] == [{}, {"L2": "0"}, {"L2": "1"}, {"BITS": "64"}]
    assert {"T": "half", "O": "half", "BITS": "64"} in found
    assert {"O": "bfloat"} in found
    assert len(found) == 4 + 4 * 3 + 6


@pytest.mark.parametrize(
    ("body", "name", "line"), [("x[0] = 1.0l;", "k.metal", 9), ("x[0] = f(x);", "include/shared.h", 3)]
)
def test_a_finding_names_the_line_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, name: str, line: int
) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "shared.h").write_text("#pragma once\n\ninline float f(float* a) {\n  return a[0];\n}\n")
    kernel = tmp_path / "k.metal"
    kernel.write_text(
        '// A kernel.\n#include <metal_stdlib>\n\n#include "shared.h"\n\nusing namespace metal;\n\n'
        f"kernel void k(device float* x [[buffer(0)]]) {{\n  {body}\n}}\n"
    )
    monkeypatch.setattr(driver, "METAL", tmp_path)
    monkeypatch.setattr(flatten, "METAL", tmp_path)
    for constants in ({}, {"T": "half", "TILE": "8"}):
        (finding,) = lint(specialised(load(kernel), constants))
        assert finding.file.startswith(str(tmp_path / name))
        assert finding.line == line


def test_the_command_line(tmp_path: Path) -> None:
    kernel = tmp_path / "k.metal"
    kernel.write_text((_FOLDER / "wrong" / "double_literal.metal").read_text())
    command = [sys.executable, "-m", "tests.metal.lint", str(kernel), "-D", "T=half"]
    wrong = subprocess.run(command, cwd=METAL.parent, capture_output=True, text=True)
    assert (wrong.returncode, wrong.stderr) == (1, "")
    assert f"{kernel}:6: `1.0l` is a literal of double precision" in wrong.stdout
    kernel.write_text((_FOLDER / "right" / "macros.metal").read_text())
    right = subprocess.run(command, cwd=METAL.parent, capture_output=True, text=True)
    assert (right.returncode, right.stderr) == (0, "")
