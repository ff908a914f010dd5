"""What settings reach: time against results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

__all__ = ["OperatingPoint", "OperatingPoints", "Sequence"]

NEVER = 1e50  # seconds, FAISS's

T = TypeVar("T")


class Sequence(list[T], Generic[T]):
    """A list with the methods of FAISS's vectors."""

    def size(self) -> int:
        return len(self)

    def at(self, i: int) -> T:
        return self[i]


@dataclass
class OperatingPoint:
    """What a setting reaches.

    Attributes:
        perf: how good the results are, 0 to 1.
        t: seconds.
        key: the setting in words.
        cno: its number.
    """

    perf: float
    t: float
    key: str
    cno: int


class OperatingPoints:
    """What was measured, and what of it is best.

    Attributes:
        all_pts: all points, in the order in which they came.
        optimal_pts: those that no other beats in both time and results, worst results first. The first one is to do
            nothing.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forgets all points."""
        self.all_pts: Sequence[OperatingPoint] = Sequence()
        self.optimal_pts: Sequence[OperatingPoint] = Sequence([OperatingPoint(0.0, 0.0, "", -1)])

    def add(self, perf: float, t: float, key: str, cno: int = 0) -> bool:
        """Adds a point, and says whether it is one of the best."""
        point = OperatingPoint(float(perf), float(t), key, int(cno))
        self.all_pts.append(point)
        best = self.optimal_pts
        if point.perf == 0 or any(other.perf >= point.perf and other.t <= point.t for other in best):
            return False
        kept = [other for other in best if other.perf > point.perf or other.t < point.t]
        self.optimal_pts = Sequence(sorted([*kept, point], key=lambda p: p.perf))
        return True

    def merge_with(self, other: OperatingPoints, prefix: str = "") -> int:
        """Adds the points of another one, and says how many are among the best."""
        return sum(self.add(p.perf, p.t, prefix + p.key, p.cno) for p in other.all_pts)

    def t_for_perf(self, perf: float) -> float:
        """The least time that reaches results as good; 1e50 where none does."""
        return next((point.t for point in self.optimal_pts if point.perf >= perf), NEVER)

    def display(self, only_optimal: bool = True) -> None:
        """Prints the points."""
        print(f"Tested {len(self.all_pts)} operating points, {len(self.optimal_pts)} ones are Pareto-optimal:")
        best = {p.cno for p in self.optimal_pts}
        for p in self.optimal_pts if only_optimal else self.all_pts:
            star = "*" if not only_optimal and p.cno in best else ""
            print(f"cno={p.cno} key={p.key} perf={p.perf:.4f} t={p.t:.3f} {star}")

    def all_to_gnuplot(self, fname: str) -> None:
        """Writes all points to a file, one in a line."""
        Path(fname).write_text("".join(f"{p.perf:g} {p.t:g} {p.key}\n" for p in self.all_pts))

    def optimal_to_gnuplot(self, fname: str) -> None:
        """Writes the steps of the best points to a file."""
        before = [0.0, *(p.perf for p in self.optimal_pts)]
        lines = (f"{a:g} {p.t:g}\n{p.perf:g} {p.t:g} {p.key}\n" for a, p in zip(before, self.optimal_pts, strict=False))
        Path(fname).write_text("".join(lines))
