"""FAISS's C++ calls: its Python names end in ``_ex`` where data has a numeric type, and in ``_c`` where Python's form
has taken the name. Arrays take the place of pointers (``swig_ptr`` returns the array); n is the number of vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss.results import RangeSearchResult
from metalfaiss.search_parameters import SearchParameters

__all__ = ["CCalls", "CodeCalls", "ExCalls", "ListCalls"]

Ids = NDArray[np.int64]


def _rows(index: Any, n: int, x: NDArray[Any]) -> NDArray[Any]:
    """The first n vectors of an array of any shape."""
    return x.reshape(-1)[: n * index._width].reshape(n, -1)


def _put(to: NDArray[Any], values: Any) -> None:
    """Writes to the first elements of an array of any shape."""
    found = np.asarray(values)
    to.reshape(-1)[: found.size] = found.ravel()


class CCalls:
    """Each raises what the method without ``_c`` does."""

    def train_c(self: Any, n: int, x: NDArray[Any]) -> None:
        """``train`` on n vectors."""
        self.train(_rows(self, n, x))

    def train_with_queries(self: Any, n: int, x: NDArray[Any], n_train_q: int, xq_train: NDArray[Any]) -> None:
        """``train`` on n vectors; no type of index here learns from queries."""
        self.train(_rows(self, n, x))

    def add_c(self: Any, n: int, x: NDArray[Any]) -> None:
        """``add`` of n vectors."""
        self.add(_rows(self, n, x))

    def add_with_ids_c(self: Any, n: int, x: NDArray[Any], xids: Ids) -> None:
        """``add_with_ids`` of n vectors."""
        self.add_with_ids(_rows(self, n, x), xids.reshape(-1)[:n])

    def search_c(
        self: Any,
        n: int,
        x: NDArray[Any],
        k: int,
        distances: NDArray[Any],
        labels: Ids,
        params: SearchParameters | None = None,
    ) -> None:
        """``search`` of n queries, whose results are written to ``distances`` and ``labels``, n * k elements each."""
        D, I = self.search(_rows(self, n, x), k, params=params)
        distances.reshape(-1)[: n * k], labels.reshape(-1)[: n * k] = D.ravel(), I.ravel()

    def range_search_c(
        self: Any,
        n: int,
        x: NDArray[Any],
        radius: float,
        result: RangeSearchResult,
        params: SearchParameters | None = None,
    ) -> None:
        """``range_search`` of n queries, whose results ``result`` takes."""
        result._take(*self.range_search(_rows(self, n, x), radius, params=params))

    def assign_c(self: Any, n: int, x: NDArray[Any], labels: Ids, k: int = 1) -> None:
        """``assign`` of n queries: ids are written to ``labels``, n * k elements."""
        labels.reshape(-1)[: n * k] = self.assign(_rows(self, n, x), k).ravel()

    def reconstruct_c(self: Any, key: int, recons: NDArray[Any]) -> None:
        """``reconstruct`` to ``recons``."""
        _put(recons, self.reconstruct(key))

    def reconstruct_n_c(self: Any, i0: int, ni: int, recons: NDArray[Any]) -> None:
        """``reconstruct_n`` to ``recons``."""
        _put(recons, self.reconstruct_n(i0, ni))

    def reconstruct_batch_c(self: Any, n: int, keys: Ids, recons: NDArray[Any]) -> None:
        """``reconstruct_batch`` of n ids to ``recons``."""
        _put(recons, self.reconstruct_batch(keys.reshape(-1)[:n]))

    def search_and_reconstruct_c(
        self: Any,
        n: int,
        x: NDArray[Any],
        k: int,
        distances: NDArray[Any],
        labels: Ids,
        recons: NDArray[Any],
        params: SearchParameters | None = None,
    ) -> None:
        """``search_and_reconstruct`` of n queries, written to ``distances``, ``labels`` and ``recons``."""
        found = self.search_and_reconstruct(_rows(self, n, x), k, params=params)
        _put(distances, found[0])
        _put(labels, found[1])
        _put(recons, found[2])

    def remove_ids_c(self: Any, sel: Any) -> int:
        """``remove_ids`` by a selector."""
        return int(self.remove_ids(sel))


class CodeCalls:
    """Of codes; each raises what the method without ``_c`` does."""

    def sa_encode_c(self: Any, n: int, x: NDArray[Any], bytes: NDArray[np.uint8]) -> None:
        """``sa_encode`` of n vectors, written to ``bytes``."""
        _put(bytes, self.sa_encode(_rows(self, n, x)))

    def sa_decode_c(self: Any, n: int, bytes: NDArray[np.uint8], x: NDArray[np.float32]) -> None:
        """``sa_decode`` of n codes, written to ``x``."""
        _put(x, self.sa_decode(self._coded(n, bytes)))

    def add_sa_codes_c(self: Any, n: int, codes: NDArray[np.uint8], xids: Ids | None) -> None:
        """``add_sa_codes`` of n codes."""
        self.add_sa_codes(self._coded(n, codes), None if xids is None else xids.reshape(-1)[:n])

    def _coded(self: Any, n: int, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return codes.reshape(-1)[: n * self.sa_code_size()].reshape(n, -1)


class ListCalls:
    """Of inverted lists; each raises what the method without ``_c`` does."""

    def search_preassigned_c(
        self: Any,
        n: int,
        x: NDArray[Any],
        k: int,
        assign: Ids,
        centroid_dis: NDArray[np.float32] | None,
        distances: NDArray[np.float32],
        labels: Ids,
        store_pairs: bool,
        params: SearchParameters | None = None,
    ) -> None:
        """``search_preassigned`` of n queries, written to ``distances`` and ``labels``.

        Raises:
            NotImplementedError: ``store_pairs`` is True.
        """
        self._refuse_pairs("search_preassigned_c", store_pairs)
        lists = self._given_lists(n, assign, params)
        found = self.search_preassigned(_rows(self, n, x), k, lists, params=params)
        _put(distances, found[0])
        _put(labels, found[1])

    def range_search_preassigned_c(
        self: Any,
        nx: int,
        x: NDArray[Any],
        radius: float,
        keys: Ids,
        coarse_dis: NDArray[np.float32] | None,
        result: RangeSearchResult,
        store_pairs: bool = False,
        params: SearchParameters | None = None,
    ) -> None:
        """``range_search_preassigned`` of nx queries, whose results ``result`` takes.

        Raises:
            NotImplementedError: ``store_pairs`` is True.
        """
        self._refuse_pairs("range_search_preassigned_c", store_pairs)
        lists = self._given_lists(nx, keys, params)
        result._take(*self.range_search_preassigned(_rows(self, nx, x), radius, lists, params=params))

    def search_and_return_codes_c(
        self: Any,
        n: int,
        x: NDArray[Any],
        k: int,
        distances: NDArray[np.float32],
        labels: Ids,
        recons: NDArray[np.uint8],
        include_listno: bool = False,
        params: SearchParameters | None = None,
    ) -> None:
        """``search_and_return_codes`` of n queries, written to ``distances``, ``labels`` and ``recons``."""
        found = self.search_and_return_codes(_rows(self, n, x), k, include_listnos=include_listno, params=params)
        _put(distances, found[0])
        _put(labels, found[1])
        _put(recons, found[2])

    def update_vectors_c(self: Any, nv: int, idx: Ids, v: NDArray[np.float32]) -> None:
        """``update_vectors`` of nv ids."""
        self.update_vectors(idx.reshape(-1)[:nv], _rows(self, nv, v))

    def _given_lists(self: Any, n: int, lists: Ids, params: SearchParameters | None) -> Ids:
        nprobe = min(getattr(params, "nprobe", self.nprobe), self.nlist)
        return lists.reshape(-1)[: n * nprobe].reshape(n, nprobe)

    def _refuse_pairs(self: Any, method: str, store_pairs: bool) -> None:
        if store_pairs:
            op = f"{type(self).__name__}.{method}"
            raise NotImplementedError(f"[{op}] store_pairs must be False. Received {store_pairs!r}.")


class ExCalls:
    """Calls with a numeric type."""

    def train_ex(self: Any, n: int, x: NDArray[Any], numeric_type: int) -> None:
        """``train`` on n vectors.

        Raises:
            TypeError, ValueError: as ``train`` does.
        """
        self.train(x.reshape(n, -1), numeric_type=numeric_type)

    def add_ex(self: Any, n: int, x: NDArray[Any], numeric_type: int) -> None:
        """``add`` of n vectors.

        Raises:
            TypeError, ValueError, RuntimeError: as ``add`` does.
        """
        self.add(x.reshape(n, -1), numeric_type)

    def add_with_ids_ex(self: Any, n: int, x: NDArray[Any], numeric_type: int, xids: Ids) -> None:
        """``add_with_ids`` of n vectors.

        Raises:
            TypeError, ValueError, RuntimeError: as ``add_with_ids`` does.
        """
        self.add_with_ids(x.reshape(n, -1), xids, numeric_type)

    def search_ex(
        self: Any,
        n: int,
        x: NDArray[Any],
        numeric_type: int,
        k: int,
        distances: NDArray[np.float32],
        labels: Ids,
        params: SearchParameters | None = None,
    ) -> None:
        """``search`` of n queries, whose results are written to ``distances`` and ``labels``, shape (n, k).

        Raises:
            TypeError, ValueError, RuntimeError: as ``search`` does.
        """
        self.search(x.reshape(n, -1), k, params=params, D=distances, I=labels, numeric_type=numeric_type)
