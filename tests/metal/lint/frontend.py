"""clang as a front end of MSL: C++ for OpenCL with the declarations of include/.

It has MSL's address spaces, its vectors and most of its restrictions.
"""

from __future__ import annotations

import atexit
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from .finding import Finding, Source
from .messages import in_msl, is_known
from .prepass import for_clang

__all__ = ["FLAGS", "MissingClang", "clang", "parse", "prelude"]

_INCLUDE = Path(__file__).resolve().parent / "include"
_OLDEST = 19

# The target has bfloat and 64-bit pointers; no code is made for it.
_EXTENSIONS = [
    "+cl_khr_fp16",
    "+__opencl_c_generic_address_space",
    "-__opencl_c_device_enqueue",
    "-__opencl_c_program_scope_global_variables",
    "-cl_khr_fp64",
    "-__opencl_c_fp64",
]
_LANGUAGE = [
    *("-x", "cl", "-cl-std=clc++2021", "-cl-no-stdinc", "-nostdinc", "-target", "nvptx64"),
    *("-cl-single-precision-constant", "-fsyntax-only", "-Xclang", f"-cl-ext={','.join(_EXTENSIONS)}"),
    *("-fno-caret-diagnostics", "-fno-color-diagnostics", "-ferror-limit=0", "-ftemplate-backtrace-limit=0"),
]

# Shared headers are flattened in, so that a family need not use all their functions.
FLAGS = [
    *("-Wall", "-Wextra", "-Wconversion", "-Wno-sign-conversion", "-Wshorten-64-to-32", "-Wconditional-uninitialized"),
    *("-Wshadow", "-Wpre-c++17-compat", "-Wglobal-constructors", "-Wno-unused-function"),
]

_DIAGNOSTIC = re.compile(
    r"^(?P<file>[^:\n]+):(?P<line>\d+):\d+: (?P<kind>fatal error|error|warning|note): (?P<text>.*?)"
    r"(?: \[(?P<flag>-W[^\]]+)\])?$"
)


class MissingClang(RuntimeError):
    pass


@lru_cache(maxsize=1)
def clang() -> str:
    """The path of a clang that is new enough."""
    tried = []
    for name in ("clang++-19", "clang-19", *(f"clang++-{v}" for v in range(30, _OLDEST, -1)), "clang++", "clang"):
        if path := shutil.which(name):
            version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
            number = re.search(r"clang version (\d+)", version)
            if number and int(number.group(1)) >= _OLDEST and "Apple" not in version:
                return path
            tried.append(f"{path} ({version.splitlines()[0]})")
    raise MissingClang(
        f"[lint] clang {_OLDEST} or newer is required: apt-get install clang-{_OLDEST}. "
        f"Found {', '.join(tried) or 'no clang'}."
    )


def parse(source: Source, suffix: str = "", flags: list[str] = FLAGS) -> tuple[list[Finding], list[dict[str, Any]]]:
    """clang's findings, and the syntax tree of the source's own declarations. The suffix is read after the source."""
    command = [*_command(flags), "-include-pch", prelude(), "-Xclang", "-ast-dump=json", "-"]
    run = subprocess.run(command, input=f"{for_clang(source)}\n{suffix}", capture_output=True, text=True)
    if run.returncode not in (0, 1):
        raise RuntimeError(f"[lint] {command[0]} failed on {source.name}: {run.stderr[-2000:]}")
    return list(_findings(source, run.stderr)), json.loads(run.stdout).get("inner", [])


@lru_cache(maxsize=1)
def prelude() -> str:
    """The declarations of include/, read once a process: the tree of a source then has its own declarations alone."""
    folder = tempfile.mkdtemp(prefix="metal-lint-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    header, compiled = Path(folder) / "prelude.h", Path(folder) / "prelude.pch"
    header.write_text("#include <metal_stdlib>\n")
    command = [*_command(FLAGS), "-Xclang", "-emit-pch", "-Xclang", "-o", "-Xclang", str(compiled), str(header)]
    subprocess.run(command, check=True)
    return str(compiled)


def _command(flags: list[str]) -> list[str]:
    return [clang(), *_LANGUAGE, *flags, "-isystem", str(_INCLUDE)]


def _findings(source: Source, diagnostics: str) -> Iterator[Finding]:
    last = source.text.count("\n") + 1
    for here, notes in _grouped(diagnostics):
        line, text = int(here["line"]), here["text"]
        if here["file"] != "<stdin>":  # in a header, which a note says where it was used from
            used = next((n for n in notes if n["file"] == "<stdin>" and "requested here" in n["text"]), None)
            line = int(used["line"]) if used else 1
        viable = [n["text"] for n in notes if n["file"] == "<stdin>" and "not viable: " in n["text"]]
        if viable and "no matching function" in text:
            text += f" ({viable[0].split('not viable: ')[1]})"
        if line <= last and not is_known(text):
            yield source.finding(line, *in_msl(text, here["flag"] or ""))


def _grouped(diagnostics: str) -> Iterator[tuple[re.Match[str], list[re.Match[str]]]]:
    """Each error or warning with its notes."""
    found: list[tuple[re.Match[str], list[re.Match[str]]]] = []
    for match in filter(None, map(_DIAGNOSTIC.match, diagnostics.splitlines())):
        if match["kind"] != "note":
            found.append((match, []))
        elif found:
            found[-1][1].append(match)
    return iter(found)
