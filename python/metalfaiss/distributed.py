"""Search over vectors that are spread over the ranks of ``mx.distributed``.

Every rank holds a part of the vectors, and calls the same function with the same queries::

    group = mx.distributed.init()
    D, I = metalfaiss.distributed.knn(xq, my_part_of_xb, 10, group=group)

Start the program on every rank with ``mlx.launch -n 2 python program.py``.
"""

from __future__ import annotations

import mlx.core as mx

from metalfaiss._host import ArrayLike, Stream, require_int, to_mlx
from metalfaiss.distances import knn as knn_of_one_rank
from metalfaiss.errors import ArgumentError
from metalfaiss.metrics import METRIC_L2

__all__ = ["knn"]

_GATHERED = 256 << 20  # bytes of candidates that are gathered at once, unless a single query has more


def knn(
    xq: ArrayLike,
    xb: ArrayLike,
    k: int,
    metric: int = METRIC_L2,
    *,
    group: mx.distributed.Group | None = None,
    stream: Stream = None,
) -> tuple[mx.array, mx.array]:
    """The ``k`` nearest rows, of those of all ranks together, for every row of ``xq``: `metalfaiss.knn`, spread out.

    Vectors are numbered through: those of rank 0 first. Results are what one rank with all vectors would find, and the
    same on every rank. Each rank finds the ``k`` nearest of its own vectors; these ``size * k`` candidates a query are
    gathered everywhere, and searched again, so that near ties are told apart as exactly as on one rank.

    Args:
        xq: Queries, shape (nq, d), the same on every rank; used as float32.
        xb: This rank's vectors, shape (nb, d), where nb may differ between ranks and be 0; float32, float16 or
            bfloat16, the same on every rank.
        k: Results per query, at least 1, the same on every rank.
        metric: ``METRIC_L2`` or ``METRIC_INNER_PRODUCT``, the same on every rank.
        group: The ranks; all of them by default (``mx.distributed.init()``).
        stream: Where to run.

    Returns:
        tuple(array, array): distances, float32, and ids, int64, both (nq, k); lazy. All ranks must evaluate them: one
        that does not lets the others wait.

    Raises:
        ValueError: Shapes do not match, ``k`` < 1, an unknown metric, or the stream's device has no kernel.
        TypeError: ``k`` or ``metric`` is not an integer, or an input is complex or float64.
    """
    op = "distributed.knn"
    queries, vectors, k = to_mlx(op, "xq", xq), to_mlx(op, "xb", xb), require_int(op, "k", k)
    if queries.ndim != 2 or vectors.ndim != 2:
        shapes = f"{tuple(queries.shape)} and {tuple(vectors.shape)}"
        raise ArgumentError(f"[{op}] xq and xb must have 2 dimensions. Received shapes {shapes}.")
    group = mx.distributed.init() if group is None else group
    found = knn_of_one_rank(queries, vectors, k, metric, stream=stream)
    if group.size() == 1 or queries.shape[0] == 0:
        return found
    with mx.stream(stream if stream is not None else mx.default_device()):
        each = max(1, _GATHERED // (group.size() * k * max(1, vectors.shape[1]) * vectors.itemsize))
        tiles = [
            _merge(queries[first : first + each], vectors, found[1][first : first + each], metric, group)
            for first in range(0, queries.shape[0], each)
        ]
        return (mx.concatenate([d for d, _ in tiles]), mx.concatenate([i for _, i in tiles])) if tiles[1:] else tiles[0]


def _merge(
    xq: mx.array, xb: mx.array, ids: mx.array, metric: int, group: mx.distributed.Group
) -> tuple[mx.array, mx.array]:
    """The nearest of every rank's ``ids`` (nq, k), which count its own rows."""
    (nq, k), d, size = ids.shape, xb.shape[1], group.size()
    missing = ids < 0
    if xb.shape[0] > 0:  # a vector of NaN is never found
        rows = mx.where(missing[..., None], mx.array(float("nan"), xb.dtype), xb[mx.maximum(ids, 0)])
    else:
        rows = mx.full((nq, k, d), float("nan"), dtype=xb.dtype)
    count = mx.full((nq, 1), xb.shape[0], dtype=mx.int64)
    all_rows = mx.distributed.all_gather(rows[None], group=group)
    all_ids = mx.distributed.all_gather(mx.concatenate([ids, count], axis=1)[None], group=group)
    counts = all_ids[:, :1, k:]
    all_ids = all_ids[..., :k] + (mx.cumsum(counts, axis=0) - counts)
    # By rank and, within it, by (distance, id): among equal distances that is by id.
    candidates = mx.swapaxes(all_rows, 0, 1).reshape(nq, size * k, d)
    candidate_ids = mx.swapaxes(all_ids, 0, 1).reshape(nq, size * k)
    distances, places = (x[:, 0] for x in knn_of_one_rank(xq[:, None], candidates, k, metric))
    chosen = mx.take_along_axis(candidate_ids, mx.maximum(places, 0), axis=1)
    return distances, mx.where(places < 0, mx.array(-1, mx.int64), chosen)
