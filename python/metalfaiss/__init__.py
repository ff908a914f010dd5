"""Similarity search, and the linear algebra under it, as native primitives of MLX.

``import metalfaiss as faiss`` is meant literally: the names, arguments and results are FAISS's.
"""

from metalfaiss import _loader as _loader  # first: checks MLX before anything loads the extension
from metalfaiss._core import num_threads, set_num_threads, set_simd_level, simd_level
from metalfaiss.autotune import (
    AutoTuneCriterion,
    IntersectionCriterion,
    OneRecallAtRCriterion,
    OperatingPoint,
    OperatingPoints,
    ParameterRange,
    ParameterSpace,
)
from metalfaiss.clustering import (
    Clustering,
    ClusteringInitMethod_RANDOM,
    ClusteringIterationStats,
    ClusteringParameters,
    Kmeans,
    kmeans_clustering,
)
from metalfaiss.config import show_config
from metalfaiss.distances import knn
from metalfaiss.factory import index_binary_factory, index_factory, reverse_index_factory
from metalfaiss.hamming import (
    binary_to_real,
    bitvecs2fvecs,
    fvecs2bitvecs,
    hammings,
    knn_hamming,
    pack_bitstrings,
    real_to_binary,
    unpack_bitstrings,
)
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.binary import IndexBinary, IndexBinaryFlat
from metalfaiss.indexes.binary_id_map import IndexBinaryIDMap, IndexBinaryIDMap2
from metalfaiss.indexes.binary_ivf import IndexBinaryIVF
from metalfaiss.indexes.flat import IndexFlat, IndexFlatIP, IndexFlatL2
from metalfaiss.indexes.idmap import IndexIDMap, IndexIDMap2
from metalfaiss.indexes.lsh import IndexLSH
from metalfaiss.indexes.pretransform import IndexPreTransform
from metalfaiss.indexes.refine import IndexRefine, IndexRefineFlat
from metalfaiss.indexes.replicas import IndexProxy, IndexReplicas
from metalfaiss.indexes.shards import IndexShards
from metalfaiss.integration import install_as_faiss
from metalfaiss.inverted_lists import ArrayInvertedLists, DirectMap, InvertedLists
from metalfaiss.metrics import (
    METRIC_GOWER,
    METRIC_INNER_PRODUCT,
    METRIC_L1,
    METRIC_L2,
    METRIC_BrayCurtis,
    METRIC_Canberra,
    METRIC_Jaccard,
    METRIC_JensenShannon,
    METRIC_Linf,
    METRIC_Lp,
    METRIC_NaNEuclidean,
    is_similarity_metric,
)
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
from metalfaiss.transforms import (
    CenteringTransform,
    HadamardRotation,
    ITQMatrix,
    ITQTransform,
    LinearTransform,
    NormalizationTransform,
    OPQMatrix,
    PCAMatrix,
    RandomRotationMatrix,
    RemapDimensionsTransform,
    VectorTransform,
)
from metalfaiss.vectors import (
    Float32Vector,
    Float64Vector,
    Int8Vector,
    Int16Vector,
    Int32Vector,
    Int64Vector,
    UInt8Vector,
    UInt16Vector,
    UInt32Vector,
    UInt64Vector,
    copy_array_to_vector,
    vector_float_to_array,
    vector_to_array,
)

__all__ = [
    "METRIC_GOWER",
    "METRIC_INNER_PRODUCT",
    "METRIC_L1",
    "METRIC_L2",
    "ArrayInvertedLists",
    "AutoTuneCriterion",
    "CenteringTransform",
    "Clustering",
    "ClusteringInitMethod_RANDOM",
    "ClusteringIterationStats",
    "ClusteringParameters",
    "DirectMap",
    "Float16",
    "Float32",
    "Float32Vector",
    "Float64Vector",
    "HadamardRotation",
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
    "ITQMatrix",
    "ITQTransform",
    "IVFSearchParameters",
    "Index",
    "IndexBinary",
    "IndexBinaryFlat",
    "IndexBinaryIDMap",
    "IndexBinaryIDMap2",
    "IndexBinaryIVF",
    "IndexFlat",
    "IndexFlatIP",
    "IndexFlatL2",
    "IndexIDMap",
    "IndexIDMap2",
    "IndexLSH",
    "IndexPreTransform",
    "IndexProxy",
    "IndexRefine",
    "IndexRefineFlat",
    "IndexRefineSearchParameters",
    "IndexReplicas",
    "IndexShards",
    "Int8",
    "Int8Vector",
    "Int16Vector",
    "Int32Vector",
    "Int64Vector",
    "IntersectionCriterion",
    "InvertedLists",
    "Kmeans",
    "LinearTransform",
    "METRIC_BrayCurtis",
    "METRIC_Canberra",
    "METRIC_Jaccard",
    "METRIC_JensenShannon",
    "METRIC_Linf",
    "METRIC_Lp",
    "METRIC_NaNEuclidean",
    "NormalizationTransform",
    "OPQMatrix",
    "OneRecallAtRCriterion",
    "OperatingPoint",
    "OperatingPoints",
    "PCAMatrix",
    "ParameterRange",
    "ParameterSpace",
    "PyCallbackIDSelector",
    "RandomRotationMatrix",
    "RemapDimensionsTransform",
    "SearchParameters",
    "SearchParametersIVF",
    "SearchParametersPreTransform",
    "UInt8",
    "UInt8Vector",
    "UInt16Vector",
    "UInt32Vector",
    "UInt64Vector",
    "VectorTransform",
    "binary_to_real",
    "bitvecs2fvecs",
    "copy_array_to_vector",
    "fvecs2bitvecs",
    "hammings",
    "index_binary_factory",
    "index_factory",
    "install_as_faiss",
    "is_similarity_metric",
    "kmeans_clustering",
    "knn",
    "knn_hamming",
    "num_threads",
    "pack_bitstrings",
    "pairwise_distances",
    "real_to_binary",
    "reverse_index_factory",
    "select_k",
    "set_num_threads",
    "set_simd_level",
    "show_config",
    "simd_level",
    "unpack_bitstrings",
    "vector_float_to_array",
    "vector_to_array",
]

__version__ = _loader.VERSION
