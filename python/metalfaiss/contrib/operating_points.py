"""Which settings are worth their time: those that none beats in both performance and time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss.errors import ArgumentError

__all__ = ["OperatingPoints", "OperatingPointsWithRanges"]

Point = tuple[Any, float, float]


class OperatingPoints:
    """Settings that were tried, each with its performance, from 0 to 1, and its time.

    A class of one's own says what a key is: ``compare_keys`` and ``do_nothing_key``.

    Attributes:
        operating_points: (key, performance, time) of those that no other beats.
        suboptimal_points: the others.
    """

    def __init__(self) -> None:
        self.operating_points: list[Point] = []
        self.suboptimal_points: list[Point] = []

    def compare_keys(self, k1: Any, k2: Any) -> int:
        """1 if ``k1`` is at least as slow and as good as ``k2``, -1 if it is the other way round, 0 if nobody knows."""
        raise NotImplementedError

    def do_nothing_key(self) -> Any:
        """The key of the fastest settings."""
        raise NotImplementedError

    def is_pareto_optimal(self, perf_new: float, t_new: float) -> bool:
        """Whether no point is at least as good and as fast."""
        return not any(perf >= perf_new and t <= t_new for _, perf, t in self.operating_points)

    def predict_bounds(self, key: Any) -> tuple[float, float]:
        """The best performance and the least time that settings can have, by what was tried."""
        max_perf, min_time = 1.0, 0.0
        for other, perf, t in self.operating_points + self.suboptimal_points:
            order = self.compare_keys(key, other)
            if order > 0:
                min_time = max(min_time, t)
            elif order < 0:
                max_perf = min(max_perf, perf)
        return max_perf, min_time

    def should_run_experiment(self, key: Any) -> bool:
        """Whether settings may turn out to be worth their time."""
        return self.is_pareto_optimal(*self.predict_bounds(key))

    def add_operating_point(self, key: Any, perf: float, t: float) -> bool:
        """Notes what settings reached, and returns whether no other point beats them."""
        if not self.is_pareto_optimal(perf, t):
            self.suboptimal_points.append((key, perf, t))
            return False
        beaten = [point for point in self.operating_points if perf >= point[1] and t <= point[2]]
        kept = [point for point in self.operating_points if not (perf >= point[1] and t <= point[2])]
        self.suboptimal_points += beaten
        self.operating_points = [*kept, (key, perf, t)]
        return True


class OperatingPointsWithRanges(OperatingPoints):
    """Settings that are picked from ranges, in each of which a later value is slower and better.

    A key is an array of the positions in the ranges.

    Attributes:
        ranges: (name, values) of each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ranges: list[tuple[str, list[Any]]] = []

    def add_range(self, name: str, values: list[Any]) -> None:
        """Adds a range behind the others."""
        self.ranges.append((name, values))

    def compare_keys(self, k1: Any, k2: Any) -> int:
        """1 if no position in ``k1`` is below that in ``k2``, otherwise -1 if none is above it, otherwise 0."""
        if np.all(k1 >= k2):
            return 1
        return -1 if np.all(k2 >= k1) else 0

    def do_nothing_key(self) -> NDArray[np.int64]:
        """The first value of every range."""
        return np.zeros(len(self.ranges), dtype=np.int64)

    def num_experiments(self) -> int:
        """How many combinations there are."""
        return int(np.prod(self._sizes()))

    def sample_experiments(self, n_autotune: int, rs: Any = None) -> list[int]:
        """Numbers of combinations to try, the fastest and the slowest first.

        Args:
            n_autotune: how many, at least 2; 0 for all.
            rs: kept for FAISS's signature: the order is always the same.

        Raises:
            ValueError: ``n_autotune`` is 1 or negative.
        """
        if n_autotune < 0 or n_autotune == 1:
            raise ArgumentError(f"[sample_experiments] n_autotune must be 0, or at least 2. Received {n_autotune}.")
        total, draw = self.num_experiments(), np.random.RandomState(123)
        if n_autotune == 0 or total < n_autotune:
            between = draw.permutation(total - 2)
        else:
            between = draw.choice(total - 2, size=n_autotune - 2, replace=False)
        return [0, total - 1, *(int(number) + 1 for number in between)]

    def cno_to_key(self, cno: int) -> NDArray[np.int64]:
        """The key of the combination of a number.

        Raises:
            ValueError: there is none.
        """
        if not 0 <= cno < self.num_experiments():
            raise ArgumentError(f"[cno_to_key] cno must be from 0 to {self.num_experiments() - 1}. Received {cno}.")
        return np.array(np.unravel_index(cno, self._sizes(), order="F"), dtype=np.int64)

    def get_parameters(self, k: Any) -> dict[str, Any]:
        """The values that a key stands for, by name."""
        return {name: values[at] for (name, values), at in zip(self.ranges, k, strict=True)}

    def restrict_range(self, name: str, max_val: Any) -> None:
        """Removes values that are not below ``max_val``.

        Raises:
            RuntimeError: there is no such range.
        """
        known = dict(self.ranges)
        if name not in known:
            raise RuntimeError(f"[restrict_range] name must be one of {', '.join(known)}. Received {name!r}.")
        known[name][:] = [value for value in known[name] if value < max_val]

    def _sizes(self) -> Sequence[int]:
        return [len(values) for _, values in self.ranges]
