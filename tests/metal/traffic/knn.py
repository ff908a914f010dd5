"""The bytes that exact search moves: few queries read the vectors once."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from metalfaiss import METRIC_INNER_PRODUCT, METRIC_L2
from metalfaiss.distances import knn
from metalfaiss.pairwise import pairwise_distances

from ..knn_limits import limits
from . import Case

DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


def _vectors(n: int, d: int, dtype: str = "float32") -> mx.array:
    return mx.array(np.random.default_rng(n).standard_normal((n, d)).astype(np.float32)).astype(DTYPES[dtype])


def _few(nq: int, nb: int, d: int, k: int, dtype: str = "float32", metric: int = METRIC_L2) -> Case:
    def run() -> None:
        with limits(threadgroups=4):
            mx.eval(*knn(_vectors(nq, d), _vectors(nb, d, dtype), k, metric))

    name = f"knn {'L2' if metric == METRIC_L2 else 'inner product'} ({nq}, {d}) in {dtype} ({nb}, {d}), k={k}"
    return Case(name, run, ("input 1",), nb * d * DTYPES[dtype].size, 1.1)


def _run_many() -> None:
    with limits(few_queries=1, few_products=1, scratch=1 << 20):
        mx.eval(*knn(_vectors(40, 64), _vectors(6000, 64), 10))


def _run_pairwise() -> None:
    mx.eval(pairwise_distances(_vectors(192, 64), _vectors(256, 64)))


CASES = [
    _few(1, 3000, 128, 10),
    _few(1, 6000, 32, 10, "float16"),
    _few(4, 3000, 128, 10),
    _few(16, 7000, 32, 10),
    _few(10, 5000, 40, 10, "bfloat16"),
    _few(1, 3000, 64, 100),
    _few(3, 3000, 128, 10, metric=METRIC_INNER_PRODUCT),
    # Rows are converted once; the rest is what 40 queries score again.
    Case("knn L2 (40, 64) in float32 (6000, 64), k=10, by products", _run_many, ("input 1",), 4 * 6000 * 64, 1.25),
    Case("pairwise_distances float32 (192, 64), (256, 64)", _run_pairwise, ("output 0",), 4 * 192 * 256, 1.0),
]
