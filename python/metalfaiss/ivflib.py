"""FAISS's ``ivflib``: what programs do with IVF indexes that lie inside of others."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Array
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.ivf import IndexIVF
from metalfaiss.inverted_lists import ArrayInvertedLists
from metalfaiss.search_parameters import SearchParameters

__all__ = [
    "check_compatible_for_merge",
    "extract_index_ivf",
    "get_invlist_range",
    "merge_into",
    "range_search_with_parameters",
    "search_and_get_centroids",
    "search_and_return_centroids",
    "search_centroid",
    "search_with_parameters",
    "set_invlist_range",
    "try_extract_index_ivf",
]

_INNER = ("index", "base_index")  # of wrappers


def try_extract_index_ivf(index: Any) -> IndexIVF | None:
    """The IVF index that an index is or wraps, or None."""
    while isinstance(index, Index):
        if isinstance(index, IndexIVF):
            return index
        index = next((getattr(index, name) for name in _INNER if hasattr(index, name)), None)
    return None


def extract_index_ivf(index: Any) -> IndexIVF:
    """The IVF index that an index is or wraps.

    Raises:
        RuntimeError: there is none.
    """
    found = try_extract_index_ivf(index)
    if found is None:
        raise RuntimeError(f"[extract_index_ivf] index must be or wrap an IVF index. Received {type(index).__name__}.")
    return found


def check_compatible_for_merge(index0: Index, index1: Index) -> None:
    """Whether ``merge_into`` would take the indexes.

    Raises:
        RuntimeError: it would not.
    """
    index0.check_compatible_for_merge(index1)


def merge_into(index0: Index, index1: Index, shift_ids: bool) -> None:
    """Moves the vectors of ``index1`` to ``index0``; ``shift_ids`` adds the ``ntotal`` of ``index0`` to their ids.

    Raises:
        RuntimeError: the indexes are not compatible.
    """
    extract_index_ivf(index0), extract_index_ivf(index1)
    index0.merge_from(index1, index0.ntotal if shift_ids else 0)


def search_centroid(
    index: Index, x: Array, n: int | None = None, centroid_ids: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """The list of each vector.

    Args:
        index: an index that is or wraps one with inverted lists.
        x: shape (n, d); with ``n``, of any shape.
        n: how many vectors, as FAISS's programs say.
        centroid_ids: an int64 array to write to, likewise.

    Returns:
        Shape (n,), int64.

    Raises:
        TypeError, ValueError, RuntimeError: as ``assign`` does, or there is no IVF index.
    """
    rows = x if n is None else np.asarray(x).reshape(-1)[: n * index.d].reshape(n, -1)
    ivf, vectors = _transformed(index, rows)
    lists: NDArray[np.int64] = np.asarray(ivf.quantizer.assign(vectors, 1)).reshape(-1)
    if centroid_ids is not None:
        _host.check_output("search_centroid", "centroid_ids", centroid_ids, lists.shape, np.int64)
        centroid_ids[:] = lists
    return lists


def search_and_get_centroids(
    index: Index, xq: Array, k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """A search, and where its queries and results lie.

    Returns:
        Distances (n, k), ids (n, k), the list of each query (n,), and that of each result (n, k), or -1.

    Raises:
        TypeError, ValueError, RuntimeError: as ``search`` does, or there is no IVF index.
    """
    ivf, vectors = _transformed(index, xq)
    D, I, codes = ivf.search_and_return_codes(vectors, k, include_listnos=True)
    lists = np.zeros((*I.shape, 8), dtype=np.uint8)
    coarse = ivf.coarse_code_size()
    lists[..., :coarse] = codes[..., :coarse]
    result_lists = lists.view("<i8")[..., 0].astype(np.int64)
    return D, I, search_centroid(index, xq), np.where(I < 0, -1, result_lists)


def search_and_return_centroids(
    index: Index,
    n: int,
    xin: NDArray[Any],
    k: int,
    distances: NDArray[np.float32],
    labels: NDArray[np.int64],
    query_centroid_ids: NDArray[np.int64] | None,
    result_centroid_ids: NDArray[np.int64] | None,
) -> None:
    """``search_and_get_centroids`` of n queries, written to arrays: (n, k), (n, k), (n,) and (n, k) elements.

    Raises:
        TypeError, ValueError, RuntimeError: as ``search`` does, there is no IVF index, or an array is too small.
    """
    op = "search_and_return_centroids"
    found = search_and_get_centroids(index, xin.reshape(-1)[: n * index.d].reshape(n, -1), k)
    outs = (distances, labels, query_centroid_ids, result_centroid_ids)
    for i, out in enumerate(outs):
        values: NDArray[Any] = found[i]
        if out is not None:
            part = out.reshape(-1)[: values.size]
            _host.check_output(op, "The arrays", part, (values.size,), values.dtype.type)
            part[:] = values.reshape(-1)


def search_with_parameters(
    index: Index, x: Array, k: int, params: SearchParameters | None = None, output_stats: bool = False
) -> Any:
    """``search`` with parameters of the IVF index inside.

    Args:
        index, x, k, params: as for ``search``.
        output_stats: whether to count, and to measure, what is done.

    Returns:
        Distances and ids, shape (n, k); with ``output_stats``, also FAISS's dict: ``ndis``, how many vectors the lists
        that were looked at hold, and milliseconds: ``pre_transform_ms``, ``coarse_quantizer_ms``, ``invlist_scan_ms``.

    Raises:
        TypeError, ValueError, RuntimeError: as ``search`` does, or there is no IVF index.
    """
    if not output_stats:
        ivf, vectors = _transformed(index, x)
        return ivf.search(vectors, k, params=params)
    ivf, vectors, lists, stats, began = _staged(index, x, params)
    found = ivf.search_preassigned(vectors, k, lists, params=params)
    stats["invlist_scan_ms"] = (time.perf_counter() - began) * 1e3
    return *found, stats


def range_search_with_parameters(
    index: Index, x: Array, radius: float, params: SearchParameters | None = None, output_stats: bool = False
) -> Any:
    """``range_search`` with parameters of the IVF index inside; ``output_stats`` as for ``search_with_parameters``."""
    if not output_stats:
        ivf, vectors = _transformed(index, x)
        return ivf.range_search(vectors, radius, params=params)
    ivf, vectors, lists, stats, began = _staged(index, x, params)
    found = ivf.range_search_preassigned(vectors, radius, lists, params=params)
    stats["invlist_scan_ms"] = (time.perf_counter() - began) * 1e3
    return *found, stats


def _staged(
    index: Index, x: Array, params: SearchParameters | None
) -> tuple[IndexIVF, Any, NDArray[np.int64], dict[str, Any], float]:
    """A search up to its scan: the index, the queries as it sees them, their lists, what that took, and the time."""
    times = [time.perf_counter()]
    ivf, vectors = _transformed(index, np.ascontiguousarray(x, dtype=np.float32))
    times.append(time.perf_counter())
    settings = ivf._settings("search_with_parameters", params)
    _, lists = ivf.quantizer.search(np.asarray(vectors), settings.nprobe, params=settings.quantizer_params)
    times.append(time.perf_counter())
    before, coarse = np.diff(times) * 1e3
    ndis = int(ivf.invlists.sizes()[lists[lists >= 0]].sum())
    stats = {"ndis": ndis, "pre_transform_ms": float(before), "coarse_quantizer_ms": float(coarse)}
    return ivf, vectors, lists, stats, times[-1]


def get_invlist_range(index: Index, i0: int, i1: int) -> ArrayInvertedLists:
    """Copies of lists ``i0`` to ``i1 - 1``.

    Raises:
        ValueError: there are no such lists.
    """
    ivf = extract_index_ivf(index)
    i1 = _host.integer("get_invlist_range", "i1", i1, 0, ivf.nlist)
    i0 = _host.integer("get_invlist_range", "i0", i0, 0, i1)
    out = ArrayInvertedLists(i1 - i0, ivf.code_size)
    for i in range(i0, i1):
        out.add_entries(i - i0, ivf.invlists.get_ids(i), ivf.invlists.get_codes(i))
    return out


def set_invlist_range(index: Index, i0: int, i1: int, src: ArrayInvertedLists) -> None:
    """Replaces lists ``i0`` to ``i1 - 1`` by those of ``src``; ``ntotal`` follows.

    Raises:
        ValueError: there are no such lists, or ``src`` has another form.
    """
    ivf = extract_index_ivf(index)
    i1 = _host.integer("set_invlist_range", "i1", i1, 0, ivf.nlist)
    i0 = _host.integer("set_invlist_range", "i0", i0, 0, i1)
    if (src.nlist, src.code_size) != (i1 - i0, ivf.code_size):
        raise ArgumentError(
            f"[set_invlist_range] src must have nlist {i1 - i0} and code_size {ivf.code_size}. "
            f"Received nlist {src.nlist} and code_size {src.code_size}."
        )
    for i in range(i0, i1):
        ivf.invlists.resize(i, 0)
        ivf.invlists.add_entries(i, src.get_ids(i - i0), src.get_codes(i - i0))
    ivf.ntotal = ivf.invlists.compute_ntotal()


def _transformed(index: Any, x: Array) -> tuple[IndexIVF, Any]:
    """The IVF index inside, and vectors as it sees them."""
    ivf = extract_index_ivf(index)
    while index is not ivf:
        apply = getattr(index, "apply_chain", None)
        x = x if apply is None else apply(x)
        index = next(getattr(index, name) for name in _INNER if hasattr(index, name))
    return ivf, x
