"""Small programs as users of FAISS write them, run with both libraries: only the module they are given differs.

Each returns arrays and numbers that must agree: distances to rounding, ids where neither rounding nor what is drawn at
random decides, and sizes. Vectors lie in clear groups, so that training ends in the same place.
"""

from __future__ import annotations

import copy
import importlib
import os
import pickle
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

import metalfaiss

D = 32
rng = np.random.default_rng(1234)
GROUPS = 20 * rng.standard_normal((16, D))
XB = (GROUPS[rng.integers(0, 16, 2000)] + rng.standard_normal((2000, D))).astype(np.float32)
XQ = (XB[:40] + 0.1 * rng.standard_normal((40, D))).astype(np.float32)
XT = XB[::2].copy()


def contrib(f: Any, module: str) -> Any:
    return importlib.import_module(f"{f.__name__}.contrib.{module}")


def by_id(lims: Any, dists: Any, ids: Any) -> list[Any]:
    """Results of a range search in an order that both libraries have."""
    out = []
    for a, b in zip(lims[:-1].astype(int), lims[1:].astype(int), strict=True):
        order = np.argsort(ids[a:b])
        out += [ids[a:b][order], dists[a:b][order]]
    return [np.asarray(lims).astype(int), *out]


# ------------------------------------------------------------------------------------------ first steps


def flat(f: Any, folder: Path) -> Any:
    index = f.IndexFlatL2(D)
    assert index.is_trained
    index.add(XB)
    D_, I = index.search(XQ, 4)
    return index.ntotal, index.d, D_, I, f.METRIC_L2, index.metric_type


def flat_ip_normalized(f: Any, folder: Path) -> Any:
    xb, xq = XB.copy(), XQ.copy()
    f.normalize_L2(xb)
    f.normalize_L2(xq)
    index = f.IndexFlatIP(D)
    index.add(xb)
    return index.search(xq, 5)


def ivf_flat(f: Any, folder: Path) -> Any:
    quantizer = f.IndexFlatL2(D)
    index = f.IndexIVFFlat(quantizer, D, 16, f.METRIC_L2)
    assert not index.is_trained
    index.train(XT)
    index.add(XB)
    one = index.search(XQ, 4)
    index.nprobe = 16
    index.make_direct_map()
    return one[0].shape, index.search(XQ, 4), index.reconstruct(7), index.ntotal, quantizer.ntotal


def factory_and_parameters(f: Any, folder: Path) -> Any:
    index = f.index_factory(D, "PCA16,IVF16,SQ8")
    index.train(XT)
    index.add(XB)
    space = f.ParameterSpace()
    space.initialize(index)
    space.set_index_parameter(index, "nprobe", 16)
    ivf = f.extract_index_ivf(index)
    found = index.search(XQ, 1)[1]
    pca = f.downcast_VectorTransform(index.chain.at(0))
    return ivf.nprobe, ivf.nlist, pca.d_out, found[:, 0], f.downcast_index(index.index).ntotal


def opq_sq(f: Any, folder: Path) -> Any:
    opq = f.OPQMatrix(D, 4, 16)
    opq.niter, opq.niter_pq = 3, 2
    codes = f.IndexScalarQuantizer(16, f.ScalarQuantizer.QT_8bit)
    index = f.IndexPreTransform(opq, codes)
    index.train(XT)
    index.add(XB)
    return index.search(XQ, 1)[1], index.ntotal, index.sa_code_size()


def ids_of_hashes(f: Any, folder: Path) -> Any:
    ids = np.array([hash((i, "document")) for i in range(200)], dtype=np.int64)
    index = f.IndexIDMap2(f.IndexFlatL2(D))
    index.add_with_ids(XB[:200], ids)
    removed = index.remove_ids(ids[50:60])
    D_, I = index.search(XQ, 3)
    places = {int(i): n for n, i in enumerate(ids)}
    row = np.vectorize(lambda i: places[int(i)])(I)
    return removed, index.ntotal, D_, row, index.reconstruct(int(ids[7])), f.vector_to_array(index.id_map).size


def filters(f: Any, folder: Path) -> Any:
    flat_index, ivf = f.IndexFlatL2(D), f.index_factory(D, "IVF16,Flat")
    for index in (flat_index, ivf):
        index.train(XT)
        index.add(XB)
    chosen = np.arange(0, 2000, 7)
    bits = np.packbits(np.arange(2000) % 3 == 0, bitorder="little")
    out = []
    for sel in (
        f.IDSelectorRange(100, 900),
        f.IDSelectorBatch(chosen),
        f.IDSelectorArray(chosen),
        f.IDSelectorBitmap(bits),
        f.IDSelectorNot(f.IDSelectorBatch(chosen)),
        f.IDSelectorAnd(f.IDSelectorRange(0, 1000), f.IDSelectorBitmap(bits)),
        f.IDSelectorOr(f.IDSelectorRange(0, 50), f.IDSelectorRange(1900, 2000)),
        f.IDSelectorXOr(f.IDSelectorRange(0, 500), f.IDSelectorRange(250, 800)),
    ):
        out.append(flat_index.search(XQ, 5, params=f.SearchParameters(sel=sel)))
        out.append(ivf.search(XQ, 5, params=f.SearchParametersIVF(sel=sel, nprobe=16)))
        out.append(by_id(*flat_index.range_search(XQ[:5], 60.0, params=f.SearchParameters(sel=sel))))
    return out


def range_searches(f: Any, folder: Path) -> Any:
    out = []
    for kind in ("Flat", "IVF16,Flat", "SQ8", "IDMap,Flat"):
        index = f.index_factory(D, kind)
        index.train(XT)
        index.add_with_ids(XB, np.arange(2000)) if "IDMap" in kind else index.add(XB)
        if "IVF" in kind:
            index.nprobe = 16
        lims, dists, ids = index.range_search(XQ[:10], 45.0)
        exact = kind != "SQ8"
        out.append(by_id(lims, dists, ids) if exact else abs(int(lims[-1])) // 40)
    return out


def inner_product_and_other_metrics(f: Any, folder: Path) -> Any:
    out = []
    for metric in (f.METRIC_INNER_PRODUCT, f.METRIC_L1, f.METRIC_Linf, f.METRIC_Canberra, f.METRIC_BrayCurtis):
        index = f.IndexFlat(D, metric)
        index.add(XB)
        out.append(index.search(XQ, 3))
    power = f.IndexFlat(D, f.METRIC_Lp)
    power.metric_arg = 3
    power.add(XB)
    return [*out, power.search(XQ, 3), f.knn(XQ, XB, 3), f.pairwise_distances(XQ[:3], XB[100:105])]


# ------------------------------------------------------------------------------------- saving and copying


def saved_and_read(f: Any, folder: Path) -> Any:
    out = []
    for kind in ("Flat", "IVF16,Flat", "PCA16,SQ8", "IDMap2,Flat", "RR16,Flat", "IVF16,SQfp16"):
        index = f.index_factory(D, kind)
        index.train(XT)
        index.add_with_ids(XB, np.arange(5, 2005)) if "IDMap" in kind else index.add(XB)
        path = str(folder / f"{kind}.index")
        f.write_index(index, path)
        again = [
            f.read_index(path),
            f.read_index(path, f.IO_FLAG_MMAP),
            f.deserialize_index(f.serialize_index(index)),
            pickle.loads(pickle.dumps(index)),
            copy.deepcopy(index),
            f.clone_index(index),
        ]
        for other in again:
            assert other.ntotal == index.ntotal
            np.testing.assert_array_equal(other.search(XQ, 3)[1], index.search(XQ, 3)[1])
        out.append((type(again[0]).__name__, os.path.getsize(path)))
    return [name for name, _ in out], np.array([size for _, size in out])


def readers_and_writers(f: Any, folder: Path) -> Any:
    index = f.IndexFlatL2(D)
    index.add(XB)
    writer = f.VectorIOWriter()
    f.write_index(index, writer)
    reader = f.VectorIOReader()
    f.copy_array_to_vector(f.vector_to_array(writer.data), reader.data)
    first = f.read_index(reader)
    path = folder / f"{f.__name__}.callback"
    with open(path, "wb") as file:
        f.write_index(index, f.PyCallbackIOWriter(file.write))
    with open(path, "rb") as file:
        second = f.read_index(f.PyCallbackIOReader(file.read, 1234))
    transform = f.RandomRotationMatrix(D, 4)
    transform.init(5)
    f.write_VectorTransform(transform, str(path))
    opened = f.read_VectorTransform(str(path))
    read = f.downcast_VectorTransform(opened)
    return first.search(XQ, 2), second.search(XQ, 2), writer.data.size(), read.apply(XQ), read.is_trained


def built_in_parts(f: Any, folder: Path) -> Any:
    trained = f.index_factory(D, "IVF16,Flat")
    trained.train(XT)
    f.write_index(trained, str(folder / "trained"))
    for part in range(4):
        index = f.read_index(str(folder / "trained"))
        index.add_with_ids(XB[part * 500 : (part + 1) * 500], np.arange(part * 500, (part + 1) * 500))
        f.write_index(index, str(folder / f"part{part}"))
    whole = f.read_index(str(folder / "part0"))
    for part in range(1, 4):
        f.merge_into(whole, f.read_index(str(folder / f"part{part}")), False)
    whole.nprobe = 16
    return whole.ntotal, whole.search(XQ, 4)


def merged_on_disk(f: Any, folder: Path) -> Any:
    trained = f.index_factory(D, "IVF16,Flat")
    trained.train(XT)
    names = []
    for part in range(3):
        index = f.clone_index(trained)
        index.add_with_ids(XB[part::3], np.arange(2000)[part::3])
        names.append(str(folder / f"block{part}"))
        f.write_index(index, names[-1])
    contrib(f, "ondisk").merge_ondisk(trained, names, str(folder / f"{f.__name__}.ivfdata"))
    f.write_index(trained, str(folder / "populated"))
    index = f.read_index(str(folder / "populated"))
    index.nprobe = 16
    return index.ntotal, index.search(XQ, 4), type(f.downcast_InvertedLists(index.invlists)).__name__


# ----------------------------------------------------------------------------------------------- k-means


def kmeans(f: Any, folder: Path) -> Any:
    km = f.Kmeans(D, 16, niter=20, nredo=3, verbose=False, gpu=False, seed=5)
    objective = km.train(XB)
    dists, ids = km.assign(XQ)
    sizes = np.sort(np.bincount(km.index.search(XB, 1)[1].ravel(), minlength=16))
    return (
        km.centroids.shape,
        ids.shape,
        dists.shape,
        len(km.obj) > 0,
        objective > 0,
        sizes.sum(),
        km.iteration_stats[0].keys(),
    )


def clustering_object(f: Any, folder: Path) -> Any:
    cp = f.ClusteringParameters()
    cp.niter, cp.seed, cp.spherical = 5, 7, True
    clustering = f.Clustering(D, 8, cp)
    clustering.verbose = False
    index = f.IndexFlatIP(D)
    clustering.train(XB, index)
    centroids = f.vector_to_array(clustering.centroids).reshape(8, D)
    stats = clustering.iteration_stats
    return index.ntotal, np.linalg.norm(centroids, axis=1), stats.size() > 1, stats.at(0).nsplit


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
    flat, flat_ip_normalized, ivf_flat, factory_and_parameters, opq_sq, ids_of_hashes, filters, range_searches,
    inner_product_and_other_metrics, saved_and_read, readers_and_writers, built_in_parts, merged_on_disk, kmeans,
    clustering_object, refined, every_parameter_object, shards_and_replicas, inverted_lists_read, binary, updates,
    evaluation, tools_of_ivf, random_numbers_and_helpers, settings,
]  # fmt: skip


def agree(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, tuple | list):
        assert len(ours) == len(theirs)
        if len(theirs) == 2 and [getattr(a, "ndim", 0) for a in theirs] == [2, 2]:  # distances, ids: rounding swaps ids
            ours, theirs = (ours[0], np.sort(ours[1])), (theirs[0], np.sort(theirs[1]))
        for a, b in zip(ours, theirs, strict=True):
            agree(a, b)
    elif isinstance(theirs, np.ndarray):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        exact = theirs.dtype.kind in "iu"
        np.testing.assert_allclose(ours, theirs, rtol=0 if exact else 2e-4, atol=0 if exact else 2e-4)
    else:
        assert ours == theirs or ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a pool that FAISS leaves open
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_program(program: Any, tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    agree(program(metalfaiss, tmp_path / "ours"), program(faiss, tmp_path / "theirs"))
