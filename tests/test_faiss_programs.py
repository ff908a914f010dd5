"""Programs as users of FAISS write them: first steps, files and k-means. Both libraries run them."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles.programs import XB, XQ, XT, D, by_id, contrib, run_both

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


PROGRAMS = [
    flat, flat_ip_normalized, ivf_flat, factory_and_parameters, opq_sq, ids_of_hashes, filters, range_searches,
    inner_product_and_other_metrics, saved_and_read, readers_and_writers, built_in_parts, merged_on_disk, kmeans,
    clustering_object,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a pool that FAISS leaves open
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_program(program: Any, tmp_path: Path) -> None:
    run_both(program, tmp_path)
