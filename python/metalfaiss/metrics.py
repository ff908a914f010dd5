"""What a search compares: FAISS's names and values."""

from __future__ import annotations

import numpy as np

__all__ = [
    "METRIC_GOWER",
    "METRIC_INNER_PRODUCT",
    "METRIC_L1",
    "METRIC_L2",
    "NAMES",
    "METRIC_BrayCurtis",
    "METRIC_Canberra",
    "METRIC_Jaccard",
    "METRIC_JensenShannon",
    "METRIC_Linf",
    "METRIC_Lp",
    "METRIC_NaNEuclidean",
    "is_similarity_metric",
    "metric_type_from_int",
    "worst",
]

METRIC_INNER_PRODUCT = 0
METRIC_L2 = 1
METRIC_L1 = 2
METRIC_Linf = 3
METRIC_Lp = 4
METRIC_Canberra = 20
METRIC_BrayCurtis = 21
METRIC_JensenShannon = 22
METRIC_Jaccard = 23
METRIC_NaNEuclidean = 24
METRIC_GOWER = 25

NAMES = {value: name for name, value in globals().items() if name.startswith("METRIC_")}


def is_similarity_metric(metric_type: int) -> bool:
    """Whether larger values are better: inner products and the Jaccard similarity."""
    return metric_type in (METRIC_INNER_PRODUCT, METRIC_Jaccard)


def metric_type_from_int(x: int) -> int:
    """The number itself, if it is that of a metric.

    Raises:
        RuntimeError: it is not.
    """
    if x not in NAMES:
        raise RuntimeError(f"[metric_type_from_int] x must be the number of a metric. Received {x!r}.")
    return x


def worst(metric_type: int) -> float:
    """The distance of a missing result: the largest float32, or the lowest for similarities."""
    largest = float(np.finfo(np.float32).max)
    return -largest if is_similarity_metric(metric_type) else largest
