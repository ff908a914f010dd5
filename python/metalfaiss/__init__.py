"""Similarity search, and the linear algebra under it, as native primitives of MLX.

``import metalfaiss as faiss`` is meant literally: the names, arguments and results are FAISS's.
"""

from metalfaiss import _loader as _loader  # first: checks MLX before anything loads the extension
from metalfaiss._core import num_threads, set_num_threads, set_simd_level, simd_level
from metalfaiss.config import show_config
from metalfaiss.distances import knn
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.flat import IndexFlat, IndexFlatIP, IndexFlatL2
from metalfaiss.inverted_lists import ArrayInvertedLists, DirectMap, InvertedLists
from metalfaiss.metrics import METRIC_INNER_PRODUCT, METRIC_L2
from metalfaiss.numeric import Float16, Float32, Int8, UInt8
from metalfaiss.pairwise import pairwise_distances
from metalfaiss.search_parameters import (
    IndexRefineSearchParameters,
    IVFSearchParameters,
    SearchParameters,
    SearchParametersIVF,
    SearchParametersPreTransform,
)
from metalfaiss.selection import select_k
from metalfaiss.selectors import (
    IDSelector,
    IDSelectorAll,
    IDSelectorAnd,
    IDSelectorArray,
    IDSelectorBatch,
    IDSelectorBitmap,
    IDSelectorNot,
    IDSelectorOr,
    IDSelectorRange,
    IDSelectorTranslated,
    IDSelectorXOr,
    PyCallbackIDSelector,
)

__all__ = [
    "METRIC_INNER_PRODUCT",
    "METRIC_L2",
    "ArrayInvertedLists",
    "DirectMap",
    "Float16",
    "Float32",
    "IDSelector",
    "IDSelectorAll",
    "IDSelectorAnd",
    "IDSelectorArray",
    "IDSelectorBatch",
    "IDSelectorBitmap",
    "IDSelectorNot",
    "IDSelectorOr",
    "IDSelectorRange",
    "IDSelectorTranslated",
    "IDSelectorXOr",
    "IVFSearchParameters",
    "Index",
    "IndexFlat",
    "IndexFlatIP",
    "IndexFlatL2",
    "IndexRefineSearchParameters",
    "Int8",
    "InvertedLists",
    "PyCallbackIDSelector",
    "SearchParameters",
    "SearchParametersIVF",
    "SearchParametersPreTransform",
    "UInt8",
    "knn",
    "num_threads",
    "pairwise_distances",
    "select_k",
    "set_num_threads",
    "set_simd_level",
    "show_config",
    "simd_level",
]

__version__ = _loader.VERSION
