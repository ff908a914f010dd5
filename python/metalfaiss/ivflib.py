"""FAISS's ``ivflib``: what programs do with IVF indexes that lie inside of others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Array
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


def search_centroid(index: Index, x: Array) -> NDArray[np.int64]:
    """The list of each vector, shape (n,).

    Raises:
        TypeError, ValueError, RuntimeError: as ``assign`` does, or there is no IVF index.
    """
    ivf, vectors = _transformed(index, x)
    return np.asarray(ivf.quantizer.assign(vectors, 1)).reshape(-1)


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


def search_with_parameters(
    index: Index, x: Array, k: int, params: SearchParameters | None = None
) -> tuple[Array, Array]:
    """``search`` with parameters of the IVF index inside."""
    if isinstance(index, IndexIVF):
        return index.search(x, k, params=params)  # type: ignore[no-any-return]
    ivf, vectors = _transformed(index, x)
    return ivf.search(vectors, k, params=params)  # type: ignore[no-any-return]


def range_search_with_parameters(
    index: Index, x: Array, radius: float, params: SearchParameters | None = None
) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int64]]:
    """``range_search`` with parameters of the IVF index inside."""
    ivf, vectors = _transformed(index, x)
    return ivf.range_search(vectors, radius, params=params)


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
        raise ValueError(
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
