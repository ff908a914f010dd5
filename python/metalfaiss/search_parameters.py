"""Settings of one search: FAISS's ``SearchParameters`` classes. A search never changes them, nor the index."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from metalfaiss.ownership import Owned
from metalfaiss.selectors import IDSelector, Selectable, as_selector

__all__ = [
    "IVFSearchParameters",
    "IndexRefineSearchParameters",
    "SearchParameters",
    "SearchParametersIVF",
    "SearchParametersPreTransform",
    "bound",
    "with_selector",
]


class SearchParameters(Owned):
    """What every search takes.

    Args:
        sel: which ids take part: an ``IDSelector``, a callable of an id, a boolean array over the ids 0, 1, ..., an
            array of ids, or None for all.

    Raises:
        TypeError: ``sel`` is none of these.
    """

    def __init__(self, *, sel: Selectable | None = None) -> None:
        self.sel = sel

    @property
    def sel(self) -> IDSelector | None:
        """Which ids take part."""
        return self._sel

    @sel.setter
    def sel(self, sel: Selectable | None) -> None:
        self._sel = None if sel is None else as_selector(type(self).__name__, sel)

    def _filter(self) -> IDSelector | None:
        """Which ids take part, whether these parameters say so or those that they hold for an index inside."""
        return self.sel

    def __repr__(self) -> str:
        fields = {name.lstrip("_"): value for name, value in vars(self).items()}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in fields.items())})"


class SearchParametersIVF(SearchParameters):
    """For indexes with inverted lists.

    Args:
        sel: which ids take part.
        nprobe: how many lists are searched.
        max_codes: how many distances a search for neighbours computes for a query, at most; 0 for no limit. The entries
            of a list behind what is left of it are not looked at, whether ``sel`` takes them or not.
        quantizer_params: parameters of the search of the quantizer.
        max_lists_num: a limit of FAISS's fast scan; it does not limit the searches of other lists, as in FAISS.
        ensure_topk_full: ``max_codes`` counts as at least k, and ends a search behind a list, not within it.
        max_empty_result_buckets: a range search ends after so many lists without a result, one after another; 0: never.
        inverted_list_context: None: the lists here take none.

    Raises:
        TypeError: ``inverted_list_context`` is given.
    """

    def __init__(
        self,
        *,
        sel: Selectable | None = None,
        nprobe: int = 1,
        max_codes: int = 0,
        quantizer_params: SearchParameters | None = None,
        max_lists_num: int = 0,
        ensure_topk_full: bool = False,
        max_empty_result_buckets: int = 0,
        inverted_list_context: None = None,
    ) -> None:
        super().__init__(sel=sel)
        self.nprobe = nprobe
        self.max_codes = max_codes
        self.quantizer_params = quantizer_params
        self.max_lists_num = max_lists_num
        self.ensure_topk_full = ensure_topk_full
        self.max_empty_result_buckets = max_empty_result_buckets
        if inverted_list_context is not None:
            raise TypeError(
                f"[{type(self).__name__}] inverted_list_context must be None, as lists here take none. "
                f"Received {type(inverted_list_context).__name__}."
            )
        self.inverted_list_context = inverted_list_context


IVFSearchParameters = SearchParametersIVF


class SearchParametersPreTransform(SearchParameters):
    """For ``IndexPreTransform``.

    Args:
        index_params: parameters of the search of the index behind the transforms.
        sel: which ids take part; None for what ``index_params`` say.
    """

    def __init__(self, *, index_params: SearchParameters | None = None, sel: Selectable | None = None) -> None:
        super().__init__(sel=sel)
        self.index_params = index_params

    def _filter(self) -> IDSelector | None:
        return self.sel if self.sel is not None or self.index_params is None else self.index_params._filter()


class IndexRefineSearchParameters(SearchParameters):
    """For ``IndexRefine``.

    Args:
        k_factor: the base index finds ``k * k_factor`` candidates.
        base_index_params: parameters of its search.
        sel: which ids take part; None for what ``base_index_params`` say.
    """

    def __init__(
        self,
        *,
        k_factor: float = 1.0,
        base_index_params: SearchParameters | None = None,
        sel: Selectable | None = None,
    ) -> None:
        super().__init__(sel=sel)
        self.k_factor = k_factor
        self.base_index_params = base_index_params

    def _filter(self) -> IDSelector | None:
        inner = self.base_index_params
        return self.sel if self.sel is not None or inner is None else inner._filter()


def with_selector(params: SearchParameters | None, sel: IDSelector | None) -> SearchParameters | None:
    """The parameters with a selector, unless it is None: for an index inside of another one."""
    if sel is None:
        return params
    out = SearchParameters() if params is None else copy.copy(params)
    out.sel = sel
    return out


def bound(params: SearchParameters | None, ids: Callable[[], NDArray[np.int64]]) -> SearchParameters | None:
    """The parameters, with Python predicates replaced by what they say about ``ids()``."""
    sel = None if params is None else params._filter()
    return params if sel is None else with_selector(params, sel._bound(ids))
