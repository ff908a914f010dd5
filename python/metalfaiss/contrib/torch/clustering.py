"""K-means of PyTorch tensors: ``kmeans(k, DatasetAssign(tensor))`` returns centroids as a tensor."""

from __future__ import annotations

from typing import Any

import numpy as np

from metalfaiss.contrib import clustering
from metalfaiss.contrib.torch_utils import host_array

__all__ = ["DatasetAssign", "kmeans"]


class DatasetAssign(clustering.DatasetAssign):
    """A tensor whose rows ``kmeans`` clusters. What it is asked with tensors, and what it answers, are tensors.

    Args:
        x: shape (n, d), in the memory of the host; used as float32.

    Raises:
        TypeError: it lies elsewhere.
    """

    def __init__(self, x: Any) -> None:
        super().__init__(host_array("DatasetAssign", x))
        self._tensor = x

    def get_subset(self, indices: Any) -> Any:
        """Some of the rows, shape (m, d)."""
        return self._made(super().get_subset(indices))

    def assign_to(self, centroids: Any, weights: Any = None) -> Any:
        """The nearest centroid of each row, (n,), a NumPy array; distances, (n,), and sums of clusters, (k, d)."""
        w = None if weights is None else host_array("DatasetAssign.assign_to", weights)
        ids, D, sums = super().assign_to(host_array("DatasetAssign.assign_to", centroids), w)
        return ids, self._made(D), self._made(sums)

    def _made(self, values: Any) -> Any:
        return self._tensor.new_tensor(np.asarray(values))


def kmeans(k: int, data: Any, *args: Any, **kwargs: Any) -> Any:
    """``contrib.clustering.kmeans``, with centroids of the type of the data: see there."""
    found = clustering.kmeans(k, data, *args, **kwargs)
    if not isinstance(data, DatasetAssign):
        return found
    return (data._made(found[0]), found[1]) if isinstance(found, tuple) else data._made(found)
