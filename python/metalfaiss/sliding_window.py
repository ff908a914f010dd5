"""A window that slides over slices of vectors: FAISS's ``SlidingIndexWindow``."""

from __future__ import annotations

from typing import Any

import numpy as np

from metalfaiss.inverted_lists import ArrayInvertedLists, InvertedLists
from metalfaiss.ivflib import check_compatible_for_merge, extract_index_ivf

__all__ = ["SlidingIndexWindow"]


class SlidingIndexWindow:
    """The vectors of the latest slices, in one index with inverted lists: a slice comes in as another index.

    Args:
        index: an empty trained index that is or wraps one with inverted lists in memory.

    Raises:
        RuntimeError: there are no such lists.

    Attributes:
        index: the index, which holds the window.
        n_slice: how many slices are in it.
        nlist: how many lists.
        sizes: how long each list was after each slice, shape (n_slice, nlist).
    """

    def __init__(self, index: Any) -> None:
        self.index = index
        self.ils = self._lists("SlidingIndexWindow", index)
        self.nlist = self.ils.nlist
        self.sizes = np.zeros((0, self.nlist), dtype=np.int64)

    @property
    def n_slice(self) -> int:
        """How many slices are in it."""
        return len(self.sizes)

    def step(self, sub_index: Any, remove_oldest: bool) -> None:
        """Puts a slice behind the others, and takes the oldest one out.

        Args:
            sub_index: an index like that of the window, which stays as it is; None for no slice.
            remove_oldest: whether the oldest slice goes.

        Raises:
            RuntimeError: there is nothing to do, no slice to take out, or the indexes are not compatible.
        """
        op = "SlidingIndexWindow.step"
        if sub_index is None and not remove_oldest:
            raise RuntimeError(f"[{op}] A slice must come or go. Received neither.")
        if remove_oldest and self.n_slice == 0:
            raise RuntimeError(f"[{op}] There must be a slice to take out. Received an empty window.")
        more = None
        if sub_index is not None:
            check_compatible_for_merge(self.index, sub_index)
            more = self._lists(op, sub_index)
        gone = self.sizes[0] if remove_oldest else np.zeros(self.nlist, dtype=np.int64)
        ivf = extract_index_ivf(self.index)
        with ivf._lock:
            for i in range(self.nlist):
                if gone[i]:
                    ids, codes = (a[gone[i] :].copy() for a in (self.ils.get_ids(i), self.ils.get_codes(i)))
                    self.ils.resize(i, 0)
                    self.ils.add_entries(i, ids, codes)
                if more is not None:
                    self.ils.add_entries(i, more.get_ids(i), more.get_codes(i))
            left = self.sizes[1:] - gone if remove_oldest else self.sizes
            self.sizes = left if more is None else np.concatenate([left, self.ils.sizes()[None]])
            ivf.ntotal = self.ils.compute_ntotal()

    def _lists(self, op: str, index: Any) -> InvertedLists:
        lists: InvertedLists = extract_index_ivf(index).invlists
        if not isinstance(lists, ArrayInvertedLists):
            raise RuntimeError(f"[{op}] The index must have ArrayInvertedLists. Received {type(lists).__name__}.")
        return lists
