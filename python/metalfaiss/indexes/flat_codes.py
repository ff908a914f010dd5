"""The base class of the indexes that keep one code of one size for each vector."""

from __future__ import annotations

from metalfaiss.distance_computers import DistanceComputer, FlatCodesDistanceComputer
from metalfaiss.indexes.base import Index

__all__ = ["IndexFlatCodes"]


class IndexFlatCodes(Index):
    """Base class of ``IndexFlat``, ``IndexScalarQuantizer`` and ``IndexLSH``: vector i is code i.

    Attributes:
        code_size: the bytes of a code.
        codes: all codes.
    """

    def get_FlatCodesDistanceComputer(self) -> FlatCodesDistanceComputer:
        """Distances of a query to single stored vectors, and to codes."""
        return FlatCodesDistanceComputer(self)

    def get_distance_computer(self) -> DistanceComputer:
        """Distances of a query to single stored vectors."""
        return self.get_FlatCodesDistanceComputer()
