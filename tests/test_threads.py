"""One index, many threads: searches at once, vectors of one thread used by another, the GIL left free."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from metalfaiss import (
    IndexFlatIP,
    IndexFlatL2,
    _core,
    deserialize_index,
    index_factory,
    knn,
    pairwise_distances,
    select_k,
    serialize_index,
)

THREADS = 8


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def in_threads(work: Callable[[int], Any], threads: int = THREADS) -> list[Any]:
    """What work(0), work(1), ... return, each called by a thread of its own, all started together."""
    results: list[Any] = [None] * threads
    errors: list[BaseException] = []
    together = threading.Barrier(threads)

    def run(i: int) -> None:
        try:
            together.wait()
            results[i] = work(i)
        except BaseException as e:
            errors.append(e)

    running = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if errors:
        raise errors[0]
    return results


def in_thread(work: Callable[[], Any]) -> Any:
    return in_threads(lambda _: work(), 1)[0]


def chunked(x: Any, kind: Any = IndexFlatL2, **options: Any) -> Any:
    index = kind(x.shape[1], **options)
    for start, end in ((0, 1800), (1800, 1950), (1950, x.shape[0])):
        index.add(x[start:end])
    assert len(index._chunks) == 3
    return index


@pytest.mark.parametrize("kind", [IndexFlatL2, IndexFlatIP])
@pytest.mark.parametrize("convert", [np.array, mx.array], ids=["numpy", "mlx"])
def test_search_from_many_threads(kind: Any, convert: Any) -> None:
    x = normal(1960, 32)
    index = chunked(x, kind, dtype=mx.bfloat16)
    wanted = [index.search(normal(20, 32, seed=i), 5) for i in range(THREADS)]

    def search(i: int) -> list[tuple[Any, Any]]:
        found = []
        for _ in range(10):
            D, I = index.search(convert(normal(20, 32, seed=i)), 5)
            found.append((np.array(D), np.array(I)))
        return found

    for got, (D, I) in zip(in_threads(search), wanted, strict=True):
        for D_got, I_got in got:
            np.testing.assert_array_equal(D_got, D)
            np.testing.assert_array_equal(I_got, I)


def test_vectors_and_queries_that_another_thread_computed() -> None:
    x, q = in_thread(lambda: (mx.array(normal(1960, 8)), mx.array(normal(3, 8, seed=1))))
    x, q = in_thread(lambda: computed(x * 2, q * 2))
    index = in_thread(lambda: chunked(np.array(x)))
    index.add(x)
    D, I = index.search(q, 4)
    for D_got, I_got in in_threads(lambda _: [np.array(a) for a in index.search(q, 4)]):
        np.testing.assert_array_equal(D_got, np.array(D))
        np.testing.assert_array_equal(I_got, np.array(I))


def computed(*arrays: mx.array) -> tuple[mx.array, ...]:
    mx.eval(*arrays)
    return arrays


def test_lazy_vectors_belong_to_their_thread_until_they_are_computed() -> None:
    index = chunked(mx.array(normal(1960, 8)) * 2)
    q = normal(3, 8, seed=1)
    with pytest.raises(RuntimeError, match="Stream"):  # MLX's own rule for lazy arrays
        in_thread(lambda: index.search(q, 4))
    wanted = index.search(q, 4)  # computes them
    for got in in_threads(lambda _: index.search(q, 4)):
        for ours, theirs in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_lazy_results_are_computed_by_their_thread() -> None:
    index = chunked(normal(1960, 8))

    def search(i: int) -> list[mx.array]:
        lazy = [index.search(mx.array(normal(3, 8, seed=i)) + j, 4)[0] for j in range(5)]
        mx.eval(lazy)
        return lazy

    for i, results in enumerate(in_threads(search)):
        for j, D in enumerate(results):
            np.testing.assert_array_equal(np.array(D), index.search(normal(3, 8, seed=i) + np.float32(j), 4)[0])


def test_compiled_and_differentiated_in_many_threads() -> None:
    index = chunked(normal(1960, 8))
    search = mx.compile(lambda q: index.search(q, 4))
    grad = mx.grad(lambda q: index.search(q, 4)[0].sum())
    queries = [mx.array(normal(3, 8, seed=i)) for i in range(THREADS)]

    def work(i: int) -> list[np.ndarray]:
        return [np.array(a) for _ in range(3) for a in (*search(queries[i]), grad(queries[i]))]

    wanted = [work(i) for i in range(THREADS)]
    for got, expected in zip(in_threads(work), wanted, strict=True):
        for ours, theirs in zip(got, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_searches_while_vectors_are_added() -> None:
    """Each search sees the index as it was between two additions."""
    x = normal(400, 4)
    index = IndexFlatL2(4)
    index.add(x[:1])
    steps = [1, *range(10, 401, 10)]

    def work(i: int) -> list[np.ndarray]:
        if i == 0:
            for start, end in pairwise(steps):
                index.add(x[start:end])
            return []
        return [index.assign(x[:1], 401)[0] for _ in range(50)]

    for found in in_threads(work):
        sizes = [int((ids >= 0).sum()) for ids in found]
        assert sizes == sorted(sizes)
        for ids, n in zip(found, sizes, strict=True):
            assert n in steps
            assert sorted(ids[:n].tolist()) == list(range(n))
    np.testing.assert_array_equal(index.reconstruct_n(), x)


def test_additions_from_many_threads_are_all_kept() -> None:
    index = IndexFlatL2(1)

    def add(i: int) -> None:
        for j in range(50):
            index.add(np.full((2, 1), 50 * i + j, np.float32))

    in_threads(add)
    assert index.ntotal == 100 * THREADS
    values = index.reconstruct_n()[:, 0]
    assert values[::2].tolist() == values[1::2].tolist()
    assert sorted(values[::2].tolist()) == list(range(50 * THREADS))


def test_the_gil_is_free_while_a_search_runs() -> None:
    index = IndexFlatL2(64)
    index.add(normal(20000, 64))
    queries = normal(300, 64, seed=1)
    index.search(queries[:1], 1)
    searching, done, counted = threading.Event(), threading.Event(), 0

    def count() -> None:
        nonlocal counted
        while not done.is_set():
            counted += searching.is_set()

    counter = threading.Thread(target=count)
    counter.start()
    searching.set()
    index.search(queries, 10)
    searching.clear()
    done.set()
    counter.join()
    assert counted > 2000  # were it held, the counter would run for the microseconds around the native call only


@pytest.mark.parametrize("change", ["add", "remove_ids"])
def test_lists_in_borrowed_memory_change_while_they_are_read(change: str) -> None:
    """Memory that lists borrowed from an array is given back when they change, which takes Python's lock: whoever waits
    for the lists with that lock must not keep it from them."""
    x = normal(1000, 8)
    made = index_factory(8, "IVF16,Flat")
    made.train(x)
    made.add(x)
    data = serialize_index(made)
    for _ in range(30):
        index, done = deserialize_index(data.copy()), threading.Event()
        sizes = index.invlists.list_size

        def read(sizes: Any = sizes, done: threading.Event = done) -> None:
            while not done.is_set():
                for _ in range(50):
                    sizes(0)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        index.add(x) if change == "add" else index.remove_ids(np.arange(1000))
        done.set()
        for reader in readers:
            reader.join()


def test_what_is_computed_on_the_calling_thread() -> None:
    x, q = mx.array(normal(1960, 8)), mx.array(normal(3, 8, seed=1))
    mx.eval(x, q)
    wanted = [np.array(a) for a in knn(q, x, 4)]

    def at_once(*arrays: mx.array) -> bool:
        return _core.compute_at_once(arrays)

    with mx.stream(mx.cpu):
        D, I = knn(q, x, 4)
        assert at_once(D)
        assert _core.is_evaluated(I)  # its sibling
        assert not at_once(D, I)  # nothing to do
        for ours, theirs in zip((D, I), wanted, strict=True):
            np.testing.assert_array_equal(np.array(ours), theirs)
        nearest = select_k(pairwise_distances(q, x), 4, largest=False)
        assert at_once(*nearest)
        np.testing.assert_array_equal(np.array(nearest[1]), wanted[1])

        assert not at_once(knn(q + 0, x, 4)[0])  # an operation of MLX
        assert not at_once(knn(q, x, 4, stream=mx.new_stream(mx.cpu))[0])
        traced: list[bool] = []
        mx.compile(lambda a: traced.append(at_once(knn(a, x, 4)[0])) or a)(q)
        mx.grad(lambda a: traced.append(at_once(knn(a, x, 4)[0])) or a.sum())(q)
        assert traced == [False, False]

        column = mx.zeros((2**23, 1))
        mx.eval(column)
        huge = pairwise_distances(column, column)  # 256 terabytes
        in_use = mx.get_active_memory()
        for compute in (at_once, mx.eval):
            with pytest.raises(MemoryError, match="Received one of 281474976710656 bytes"):
                compute(huge)
        assert mx.get_active_memory() < in_use + 2**40, "MLX must not count what was not allocated"
        assert at_once(knn(q, x, 4)[0])
