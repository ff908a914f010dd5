"""FAISS's calls on typed data: the C++ forms of ``train``, ``add`` and ``search`` with a numeric type."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss.search_parameters import SearchParameters

__all__ = ["ExCalls"]


class ExCalls:
    """Arrays take the place of pointers (``swig_ptr`` returns the array); ``n`` is the number of vectors."""

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

    def add_with_ids_ex(self: Any, n: int, x: NDArray[Any], numeric_type: int, xids: NDArray[np.int64]) -> None:
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
        labels: NDArray[np.int64],
        params: SearchParameters | None = None,
    ) -> None:
        """``search`` of n queries, whose results are written to ``distances`` and ``labels``, shape (n, k).

        Raises:
            TypeError, ValueError, RuntimeError: as ``search`` does.
        """
        self.search(x.reshape(n, -1), k, params=params, D=distances, I=labels, numeric_type=numeric_type)
