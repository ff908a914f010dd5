"""FAISS's public names: which of those that programs use most exist here, and that constants have FAISS's values."""

import inspect

import faiss
import pytest

import metalfaiss

# The 60 names that most of FAISS's own files use, most used first: what there is, and what will be.
MOST_USED = [
    "index_factory", "METRIC_L2", "IndexFlatL2", "omp_set_num_threads", "swig_ptr", "METRIC_INNER_PRODUCT",
    "read_index", "downcast_index", "IndexIVFFlat", "vector_to_array", "deserialize_index", "serialize_index",
    "write_index", "IndexPreTransform", "IndexFlat", "knn", "ScalarQuantizer", "extract_index_ivf",
    "eval_intersection", "IndexBinaryFlat", "ParameterSpace", "normalize_L2", "copy_array_to_vector",
    "omp_get_max_threads", "IndexScalarQuantizer", "IndexFlatIP", "IDSelectorBatch", "get_num_gpus",
    "clone_index", "SIMDConfig", "IndexBinaryIVF", "randn", "Clustering", "IndexIDMap", "Kmeans",
    "IDSelectorRange", "SIMDLevel_NONE", "IndexIVFScalarQuantizer", "downcast_VectorTransform",
    "IndexRefineFlat", "SearchParametersIVF", "PCAMatrix", "ResultHeap", "IndexRefine", "IVFSearchParameters",
    "Index", "IndexIVF", "downcast_InvertedLists", "IO_FLAG_MMAP", "cvar", "index_cpu_to_all_gpus",
]  # fmt: skip
PLANNED = [
    "IndexIVFPQ", "IndexHNSWFlat", "IndexPQ", "ProductQuantizer", "IndexPQFastScan", "AdditiveQuantizer",
    "ResidualQuantizer", "IndexRaBitQ", "IndexIVFRaBitQ",
]  # fmt: skip
CONSTANTS = [
    name
    for name in metalfaiss.__all__
    if hasattr(faiss, name) and isinstance(getattr(metalfaiss, name), int | float | str)
]


def test_the_names_most_used() -> None:
    assert len({*MOST_USED, *PLANNED}) == 60
    assert not [name for name in (*MOST_USED, *PLANNED) if not hasattr(faiss, name)]
    assert not [name for name in MOST_USED if name not in metalfaiss.__all__]
    assert not [name for name in PLANNED if name in metalfaiss.__all__], "is there now: move it"


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_have_the_values_of_faiss(name: str) -> None:
    assert getattr(metalfaiss, name) == getattr(faiss, name)


@pytest.mark.parametrize("prefix", ["METRIC_", "SIMDLevel_", "IO_FLAG_", "FAISS_VERSION_"])
def test_no_constant_is_missing(prefix: str) -> None:
    assert {name for name in dir(faiss) if name.startswith(prefix)} <= set(metalfaiss.__all__)


def test_help_shows_the_arguments_of_constructors() -> None:
    assert list(inspect.signature(metalfaiss.IndexFlatL2).parameters) == ["d", "dtype"]
    assert list(inspect.signature(metalfaiss.IndexBinaryFlat).parameters) == ["d"]
