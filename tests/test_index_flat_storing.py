"""What flat indexes store: chunks, memory, removal and merging."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from oracles.flat import FLAT, built, normal, raises, small_chunks

import metalfaiss
from metalfaiss import IndexFlatIP, IndexFlatL2, _core
from metalfaiss.indexes import _chunks

__all__ = ["small_chunks"]


def test_a_failed_add_leaves_the_index_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    index = built(IndexFlatL2, normal(9, 4))

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(_chunks, "finish", fail)
        with pytest.raises(MemoryError):
            index.add(mx.array(normal(9000, 4)))
    assert index.ntotal == 9
    assert isinstance(index.reconstruct(0), np.ndarray)
    index.add(normal(9, 4))
    assert index.ntotal == 18


# ---------------------------------------------------------------------------------------------- memory


@pytest.mark.skipif(bool(_core.gpu_kernels()), reason="measures the host's memory, with the GPU's driver in it")
@pytest.mark.parametrize("parts", [1, 3])
def test_memory_of_a_search_does_not_grow_with_ntotal(parts: int) -> None:
    """Of 500 queries among 400000 vectors the distances alone would take 800 MB."""
    program = f"""
import resource, sys
from pathlib import Path
import numpy as np
from metalfaiss import IndexFlatL2

def peak():  # in MB; Linux's ru_maxrss would begin with the parent's
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**10

x = np.random.default_rng(0).standard_normal((400_000, 8), dtype=np.float32)
index = IndexFlatL2(8)
for part in np.split(x, [390_000, 399_900][: {parts} - 1]):
    index.add(part)
assert len(index._chunks) == {parts}
index.search(x[:1], 10)
before = peak()
index.search(x[:500], 100)
searched = peak()
held = np.ones(25 * 2**20, dtype=np.float32)  # 100 MB: does the measure see them?
print(searched - before, peak() - searched)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    search, known = map(float, done.stdout.split())
    assert search < 64
    assert known > 50


# ---------------------------------------------------------------------------------------------- chunks


def test_adding_one_by_one_copies_little(monkeypatch: pytest.MonkeyPatch) -> None:
    copied = 0
    concatenate = mx.concatenate

    def counted(arrays: list[mx.array], *args: Any, **kwargs: Any) -> mx.array:
        nonlocal copied
        copied += sum(a.shape[0] for a in arrays)
        return concatenate(arrays, *args, **kwargs)

    monkeypatch.setattr(mx, "concatenate", counted)
    row, n, index = normal(1, 2), 3000, IndexFlatL2(2)
    for _ in range(n):
        index.add(row)
        large = _chunks._first_small(index._chunks)
        assert large <= 1 + np.log(index.ntotal) / np.log(_chunks.RATIO)
        assert len(index._chunks) - large <= _chunks.FEW
    assert index.ntotal == n
    assert copied < 5 * n * np.log2(n)


def test_chunks_stay_below_the_largest_array() -> None:
    x = mx.array(normal(10, 2))
    chunks: tuple[mx.array, ...] = (x[:0],)
    for _ in range(3):
        chunks = _chunks.append(chunks, x, max_rows=24)
    assert [c.shape[0] for c in chunks] == ([20, 10] if _chunks.SMALL == 0 else [10, 10, 10])


# ------------------------------------------------------------------------------------------- changes


@pytest.mark.parametrize("kind", FLAT)
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16])
def test_remove_ids_moves_those_behind_up(kind: Any, dtype: mx.Dtype) -> None:
    x = normal(60, 5)
    index = built(kind, x[:40], dtype=dtype)
    index.add(x[40:])
    assert index.remove_ids(np.array([], dtype=np.int64)) == 0
    assert index.remove_ids(np.array([3, 41, 41, 99, -1])) == 2
    stored = np.array(mx.array(np.delete(x, [3, 41], axis=0)).astype(dtype).astype(mx.float32))
    np.testing.assert_array_equal(index.reconstruct_n(), stored)
    assert index.remove_ids(metalfaiss.IDSelectorAll()) == 58
    assert index.ntotal == 0
    index.add(x)
    assert index.ntotal == 60


def test_merge_from() -> None:
    x = normal(60, 5)
    index, other = built(IndexFlatL2, x[:40]), built(IndexFlatL2, x[40:])
    index.merge_from(other)
    assert (index.ntotal, other.ntotal) == (60, 0)
    np.testing.assert_array_equal(index.reconstruct_n(), x)
    op = "[IndexFlatL2.check_compatible_for_merge]"
    for wrong, name, got in (
        (IndexFlatL2(6), "d", "5 and 6"),
        (IndexFlatIP(5), "type", "IndexFlatL2 and IndexFlatIP"),
        (IndexFlatL2(5, dtype=mx.float16), "dtype", "mlx.core.float32 and mlx.core.float16"),
    ):
        message = f"{op} The indexes must have the same {name}. Received {got}."
        raises(RuntimeError, message, lambda wrong=wrong: index.merge_from(wrong))  # type: ignore[misc]
    raises(
        ValueError,
        "[IndexFlatL2.merge_from] otherIndex must be another index. Received the index itself.",
        lambda: index.merge_from(index),
    )


def test_residuals() -> None:
    x, q = normal(9, 4), normal(3, 4, seed=1)
    index = built(IndexFlatL2, x)
    np.testing.assert_array_equal(index.compute_residual_n(3, q, None, np.array([2, 0, 8])), q - x[[2, 0, 8]])
    out = np.empty(4, dtype=np.float32)
    index.compute_residual(q[0], out, 5)
    np.testing.assert_array_equal(out, q[0] - x[5])
    raises(
        ValueError,
        "[IndexFlatL2.compute_residual_n] key must hold ids from 0 to 8. Received 9.",
        lambda: index.compute_residual(q[0], None, 9),
    )


@pytest.mark.parametrize(
    ("numeric", "dtype"),
    [(metalfaiss.Float16, np.float16), (metalfaiss.Int8, np.int8), (metalfaiss.UInt8, np.uint8)],
)
def test_numeric_types_round(numeric: int, dtype: Any) -> None:
    x, q = np.abs(9 * normal(50, 8)), np.abs(9 * normal(4, 8, seed=1))
    index, expected = IndexFlatL2(8), IndexFlatL2(8)
    index.train(x, numeric_type=numeric)
    index.add(x, numeric_type=numeric)
    expected.add(x.astype(dtype))
    for ours, other in zip(index.search(q, 5, numeric_type=numeric), expected.search(q.astype(dtype), 5), strict=True):
        np.testing.assert_array_equal(ours, other)
    D, I = np.empty((4, 5), np.float32), np.empty((4, 5), np.int64)
    other = IndexFlatL2(8)
    other.train_ex(50, metalfaiss.swig_ptr(x.astype(dtype)), numeric)
    other.add_ex(50, metalfaiss.swig_ptr(x.astype(dtype)), numeric)
    other.search_ex(4, q.astype(dtype), numeric, 5, D, I)
    np.testing.assert_array_equal(I, index.search(q, 5, numeric_type=numeric)[1])
    mapped = metalfaiss.IndexIDMap(IndexFlatL2(8))
    mapped.add_with_ids_ex(50, x.astype(dtype), numeric, np.arange(50))
    np.testing.assert_array_equal(mapped.search(q.astype(dtype), 5)[1], I)
    with pytest.raises(TypeError, match="numeric_type must be Float32"):
        index.add(x, numeric_type=7)


def test_abilities_that_an_index_lacks() -> None:
    index = built(IndexFlatL2, normal(9, 4))
    with pytest.raises(RuntimeError, match=r"\[IndexFlatL2.add_with_ids\].*IndexIDMap"):
        index.add_with_ids(normal(2, 4), [1, 2])
    raises(
        AttributeError,
        "[IndexFlatL2] An attribute must be one of the index's. Received 'nprobe'.",
        lambda: setattr(index, "nprobe", 3),
    )
