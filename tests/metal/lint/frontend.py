"""clang as a front end of MSL: C++ for OpenCL with the declarations of include/, which has MSL's address spaces, vectors
and most of its restrictions. Its words are translated to MSL's, with what MSL requires.
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
from .prepass import for_clang

__all__ = ["FLAGS", "MissingClang", "clang", "parse", "prelude"]

_INCLUDE = Path(__file__).resolve().parent / "include"
_OLDEST = 19

# The target has bfloat and 64-bit pointers; no code is made for it.
_LANGUAGE = """-x cl -cl-std=clc++2021 -cl-no-stdinc -nostdinc -target nvptx64 -cl-single-precision-constant -fsyntax-only
-Xclang -cl-ext=+cl_khr_fp16,+__opencl_c_generic_address_space,-__opencl_c_device_enqueue,-__opencl_c_program_scope_global_variables,-cl_khr_fp64,-__opencl_c_fp64
-fno-caret-diagnostics -fno-color-diagnostics -ferror-limit=0 -ftemplate-backtrace-limit=0""".split()  # noqa: E501

# Shared headers are flattened in, so that a family need not use all their functions.
FLAGS = """-Wall -Wextra -Wconversion -Wno-sign-conversion -Wconditional-uninitialized -Wshadow -Wshorten-64-to-32
-Wpre-c++17-compat -Wglobal-constructors -Wno-unused-function""".split()

_DIAGNOSTIC = re.compile(
    r"^(?P<file>[^:\n]+):(?P<line>\d+):\d+: (?P<kind>fatal error|error|warning|note): (?P<text>.*?)(?: \[(?P<flag>-W[^\]]+)\])?$"
)

_WORDS = [
    (re.compile(r"\b__global\b"), "device"),
    (re.compile(r"\b__local\b"), "threadgroup"),
    (re.compile(r"\b__constant\b"), "constant"),
    (re.compile(r" ?\b__private\b"), ""),
    (re.compile(r"\b__generic\b ?"), ""),
    (re.compile(r"\b__bf16\b"), "bfloat"),
    (re.compile(r"\bmetal_lint::"), ""),
    (re.compile(r"\bmake_(\w+[234])\b"), r"\1"),
    (re.compile(r"\bmetal_(atomic_\w+)\b"), r"\1"),
    (re.compile(r"\b(local|global|generic|pipe)_\b"), r"\1"),
    (re.compile(r"'bfloat' \(aka 'bfloat'\)"), "'bfloat'"),
    (re.compile(r"\bOpenCL\b"), "MSL"),
]

# What MSL requires, by clang's flag or words: the first that matches.
_REQUIRED = [
    (r"-Wshorten-64-to-32", "index arithmetic has 64 bits: say the narrowing, int(x), or keep long"),
    (r"-Wimplicit-float-conversion", "half and bfloat are rounded to by an explicit conversion, T(x)"),
    (r"-Wimplicit-int-float-conversion", "an integer that float may not hold is converted explicitly, float(x)"),
    (r"-Wfloat-conversion", "a float is truncated to an integer by an explicit conversion, int(x)"),
    (r"-W(implicit-int|constant|literal)-conversion", "a value that its type may not hold is converted explicitly"),
    (r"-Wsign-compare", "a comparison of signed and unsigned is unsigned: convert one of them"),
    (r"-Wunused", "kernels declare what they use"),
    (r"-Wshadow", "a name has one meaning in a function"),
    (r"-W(sometimes-|conditional-)?uninitialized", "registers hold garbage until they are written"),
    (r"-Wglobal-constructors", "a variable at program scope is initialised by a constant expression"),
    (r"-Wpre-c\+\+17-compat|C\+\+17", "MSL 3.2 is C++14"),
    (r"program scope variable", "MSL requires `constant` of a variable at program scope"),
    (r"static local variable", "MSL requires `constant` of a static variable"),
    (r"pointers to functions|function type", "MSL has no pointers to functions in kernels"),
    (r"variadic", "MSL has no variadic functions"),
    (r"non-kernel function variable|outermost scope of a kernel", "threadgroup memory is declared at the top of a kernel's body"),  # noqa: E501
    (r"variable cannot have an initializer", "threadgroup memory starts uninitialised: write it and pass a barrier"),
    (
        r"'(?!const)[^']*\*' (with|from)[^']*'const [^']*\*'|as 'this' argument.*const|would lose const",
        "`constant` memory and `const` pointers are read only",
    ),
    (r"'[^']*\*' (with|from)[^']*'[^']*[*\]]'|to address space", "address spaces do not convert into each other"),
    (r"read-only variable|const-qualified|drops? .*const", "`constant` memory and `const` pointers are read only"),
    (r"changes address space|address space|incompatible type .*\*", "address spaces do not convert into each other"),
    (r"call to deleted function", "MSL's library has no functions of bfloat: convert to float"),
    (r"call to '\w+[234]' is ambig", "a vector is made of one scalar, of its components, or of a vector as long"),
    (r"call to '\w+' is ambiguous", "MSL's overloads take arguments of one type: convert them to it"),
    (r"no matching function for call to 'as_type'", "as_type<> requires two types of one size"),
    (r"'simd_vote'", "a vote becomes bits by ulong(vote), and the bits become uint by uint(ulong(vote))"),
    (r"no matching function for call to 'simd_", "simd functions take integers to 32 bits, half, float and their vectors"),
    (r"no matching function for call to 'simdgroup_", "simdgroup matrices, memory and accumulators have matching element types"),  # noqa: E501
    (r"no matching function for call to '(threadgroup|simdgroup)_barrier'", "a barrier takes mem_flags"),
    (r"no matching function for call to 'atomic_", "atomics take a device or threadgroup atomic, a value and memory_order_relaxed"),  # noqa: E501
    (r"no matching function for call to '\w+[234]'", "a vector is made of one scalar, of its components, or of a vector as long"),  # noqa: E501
    (r"unknown type name|undeclared identifier|no (type|member|template) named", "it is not in the part of MSL that the dialect has"),  # noqa: E501
    (r"vector", "vectors do not convert implicitly: write float4(x)"),
    (r"bfloat", "bfloat converts implicitly to float alone, and nothing to bfloat"),
]


# What the pre-pass and the rules say better.
_KNOWN = [
    r"kernel must have void return type",
    r"implicit conversion.* to '[^']*\bbfloat\d?'",
]


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
        f"[lint] clang {_OLDEST} or newer is required: apt-get install clang-19. Found {', '.join(tried) or 'no clang'}."
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
        if line <= last and not any(re.search(known, text) for known in _KNOWN):
            yield source.finding(line, *_in_msl(text, here["flag"] or ""))


def _grouped(diagnostics: str) -> Iterator[tuple[re.Match[str], list[re.Match[str]]]]:
    """Each error or warning with its notes."""
    found: list[tuple[re.Match[str], list[re.Match[str]]]] = []
    for match in filter(None, map(_DIAGNOSTIC.match, diagnostics.splitlines())):
        if match["kind"] != "note":
            found.append((match, []))
        elif found:
            found[-1][1].append(match)
    return iter(found)


def _in_msl(text: str, flag: str) -> tuple[str, str]:
    for pattern, word in _WORDS:
        text = pattern.sub(word, text)
    text = re.sub(r"(?<= )'\s+", "'", re.sub(r" {2,}", " ", text))
    required = next((r for pattern, r in _REQUIRED if re.search(pattern, f"{flag} {text}")), "")
    return flag.removeprefix("-W").split(",")[0] or "clang", f"{text}: {required}" if required else text
