"""No host round trips on the hot path: a search of mx.array queries computes nothing and copies nothing to the host.

Three proofs: what a search makes is lazy; a search inside mx.compile, where evaluation raises, works; and the source of
the package converts and evaluates only at its named edges.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import metalfaiss
from metalfaiss import IndexFlat, _core

PACKAGE = Path(str(metalfaiss.__file__)).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

# Operations may convert or evaluate nowhere but at their edges, where NumPy meets MLX.
OPERATIONS = ("_host.py", "distances.py", "pairwise.py", "selection.py", "faissmlx")
EDGES = {
    "_host.py": {"to_mlx", "vectors", "empty", "finish", "to_numpy", "view", "output"},
    "selection.py": {"select_k"},
}
# Elsewhere files are read, lists filled and centroids trained; these functions are on the path of every search.
SEARCHES = {"search", "_search", "assign", "apply", "_apply"}
METHODS = {"item", "tolist", "numpy", "__array__"}
EVALUATIONS = {("mx", name) for name in ("eval", "async_eval", "synchronize")}
CONVERSIONS = {
    ("np", name) for name in ("array", "asarray", "ascontiguousarray", "asanyarray", "from_dlpack", "copyto")
}


def host_calls(source: str) -> Iterator[tuple[str, str]]:
    """(outermost function, call) of every evaluation or host conversion in functions."""
    for top in ast.parse(source).body:
        for outer in top.body if isinstance(top, ast.ClassDef) else [top]:
            where = getattr(outer, "name", "<module>")
            for node in ast.walk(outer):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
                if node.func.attr in METHODS or (owner, node.func.attr) in EVALUATIONS | CONVERSIONS:
                    yield where, ast.unparse(node.func)


def is_hot(path: Path, where: str) -> bool:
    if path.relative_to(PACKAGE).parts[0] in OPERATIONS:
        return where not in EDGES.get(path.name, set())
    return where in SEARCHES


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_host_calls_are_at_the_edges(path: Path) -> None:
    found = [(where, call) for where, call in host_calls(path.read_text()) if is_hot(path, where)]
    assert not found, f"{path.name}: a host round trip outside of the edges {EDGES}"


@pytest.mark.parametrize(
    "call", ["D.item()", "D[0].tolist()", "np.array(D)", "np.asarray(D)", "mx.eval(D)", "mx.async_eval(D)"]
)
def test_the_lint_finds(call: str) -> None:
    assert list(host_calls(f"class Index:\n    def search(self, D):\n        if D:\n            return f({call})"))
    assert list(host_calls(f"D = 1\n{call}"))


def normal(*shape: int, seed: int = 0) -> mx.array:
    return mx.array(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


@pytest.fixture(params=[0, 1], ids=["ip", "l2"])
def index(request: pytest.FixtureRequest) -> IndexFlat:
    index = IndexFlat(8, request.param)
    for n in (200, 20, 2):
        index.add(normal(n, 8, seed=n))
    assert len(index._chunks) == 3
    return index


@pytest.fixture
def no_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to the host raises."""

    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("a host round trip")

    for module, name in EVALUATIONS | CONVERSIONS:
        monkeypatch.setattr({"mx": mx, "np": np}[module], name, fail)
    for name in ("item", "tolist", "__array__", "__float__", "__int__", "__bool__", "__buffer__"):
        if hasattr(mx.array, name):
            monkeypatch.setattr(mx.array, name, fail, raising=False)


def test_the_traps_are_set(no_evaluation: None) -> None:
    x = mx.zeros((1,))
    for way in (lambda: x.item(), lambda: x.tolist(), lambda: float(x), lambda: bool(x), lambda: mx.eval(x)):
        with pytest.raises(AssertionError, match="a host round trip"):
            way()


def test_search_assign_and_add_reach_no_trap(index: IndexFlat, no_evaluation: None) -> None:
    lazy = mx.multiply(normal_lazy(), 2.0)
    results: list[Any] = [*index.search(lazy, 5), index.assign(lazy, 5), *index.search(lazy, 300)]
    index.add(lazy)
    results += index.search(lazy, 5)
    results += [index.reconstruct_n(200, 5), index.reconstruct_batch(results[1][0])]
    assert not any(_core.is_evaluated(a) for a in (lazy, *results))


def normal_lazy() -> mx.array:
    return mx.random.normal((3, 8))


def test_search_traces_without_evaluation(index: IndexFlat) -> None:
    search = mx.compile(lambda x: (*index.search(x, 5), index.assign(x, 300)))
    x = normal(4, 8, seed=5)
    for got, wanted in zip(search(x), (*index.search(x, 5), index.assign(x, 300)), strict=True):
        assert mx.array_equal(got, wanted)


# One of every kind that searches lazily; another's search is as lazy as that of the index in it.
LAZY = [
    "Flat", "SQ8", "SQ4", "SQ6", "SQfp16", "SQbf16", "SQ8_direct", "LSH", "LSH16rt",
    "IVF4,Flat", "IVF4,SQ8", "IVF8(IVF2,Flat),Flat",
    "IDMap,Flat", "IDMap2,Flat", "IDMap,IVF4,Flat", "IDMap2,SQ8",
    "L2norm,Flat", "PCA4,Flat", "PCAR4,SQ8", "RR8,Flat", "OPQ4,Flat", "HR,Flat", "Pad16,Flat", "ITQ4,LSH",
    "Flat,RFlat", "SQ8,RFlat", "IVF4,SQ8,Refine(SQfp16)", "IDMap,PCA4,Flat", "PCA4,IVF4,SQ8,RFlat",
]  # fmt: skip


@pytest.mark.parametrize("description", LAZY)
def test_search_of_every_kind_traces_without_evaluation(description: str) -> None:
    index = metalfaiss.index_factory(8, description)
    index.train(np.array(normal(300, 8)))
    if "IDMap" in description:
        index.add_with_ids(np.array(normal(300, 8)), np.arange(300) * 3)
    else:
        index.add(np.array(normal(300, 8)))
    x = normal(4, 8, seed=5)
    for got, wanted in zip(mx.compile(lambda x: index.search(x, 5))(x), index.search(x, 5), strict=True):
        assert mx.array_equal(got, wanted)


@pytest.mark.parametrize("description", ["BFlat", "BIVF4"])
def test_search_of_binary_indexes_traces_without_evaluation(description: str) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (200, 4), dtype=np.uint8)
    index = metalfaiss.index_binary_factory(32, description)
    index.train(codes)
    index.add(codes)
    x = mx.array(codes[:3] ^ 1)
    for got, wanted in zip(mx.compile(lambda x: index.search(x, 5))(x), index.search(x, 5), strict=True):
        assert mx.array_equal(got, wanted)


def test_a_training_loop_traces_without_evaluation() -> None:
    """Stored vectors that learn: a new index of them in every step, all within one compiled function."""
    target = normal(6, 8, seed=1)

    def loss(vectors: mx.array) -> mx.array:
        index = IndexFlat(8)
        index.add(vectors)
        return index.search(target, 2)[0].mean()

    @mx.compile
    def step(vectors: mx.array) -> tuple[mx.array, mx.array]:
        value, grad = mx.value_and_grad(loss)(vectors)
        return value, vectors - 0.3 * grad

    vectors, values = normal(30, 8), []
    for _ in range(20):
        value, vectors = step(vectors)
        values.append(value)
    assert values[-1].item() < 0.5 * values[0].item()
