"""What programs written for FAISS catch: each error is also of the class that FAISS raises in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

import metalfaiss

D = 8
X = np.random.default_rng(0).random((300, D), dtype=np.float32)
CODES = np.random.default_rng(0).integers(0, 256, (100, 4), dtype=np.uint8)


def filled(f: Any, kind: str) -> Any:
    index = f.index_factory(D, kind)
    index.train(X)
    index.add_with_ids(X, np.arange(300) + 5) if "IDMap" in kind else index.add(X)
    return index


def mapped(f: Any, kind: int) -> Any:
    index = filled(f, "IVF4,Flat")
    index.set_direct_map_type(kind)
    return index


def without_lists(f: Any) -> Any:
    index = filled(f, "IVF4,Flat")
    index.nprobe = 0
    return index


def with_ids(f: Any) -> Any:
    index = f.index_factory(D, "IVF4,Flat")
    index.train(X)
    index.add_with_ids(X, np.arange(300) + 5)
    return index


def binary(f: Any) -> Any:
    index = f.IndexBinaryFlat(32)
    index.add(CODES)
    return index


def written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


CALLS: dict[str, Any] = {
    "reconstruct": lambda f, p: filled(f, "Flat").reconstruct(300),
    "reconstruct_n": lambda f, p: filled(f, "Flat").reconstruct_n(290, 20),
    "reconstruct_n before": lambda f, p: filled(f, "Flat").reconstruct_n(-1, 3),
    "reconstruct_batch": lambda f, p: filled(f, "Flat").reconstruct_batch([1, 400]),
    "reconstruct without a map": lambda f, p: filled(f, "IVF4,Flat").reconstruct(3),
    "reconstruct by an array": lambda f, p: mapped(f, f.DirectMap.Array).reconstruct(999),
    "reconstruct by a hash table": lambda f, p: mapped(f, f.DirectMap.Hashtable).reconstruct(999),
    "reconstruct_n of lists": lambda f, p: mapped(f, f.DirectMap.Array).reconstruct_n(290, 20),
    "reconstruct of IDMap2": lambda f, p: filled(f, "IDMap2,Flat").reconstruct(2),
    "reconstruct of IDMap": lambda f, p: filled(f, "IDMap,Flat").reconstruct(7),
    "reconstruct of SQ8": lambda f, p: filled(f, "SQ8").reconstruct(300),
    "reconstruct through PCA": lambda f, p: filled(f, "PCA4,Flat").reconstruct(300),
    "add untrained": lambda f, p: f.index_factory(D, "IVF4,Flat").add(X),
    "search untrained": lambda f, p: f.index_factory(D, "SQ8").search(X, 3),
    "add": lambda f, p: filled(f, "Flat").add(X[:, :4]),
    "add one": lambda f, p: filled(f, "Flat").add(X[0]),
    "train": lambda f, p: filled(f, "IVF4,Flat").train(X[:, :4]),
    "search": lambda f, p: filled(f, "Flat").search(X[:, :4], 3),
    "search for none": lambda f, p: filled(f, "Flat").search(X, 0),
    "search no lists": lambda f, p: without_lists(f).search(X, 3),
    "range_search": lambda f, p: filled(f, "Flat").range_search(X[:, :4], 1.0),
    "D": lambda f, p: filled(f, "Flat").search(X, 3, D=np.zeros((3, 3), np.float32)),
    "ids": lambda f, p: filled(f, "IDMap,Flat").add_with_ids(X, np.arange(3)),
    "add without ids": lambda f, p: filled(f, "IDMap,Flat").add(X),
    "add with ids": lambda f, p: filled(f, "Flat").add_with_ids(X, np.arange(300)),
    "add codes": lambda f, p: binary(f).add(CODES[:, :2]),
    "search codes": lambda f, p: binary(f).search(CODES, 0),
    "decode": lambda f, p: filled(f, "Flat").sa_decode(np.zeros((3, 3), np.uint8)),
    "rotate": lambda f, p: f.RandomRotationMatrix(D, 4).apply(X[:, :3]),
    "read nothing": lambda f, p: f.read_index(str(p / "nothing")),
    "read an empty file": lambda f, p: f.read_index(written(p / "empty", b"")),
    "read a bad file": lambda f, p: f.read_index(written(p / "bad", b"IxF2junk")),
    "read no binary index": lambda f, p: f.read_index_binary(written(p / "bad", b"IxF2junk")),
    "deserialize": lambda f, p: f.deserialize_index(np.zeros(10, np.uint8)),
    "write nowhere": lambda f, p: f.write_index(f.IndexFlatL2(D), str(p / "nothing" / "index")),
    "a reader of nothing": lambda f, p: f.FileIOReader(str(p / "nothing")),
    "a writer to nowhere": lambda f, p: f.FileIOWriter(str(p / "nothing" / "index")),
    "a folder": lambda f, p: f.read_index(str(p)),
    "factory": lambda f, p: f.index_factory(D, "Nothing"),
    "merge": lambda f, p: filled(f, "Flat").merge_from(filled(f, "SQ8")),
    "eval_intersection": lambda f, p: f.eval_intersection(np.zeros((3, 2)), np.zeros((4, 2))),
    "extract": lambda f, p: f.extract_index_ivf(filled(f, "Flat")),
    "direct map of other ids": lambda f, p: with_ids(f).make_direct_map(),
    "bits": lambda f, p: f.IndexBinaryFlat(63),
    "clusters of none": lambda f, p: f.Kmeans(D, 4).assign(X),
    "nprobe": lambda f, p: setattr(filled(f, "IVF4,Flat"), "nprobe", 2.5),
    "verbose": lambda f, p: setattr(f.IndexFlatL2(D), "verbose", "yes"),
    "knn": lambda f, p: f.knn(X, X[:, :4].copy(), 3),
    "knn of bits": lambda f, p: f.knn_hamming(CODES, CODES[:, :2].copy(), 3),
    "attribute": lambda f, p: setattr(f.IndexFlatL2(D), "nothing", 1),
}


@pytest.mark.parametrize("name", CALLS)
def test_errors_are_of_the_class_of_faiss(name: str, tmp_path: Path) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        CALLS[name](faiss, tmp_path)
    with pytest.raises(theirs.type):
        CALLS[name](metalfaiss, tmp_path)


def test_errors_are_also_what_python_calls_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing") as missing:
        metalfaiss.read_index(str(tmp_path / "nothing"))
    assert missing.value.filename == str(tmp_path / "nothing")
    for name in ("search", "search for none", "reconstruct", "read a bad file"):
        with pytest.raises(ValueError, match=r"^\["):
            CALLS[name](metalfaiss, tmp_path)


@pytest.mark.parametrize("lib", [faiss, metalfaiss], ids=["faiss", "metalfaiss"])
def test_settings_keep_their_type(lib: Any) -> None:
    index = filled(lib, "IVF4,Flat")
    index.nprobe = 3 if lib is faiss else np.int64(3)
    index.verbose = False
    assert repr(index.nprobe) == "3"
    assert index.verbose is False
    assert index.check_ids_sorted()
    index.add_with_ids(X[:1], np.array([7]))
    assert not index.check_ids_sorted()


@pytest.mark.parametrize("lib", [faiss, metalfaiss], ids=["faiss", "metalfaiss"])
def test_ownership(lib: Any) -> None:
    """What programs say to C++ before Python lets go of an object."""
    for made in (
        lib.IndexFlatL2(D),
        lib.IndexBinaryFlat(32),
        lib.PCAMatrix(D, 4),
        lib.IDSelectorRange(1, 2),
        lib.ArrayInvertedLists(2, 8),
        lib.SearchParametersIVF(),
        lib.ScalarQuantizer(D, lib.ScalarQuantizer.QT_8bit),
        lib.ClusteringParameters(),
        lib.ParameterSpace(),
        lib.VectorIOReader(),
        lib.VectorIOWriter(),
        lib.RangeSearchResult(2),
    ):
        assert made.thisown
        assert made.this.own()
        made.this.disown()
        assert not made.thisown
        made.this.acquire()
        assert made.this.own()
        made.thisown = 0
        assert not made.this.own()
        made.thisown = True
    quantizer = lib.IndexFlatL2(D)
    index = lib.IndexIVFFlat(quantizer, D, 4)
    index.own_fields = True
    quantizer.this.disown()
    del quantizer
    index.train(X)
    index.add(X)
    assert index.search(X[:1], 1)[0][0, 0] == pytest.approx(0, abs=1e-6)
