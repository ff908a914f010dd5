"""The checks of the source's words: what clang would take, or misunderstand, and Apple's compiler would not.

``words`` looks at tokens, ``signatures`` at the parameters of kernels, ``for_clang`` makes the text that clang reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from signatures import Kernel, Parameter, kernels, without_comments

from .finding import Finding, Source
from .library import MACROS

__all__ = ["for_clang", "signatures", "words"]

_INCLUDES = ("metal_stdlib", "metal_simdgroup", "metal_simdgroup_matrix", "metal_atomic")
_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*(?P<name>[^\n]*)", re.MULTILINE)
_TOKEN = re.compile(r"[A-Za-z_]\w*|\d(?:[\w.]|(?<=[eEpP])[+-])*|\.\d(?:[\w.]|(?<=[eEpP])[+-])*|::|->|\S")
_DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(?!define\b|if\b|elif\b)\w+[^\n]*", re.MULTILINE)
_ATTRIBUTE = re.compile(r"\[\[.*?\]\]", re.DOTALL)
_SUFFIX = re.compile(r"(?:lf|LF|[dD])$")

_ADDRESS_SPACES = {"device", "constant", "thread", "threadgroup", "threadgroup_imageblock", "ray_data", "object_data"}
_FUNCTIONS = {"kernel", "vertex", "fragment", "visible", "intersection", "mesh"}
_ELEMENTS = ["bool", "char", "uchar", "short", "ushort", "int", "uint", "long", "ulong", "half", "float", "bfloat"]
_TYPES = {e + n for e in _ELEMENTS for n in ("", "2", "3", "4")} | {"unsigned", "signed", "size_t", "void", "auto", "T"}
_NAMED_TYPES = _TYPES - {"T", "void", "auto"}
# Declared by Apple's headers so that nobody else does.
_RESERVED_TYPES = {e + n for e in (*_ELEMENTS, "double") for n in ("2", "3", "4", "8", "16")} - _TYPES

_NOT_MSL = {
    "asm": "inline assembly",
    "catch": "exceptions",
    "delete": "dynamic memory",
    "double": "double precision: use float",
    "dynamic_cast": "run-time type information",
    "goto": "goto",
    "longjmp": "longjmp",
    "malloc": "dynamic memory",
    "new": "dynamic memory",
    "noexcept": "exceptions",
    "printf": "printf",
    "register": "register variables",
    "std": "C++ standard library but its own",
    "thread_local": "thread_local variables",
    "throw": "exceptions",
    "try": "exceptions",
    "typeid": "run-time type information",
    "virtual": "virtual functions",
    "wchar_t": "wide characters",
}
_NOT_DIALECT = {
    "class": "classes: kernels are plain functions over plain structs",
    "concept": "templates: kernels vary by preprocessor constants",
    "friend": "classes: kernels are plain functions over plain structs",
    "mutable": "classes: kernels are plain functions over plain structs",
    "operator": "operator functions: kernels are plain functions",
    "private": "classes: kernels are plain functions over plain structs",
    "protected": "classes: kernels are plain functions over plain structs",
    "public": "classes: kernels are plain functions over plain structs",
    "template": "templates: kernels vary by preprocessor constants",
    "typename": "templates: kernels vary by preprocessor constants",
    "union": "unions: reinterpret bits with as_type<>",
    "atomic_float": "float atomics: their sums depend on the order of threads",
    "bool2": "vectors of bool: compare in any, all or select",
    "bool3": "vectors of bool: compare in any, all or select",
    "bool4": "vectors of bool: compare in any, all or select",
    "sampler": "textures and samplers",
    "fast": "fast math",
}
_NO_64_BIT_ATOMICS = {"atomic_long", "atomic_ulong", "atomic_llong", "atomic_ullong"}
_TEXTURE = re.compile(r"(?:texture|depth)(?:1d|2d|3d|cube|_buffer)\w*$")

# Thread attributes and the components that their types may have.
_SCALAR, _ANY = ("",), ("", "2", "3")
_GRID = {
    "thread_position_in_grid": _ANY,
    "threads_per_grid": _ANY,
    "threadgroup_position_in_grid": _ANY,
    "threadgroups_per_grid": _ANY,
    "thread_position_in_threadgroup": _ANY,
    "threads_per_threadgroup": _ANY,
    "dispatch_threads_per_threadgroup": _ANY,
}
_THREAD = _GRID | {
    "thread_index_in_threadgroup": _SCALAR,
    "thread_index_in_simdgroup": _SCALAR,
    "simdgroup_index_in_threadgroup": _SCALAR,
    "simdgroups_per_threadgroup": _SCALAR,
    "dispatch_simdgroups_per_threadgroup": _SCALAR,
    "threads_per_simdgroup": _SCALAR,
    "thread_execution_width": _SCALAR,
}
_FUNCTION_ATTRIBUTES = {"max_total_threads_per_threadgroup"}
_BUFFERS = 31


def words(source: Source) -> Iterator[Finding]:
    """Findings in the tokens: nothing is parsed while there are any."""
    for number, line in enumerate(source.text.split("\n"), 1):
        bad = next((c for c in line if ord(c) > 126 or (ord(c) < 32 and c != "\t")), None)
        if bad is not None:
            yield source.finding(number, "ascii", f"the character {bad!a}: kernel sources pass through ASCII")
    yield from _includes(source)
    yield from _macros(source)
    text = _blank(_DIRECTIVE, _blank(_ATTRIBUTE, without_comments(source.text)))
    tokens = [(m.group(), n) for n, line in enumerate(text.split("\n"), 1) for m in _TOKEN.finditer(line)]
    neighbours = ["", *(word for word, _ in tokens), ""]
    for i, (word, number) in enumerate(tokens):
        for rule, message in _word(word, neighbours[i], neighbours[i + 2]):
            yield source.finding(number, rule, message)


def _includes(source: Source) -> Iterator[Finding]:
    text = without_comments(source.text)
    stdlib = False
    for match in _INCLUDE.finditer(text):
        name = match["name"].strip()
        stdlib = stdlib or name == "<metal_stdlib>"
        if name not in {f"<{allowed}>" for allowed in _INCLUDES}:
            yield source.finding(
                text.count("\n", 0, match.start()) + 1,
                "include",
                f"#include {name}: a kernel may include {', '.join(f'<{i}>' for i in _INCLUDES)}, "
                "and headers of metal/include, which are flattened in",
            )
    if not stdlib:
        yield source.finding(1, "include", "<metal_stdlib> is not included: MSL declares its functions and types there")


def _macros(source: Source) -> Iterator[Finding]:
    text = without_comments(source.text)
    for match in re.finditer(r"^[ \t]*#[ \t]*(?:define|undef)[ \t]+(\w+)", text, re.MULTILINE):
        name, line = match.group(1), text.count("\n", 0, match.start()) + 1
        if name in MACROS:
            yield source.finding(line, "library-macro", f"`{name}` is a macro of Apple's library, or of the compiler")
        elif name in _ADDRESS_SPACES | _FUNCTIONS | _NAMED_TYPES | set(_NOT_MSL):
            yield source.finding(line, "reserved-word", f"`{name}` is a word of MSL: it cannot be a macro")


def _word(word: str, before: str, after: str) -> Iterator[tuple[str, str]]:
    member = before in (".", "->")
    if word in _NOT_MSL and not member and not (word == "std" and after != "::"):
        yield "not-msl", f"`{word}`: MSL has no {_NOT_MSL[word]}"
    elif word in _NOT_DIALECT and not member and not (word == "fast" and after != "::"):
        yield "not-dialect", f"`{word}`: the project's dialect of MSL has no {_NOT_DIALECT[word]}"
    elif _TEXTURE.match(word):
        yield "not-dialect", f"`{word}`: the project's dialect of MSL has no textures and samplers"
    elif word in _NO_64_BIT_ATOMICS:
        yield "atomic-64", f"`{word}`: MSL 3.2 has no 64-bit atomics but min and max on some GPUs: use atomic_uint"
    elif word in _RESERVED_TYPES:
        yield "reserved-word", f"`{word}` is reserved: Apple's headers declare it so that nothing else can"
    elif word == "long" and before == "long":
        yield "not-msl", "`long long`: MSL has no long long: long has 64 bits"
    elif word.startswith("__") and not word.startswith("__METAL"):
        yield "reserved-word", f"`{word}`: names with two leading underscores belong to the compiler"
    elif word in ("local_", "global_") or word.startswith("metal_lint"):
        yield "reserved-word", f"`{word}` is a name of the lint's own"
    elif word == "if" and after == "constexpr":
        yield "cpp14", "`if constexpr`: MSL 3.2 is C++14, which has none: use #if"
    elif word == "vec" and after == "<":
        yield "not-dialect", "`vec<>`: the project's dialect of MSL has no templates: write float4"
    elif word[0].isdigit() or word[0] == ".":
        yield from _literal(word)
    elif word in _ADDRESS_SPACES | _FUNCTIONS:
        if _is_name(before, after):
            yield "reserved-word", f"`{word}` is a keyword of MSL: it cannot name anything"
    elif word in _NAMED_TYPES and before in _TYPES - {"unsigned", "signed", "long"} and after in "=,;)[":
        yield "reserved-word", f"`{word}` is a type of MSL: it cannot name anything"


def _is_name(before: str, after: str) -> bool:
    """Whether an address space or function qualifier stands where a name does: a type must follow it."""
    if before in (".", "->"):
        return True
    return not (after[:1].isalpha() or after[:1] == "_" or after in ("*", "&")) or (
        after in ("*", "&") and before in ("=", "(", "[", "return", "+", "-", "/", "<", ">", ",")
    )


def _literal(word: str) -> Iterator[tuple[str, str]]:
    hexadecimal = word[:2].lower() == "0x"
    floating = ("." in word or "e" in word.lower()) if not hexadecimal else "p" in word.lower()
    if not hexadecimal and word.lower().endswith("bf"):
        yield "literal", f"`{word}`: the project's dialect of MSL writes bfloat({word[:-2]}f), which CUDA also takes"
    elif floating and (word[-1] in "lL" or (not hexadecimal and _SUFFIX.search(word))):
        yield "literal", f"`{word}` is a literal of double precision: MSL has none, write {word.rstrip('lLfFdD')}f"
    elif not floating and word.lower().rstrip("u").endswith("ll"):
        yield "literal", f"`{word}`: MSL has no long long: write {word.rstrip('lL')}L"


def signatures(source: Source) -> Iterator[Finding]:
    """Findings in the attributes of the kernels and of their parameters."""
    text = without_comments(source.text)
    found = kernels(source.text)
    for match in re.finditer(r"\bkernel\s+(?!void\b)(\w+)", text):
        line = text.count("\n", 0, match.start()) + 1
        yield source.finding(line, "kernel-void", f"a kernel returns `{match.group(1)}`: a kernel returns void")
    for match in re.finditer(r"\[\[\s*(kernel|host_name)\b", text):
        line = text.count("\n", 0, match.start()) + 1
        yield source.finding(line, "kernel-form", f"[[{match.group(1)}]]: a kernel is declared `kernel void name(...)`")
    for match in re.finditer(r"\[\[\s*(\w+)[^\]]*\]\]\s*kernel\b", text):
        if match.group(1) not in _FUNCTION_ATTRIBUTES | {"kernel", "host_name"}:
            line = text.count("\n", 0, match.start()) + 1
            yield source.finding(line, "attribute", f"[[{match.group(1)}]]: MSL has no such attribute of a kernel")
    for kernel in found:
        yield from _kernel(source, text, kernel)


def _kernel(source: Source, text: str, kernel: Kernel) -> Iterator[Finding]:
    begins = (m.start() for m in re.finditer(rf"\bkernel\s+void\s+{kernel.name}\s*\(", text))
    begin = next(b for b in begins if text.count("\n", 0, b) + 1 == kernel.line)
    taken: dict[tuple[str, int], str] = {}
    widths: dict[str, str] = {}
    for parameter in kernel.parameters:
        name = re.compile(rf"\b{parameter.name}\b\s*(?=\[\[|,|\))").search(text, begin)
        line = text.count("\n", 0, name.start() if name else begin) + 1
        where = f"parameter `{parameter.name}` of {kernel.name}"
        for rule, message in _parameter(parameter):
            yield source.finding(line, rule, f"{where}: {message}")
        if parameter.index is not None:
            other = taken.setdefault((parameter.attribute, parameter.index), parameter.name)
            if other != parameter.name:
                yield source.finding(
                    line,
                    "index-unique",
                    f"{where}: [[{parameter.attribute}({parameter.index})]] is `{other}`'s already: indices are unique",
                )
        if parameter.attribute in _GRID:
            widths[parameter.name] = parameter.type[-1] if parameter.type[-1] in "23" else ""
            if len(set(widths.values())) > 1:
                yield source.finding(
                    line,
                    "attribute-width",
                    f"{where}: positions and sizes of the grid are declared with different numbers of components: "
                    "MSL requires the same of all in a kernel",
                )
                widths = {parameter.name: widths[parameter.name]}


def _parameter(p: Parameter) -> Iterator[tuple[str, str]]:
    """The rules that a parameter breaks: rule and message."""
    parts = p.type.replace("*", " * ").replace("&", " & ").split()
    pointer, reference = "*" in parts, "&" in parts
    if not p.attribute:
        yield "attribute-missing", f"`{p.type}` has no attribute: every parameter of a kernel needs one"
    elif p.attribute == "buffer":
        if p.index is None:
            yield "index", "[[buffer]] needs an index that is a number, such as [[buffer(0)]]"
        elif p.index >= _BUFFERS:
            yield "index", f"[[buffer({p.index})]]: Metal has buffers 0 to {_BUFFERS - 1}"
        if not (pointer or reference):
            required = "a buffer is a `device` or `constant` pointer, or a `constant` reference"
            yield "buffer-type", f"{required}, not `{p.type}`"
        elif not {"device", "constant"} & set(parts):
            yield "buffer-type", f"a buffer lies in `device` or `constant` memory: `{p.type}` says neither"
        elif parts.count("*") > 1:
            yield "buffer-type", f"a buffer holds no pointers in this dialect, as `{p.type}` says"
        elif reference and "constant" not in parts:
            yield "buffer-type", f"a reference is to `constant` memory in this dialect, not `{p.type}`"
    elif p.attribute == "threadgroup":
        if p.index is None:
            yield "index", "[[threadgroup]] needs an index that is a number, such as [[threadgroup(0)]]"
        elif p.index >= _BUFFERS:
            yield "index", f"[[threadgroup({p.index})]]: Metal has threadgroup memory 0 to {_BUFFERS - 1}"
        if not pointer or "threadgroup" not in parts:
            yield "threadgroup-type", f"[[threadgroup(i)]] is for a `threadgroup` pointer, not `{p.type}`"
    elif p.attribute in _THREAD:
        base = p.type.removeprefix("const ")
        allowed = {e + n for e in ("uint", "ushort") for n in _THREAD[p.attribute]}
        if base not in allowed:
            yield "attribute-type", f"[[{p.attribute}]] is {', '.join(sorted(allowed))}, not `{p.type}`"
    else:
        yield "attribute", f"[[{p.attribute}]]: no attribute of a compute kernel's parameter in MSL"


def _blank(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def for_clang(source: Source) -> str:
    """The source without its attributes and includes, which clang reads differently: lines and columns stay."""
    return _blank(_INCLUDE, _blank(_ATTRIBUTE, without_comments(source.text)))
