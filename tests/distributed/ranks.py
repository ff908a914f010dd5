"""What every rank of a test runs: ``mlx.launch -n 2 python tests/distributed/ranks.py``. Fails if a result differs."""

import mlx.core as mx
import numpy as np

import metalfaiss
from metalfaiss import METRIC_INNER_PRODUCT, METRIC_L2
from metalfaiss.distributed import knn

mx.set_default_device(mx.cpu)
group = mx.distributed.init(strict=True)
rank, size = group.rank(), group.size()
rng = np.random.default_rng(0)


def part(x: np.ndarray, bounds: list[int]) -> np.ndarray:
    return x[bounds[rank] : bounds[rank + 1]]


def check(xq: np.ndarray, xb: np.ndarray, k: int, metric: int, bounds: list[int], dtype: mx.Dtype = mx.float32) -> None:
    whole = metalfaiss.knn(mx.array(xq), mx.array(xb).astype(dtype), k, metric)
    spread = knn(xq, mx.array(part(xb, bounds)).astype(dtype), k, metric, group=group)
    for one, all_ranks in zip(whole, spread, strict=True):
        np.testing.assert_array_equal(np.array(all_ranks), np.array(one))
        assert all_ranks.dtype == one.dtype


even = [r * 400 // size for r in range(size + 1)]
x, q = rng.standard_normal((400, 12), dtype=np.float32), rng.standard_normal((9, 12), dtype=np.float32)
close = (1e4 + 1e-3 * rng.standard_normal((400, 12))).astype(np.float32)  # float32 distances tie, float64 ones do not
for metric in (METRIC_L2, METRIC_INNER_PRODUCT):
    for k in (1, 5, 300, 500):
        check(q, x, k, metric, even)
    check(q, x, 5, metric, [0, *[400] * size])  # rank 0 has all of them
    check(q, x, 5, metric, [*[0] * size, 400])  # the last one has
    check(close[:9] + 1, close, 20, metric, even)
    check(np.zeros((3, 12), np.float32), np.ones((400, 12), np.float32), 250, metric, even)  # all distances are equal
    check(q, x, 7, metric, even, mx.float16)
check(q[:0], x, 3, METRIC_L2, even)
assert knn(q, part(x, even), 3)[1].shape == (9, 3)  # of all ranks, unevaluated
metalfaiss.distributed._GATHERED = 1  # a query at a time
check(q, x, 5, METRIC_L2, even)
infinite = x.copy()
infinite[::2] = np.nan
check(q, infinite, 300, METRIC_L2, even)
print(f"rank {rank} of {size}: as one")
