"""Programs as users of FAISS write them: wrappers, parameters, contrib and settings. Both libraries run them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from oracles.programs import XB, XQ, XT, D, by_id, contrib, run_both

# -------------------------------------------------------------------------------------- wrappers, parameters


def refined(f: Any, folder: Path) -> Any:
    base = f.IndexScalarQuantizer(D, f.ScalarQuantizer.QT_4bit)
    index = f.IndexRefineFlat(base)
    index.k_factor = 4
    index.train(XT)
    index.add(XB)
    more = f.IndexRefineSearchParameters(k_factor=10)
    return index.search(XQ, 3, params=more), index.ntotal


def every_parameter_object(f: Any, folder: Path) -> Any:
    index = f.index_factory(D, "L2norm,IVF16,Flat")
    index.train(XT)
    index.add(XB)
    inner = f.SearchParametersIVF(nprobe=16, max_codes=0)
    found = index.search(XQ, 3, params=f.SearchParametersPreTransform(index_params=inner))
    with_quantizer = f.index_factory(D, "IVF16(IVF4,Flat),Flat")
    with_quantizer.train(XB)
    with_quantizer.add(XB)
    nested = f.SearchParametersIVF(nprobe=16, quantizer_params=f.SearchParametersIVF(nprobe=4))
    refine = f.index_factory(D, "IVF16,SQ8,RFlat")
    refine.train(XT)
    refine.add(XB)
    both = f.IndexRefineSearchParameters(k_factor=5, base_index_params=inner)
    return found, with_quantizer.search(XQ, 3, params=nested), refine.search(XQ, 3, params=both)


def shards_and_replicas(f: Any, folder: Path) -> Any:
    shards, replicas = f.IndexShards(D, True, True), f.IndexReplicas(D, True)
    kept = [f.IndexFlatL2(D) for _ in range(6)]
    for shard, replica in zip(kept[:3], kept[3:], strict=True):
        shards.add_shard(shard)
        replicas.add_replica(replica)
    shards.add(XB)
    replicas.add(XB)
    return shards.search(XQ, 4), replicas.search(XQ, 4), shards.ntotal, replicas.ntotal, shards.at(1).ntotal


def inverted_lists_read(f: Any, folder: Path) -> Any:
    index = f.index_factory(D, "IVF16,Flat")
    index.train(XT)
    index.add(XB)
    lists = index.invlists
    ids = [contrib(f, "inspect_tools").get_invlist(lists, i) for i in range(lists.nlist)]
    sizes = [lists.list_size(i) for i in range(lists.nlist)]
    first = f.rev_swig_ptr(lists.get_ids(0), lists.list_size(0)).copy()
    assert sorted(np.concatenate([i for i, _ in ids]).tolist()) == list(range(2000))
    assert first.tolist() == ids[0][0].tolist()
    return sorted(sizes), sum(c.size for _, c in ids), lists.compute_ntotal()


def binary(f: Any, folder: Path) -> Any:
    codes = np.random.default_rng(0).integers(0, 256, (500, 16), dtype=np.uint8)
    index = f.IndexBinaryFlat(128)
    index.add(codes)
    ivf = f.IndexBinaryIVF(f.IndexBinaryFlat(128), 128, 4)
    ivf.nprobe = 4
    ivf.train(codes)
    ivf.add(codes)
    mapped = f.IndexBinaryIDMap(f.IndexBinaryFlat(128))
    mapped.add_with_ids(codes, np.arange(500) * 10)
    found = [index.search(codes[:9], 1), ivf.search(codes[:9], 3)[0], mapped.search(codes[:9], 1)]
    path = str(folder / f"{f.__name__}.binary")
    f.write_index_binary(index, path)
    return found, f.read_index_binary(path).search(codes[:9], 5)[0], os.path.getsize(path)


def updates(f: Any, folder: Path) -> Any:
    index = f.index_factory(D, "IVF16,Flat")
    index.train(XT)
    index.set_direct_map_type(f.DirectMap.Hashtable)
    index.add_with_ids(XB, np.arange(1000, 3000))
    index.update_vectors(np.arange(1000, 1010), XB[100:110])
    removed = index.remove_ids(np.arange(1100, 1110))
    index.nprobe = 16
    return removed, index.ntotal, index.search(XB[100:110], 1), index.reconstruct(1003)


# ------------------------------------------------------------------------------------------------ contrib


def evaluation(f: Any, folder: Path) -> Any:
    ev, search = contrib(f, "evaluation"), contrib(f, "exhaustive_search")
    index = f.index_factory(D, "IVF16,Flat")
    index.train(XT)
    index.add(XB)
    D_, I = search.knn_ground_truth(XQ, (XB[i : i + 300] for i in range(0, 2000, 300)), 5)
    index.nprobe = 16
    new = index.search(XQ, 5)[1]
    lims, dists, ids = f.IndexFlatL2(D).range_search(XQ, 1.0)
    flat_index = f.IndexFlatL2(D)
    flat_index.add(XB)
    ref = flat_index.range_search(XQ, 45.0)
    got = index.range_search(XQ, 45.0)
    return (
        D_, I, ev.knn_intersection_measure(new, I), f.eval_intersection(new, I), lims, dists.size, ids.size,
        ev.range_PR(ref[0], ref[2], got[0], got[2]),
    )  # fmt: skip


def tools_of_ivf(f: Any, folder: Path) -> Any:
    tools = contrib(f, "ivf_tools")
    index = f.index_factory(D, "IVF16,Flat")
    index.train(XT)
    lists = index.quantizer.search(XB, 1)[1].ravel()
    tools.add_preassigned(index, XB, lists)
    index.nprobe = 16
    Dq, Iq = index.quantizer.search(XQ, 16)
    found = tools.search_preassigned(index, XQ, 3, Iq, Dq)
    ranged = by_id(*tools.range_search_preassigned(index, XQ[:4], 45.0, Iq[:4], Dq[:4]))
    return index.ntotal, found, ranged


def random_numbers_and_helpers(f: Any, folder: Path) -> Any:
    heap = f.ResultHeap(40, 3)
    for i in range(0, 2000, 500):
        dists, ids = f.knn(XQ, XB[i : i + 500], 3)
        heap.add_result(dists, ids + i)
    heap.finalize()
    stats = f.MatrixStats(XB)
    return f.randn((20, 3), 5), f.rand(10), f.randint(7, vmax=100), heap.D, heap.I, bool(stats.comments)


def settings(f: Any, folder: Path) -> Any:
    before = f.omp_get_max_threads()
    f.omp_set_num_threads(1)
    f.cvar.distance_compute_blas_threshold = 1 << 20
    index = f.IndexFlatL2(D)
    index.verbose = False
    index.add(XB)
    found = index.search(XQ, 3)
    f.omp_set_num_threads(before)
    f.cvar.distance_compute_blas_threshold = faiss.cvar.distance_compute_blas_threshold
    return found, f.get_num_gpus() >= 0, isinstance(f.get_compile_options(), str), f.__version__.count(".") >= 2


PROGRAMS = [
    refined, every_parameter_object, shards_and_replicas, inverted_lists_read, binary, updates, evaluation,
    tools_of_ivf, random_numbers_and_helpers, settings,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a pool that FAISS leaves open
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_program(program: Any, tmp_path: Path) -> None:
    run_both(program, tmp_path)
