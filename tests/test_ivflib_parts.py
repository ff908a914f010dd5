"""Windows that slide, centroids in several files, and statistics of a search: FAISS's ivflib, by both libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from oracles.programs import XB, XQ, XT, D, by_id, run_both

import metalfaiss


def window(f: Any, kind: str) -> Any:
    """The last three of six slices of 300 vectors."""
    index = f.index_factory(D, kind)
    index.train(XT)
    slides, out = f.SlidingIndexWindow(index), []
    f.extract_index_ivf(index).nprobe = 16
    for i in range(6):
        part = f.clone_index(index)
        part.reset()
        part.add_with_ids(XB[300 * i : 300 * i + 300], np.arange(1000 * i, 1000 * i + 300))
        slides.step(part, i >= 3)
        out += [slides.n_slice, slides.nlist, index.search(XQ, 3)]
    slides.step(None, True)
    return [*out, slides.n_slice, index.ntotal, index.search(XQ, 3)]


def sliding_window(f: Any, folder: Path) -> Any:
    return [window(f, "IVF16,Flat"), window(f, "RR32,IVF8,Flat")]


def centroids_of_queries(f: Any, folder: Path) -> Any:
    index = f.index_factory(D, "RR32,IVF16,Flat")
    index.train(XT)
    index.add(XB)
    a, b = np.zeros(40, np.int64), np.zeros(40, np.int64)
    f.search_centroid(index, f.swig_ptr(XQ), 40, f.swig_ptr(a))
    Ds, I, lists = np.zeros((40, 3), np.float32), np.zeros((40, 3), np.int64), np.zeros((40, 3), np.int64)
    f.search_and_return_centroids(index, 40, f.swig_ptr(XQ), 3, *(f.swig_ptr(o) for o in (Ds, I, b, lists)))
    ivf = f.extract_index_ivf(index)
    stored = [f.rev_swig_ptr(ivf.invlists.get_ids(i), ivf.invlists.list_size(i)).tolist() for i in range(16)]
    right = all(int(i) in stored[no] for i, no in zip(I.ravel(), lists.ravel(), strict=True) if i >= 0)
    return (a == b).all(), right, (Ds, I)


def statistics(f: Any, folder: Path) -> Any:
    index = f.index_factory(D, "IVF16,Flat")
    index.train(XT)
    index.add(XB)
    params = f.SearchParametersIVF(nprobe=16)
    D_, I, stats = f.search_with_parameters(index, XQ, 3, params, output_stats=True)
    lims, RD, RI, more = f.range_search_with_parameters(index, XQ, 45.0, params, output_stats=True)
    return (D_, I), stats["ndis"], sorted(stats), by_id(lims, RD, RI), more["ndis"], sorted(more)


def centroids_in_files(f: Any, folder: Path) -> Any:
    quantizer = f.IndexFlatL2(D)
    index = f.IndexIVFFlat(quantizer, D, 16)
    quantizer.add(XB[:16])
    index.is_trained = True
    out = []
    name = str(folder / "shard.%d")
    for ids, function in ((False, None), (True, f.DefaultShardingFunction())):
        f.shard_ivf_index_centroids(index, 3, name, function, ids)
        for i in range(3):
            shard = f.read_index(name % i)
            found = shard.quantizer.search(XQ, 3)
            out += [shard.ntotal, shard.nlist, shard.quantizer.ntotal, found]
            shard.add(XB)
            out.append(shard.search(XQ, 3))
    return out


def binary_centroids_in_files(f: Any, folder: Path) -> Any:
    codes = (XB[:, :32] > 0).astype(np.uint8)
    packed = np.packbits(codes, axis=1)
    index = f.IndexBinaryIVF(f.IndexBinaryFlat(32), 32, 8)
    index.train(packed)
    name, out = str(folder / "shard.%d"), []
    for ids in (False, True):
        f.shard_binary_ivf_index_centroids(index, 2, name, None, ids)
        out += [[f.read_index_binary(name % i).quantizer.ntotal for i in range(2)]]
    return out


PROGRAMS = [sliding_window, centroids_of_queries, statistics, centroids_in_files, binary_centroids_in_files]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_program(program: Any, tmp_path: Path) -> None:
    run_both(program, tmp_path)


@pytest.mark.parametrize("lib", [faiss, metalfaiss], ids=["faiss", "metalfaiss"])
def test_errors(lib: Any, tmp_path: Path) -> None:
    index = lib.index_factory(D, "IVF16,Flat")
    slides = lib.SlidingIndexWindow(index)
    name = str(tmp_path / "shard.%d")
    for call in (
        lambda: slides.step(None, False),
        lambda: slides.step(None, True),
        lambda: lib.SlidingIndexWindow(lib.IndexFlatL2(D)),
        lambda: lib.shard_ivf_index_centroids(index, 3, name),
        lambda: lib.shard_ivf_index_centroids(index, 3, str(tmp_path / "none")),
    ):
        with pytest.raises(RuntimeError):
            call()


def test_a_function_of_the_user_chooses_shards(tmp_path: Path) -> None:  # FAISS's crashes
    index = metalfaiss.index_factory(D, "IVF16,Flat")
    index.train(XT)
    halves = metalfaiss.PyCallbackShardingFunction(lambda i, n: i * n // 16)
    metalfaiss.shard_ivf_index_centroids(index, 2, str(tmp_path / "%d"), halves)
    read = [metalfaiss.read_index(str(tmp_path / name)).quantizer.reconstruct_n() for name in "01"]
    np.testing.assert_array_equal(np.concatenate(read), index.quantizer.reconstruct_n())


def test_lists_that_a_quantizer_names_exist() -> None:
    ids = metalfaiss.IndexIDMap2(metalfaiss.IndexFlatL2(D))
    index = metalfaiss.IndexIVFFlat(ids, D, 4)
    ids.add_with_ids(XB[:3], np.array([0, 3, 99]))
    index.is_trained = True
    with pytest.raises(ValueError, match=r"The quantizer must name lists from 0 to 3\. Received 99"):
        index.add(XB[:3])
    index.add(XB[:2])
    assert index.ntotal == 2
    assert index.search(XB[:3], 1)[1].ravel().tolist() == [0, 1, -1]


def test_shards_are_checked(tmp_path: Path) -> None:
    index = metalfaiss.index_factory(D, "IVF16,Flat")
    index.train(XT)
    with pytest.raises(ValueError, match=r"sharding_function must return 0 to 2\. Received 15"):
        metalfaiss.shard_ivf_index_centroids(index, 3, str(tmp_path / "%d"), lambda i, n: i)
    with pytest.raises(ValueError, match="shard_count must be at least 1"):
        metalfaiss.shard_ivf_index_centroids(index, 0)
    with pytest.raises(NotImplementedError):
        metalfaiss.ShardingFunction()(1, 2)
    with pytest.raises(TypeError, match=r"\[search_and_return_centroids\] The arrays must be"):
        metalfaiss.search_and_return_centroids(index, 40, XQ, 3, np.zeros((40, 3)), None, None, None)
