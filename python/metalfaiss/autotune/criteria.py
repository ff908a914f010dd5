"""How good results are: FAISS's criteria."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from metalfaiss.errors import ArgumentError

__all__ = ["AutoTuneCriterion", "IntersectionCriterion", "OneRecallAtRCriterion"]


class AutoTuneCriterion(ABC):
    """How good the results of a search are.

    Args:
        nq: how many queries.
        nnn: how many results each has.

    Attributes:
        gt_nnn: how many neighbours of each query are known.
        gt_D, gt_I: these, shape (nq, gt_nnn); distances may be None.
    """

    def __init__(self, nq: int, nnn: int) -> None:
        self.nq, self.nnn, self.gt_nnn = int(nq), int(nnn), 0
        self.gt_D: NDArray[np.float32] | None = None
        self.gt_I: NDArray[np.int64] = np.zeros((0, 0), dtype=np.int64)

    def set_groundtruth(self, D: NDArray[np.float32] | None, I: NDArray[np.int64]) -> None:
        """The true neighbours of the queries, shape (nq, gt_nnn), nearest first.

        Raises:
            ValueError: the shapes differ.
        """
        I = np.asarray(I)
        if D is not None and np.shape(D) != I.shape:
            raise ArgumentError(
                f"[{type(self).__name__}.set_groundtruth] D must have shape {I.shape}. Received {np.shape(D)}."
            )
        self.nq, self.gt_nnn = I.shape
        self.gt_D, self.gt_I = D, I

    def evaluate(self, D: NDArray[np.float32], I: NDArray[np.int64]) -> float:
        """From 0 to 1.

        Args:
            D: distances, shape (nq, nnn).
            I: ids, of the same shape.

        Raises:
            ValueError: a shape is wrong.
            RuntimeError: there is no ground truth, or not enough of it.
        """
        op = f"{type(self).__name__}.evaluate"
        for name, array in (("D", D), ("I", I)):
            if np.shape(array) != (self.nq, self.nnn):
                raise ArgumentError(f"[{op}] {name} must have shape {(self.nq, self.nnn)}. Received {np.shape(array)}.")
        if self.gt_nnn < self._needed():
            raise RuntimeError(
                f"[{op}] Ground truth must have at least {self._needed()} neighbours a query. Received {self.gt_nnn}."
            )
        return self._evaluate(np.asarray(I))

    @abstractmethod
    def _needed(self) -> int: ...

    @abstractmethod
    def _evaluate(self, I: NDArray[np.int64]) -> float: ...


class OneRecallAtRCriterion(AutoTuneCriterion):
    """The share of queries whose nearest neighbour is among the first R results.

    Args:
        nq: how many queries.
        R: how many results each has.
    """

    def __init__(self, nq: int, R: int) -> None:
        super().__init__(nq, R)
        self.R = int(R)

    def _needed(self) -> int:
        return 1

    def _evaluate(self, I: NDArray[np.int64]) -> float:
        return float((I[:, : self.R] == self.gt_I[:, :1]).any(axis=1).mean())


class IntersectionCriterion(AutoTuneCriterion):
    """The share of the R nearest neighbours that are among the first R results.

    Args:
        nq: how many queries.
        R: how many results each has.
    """

    def __init__(self, nq: int, R: int) -> None:
        super().__init__(nq, R)
        self.R = int(R)

    def _needed(self) -> int:
        return self.R

    def _evaluate(self, I: NDArray[np.int64]) -> float:
        pairs = zip(I[:, : self.R], self.gt_I[:, : self.R], strict=True)
        found = sum(np.intersect1d(ours, true).size for ours, true in pairs)
        return found / (self.nq * self.R)
