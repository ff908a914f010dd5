"""FAISS's C++ calls: its Python names end in ``_ex`` where data has a numeric type, and in ``_c`` where Python's form
has taken the name. Arrays take the place of pointers (``swig_ptr`` returns the array); n is the number of vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss.results import RangeSearchResult
from metalfaiss.search_parameters import SearchParameters

__all__ = ["CCalls", "ExCalls"]

Ids = NDArray[np.int64]


def _rows(index: Any, n: int, x: NDArray[Any]) -> NDArray[Any]:
    """The first n vectors of an array of any shape."""
    return x.reshape(-1)[: n * index._width].reshape(n, -1)


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
        vector = np.asarray(self.reconstruct(key))
        recons.reshape(-1)[: vector.size] = vector

    def reconstruct_n_c(self: Any, i0: int, ni: int, recons: NDArray[Any]) -> None:
        """``reconstruct_n`` to ``recons``."""
        vectors = np.asarray(self.reconstruct_n(i0, ni))
        recons.reshape(-1)[: vectors.size] = vectors.ravel()

    def remove_ids_c(self: Any, sel: Any) -> int:
        """``remove_ids`` by a selector."""
        return int(self.remove_ids(sel))


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
