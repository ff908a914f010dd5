"""The abilities that not every type of index has: by default each raises RuntimeError, as FAISS does."""

from __future__ import annotations

from typing import Any, NoReturn

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss._host import Stream
from metalfaiss.search_parameters import SearchParameters
from metalfaiss.selectors import IDSelector

__all__ = ["Unsupported"]


class Unsupported:
    """Hooks of ``Index``, which names their arguments; a subclass overrides those that it has."""

    def _unsupported(self, method: str, instead: str = "") -> NoReturn:
        raise RuntimeError(
            f"[{type(self).__name__}.{method}] The index must be of a type that supports {method}{instead}. "
            f"Received {type(self).__name__}."
        )

    def _add(self, x: mx.array) -> None:
        """Stores vectors of any real dtype."""
        self._unsupported("add")

    def _add_with_ids(self, x: mx.array, ids: NDArray[np.int64]) -> None:
        """Stores vectors under ids; ``ids`` is the index's to keep."""
        self._unsupported("add_with_ids", ", such as IndexIDMap around this one")

    def _range_search(
        self, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int64]]:
        """Limits (n + 1,), distances and ids; ``params.sel`` is native."""
        self._unsupported("range_search")

    def _remove_ids(self, selector: IDSelector) -> int:
        """Removes what a native selector selects, and returns how many."""
        self._unsupported("remove_ids")

    def _merge_from(self, other: Any, add_id: int) -> None:
        """Takes the vectors of a compatible index, and empties it."""
        self._unsupported("merge_from")

    def _reconstruct_n(self, n0: int, ni: int) -> mx.array:
        """Vectors (ni, d), float32; ``n0`` and ``ni`` lie in the index."""
        self._unsupported("reconstruct")

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        """Vectors (n, d), float32, of lazy ids, NaN where there is none."""
        self._unsupported("reconstruct")

    def _sa_code_size(self) -> int:
        self._unsupported("sa_code_size")

    def _sa_encode(self, x: mx.array) -> mx.array | NDArray[np.uint8]:
        """Codes (n, code size), uint8, of float32 vectors."""
        self._unsupported("sa_encode")

    def _sa_decode(self, codes: mx.array) -> mx.array | NDArray[np.float32]:
        """Vectors (n, d), float32, of uint8 codes."""
        self._unsupported("sa_decode")

    def _add_sa_codes(self, codes: NDArray[np.uint8], ids: NDArray[np.int64] | None) -> None:
        """Stores codes (n, code size), under ids (n,) or the next ones."""
        self._unsupported("add_sa_codes")

    def _permute(self, order: NDArray[np.int64]) -> None:
        """Vector i becomes what vector ``order[i]`` was."""
        self._unsupported("permute_entries")
