"""Data sets for benchmarks, read where they lie; nothing is downloaded.

A data set has vectors to train with, to store, to search for, and the true neighbours of the last.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from metalfaiss.contrib.vecs_io import bvecs_mmap, fvecs_mmap, ivecs_read
from metalfaiss.distances import knn
from metalfaiss.errors import ArgumentError
from metalfaiss.metrics import METRIC_INNER_PRODUCT, METRIC_L2

__all__ = [
    "Dataset",
    "DatasetBigANN",
    "DatasetDeep1B",
    "DatasetGIST1M",
    "DatasetGlove",
    "DatasetHDF5",
    "DatasetSIFT1M",
    "SyntheticDataset",
    "dataset_from_name",
    "sanitize",
    "set_dataset_basedir",
]

Vectors: TypeAlias = NDArray[np.float32]

_basedir = Path("datasets")


def set_dataset_basedir(path: str | os.PathLike[str]) -> None:
    """Where data sets made from now on look for their folders."""
    global _basedir
    _basedir = Path(path)


class Dataset:
    """Base class.

    Attributes:
        d: the dimension of the vectors.
        metric: ``"L2"`` or ``"IP"``.
        nq, nb, nt: how many queries, stored vectors and training vectors; -1 where it is unknown.
    """

    d, metric, nq, nb, nt = -1, "L2", -1, -1, -1

    def get_queries(self) -> Vectors:
        """The queries, shape (nq, d)."""
        raise NotImplementedError(f"[{type(self).__name__}.get_queries] A data set must have queries. Received none.")

    def get_train(self, maxtrain: int | None = None) -> Vectors:
        """Training vectors, shape (nt, d), or the first ``maxtrain`` of them."""
        raise NotImplementedError(f"[{type(self).__name__}.get_train] It has no training vectors.")

    def get_database(self) -> Vectors:
        """The vectors to store, shape (nb, d)."""
        raise NotImplementedError(f"[{type(self).__name__}.get_database] It has no vectors to store.")

    def database_iterator(self, bs: int = 128, split: tuple[int, int] = (1, 0)) -> Iterator[Vectors]:
        """The vectors to store in blocks of ``bs``; ``split`` (n, i) stands for part i of n."""
        parts, part = split
        vectors = self._database()
        begin, end = (len(vectors) * i // parts for i in (part, part + 1))
        for i in range(begin, end, bs):
            yield sanitize(vectors[i : min(i + bs, end)])

    def get_groundtruth(self, k: int | None = None) -> NDArray[np.int64]:
        """The ids of the k true neighbours of each query, shape (nq, k)."""
        raise NotImplementedError(f"[{type(self).__name__}.get_groundtruth] It has no true neighbours.")

    def check_sizes(self) -> None:
        """Reads all and compares the shapes with ``d``, ``nq``, ``nb`` and ``nt``.

        Raises:
            ValueError: they differ.
        """
        for name, n, vectors in (
            ("queries", self.nq, self.get_queries()),
            ("training vectors", self.nt, self.get_train(maxtrain=1000)),
            ("database", self.nb, self._database()),
        ):
            count = min(n, 1000) if name == "training vectors" else n
            if vectors.shape != (count, self.d):
                raise ArgumentError(
                    f"[{type(self).__name__}.check_sizes] The {name} must have shape {(count, self.d)}. "
                    f"Received {vectors.shape}."
                )

    def _database(self) -> NDArray[Any]:
        """The vectors to store, in any dtype and perhaps not yet read."""
        return self.get_database()

    def __str__(self) -> str:
        return f"dataset in dimension {self.d}, metric {self.metric}: nq={self.nq} nb={self.nb} nt={self.nt}"


class SyntheticDataset(Dataset):
    """Vectors near a curved surface of 10 dimensions: not quite random, as real ones are; the same as FAISS's.

    Args:
        d: the dimension.
        nt, nb, nq: how many training vectors, stored vectors and queries.
        metric: ``"L2"`` or ``"IP"``.
        seed: of the generator.
    """

    _intrinsic = 10

    def __init__(self, d: int, nt: int, nb: int, nq: int, metric: str = "L2", seed: int = 1338) -> None:
        self.d, self.nt, self.nb, self.nq, self.metric = d, nt, nb, nq, metric
        generator = np.random.RandomState(seed)
        plane = generator.normal(size=(nt + nb + nq, self._intrinsic))
        directions = generator.rand(self._intrinsic, d)
        frequencies = generator.rand(d) * 4 + 0.1
        x = np.sin(plane @ directions * frequencies).astype(np.float32)
        self._train, self._base, self._queries = np.split(x, [nt, nt + nb])

    def get_queries(self) -> Vectors:
        return self._queries

    def get_train(self, maxtrain: int | None = None) -> Vectors:
        return self._train[:maxtrain]

    def get_database(self) -> Vectors:
        return self._base

    def get_groundtruth(self, k: int | None = None) -> NDArray[np.int64]:
        metric = METRIC_L2 if self.metric == "L2" else METRIC_INNER_PRODUCT
        return knn(self._queries, self._base, 100 if k is None else k, metric)[1]


class _Files(Dataset):
    """A folder of files in the layout of the TEXMEX data sets."""

    def __init__(self, folder: str, queries: str, train: str, base: str, truth: str) -> None:
        self._folder = _basedir / folder
        self._names = {"queries": queries, "train": train, "base": base, "truth": truth}

    def _open(self, which: str, n: int) -> NDArray[Any]:
        path = self._folder / self._names[which]
        mapped = bvecs_mmap(path) if path.suffix == ".bvecs" else fvecs_mmap(path)
        return mapped[: None if n < 0 else n]

    def get_queries(self) -> Vectors:
        return sanitize(self._open("queries", self.nq))

    def get_train(self, maxtrain: int | None = None) -> Vectors:
        return sanitize(self._open("train", self.nt if maxtrain is None else min(maxtrain, self.nt)))

    def _database(self) -> NDArray[Any]:
        return self._open("base", self.nb)

    def get_database(self) -> Vectors:
        return sanitize(self._database())

    def get_groundtruth(self, k: int | None = None) -> NDArray[np.int64]:
        return _first(type(self).__name__, ivecs_read(self._folder / self._names["truth"]), k)


class DatasetSIFT1M(_Files):
    """ANN_SIFT1M, in folder ``sift1M``: ``sift_query.fvecs``, ``sift_learn.fvecs``, ``sift_base.fvecs``,
    ``sift_groundtruth.ivecs``."""

    def __init__(self) -> None:
        super().__init__("sift1M", *_names("sift", "fvecs"))
        self.d, self.nt, self.nb, self.nq = 128, 100_000, 1_000_000, 10_000


class DatasetGIST1M(_Files):
    """ANN_GIST1M, in folder ``gist1M``, files as those of ``DatasetSIFT1M``."""

    def __init__(self) -> None:
        super().__init__("gist1M", *_names("gist", "fvecs"))
        self.d, self.nt, self.nb, self.nq = 960, 500_000, 1_000_000, 1_000


class DatasetBigANN(_Files):
    """ANN_SIFT1B, in folder ``bigann``, or its first ``nb_M`` million vectors.

    Args:
        nb_M: 1, 2, 5, 10, 20, 50, 100, 200, 500 or 1000.
    """

    def __init__(self, nb_M: int = 1000) -> None:
        if nb_M not in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
            raise ArgumentError(f"[DatasetBigANN] nb_M must be 1, 2, 5, 10, 20, 50, 100, ... or 1000. Received {nb_M}.")
        queries, train, base, _ = _names("bigann", "bvecs")
        super().__init__("bigann", queries, train, base, f"gnd/idx_{nb_M}M.ivecs")
        self.d, self.nt, self.nb, self.nq = 128, 10**8, nb_M * 10**6, 10_000


class DatasetDeep1B(_Files):
    """Deep1B, in folder ``deep1b``, or its first ``nb`` vectors.

    Args:
        nb: 10^5, 10^6, 10^7, 10^8 or 10^9.
    """

    _truths: ClassVar[dict[int, str]] = {10**5: "100k", 10**6: "1M", 10**7: "10M", 10**8: "100M", 10**9: "1B"}

    def __init__(self, nb: int = 10**9) -> None:
        if nb not in self._truths:
            raise ArgumentError(f"[DatasetDeep1B] nb must be a power of 10 from 10^5 to 10^9. Received {nb}.")
        truth = "deep1B_groundtruth.ivecs" if nb == 10**9 else f"deep{self._truths[nb]}_groundtruth.ivecs"
        super().__init__("deep1b", "deep1B_queries.fvecs", "learn.fvecs", "base.fvecs", truth)
        self.d, self.nt, self.nb, self.nq = 96, 358_480_000, nb, 10_000


class DatasetHDF5(Dataset):
    """A file of ann-benchmarks: ``train`` is stored, ``test`` searched for, ``neighbors`` the truth. Needs h5py.

    Args:
        path: the file.
        metric: ``"L2"``, ``"IP"`` or None for what the file says (angular distances are inner products of the
            normalised vectors).
    """

    def __init__(self, path: str | os.PathLike[str], metric: str | None = None) -> None:
        h5py = importlib.import_module("h5py")  # an optional dependency
        self._file = h5py.File(path, "r")
        self._angular = self._file.attrs.get("distance") in ("angular", b"angular")
        self.metric = metric or ("IP" if self._angular else "L2")
        self.nb, self.d = self._file["train"].shape
        self.nt, self.nq = 0, self._file["test"].shape[0]

    def _vectors(self, x: Any) -> Vectors:
        vectors = sanitize(x)
        if not self._angular:
            return vectors
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return sanitize(vectors / np.where(lengths > 0, lengths, 1))

    def get_queries(self) -> Vectors:
        return self._vectors(self._file["test"][:])

    def get_train(self, maxtrain: int | None = None) -> Vectors:
        return self._vectors(self._file["train"][: 0 if maxtrain is None else maxtrain])

    def get_database(self) -> Vectors:
        return self._vectors(self._file["train"][:])

    def database_iterator(self, bs: int = 128, split: tuple[int, int] = (1, 0)) -> Iterator[Vectors]:
        parts, part = split
        begin, end = (self.nb * i // parts for i in (part, part + 1))
        for i in range(begin, end, bs):
            yield self._vectors(self._file["train"][i : min(i + bs, end)])

    def get_groundtruth(self, k: int | None = None) -> NDArray[np.int64]:
        return _first("DatasetHDF5", self._file["neighbors"][:], k)


class DatasetGlove(DatasetHDF5):
    """GloVe vectors of ann-benchmarks, ``glove-100-angular.hdf5`` in folder ``glove``, or the file ``loc``."""

    def __init__(self, loc: str | os.PathLike[str] | None = None) -> None:
        super().__init__(_basedir / "glove" / "glove-100-angular.hdf5" if loc is None else loc, "IP")


_BY_NAME: dict[str, Callable[[], Dataset]] = {
    "sift1M": DatasetSIFT1M,
    "gist1M": DatasetGIST1M,
    "glove": DatasetGlove,
    **{f"bigann{n}M": partial(DatasetBigANN, n) for n in (1, 2, 5, 10, 20, 50, 100, 200, 500)},
    "bigann1B": DatasetBigANN,
    **{f"deep{name}": partial(DatasetDeep1B, nb) for nb, name in DatasetDeep1B._truths.items()},
}


def sanitize(x: NDArray[Any]) -> Vectors:
    """Contiguous, as float32."""
    return np.ascontiguousarray(x, dtype=np.float32)


def dataset_from_name(dataset: str = "deep1M") -> Dataset:
    """A data set by name: ``sift1M``, ``gist1M``, ``bigann1M`` to ``bigann1B``, ``deep1M`` to ``deep1B``, ``glove``.

    Raises:
        ValueError: there is none of that name.
    """
    if dataset not in _BY_NAME:
        raise ArgumentError(f"[dataset_from_name] dataset must be one of {', '.join(_BY_NAME)}. Received {dataset!r}.")
    return _BY_NAME[dataset]()


def _names(stem: str, ext: str) -> tuple[str, str, str, str]:
    return (f"{stem}_query.{ext}", f"{stem}_learn.{ext}", f"{stem}_base.{ext}", f"{stem}_groundtruth.ivecs")


def _first(name: str, truth: NDArray[Any], k: int | None) -> NDArray[np.int64]:
    if k is not None and k > truth.shape[1]:
        raise ArgumentError(
            f"[{name}.get_groundtruth] k must be at most {truth.shape[1]}, as many as the file has. Received {k}."
        )
    return truth[:, :k].astype(np.int64)
