"""The rules that need the syntax tree. Each takes a Tree and yields (line, message); its name is the finding's rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from .library import NAMES
from .tree import Node, Tree, desugared, is_vector, plain, sizes_of, spelled

__all__ = ["RULES", "in_threadgroup_memory", "probes"]

Rule = Callable[[Tree, str], Iterator[tuple[int, str]]]

_THREADGROUP_BYTES = 32768
_CONSTANT_BYTES = 4096  # setBytes
_CASTS = {"CStyleCastExpr", "CXXFunctionalCastExpr", "CXXStaticCastExpr", "CXXReinterpretCastExpr", "CXXConstCastExpr"}
_DECLARATIONS = {"VarDecl", "ParmVarDecl", "FieldDecl", "TypedefDecl", "TypeAliasDecl"}
_COMPARISONS = {"<", ">", "<=", ">=", "==", "!="}
_ADDRESS_SPACE = re.compile(r"\b(device|constant|thread|threadgroup)\b")
_STRUCT = re.compile(r"\bstruct\s+(\w+)\s*\{")


def probes(text: str) -> str:
    """Declarations that make clang tell the size of each struct of a source."""
    names = dict.fromkeys(_STRUCT.findall(text))
    return "".join(f"enum {{ metal_lint_size_{name} = sizeof({name}) }};\n" for name in names)


def _struct_sizes(tree: Tree) -> dict[str, int]:
    sizes = {}
    for node in tree.walk():
        if node.kind == "EnumConstantDecl" and node.name.startswith("metal_lint_size_"):
            for value in node.walk():
                if "value" in value.data:
                    sizes[node.name.removeprefix("metal_lint_size_")] = int(value.data["value"])
                    break
    return sizes


def _declared(node: Node) -> bool:
    return not node.data.get("isImplicit") and not any(a.data.get("isImplicit") for a in node.ancestors())


def _functions(tree: Tree) -> Iterator[Node]:
    for node in tree.walk():
        if node.kind == "FunctionDecl" and any(c.kind == "CompoundStmt" for c in node.children):
            yield node


def _is_kernel(function: Node) -> bool:
    return any(c.kind == "OpenCLKernelAttr" for c in function.children)


def address_space(tree: Tree, text: str) -> Iterator[tuple[int, str]]:
    required = "MSL requires device, constant, thread or threadgroup of every pointer and reference"
    for node in tree.walk():
        if node.kind == "ParmVarDecl" and "[" in (written := node.text(text)) and not _ADDRESS_SPACE.search(written):
            yield node.line, f"`{node.name}` is an array, and as a parameter a pointer to no address space: {required}"
        written = spelled(node)
        if node.kind == "FunctionDecl":
            written = written.split("(", 1)[0]
        elif node.kind not in _DECLARATIONS | _CASTS:
            continue
        if "__generic" in written and _declared(node):
            what = f"`{node.name}`" if node.name else "a cast"
            yield (
                node.line,
                f"{what} points or refers to memory of no address space: {required}",
            )


def implicit_bfloat(tree: Tree, _: str) -> Iterator[tuple[int, str]]:
    required = "bfloat converts implicitly to float alone, and nothing to bfloat: write bfloat(x)"
    for node in tree.walk():
        if node.kind == "ImplicitCastExpr" and not node.data.get("isPartOfExplicitCast"):
            if node.data.get("castKind") in ("FloatingCast", "IntegralToFloating") and "__bf16" in desugared(node):
                source = plain(spelled(node.children[0])) if node.children else "?"
                yield node.line, f"`{source}` becomes bfloat implicitly: {required}"
        elif node.kind == "CompoundAssignOperator" and "__bf16" in desugared(node):
            computed = node.data.get("computeResultType", {})
            if "__bf16" not in computed.get("desugaredQualType", computed.get("qualType", "")):
                yield node.line, f"`{plain(computed.get('qualType', ''))}` becomes bfloat implicitly: {required}"


def library_name(tree: Tree, _: str) -> Iterator[tuple[int, str]]:
    """A name of the file's own scope that namespace metal has too."""
    for node in tree.root.children:
        if node.name in NAMES:
            yield (
                node.line,
                f"`{node.name}` is a name of Apple's library too: under `using namespace metal` it is ambiguous",
            )


def recursion(tree: Tree, _: str) -> Iterator[tuple[int, str]]:
    calls: dict[str, dict[str, int]] = {}
    for function in _functions(tree):
        calls[function.name] = {
            name: node.line for node in function.walk() if node.kind == "CallExpr" and (name := _callee(node))
        }
    for start in calls:
        seen, stack = set(), [start]
        while stack:
            for name in calls.get(stack.pop(), {}):
                if name == start:
                    line = min(calls[start].values()) if start not in calls[start] else calls[start][start]
                    yield line, f"`{start}` calls itself, directly or through others: MSL has no recursion"
                    stack.clear()
                    break
                if name not in seen:
                    seen.add(name)
                    stack.append(name)


def _callee(call: Node) -> str:
    for node in call.children[0].walk() if call.children else ():
        if node.kind == "DeclRefExpr":
            return str(node.data.get("referencedDecl", {}).get("name", ""))
    return ""


def kernel_call(tree: Tree, _: str) -> Iterator[tuple[int, str]]:
    names = {f.name for f in _functions(tree) if _is_kernel(f)}
    for node in tree.walk():
        if node.kind == "CallExpr" and _callee(node) in names:
            yield node.line, f"`{_callee(node)}` is a kernel: MSL lets no function call one"


def plain_struct(tree: Tree, _: str) -> Iterator[tuple[int, str]]:
    required = "the project's dialect of MSL has plain structs: data members only"
    for node in tree.walk():
        if node.kind in ("CXXMethodDecl", "CXXConstructorDecl", "CXXDestructorDecl", "CXXConversionDecl"):
            inside_lambda = any(a.kind == "LambdaExpr" for a in node.ancestors())
            if _declared(node) and not inside_lambda:
                yield node.line, f"`{node.name}` is a member function: {required}"
        elif node.kind == "CXXRecordDecl" and node.data.get("bases"):
            yield node.line, f"`{node.name}` has a base class: {required}"


def lambda_expression(tree: Tree, _: str) -> Iterator[tuple[int, str]]:
    for node in tree.walk():
        if node.kind == "LambdaExpr":
            yield node.line, "a lambda expression: MSL 3.2 has none"


def threadgroup_memory(tree: Tree, _: str) -> Iterator[tuple[int, str]]:
    structs = _struct_sizes(tree) | {f"simdgroup_{e}8x8": 64 * b for e, b in (("float", 4), ("half", 2), ("bfloat", 2))}
    for function in _functions(tree):
        total, line = 0, 0
        for node in function.walk():
            if node.kind == "VarDecl" and "__local" in spelled(node) and not re.search(r"[*&]", spelled(node)):
                size = sizes_of(spelled(node), structs) or sizes_of(desugared(node), structs)
                if size is None:
                    yield node.line, f"`{node.name}`: the lint cannot tell the size of `{plain(spelled(node))}`"
                total, line = total + (size or 0), node.line
        if total > _THREADGROUP_BYTES:
            yield (
                line,
                f"{function.name} declares {total} bytes of threadgroup memory: a threadgroup has {_THREADGROUP_BYTES}",
            )


def in_threadgroup_memory(tree: Tree) -> set[str]:
    """The variables in threadgroup memory: another thread may have written them."""
    return {n.name for n in tree.walk() if n.kind == "VarDecl" and re.search(r"__local\b[^*&]*$", spelled(n))}


def params_layout(tree: Tree, _: str) -> Iterator[tuple[int, str]]:
    structs = {n.name: n for n in tree.walk() if n.kind == "CXXRecordDecl" and n.data.get("completeDefinition")}
    sizes = _struct_sizes(tree)
    parameters = (
        plain(spelled(p)).rstrip("*& ")
        for f in _functions(tree)
        if _is_kernel(f)
        for p in f.children
        if p.kind == "ParmVarDecl" and "__constant" in spelled(p) and re.search(r"[*&]", spelled(p))
    )
    pending, done = list(parameters), set()
    while pending:
        name = pending.pop()
        if name in structs and name not in done:
            done.add(name)
            fields = [f for f in structs[name].children if f.kind == "FieldDecl"]
            pending += [re.sub(r"\[\d+\]", "", plain(spelled(f))) for f in fields]
            if sizes.get(name, 0) > _CONSTANT_BYTES:
                size = f"{name} has {sizes[name]} bytes"
                yield structs[name].line, f"{size}: Metal copies {_CONSTANT_BYTES} into a launch"
            yield from _layout(name, structs[name].line, fields, sizes)


def _layout(name: str, line: int, fields: list[Node], sizes: dict[str, int]) -> Iterator[tuple[int, str]]:
    required = "C++ and MSL agree on int32_t, uint32_t, int64_t, uint64_t and float without padding"
    offset, widest = 0, 1
    for field in fields:
        base = re.sub(r"\[\d+\]", "", plain(desugared(field)))
        size, one = sizes_of(desugared(field), sizes), sizes_of(base, sizes)
        if base in ("bool", "half", "__bf16") or "*" in base or is_vector(field) or size is None or one is None:
            yield field.line, f"`{field.name}` of {name} is `{plain(spelled(field))}`: {required}"
            return
        align = 8 if base in sizes and one % 8 == 0 else 4 if base in sizes else one
        if offset % align:
            yield field.line, f"{align - offset % align} bytes of padding before `{field.name}` of {name}: {required}"
            return
        offset, widest = offset + size, max(widest, align)
    if offset % widest:
        yield line, f"{widest - offset % widest} bytes of padding behind the last member of {name}: {required}"


def vector_comparison(tree: Tree, _: str) -> Iterator[tuple[int, str]]:
    for node in tree.walk():
        if node.kind != "BinaryOperator" or node.opcode not in _COMPARISONS or not is_vector(node.children[0]):
            continue
        user = node.parent
        while user is not None and (
            user.kind in ("ParenExpr", "ImplicitCastExpr") or user.opcode in ("&&", "||", "!", "&", "|")
        ):
            user = user.parent
        if user is None or user.kind != "CallExpr" or _callee(user) not in ("any", "all", "select"):
            yield (
                node.line,
                f"`{node.opcode}` compares vectors: MSL gives a vector of bool, for any, all and select alone",
            )


def swizzle(tree: Tree, text: str) -> Iterator[tuple[int, str]]:
    for node in tree.walk():
        if node.kind == "ExtVectorElementExpr":
            name = node.text(text, last=True)
            if name and not re.fullmatch(r"[xyzw]{1,4}|[rgba]{1,4}", name):
                yield node.line, f"`.{name}`: the components of a vector are x, y, z, w or r, g, b, a"


def offset_overflow(tree: Tree, _: str) -> Iterator[tuple[int, str]]:
    """A 32-bit product with a kernel's parameter, as an offset into device or constant memory.

    A product that cannot overflow says so by an explicit conversion: ``x[uint(row * p.stride)]``.
    """
    tainted: set[str] = set()
    constants = _constants(tree)
    for node in tree.walk():
        if node.kind == "VarDecl" and _bits(node) == 32 and any(_is_parameter(n, tainted) for n in node.walk()):
            tainted.add(node.data["id"])
    for node in tree.walk():
        for offset in _offsets(node):
            product = _product(offset, tainted, constants)
            if product is not None:
                yield (
                    product.line,
                    "a 32-bit product of a kernel's parameter is an offset: it overflows at 2^32 elements, "
                    "make a factor long, or say that it is bounded by uint(a * b)",
                )
                break


def _offsets(node: Node) -> Iterator[Node]:
    """The operands of a node that are offsets into device or constant memory."""
    if node.kind == "ArraySubscriptExpr" or (node.kind == "BinaryOperator" and node.opcode in ("+", "-", "+=", "-=")):
        pointers = [c for c in node.children if re.search(r"__(global|constant)\b[^*]*\*", desugared(c))]
        if len(node.children) == 2 and len(pointers) == 1:
            yield next(c for c in node.children if c is not pointers[0])
    elif node.kind == "CompoundAssignOperator" and re.search(r"__(global|constant)\b[^*]*\*", desugared(node)):
        yield node.children[1]
    elif (
        node.kind == "ImplicitCastExpr"
        and node.data.get("castKind") == "IntegralCast"
        and _bits(node) == 64
        and not node.data.get("isPartOfExplicitCast")
    ):
        yield node.children[0]


def _bits(node: Node) -> int:
    type_ = plain(desugared(node))
    return {"int": 32, "unsigned int": 32, "long": 64, "unsigned long": 64}.get(type_, 0)


def _is_parameter(node: Node, tainted: set[str]) -> bool:
    if node.kind == "MemberExpr":
        return any("__constant" in spelled(c) for c in node.children) and _bits(node) == 32
    return node.kind == "DeclRefExpr" and node.data.get("referencedDecl", {}).get("id") in tainted


def _product(node: Node, tainted: set[str], constants: set[str]) -> Node | None:
    if node.kind in ("ParenExpr", "ImplicitCastExpr"):
        return _product(node.children[0], tainted, constants) if node.children else None
    if node.kind == "BinaryOperator" and node.opcode in ("+", "-"):
        return next((p for c in node.children if (p := _product(c, tainted, constants))), None)
    if node.kind == "BinaryOperator" and node.opcode == "*" and _bits(node) == 32:
        constant = any(_is_constant(c, constants) for c in node.children)
        if not constant and any(_is_parameter(n, tainted) for n in node.walk()):
            return node
    return None


def _constants(tree: Tree) -> set[str]:
    """The variables that are known when the kernel is compiled."""
    known: set[str] = set()
    for node in tree.walk():
        if node.kind == "EnumConstantDecl" or (
            node.kind == "VarDecl"
            and re.search(r"\bconst\b|__constant", spelled(node))
            and not re.search(r"[*&\[]", spelled(node))
            and _is_constant(node, known)
        ):
            known.add(node.data["id"])
    return known


def _is_constant(node: Node, known: set[str]) -> bool:
    """Whether an expression is made of literals and constants alone."""
    leaves = [n for n in node.walk() if not n.children and n is not node] or [node]
    return all(
        n.kind == "IntegerLiteral" or (n.kind == "DeclRefExpr" and n.data.get("referencedDecl", {}).get("id") in known)
        for n in leaves
    )


RULES: dict[str, Rule] = {
    "address-space": address_space,
    "implicit-bfloat": implicit_bfloat,
    "library-name": library_name,
    "recursion": recursion,
    "kernel-call": kernel_call,
    "plain-struct": plain_struct,
    "lambda": lambda_expression,
    "threadgroup-memory": threadgroup_memory,
    "params-layout": params_layout,
    "vector-comparison": vector_comparison,
    "swizzle": swizzle,
    "offset-overflow": offset_overflow,
}
