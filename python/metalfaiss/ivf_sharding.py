"""The centroids of an index with inverted lists, spread over several files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from metalfaiss import _host
from metalfaiss.errors import ArgumentError
from metalfaiss.helpers import clone_binary_index, clone_index
from metalfaiss.indexes.binary_id_map import IndexBinaryIDMap2
from metalfaiss.indexes.idmap import IndexIDMap2
from metalfaiss.io import write_index, write_index_binary

__all__ = [
    "DefaultShardingFunction",
    "PyCallbackShardingFunction",
    "ShardingFunction",
    "shard_binary_ivf_index_centroids",
    "shard_ivf_index_centroids",
]


class ShardingFunction:
    """Base class of what says which shard a centroid goes to: ``f(i, shard_count)``."""

    def __call__(self, i: int, shard_count: int) -> int:
        """The shard of centroid i."""
        raise NotImplementedError


class DefaultShardingFunction(ShardingFunction):
    """Centroid i goes to shard i modulo their number."""

    def __call__(self, i: int, shard_count: int) -> int:
        """``i % shard_count``."""
        return i % shard_count


class PyCallbackShardingFunction(ShardingFunction):
    """What a function says.

    Args:
        callback: a function of i and ``shard_count``.
    """

    def __init__(self, callback: Callable[[int, int], int]) -> None:
        self.callback = callback

    def __call__(self, i: int, shard_count: int) -> int:
        """What the function says."""
        return self.callback(i, shard_count)


def shard_ivf_index_centroids(
    index: Any,
    shard_count: int = 20,
    filename_template: str = "shard.%d.index",
    sharding_function: Callable[[int, int], int] | None = None,
    generate_ids: bool = False,
) -> None:
    """Writes ``shard_count`` indexes without vectors, whose quantizers hold a part of the centroids each.

    Args:
        index: a trained index with inverted lists.
        shard_count: how many files.
        filename_template: their names; ``%d`` becomes the number of the shard.
        sharding_function: the shard of centroid i, given i and ``shard_count``; i modulo ``shard_count`` by default.
        generate_ids: whether quantizers number their centroids as ``index`` does (``IndexIDMap2``), instead of from 0.

    Raises:
        TypeError: ``shard_count`` is not an integer.
        ValueError: it is less than 1, or the function returns no shard.
        RuntimeError: there are no centroids, or there is no ``%d`` in the names.
        OSError: a file cannot be written.
    """
    op = "shard_ivf_index_centroids"
    for number, part, shard in _shards(op, index, shard_count, filename_template, sharding_function, clone_index):
        if generate_ids:
            shard.quantizer = IndexIDMap2(shard.quantizer)
            shard.quantizer.add_with_ids(np.asarray(index.quantizer.reconstruct_batch(part)), part)
        else:
            shard.quantizer.add(np.asarray(index.quantizer.reconstruct_batch(part)))
        write_index(shard, filename_template.replace("%d", str(number)))


def shard_binary_ivf_index_centroids(
    index: Any,
    shard_count: int = 20,
    filename_template: str = "shard.%d.index",
    sharding_function: Callable[[int, int], int] | None = None,
    generate_ids: bool = False,
) -> None:
    """``shard_ivf_index_centroids`` of an ``IndexBinaryIVF``: arguments and errors are the same."""
    op = "shard_binary_ivf_index_centroids"
    for number, part, shard in _shards(
        op, index, shard_count, filename_template, sharding_function, clone_binary_index
    ):
        if generate_ids:
            shard.quantizer = IndexBinaryIDMap2(shard.quantizer)
            shard.quantizer.add_with_ids(index.quantizer.reconstruct_batch(part), part)
        else:
            shard.quantizer.add(index.quantizer.reconstruct_batch(part))
        write_index_binary(shard, filename_template.replace("%d", str(number)))


def _shards(
    op: str,
    index: Any,
    shard_count: int,
    template: str,
    function: Callable[[int, int], int] | None,
    clone: Callable[[Any], Any],
) -> Any:
    """The number of each shard, its centroids, and an index for it whose quantizer is empty."""
    count = _host.integer(op, "shard_count", shard_count, 1)
    if "%d" not in template:
        raise RuntimeError(f"[{op}] filename_template must contain %d. Received {template!r}.")
    if index.quantizer.ntotal == 0:
        raise RuntimeError(f"[{op}] The index must have centroids. Received one that has none.")
    choose = DefaultShardingFunction() if function is None else function
    homes = np.array([choose(i, count) for i in range(index.quantizer.ntotal)], dtype=np.int64)
    if homes.min() < 0 or homes.max() >= count:
        raise ArgumentError(
            f"[{op}] sharding_function must return 0 to {count - 1}. Received {homes[homes >= 0].max()}."
        )
    for number in range(count):
        shard = clone(index)
        shard.quantizer.reset()
        yield number, np.flatnonzero(homes == number), shard
