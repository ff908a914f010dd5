"""How k-means runs, and what is told of its iterations."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from metalfaiss.errors import ArgumentError
from metalfaiss.ownership import Owned

__all__ = [
    "PARAMETERS",
    "ClusteringInitMethod_AFK_MC2",
    "ClusteringInitMethod_KMEANS_PLUS_PLUS",
    "ClusteringInitMethod_RANDOM",
    "ClusteringIterationStats",
    "ClusteringParameters",
    "IterationStats",
]

ClusteringInitMethod_RANDOM, ClusteringInitMethod_KMEANS_PLUS_PLUS, ClusteringInitMethod_AFK_MC2 = range(3)


@dataclass
class ClusteringParameters(Owned):
    """How k-means runs.

    Attributes:
        niter: iterations.
        nredo: how often it is run, each time from other points; the best run is kept.
        verbose: prints each iteration.
        spherical: whether centroids are brought to length 1.
        int_centroids: whether centroids are rounded to integers.
        update_index: whether the index is trained again at each iteration.
        frozen_centroids: whether the given initial centroids stay as they are.
        min_points_per_centroid: with fewer points a warning is printed.
        max_points_per_centroid: with more points a random subset is used.
        seed: of what is random; negative for the clock.
        decode_block_size: how many encoded vectors are decoded at a time.
        check_input_data_for_NaNs: whether NaNs and infinities are looked for.
        use_faster_subsampling: whether the subset comes from a faster random generator.
        init_method: how initial centroids are chosen: points at random (``ClusteringInitMethod_RANDOM``), far from each
            other (``ClusteringInitMethod_KMEANS_PLUS_PLUS``), or nearly so in less time
            (``ClusteringInitMethod_AFK_MC2``).
        afkmc2_chain_length: how many points the last of these looks at for each centroid.
        use_super_kmeans: kept for programs written for FAISS, where it chooses a faster way to assign points. Here that
            is chosen by itself.
        early_stop_threshold: stops where the objective changes by this, relative, or less. On a GPU 0 never stops,
            since to look at the objective would have the GPU wait.
    """

    niter: int = 25
    nredo: int = 1
    verbose: bool = False
    spherical: bool = False
    int_centroids: bool = False
    update_index: bool = False
    frozen_centroids: bool = False
    min_points_per_centroid: int = 39
    max_points_per_centroid: int = 256
    seed: int = 1234
    decode_block_size: int = 32768
    check_input_data_for_NaNs: bool = True
    use_faster_subsampling: bool = False
    init_method: int = ClusteringInitMethod_RANDOM
    afkmc2_chain_length: int = 50
    use_super_kmeans: bool = False
    early_stop_threshold: float = 0.0

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "init_method" and value not in (0, 1, 2):
            raise ArgumentError(
                f"[{type(self).__name__}] init_method must be one of ClusteringInitMethod_RANDOM (0), KMEANS_PLUS_PLUS "
                f"(1) and AFK_MC2 (2). Received {value!r}."
            )
        super().__setattr__(name, value)


PARAMETERS = tuple(field.name for field in fields(ClusteringParameters))


@dataclass
class ClusteringIterationStats:
    """What happened in an iteration.

    Attributes:
        obj: the objective: the sum of what the index says of each point and its centroid.
        time: seconds since training began.
        time_search: of those, how many were spent in searches.
        imbalance_factor: 1 where all clusters have one size, more the less they do.
        nsplit: how many clusters were split to fill empty ones.
    """

    obj: float = 0.0
    time: float = 0.0
    time_search: float = 0.0
    imbalance_factor: float = 0.0
    nsplit: int = 0


class IterationStats(list[ClusteringIterationStats]):
    """The iterations in order, with the methods of FAISS's vector of them."""

    def size(self) -> int:
        return len(self)

    def at(self, i: int) -> ClusteringIterationStats:
        return self[i]
