"""clang's words in MSL's, with what MSL requires."""

from __future__ import annotations

import re

__all__ = ["in_msl", "is_known"]

_ASIDE = re.compile(r" \((aka '[^']*'|vector of \d '[^']+' values)\)")
_WORDS = [
    (re.compile("'__private'"), "'thread'"),
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
    (re.compile(r"\bOpenCL\b"), "MSL"),
]

# What MSL requires, by clang's flag or words: the first that matches.
_REQUIRED = [
    ('^ "', "the file's own #error"),
    ("-Wshorten-64-to-32", "index arithmetic has 64 bits: say the narrowing, int(x), or keep long"),
    ("-Wimplicit-float-conversion", "half and bfloat are rounded to by an explicit conversion, T(x)"),
    ("-Wimplicit-int-float-conversion", "an integer that float may not hold is converted explicitly, float(x)"),
    ("-Wfloat-conversion", "a float is truncated to an integer by an explicit conversion, int(x)"),
    ("-W(implicit-int|constant|literal)-conversion", "a value that its type may not hold is converted explicitly"),
    ("-Wsign-compare", "a comparison of signed and unsigned is unsigned: convert one of them"),
    ("-Wunused", "kernels declare what they use"),
    ("-Wshadow", "a name has one meaning in a function"),
    ("-W(sometimes-|conditional-)?uninitialized", "registers hold garbage until they are written"),
    ("-Wglobal-constructors", "a variable at program scope is initialised by a constant expression"),
    (r"-Wpre-c\+\+17-compat|C\+\+17", "MSL 3.2 is C++14"),
    ("program scope variable", "MSL requires `constant` of a variable at program scope"),
    ("static local variable", "MSL requires `constant` of a static variable"),
    ("pointers to functions|function type", "MSL has no pointers to functions in kernels"),
    ("variadic", "MSL has no variadic functions"),
    (
        "non-kernel function variable|outermost scope of a kernel",
        "threadgroup memory is declared at the top of a kernel's body",
    ),
    ("variable cannot have an initializer", "threadgroup memory starts uninitialised: write it and pass a barrier"),
    (
        r"'(?!const)[^']*\*' (with|from)[^']*'const [^']*\*'|as 'this' argument.*const|would lose const",
        "`constant` memory and `const` pointers are read only",
    ),
    (r"'[^']*\*' (with|from)[^']*'[^']*[*\]]'|to address space", "address spaces do not convert into each other"),
    ("read-only variable|const-qualified|drops? .*const", "`constant` memory and `const` pointers are read only"),
    (r"changes address space|address space|incompatible type .*\*", "address spaces do not convert into each other"),
    ("call to deleted function", "MSL's library has no functions of bfloat: convert to float"),
    (r"call to '\w+[234]' is ambig", "a vector is made of one scalar, of its components, or of a vector as long"),
    (r"call to '\w+' is ambiguous", "MSL's overloads take arguments of one type: convert them to it"),
    ("no matching function for call to 'as_type'", "as_type<> requires two types of one size"),
    (
        r"(cannot convert|no viable).*'(device |threadgroup )?atomic_\w+'",
        "an atomic is touched by atomic_load_explicit and its like alone",
    ),
    ("'simd_vote'", "a vote becomes bits by ulong(vote), and the bits become uint by uint(ulong(vote))"),
    (
        "no matching function for call to 'simd_",
        "simd functions take integers to 32 bits, half, float and their vectors",
    ),
    (
        "no matching function for call to 'simdgroup_",
        "simdgroup matrices, memory and accumulators have matching element types",
    ),
    ("no matching function for call to '(threadgroup|simdgroup)_barrier'", "a barrier takes mem_flags"),
    (
        "no matching function for call to 'atomic_",
        "atomics take a device or threadgroup atomic, a value and memory_order_relaxed",
    ),
    (
        r"no matching function for call to '\w+[234]'",
        "a vector is made of one scalar, of its components, or of a vector as long",
    ),
    (
        "unknown type name|undeclared identifier|no (type|member|template) named",
        "it is not in the part of MSL that the dialect has",
    ),
    ("vector", "vectors do not convert implicitly: write float4(x)"),
    ("bfloat", "bfloat converts implicitly to float alone, and nothing to bfloat"),
]

# What the pre-pass and the rules say better.
_KNOWN = [
    r"kernel must have void return type",
    r"implicit conversion.* to '[^']*\bbfloat\d?'",
]


def is_known(text: str) -> bool:
    """Whether another check of the lint reports the same."""
    return any(re.search(known, text) for known in _KNOWN)


def in_msl(text: str, flag: str) -> tuple[str, str]:
    """The rule that clang's diagnostic stands for, and its message."""
    for pattern, word in _WORDS:
        text = pattern.sub(word, text)
    text = re.sub(r"(?<= )'\s+", "'", re.sub(r" {2,}", " ", text))
    required = next((r for pattern, r in _REQUIRED if re.search(pattern, f"{flag} {text}")), "")
    text = _ASIDE.sub("", text)
    return flag.removeprefix("-W").split(",")[0] or "clang", f"{text}: {required}" if required else text
