"""Search of very many queries in inverted lists, a list at a time: FAISS's ``big_batch_search``.

``index.search`` groups queries by lists as well, and is faster for what memory holds. This is for other functions of
distance, and for searches so long that they are to go on after an interruption.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss.arrays import matrix_bucket_sort_inplace
from metalfaiss.contrib.inspect_tools import get_invlist
from metalfaiss.distances import knn as exact_knn
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes.flat import IndexFlat
from metalfaiss.indexes.ivf_flat import IndexIVFFlat
from metalfaiss.indexes.ivf_scalar_quantizer import IndexIVFScalarQuantizer
from metalfaiss.indexes.scalar_quantizer import IndexScalarQuantizer
from metalfaiss.metrics import is_similarity_metric
from metalfaiss.pairwise import pairwise_distances as all_pairs
from metalfaiss.results import ResultHeap

__all__ = ["BigBatchSearcher", "BlockComputer", "big_batch_search"]

_QUERIES = 65536  # assigned to lists at once


class BigBatchSearcher:
    """The queries, the lists that they look at, and their results.

    Args:
        index: an index with inverted lists.
        xq: queries, shape (n, d).
        k: how many results for each.
        verbose: whether to print what is done.
        use_float16: whether queries and vectors are rounded to float16 for the functions that compare them.
    """

    def __init__(self, index: Any, xq: NDArray[Any], k: int, verbose: int = 0, use_float16: bool = False) -> None:
        self.index, self.xq, self.verbose, self.use_float16 = index, xq, verbose, use_float16
        self.rh = ResultHeap(len(xq), k, keep_max=is_similarity_metric(index.metric_type))
        self.decode_func: Callable[[Any], Any] | None = None
        self.by_residual = False

    def coarse_quantization(self) -> None:
        """Finds the lists of each query: ``q_assign``, shape (n, nprobe)."""
        self.q_assign = np.empty((len(self.xq), self.index.nprobe), dtype=np.int32)
        for i in range(0, len(self.xq), _QUERIES):
            self.q_assign[i : i + _QUERIES] = self.index.quantizer.assign(self.xq[i : i + _QUERIES], self.index.nprobe)

    def reorder_assign(self) -> None:
        """Finds the queries of each list."""
        table = np.array(self.q_assign, dtype=np.int32, order="C") + np.int32(1)  # 0: no list
        self.bucket_lims = matrix_bucket_sort_inplace(table, nbucket=self.index.nlist + 1)[1:]
        self.query_ids = table.reshape(-1)

    def centroid(self, l: int) -> NDArray[np.float32]:
        """The centroid of a list."""
        return np.asarray(self.index.quantizer.reconstruct(l), dtype=np.float32)

    def with_centroid(self, l: int, xq_l: NDArray[Any], D: NDArray[Any] | None) -> NDArray[Any] | None:
        """Inner products with vectors, from those with their residuals; L2 distances as they are."""
        if D is None or not (self.by_residual and self.rh.keep_max):
            return D
        products: NDArray[Any] = D + (xq_l.astype(np.float32) @ self.centroid(l))[:, None]
        return products

    def prepare_bucket(self, l: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64], Any]:
        """The queries of a list, by number and by vector, and its ids and vectors."""
        subset = self.query_ids[self.bucket_lims[l] : self.bucket_lims[l + 1]]
        queries = self.xq[subset]
        if self.by_residual and not self.rh.keep_max:
            queries = queries - self.centroid(l)
        ids, codes = get_invlist(self.index.invlists, l)
        vectors = codes if self.decode_func is None else self.decode_func(codes)
        if self.use_float16 and self.decode_func is not None:
            queries, vectors = queries.astype(np.float16), vectors.astype(np.float16)
        return subset, queries, ids, vectors

    def add_results_to_heap(
        self, q_subset: NDArray[Any], D: NDArray[Any] | None, list_ids: NDArray[np.int64], I: NDArray[Any] | None
    ) -> None:
        """Takes the results of a list; ``I`` are places in the list, or None for all of them in order."""
        if D is not None:
            self.rh.add_result_subset(q_subset, D, list_ids if I is None else np.where(I < 0, -1, list_ids[I]))

    def sizes_in_checkpoint(self) -> NDArray[np.int64]:
        """What a checkpoint must agree in."""
        return np.array([*self.xq.shape, self.index.nprobe, self.index.nlist, self.rh.k], dtype=np.int64)

    def write_checkpoint(self, fname: str, completed: set[int]) -> None:
        """Writes the results so far to a file (NumPy's ``.npz``), which appears complete or not at all."""
        temporary = fname + ".tmp"
        with open(temporary, "wb") as f:
            np.savez(f, sizes=self.sizes_in_checkpoint(), completed=sorted(completed), D=self.rh.D, I=self.rh.I)
        os.replace(temporary, fname)

    def read_checkpoint(self, fname: str) -> set[int]:
        """Takes the results of a file, and returns which lists are done.

        Raises:
            ValueError: it is of another search.
        """
        with np.load(fname, allow_pickle=False) as saved:
            if not np.array_equal(saved["sizes"], self.sizes_in_checkpoint()):
                raise ArgumentError(
                    f"[big_batch_search] The checkpoint must be of a search with sizes {self.sizes_in_checkpoint()}. "
                    f"Received {saved['sizes']}."
                )
            self.rh.D[:], self.rh.I[:] = saved["D"], saved["I"]
            return set(saved["completed"].tolist())


class BlockComputer:
    """Compares the queries of a list with its vectors.

    Args:
        index: an ``IndexIVFFlat`` or ``IndexIVFScalarQuantizer``.
        method: ``"knn_function"``, ``"pairwise_distances"`` or ``"index"``: a flat index of the codes of each list.
        pairwise_distances, knn: the functions of the first two.

    Raises:
        ValueError: there is no such method.
        RuntimeError: the index is of another type.
    """

    def __init__(
        self,
        index: Any,
        method: str = "knn_function",
        pairwise_distances: Callable[..., Any] = all_pairs,
        knn: Callable[..., Any] = exact_knn,
    ) -> None:
        if method not in ("index", "pairwise_distances", "knn_function"):
            raise ArgumentError(
                f"[big_batch_search] method must be index, pairwise_distances or knn_function. Received {method!r}."
            )
        decode: Callable[[Any], Any]
        if type(index) is IndexIVFFlat:
            self.by_residual = False

            def decode(codes: NDArray[np.uint8]) -> Any:
                return codes.reshape(-1, index.code_size).view(np.float32)
        elif type(index) is IndexIVFScalarQuantizer:
            self.by_residual, decode = index.by_residual, index.sq.decode
        else:
            raise RuntimeError(
                "[big_batch_search] The index must be an IndexIVFFlat or an IndexIVFScalarQuantizer. "
                f"Received {type(index).__name__}."
            )
        self.index, self.method = index, method
        self.decode_func = None if method == "index" else decode
        self.pairwise_distances, self.knn = pairwise_distances, knn

    def _flat_index(self) -> Any:
        """An index of the codes of a list."""
        if isinstance(self.index, IndexIVFFlat):
            return IndexFlat(self.index.d, self.index.metric_type)
        flat = IndexScalarQuantizer(self.index.d, self.index.sq.qtype, self.index.metric_type)
        flat.sq, flat.is_trained = self.index.sq, True
        return flat

    def block_search(
        self, xq_l: NDArray[Any], xb_l: NDArray[Any], list_ids: NDArray[np.int64], k: int, **extra_args: Any
    ) -> Any:
        """Distances and places in the list, (queries, k); None for all places, and for no distances."""
        if not len(xq_l) or not len(list_ids):
            return None, None
        metric = self.index.metric_type
        if self.method == "index":
            flat = self._flat_index()
            flat.add_sa_codes(xb_l.reshape(len(list_ids), -1))
            return flat.search(xq_l, k)
        if self.method == "pairwise_distances":
            return self.pairwise_distances(xq_l, xb_l, metric=metric), None
        return self.knn(xq_l, xb_l, k, metric=metric, **extra_args)


def big_batch_search(
    index: Any,
    xq: NDArray[Any],
    k: int,
    method: str = "knn_function",
    pairwise_distances: Callable[..., Any] = all_pairs,
    knn: Callable[..., Any] = exact_knn,
    verbose: int = 0,
    threaded: int = 0,
    use_float16: bool = False,
    prefetch_threads: int = 1,
    computation_threads: int = 1,
    q_assign: NDArray[Any] | None = None,
    checkpoint: str | None = None,
    checkpoint_freq: float = 7200,
    start_list: int = 0,
    end_list: int | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Searches lists one after the other, each for all queries that look at it.

    Args:
        index: an ``IndexIVFFlat`` or ``IndexIVFScalarQuantizer``.
        xq: queries, shape (n, d).
        k: how many results for each.
        method: ``"knn_function"``, ``"pairwise_distances"`` (all distances of a list at once) or ``"index"``.
        pairwise_distances, knn: the functions, with the arguments of ``metalfaiss.pairwise_distances`` and
            ``metalfaiss.knn``.
        verbose: whether to print a line for each list.
        threaded: 0: one thread; otherwise lists are prepared while others are compared.
        use_float16: whether the functions are given float16.
        prefetch_threads: how many lists are prepared at once, where ``threaded`` is more than 1.
        computation_threads: how many are compared at once, likewise; if more than 1, ``knn`` is also given
            ``thread_id``, from 0.
        q_assign: the lists of each query, shape (n, nprobe), in place of those that the quantizer finds.
        checkpoint: a file that results are written to on the way; if there is one, its lists are not searched again.
        checkpoint_freq: seconds between two of them.
        start_list, end_list: search lists from ``start_list`` to ``end_list - 1`` only.

    Returns:
        Distances (n, k), float32, and ids (n, k), int64, best first.

    Raises:
        ValueError: there is no such method, a checkpoint is of another search, or is asked for a part of the lists.
        RuntimeError: the index is of another type.
    """
    searcher = BigBatchSearcher(index, xq, k, verbose, use_float16)
    computer = BlockComputer(index, method, pairwise_distances, knn)
    searcher.decode_func, searcher.by_residual = computer.decode_func, computer.by_residual
    if q_assign is None:
        searcher.coarse_quantization()
    else:
        searcher.q_assign = q_assign
    searcher.reorder_assign()
    last = index.nlist if end_list is None else end_list
    completed: set[int] = set()
    if checkpoint is not None:
        if (start_list, last) != (0, index.nlist):
            raise ArgumentError(
                f"[big_batch_search] Checkpoints need a search of all {index.nlist} lists. "
                f"Received lists {start_list} to {last}."
            )
        if os.path.exists(checkpoint):
            completed = searcher.read_checkpoint(checkpoint)
    lists = [i for i in range(start_list, last) if i not in completed]
    workers = computation_threads if threaded > 1 else 1

    def search(l: int, prepared: Any, worker: int) -> Any:
        subset, queries, ids, vectors = prepared
        more = {"thread_id": worker} if workers > 1 and method == "knn_function" else {}
        D, I = computer.block_search(queries, vectors, ids, k, **more)
        return subset, searcher.with_centroid(l, queries, D), I, ids

    saved = time.monotonic()
    steps = _threaded(lists, searcher.prepare_bucket, search, prefetch_threads if threaded > 1 else 1, workers)
    for l, (subset, D, I, ids) in steps if threaded else _in_turn(lists, searcher.prepare_bucket, search):
        searcher.add_results_to_heap(subset, D, ids, I)
        completed.add(l)
        if verbose:
            print(f"list {l}/{index.nlist}", flush=True)
        if checkpoint is not None and time.monotonic() - saved > checkpoint_freq:
            searcher.write_checkpoint(checkpoint, completed)
            saved = time.monotonic()
    searcher.rh.finalize()
    return searcher.rh.D, searcher.rh.I


def _in_turn(
    lists: list[int], prepare: Callable[[int], Any], search: Callable[[int, Any, int], Any]
) -> Iterator[tuple[int, Any]]:
    for l in lists:
        yield l, search(l, prepare(l), 0)


def _threaded(
    lists: list[int],
    prepare: Callable[[int], Any],
    search: Callable[[int, Any, int], Any],
    prefetch: int,
    workers: int,
) -> Iterator[tuple[int, Any]]:
    """The same with threads; at most twice as many lists as threads are held at once."""
    with ThreadPoolExecutor(prefetch) as preparing, ThreadPoolExecutor(workers) as searching:
        free = list(range(workers))

        def one(l: int, prepared: Future[Any]) -> Any:
            ready, worker = prepared.result(), free.pop()
            try:
                return search(l, ready, worker)
            finally:
                free.append(worker)

        running: list[tuple[int, Future[Any]]] = []
        for l in lists:
            running.append((l, searching.submit(one, l, preparing.submit(prepare, l))))
            if len(running) > 2 * (prefetch + workers):
                at, result = running.pop(0)
                yield at, result.result()
        for at, result in running:
            yield at, result.result()
