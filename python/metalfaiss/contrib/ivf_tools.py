"""Inverted lists by hand: lists chosen by the caller, other quantizers, other orders of lists."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss.contrib.inspect_tools import get_invlist_sizes
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes.pretransform import IndexPreTransform

__all__ = [
    "add_preassigned",
    "permute_invlists",
    "range_search_preassigned",
    "replace_ivf_quantizer",
    "search_preassigned",
    "sort_invlists_by_size",
]


def add_preassigned(
    index_ivf: Any, x: NDArray[Any], a: NDArray[np.int64], ids: NDArray[np.int64] | None = None
) -> None:
    """Adds vectors (n, d) to the lists (n,) that the caller says.

    Raises:
        ValueError: a shape is wrong.
    """
    _require("add_preassigned", "a", a, (len(x),))
    index_ivf.add_core(len(x), x, ids, a)


def search_preassigned(
    index_ivf: Any, xq: NDArray[Any], k: int, list_nos: NDArray[np.int64], coarse_dis: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """A search of the lists (n, nprobe) that the caller says; through the transforms of an ``IndexPreTransform``.

    Raises:
        ValueError: a shape is wrong.
    """
    if isinstance(index_ivf, IndexPreTransform):
        xq, index_ivf = index_ivf.apply_chain(xq), index_ivf.index
    coarse = _coarse("search_preassigned", index_ivf, xq, list_nos, coarse_dis)
    found: tuple[NDArray[Any], NDArray[np.int64]] = index_ivf.search_preassigned(xq, k, list_nos, coarse)
    return found


def range_search_preassigned(
    index_ivf: Any, x: NDArray[Any], radius: float, list_nos: NDArray[np.int64], coarse_dis: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """A range search of the lists (n, nprobe) that the caller says.

    Raises:
        ValueError: a shape is wrong.
    """
    coarse = _coarse("range_search_preassigned", index_ivf, x, list_nos, coarse_dis)
    found: tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]] = index_ivf.range_search_preassigned(
        x, radius, list_nos, coarse
    )
    return found


def replace_ivf_quantizer(index_ivf: Any, new_quantizer: Any) -> Any:
    """Puts another quantizer in place, which gets the centroids if it is empty, and returns the one of before.

    Raises:
        ValueError: it holds vectors, but not one for each list.
    """
    old = index_ivf.quantizer
    if new_quantizer.ntotal == 0:
        centroids = np.asarray(old.reconstruct_n(0, index_ivf.nlist))
        new_quantizer.train(centroids)
        new_quantizer.add(centroids)
    elif new_quantizer.ntotal != index_ivf.nlist:
        raise ArgumentError(
            f"[replace_ivf_quantizer] new_quantizer must hold {index_ivf.nlist} vectors or none. Received "
            f"{new_quantizer.ntotal}."
        )
    index_ivf.quantizer = new_quantizer
    return old


def permute_invlists(index_ivf: Any, perm: NDArray[Any]) -> None:
    """Brings the lists, and their centroids, into another order: ``perm[new]`` is the old number.

    Raises:
        ValueError: ``perm`` is no permutation of the lists.
    """
    order = np.asarray(perm, dtype=np.int64)
    if order.shape != (index_ivf.nlist,) or not np.array_equal(np.sort(order), np.arange(index_ivf.nlist)):
        raise ArgumentError(
            f"[permute_invlists] perm must be a permutation of {index_ivf.nlist} lists. Received shape {order.shape}."
        )
    centroids = np.asarray(index_ivf.quantizer.reconstruct_n(0, index_ivf.nlist))[order]
    index_ivf.quantizer.reset()
    index_ivf.quantizer.add(centroids)
    index_ivf.invlists.permute_invlists(order)


def sort_invlists_by_size(index_ivf: Any) -> None:
    """Brings the lists into the order of their lengths, shortest first."""
    permute_invlists(index_ivf, np.argsort(get_invlist_sizes(index_ivf.invlists), kind="stable"))


def _coarse(
    op: str, index_ivf: Any, x: NDArray[Any], list_nos: NDArray[np.int64], coarse_dis: NDArray[Any] | None
) -> NDArray[Any]:
    shape = (len(x), index_ivf.nprobe)
    _require(op, "list_nos", list_nos, shape)
    if coarse_dis is None:
        return np.zeros(shape, dtype=np.float32)
    _require(op, "coarse_dis", coarse_dis, shape)
    return coarse_dis


def _require(op: str, name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ArgumentError(f"[{op}] {name} must have shape {shape}. Received {array.shape}.")
