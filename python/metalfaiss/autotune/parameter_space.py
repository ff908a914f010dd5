"""Settings of indexes by name, and the search for the best of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import metalfaiss
from metalfaiss.autotune.criteria import AutoTuneCriterion
from metalfaiss.autotune.operating_points import OperatingPoints, Sequence
from metalfaiss.errors import ArgumentError
from metalfaiss.ownership import Owned
from metalfaiss.random import permutation
from metalfaiss.vectors import Float64Vector

__all__ = ["ParameterRange", "ParameterSpace"]

EXPERIMENTS_SEED = 1234


@dataclass
class ParameterRange:
    """The values that a setting may have, fastest first."""

    name: str
    values: Float64Vector = field(default_factory=Float64Vector)


class ParameterSpace(Owned):
    """The settings of an index, and all their combinations, numbered from 0: the first setting changes fastest.

    Attributes:
        parameter_ranges: of each setting.
        verbose: 0 for silence, 1 to print each experiment, 2 also each setting.
        n_experiments: how many combinations ``explore`` tries at most; 0 for all.
        batchsize: how many queries are searched at a time.
        thread_over_batches: whether batches are searched at the same time.
        min_test_duration: seconds; searches are repeated until they took so long.
    """

    def __init__(self) -> None:
        self.parameter_ranges: Sequence[ParameterRange] = Sequence()
        self.verbose = 1
        self.n_experiments = 500
        self.batchsize = 1 << 30
        self.thread_over_batches = False
        self.min_test_duration = 0.0

    def n_combinations(self) -> int:
        """How many combinations there are."""
        return math.prod(len(r.values) for r in self.parameter_ranges)

    def combination_name(self, cno: int) -> str:
        """A combination in words, as ``set_index_parameters`` takes them."""
        return ",".join(f"{name}={value:g}" for name, value in self._combination(cno))

    def combination_ge(self, c1: int, c2: int) -> bool:
        """Whether no setting of the first is below that of the second."""
        for r in self.parameter_ranges:
            n = len(r.values)
            if c1 % n < c2 % n:
                return False
            c1, c2 = c1 // n, c2 // n
        return True

    def add_range(self, name: str) -> ParameterRange:
        """The range of a setting, a new and empty one if there is none."""
        for r in self.parameter_ranges:
            if r.name == name:
                return r
        self.parameter_ranges.append(ParameterRange(name))
        return self.parameter_ranges[-1]

    def initialize(self, index: Any) -> None:
        """Adds the settings of an index, with usual values."""
        if isinstance(index, metalfaiss.IndexPreTransform):
            index = index.index
        if isinstance(index, metalfaiss.IndexRefine):
            self._extend("k_factor_rf", [2.0**i for i in range(7)])
            index = index.base_index
        if isinstance(index, metalfaiss.IndexPreTransform):
            index = index.index
        if hasattr(index, "nprobe"):
            self._extend("nprobe", [2.0**i for i in range(13) if 2**i < index.nlist])
            inner = ParameterSpace()
            inner.initialize(index.quantizer)
            for r in inner.parameter_ranges:
                self._extend(f"quantizer_{r.name}", list(r.values))

    def set_index_parameters(self, index: Any, parameters: int | str) -> None:
        """Sets a combination, by its number or in words.

        Args:
            index: gets them.
            parameters: a number, or ``name=value`` with commas or spaces between.

        Raises:
            RuntimeError: a setting is unknown, or no number.
        """
        for name, value in self._parsed(parameters) if isinstance(parameters, str) else self._combination(parameters):
            self.set_index_parameter(index, name, value)

    def set_index_parameter(self, index: Any, name: str, val: float) -> None:
        """Sets one setting, on the index itself or on the one inside that has it.

        Args:
            index: an index, or a binary one.
            name: nprobe, max_codes, k_factor_rf, verbose, or one with ``quantizer_`` before it.
            val: the value.

        Raises:
            RuntimeError: no index there has such a setting.
        """
        if self.verbose > 1:
            print(f"    set_index_parameter {name}={val:g}")
        if name == "verbose":
            index.verbose = bool(val)
        inner = self._inner(index)
        if inner is not None:
            if isinstance(index, metalfaiss.IndexRefine) and name == "k_factor_rf":
                index.k_factor = float(int(val))
                return
            for each in inner:
                self.set_index_parameter(each, name, val)
        elif name == "verbose":
            return
        elif name == "nprobe" and hasattr(index, "nprobe"):
            index.nprobe = int(val)
        elif name == "max_codes" and hasattr(index, "max_codes"):
            index.max_codes = int(val) if math.isfinite(val) else 0
        elif name.startswith("quantizer_") and hasattr(index, "quantizer"):
            self.set_index_parameter(index.quantizer, name.removeprefix("quantizer_"), val)
        else:
            raise RuntimeError(
                f"[ParameterSpace.set_index_parameter] name must be a setting of the index. Received {name!r} for "
                f"{type(index).__name__}."
            )

    def display(self) -> None:
        """Prints the settings and their values."""
        print(f"ParameterSpace, {len(self.parameter_ranges)} parameters, {self.n_combinations()} combinations:")
        for r in self.parameter_ranges:
            print(f"   {r.name}: [{', '.join(f'{v:g}' for v in r.values)}]")

    def explore(self, index: Any, xq: NDArray[Any], crit: AutoTuneCriterion) -> OperatingPoints:
        """Tries combinations: the fastest, the slowest, and others in random order. One that cannot be among the best,
        since more is known to be slower and better, is left out.

        Args:
            index: is searched, and keeps the last settings.
            xq: queries, shape (crit.nq, d).
            crit: how good the results are.

        Raises:
            ValueError: the shape of ``xq`` is wrong.
        """
        if xq.shape != (crit.nq, index.d):
            raise ArgumentError(
                f"[ParameterSpace.explore] xq must have shape {(crit.nq, index.d)}. Received {tuple(xq.shape)}."
            )
        points, n = OperatingPoints(), self.n_combinations()
        if self.n_experiments == 0:
            order = list(range(n))
        else:
            middle = permutation(max(n - 2, 0), max(n - 2, 0), EXPERIMENTS_SEED) + 1
            order = [0, n - 1, *middle.tolist()][: min(n, self.n_experiments)]
        for number, cno in enumerate(order):
            if self.n_experiments and self._hopeless(cno, points):
                continue
            self.set_index_parameters(index, cno)
            D, I, t = self._timed_search(index, xq, crit.nnn)
            perf = crit.evaluate(D, I)
            kept = points.add(perf, t, self.combination_name(cno), cno)
            if self.verbose:
                star = "*" if kept else ""
                print(f"  {number}/{len(order)}: {self.combination_name(cno)} perf={perf:.3f} t={t:.3f} s {star}")
        return points

    def _extend(self, name: str, values: list[float]) -> None:
        for value in values:
            self.add_range(name).values.push_back(value)
        self.add_range(name)

    def _combination(self, cno: int) -> list[tuple[str, float]]:
        chosen = []
        for r in self.parameter_ranges:
            chosen.append((r.name, float(r.values.at(cno % len(r.values)))))
            cno //= len(r.values)
        return chosen

    def _parsed(self, description: str) -> list[tuple[str, float]]:
        found = []
        for word in description.replace(",", " ").split():
            name, _, value = word.partition("=")
            try:
                found.append((name, float(value)))
            except ValueError:
                raise RuntimeError(
                    f"[ParameterSpace.set_index_parameters] Settings must read name=number. Received {word!r}."
                ) from None
        return found

    def _inner(self, index: Any) -> list[Any] | None:
        """The indexes that settings are passed on to."""
        if isinstance(index, metalfaiss.IndexRefine):
            return [index.base_index]
        if hasattr(index, "count") and hasattr(index, "at"):
            return [index.at(i) for i in range(index.count())]
        return [index.index] if hasattr(index, "index") else None

    def _hopeless(self, cno: int, points: OperatingPoints) -> bool:
        slower = [p.t for p in points.all_pts if self.combination_ge(cno, p.cno)]
        better = [p.perf for p in points.all_pts if self.combination_ge(p.cno, cno)]
        return points.t_for_perf(min(better, default=1.0)) <= max(slower, default=0.0)

    def _timed_search(self, index: Any, xq: NDArray[Any], k: int) -> tuple[NDArray[Any], NDArray[Any], float]:
        starts = range(0, max(len(xq), 1), self.batchsize)
        search: Callable[[int], Any] = lambda first: index.search(xq[first : first + self.batchsize], k)  # noqa: E731
        begun, runs = time.perf_counter(), 0
        while True:
            if self.thread_over_batches:
                with ThreadPoolExecutor() as pool:
                    found = list(pool.map(search, starts))
            else:
                found = [search(first) for first in starts]
            runs += 1
            passed = time.perf_counter() - begun
            if passed >= self.min_test_duration:
                break
        D, I = (np.concatenate([np.asarray(part) for part in parts]) for parts in zip(*found, strict=True))
        return D, I, passed / runs
