"""What programs written for FAISS touch beside its indexes: the same calls to both libraries, with equal results."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest
from oracles.both import BOTH, CODES, X, Y, same

import metalfaiss
from metalfaiss import gpu

# -------------------------------------------------------------------------------------------- arrays


CALLS = {
    "kmin": lambda f: f.kmin(X, 4),
    "kmax": lambda f: f.kmax(X, 7),
    "checksum": lambda f: (f.checksum(CODES), f.checksum(Y[:, :5].copy()), f.checksum(CODES.ravel()[:23].copy())),
    "bucket_sort": lambda f: f.bucket_sort(np.array([3, 1, 2, 1, 0, 3, 3]), 6)[0],
    "imbalance_factor": lambda f: f.imbalance_factor(5, 3, f.swig_ptr(np.array([0, 0, 1, 2, 0]))),
    "fourcc": lambda f: (f.fourcc("IxF2"), f.fourcc_inv(f.fourcc("IwSq")) == "IwSq"),
    "fourcc_inv_printable": lambda f: [f.fourcc_inv_printable(f.fourcc(s)) for s in ("IxF2", "a\x01Z\x7f")],
    "places": lambda f: (f.lo_build(3, 5), f.lo_listno(f.lo_build(3, 5)), f.lo_offset(f.lo_build(3, 5))),
    "rand_smooth_vectors": lambda f: f.rand_smooth_vectors(70, 5, 7),
    "metric names": lambda f: [f.is_similarity_metric(m) for m in (0, 1, 23)],
}


@pytest.mark.parametrize("name", CALLS)
def test_array_helpers(name: str) -> None:
    same(CALLS[name](metalfaiss), CALLS[name](faiss))


@BOTH
def test_buckets_and_maps(lib: Any) -> None:
    table = np.array([[0, 1], [1, 2], [0, 2]], dtype=np.int32)
    assert lib.matrix_bucket_sort_inplace(table).tolist() == [0, 2, 4, 6]
    assert [sorted(pair) for pair in table.reshape(3, 2).tolist()] == [[0, 2], [0, 1], [1, 2]]
    lims, perm = lib.bucket_sort([3, 1, 2, 1])
    assert lims.tolist() == [0, 0, 2, 3, 4]
    assert [sorted(perm[a:b].tolist()) for a, b in pairwise(lims)] == [[], [1, 3], [2], [0]]
    known = lib.MapInt64ToInt64(8)
    known.add(np.array([5, 7]), np.array([50, 70]))
    known.add(np.array([7]), np.array([71]))
    assert known.lookup(np.array([5, 6, 7])).tolist() == [50, -1, 71]


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ValueError, lambda: metalfaiss.kmin(X[0], 2)),
        (ValueError, lambda: metalfaiss.bucket_sort([0, 5], 3)),
        (TypeError, lambda: metalfaiss.matrix_bucket_sort_inplace(X)),
        (ValueError, lambda: metalfaiss.matrix_bucket_sort_inplace(np.zeros((4, 4), np.int64)[:, ::2])),
        (ValueError, lambda: metalfaiss.MapInt64ToInt64(5)),
        (RuntimeError, lambda: metalfaiss.MapInt64ToInt64(1).add(np.arange(2), np.arange(2))),
        (ValueError, lambda: metalfaiss.MapInt64ToInt64(4).add(np.arange(2), np.arange(3))),
        (ValueError, lambda: metalfaiss.fourcc("IxF")),
        (ValueError, lambda: metalfaiss.checksum(np.zeros((2, 2, 2)))),
        (ValueError, lambda: metalfaiss.fvec_L2sqr(X, Y[0], 7)),
        (TypeError, lambda: metalfaiss.fvec_norms_L2(np.zeros(9), X, 6, 9)),
        (ValueError, lambda: metalfaiss.fvec_norms_L2(np.zeros(3, np.float32), X, 6, 9)),
        (ValueError, lambda: metalfaiss.memcpy(np.zeros(1), np.zeros(4), 9)),
    ],
)
def test_errors_of_helpers(error: type[Exception], call: Any) -> None:
    with pytest.raises(error, match=r"^\["):
        call()


@BOTH
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_vectors_under_older_names(lib: Any) -> None:
    assert lib.FloatVector().size() == lib.LongVector().size() == lib.ByteVector().size() == 0
    a, b = lib.IntVector(), lib.Int32Vector()
    lib.copy_array_to_vector(np.arange(3, dtype=np.int32), a)
    a.swap(b)
    assert (a.size(), lib.vector_to_array(b).tolist()) == (0, [0, 1, 2])


# --------------------------------------------------------------------------------- global variables


@BOTH
def test_global_variables(lib: Any) -> None:
    before = lib.cvar.distance_compute_blas_threshold
    for name in ("distance_compute_blas_query_bs", "distance_compute_blas_database_bs", "hamming_batch_size"):
        assert getattr(lib.cvar, name) == getattr(faiss.cvar, name)
    lib.cvar.distance_compute_blas_threshold = 7
    assert lib.cvar.distance_compute_blas_threshold == 7
    lib.cvar.distance_compute_blas_threshold = before
    assert lib.cvar.IO_FLAG_MMAP == lib.IO_FLAG_MMAP
    assert lib.cvar.SIMDConfig_level == lib.SIMDConfig.get_level()
    with pytest.raises(AttributeError):
        lib.cvar.no_such_variable = 1
    with pytest.raises(AttributeError):
        lib.cvar.no_such_variable  # noqa: B018


def test_global_variables_tell_what_they_are() -> None:
    assert "hamming_batch_size" in repr(metalfaiss.cvar)
    assert {name for name in dir(metalfaiss.cvar) if not name.startswith("_")} <= set(dir(metalfaiss.cvar))
    with pytest.raises(AttributeError, match=r"\[cvar\] A variable that is set must be one of .*'IO_FLAG_MMAP'"):
        metalfaiss.cvar.IO_FLAG_MMAP = 1


# ---------------------------------------------------------------------------------------------- GPUs


def test_without_a_gpu_its_functions_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "get_num_gpus", lambda: 0)
    resources, index = metalfaiss.StandardGpuResources(), metalfaiss.IndexFlatL2(6)
    resources.noTempMemory(), resources.setTempMemory(1), resources.setPinnedMemory(1)
    resources.setDefaultNullStreamAllDevices()
    for call in (
        lambda: metalfaiss.index_cpu_to_gpu(resources, 0, index),
        lambda: metalfaiss.index_cpu_to_all_gpus(index),
        lambda: metalfaiss.index_cpu_to_gpus_list(index, gpus=[0]),
        lambda: metalfaiss.index_cpu_to_gpu_multiple_py([resources], index),
        lambda: metalfaiss.knn_gpu(resources, X, Y, 3),
        lambda: metalfaiss.pairwise_distance_gpu(resources, X, Y),
        metalfaiss.gpu_sync_all_devices,
        resources.syncDefaultStreamCurrentDevice,
    ):
        with pytest.raises(RuntimeError, match="The GPUs must be among MLX's, of which there are 0"):
            call()


def test_indexes_are_copied_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "get_num_gpus", lambda: 1)
    resources, index = metalfaiss.StandardGpuResources(), metalfaiss.IndexFlatL2(6)
    index.add(Y)
    for copied in (
        metalfaiss.index_cpu_to_gpu(resources, 0, index),
        metalfaiss.index_cpu_to_all_gpus(index, metalfaiss.GpuMultipleClonerOptions()),
        metalfaiss.index_cpu_to_gpus_list(index, ngpu=1),
        metalfaiss.index_gpu_to_cpu(index),
    ):
        assert copied is not index
        same(copied.search(X, 3), index.search(X, 3))
    with pytest.raises(RuntimeError, match=r"Received \[1\]"):
        metalfaiss.index_cpu_to_gpu(resources, 1, index)
    options = metalfaiss.GpuClonerOptions()
    options.useFloat16 = True
    with pytest.raises(NotImplementedError, match=r"dtype=mx\.float16"):
        metalfaiss.index_cpu_to_gpu(resources, 0, index, options)


@pytest.mark.skipif(not mx.is_available(mx.gpu), reason="needs a GPU")
def test_exact_search_on_a_gpu() -> None:
    resources = metalfaiss.StandardGpuResources()
    D, I = np.zeros((9, 3), np.float32), np.zeros((9, 3), np.int64)
    same(metalfaiss.knn_gpu(resources, X, Y, 3, D=D, I=I), faiss.knn(X, Y, 3))
    same(metalfaiss.pairwise_distance_gpu(resources, X, Y), faiss.pairwise_distances(X, Y))
    resources.syncDefaultStreamCurrentDevice()


# ---------------------------------------------------------------------------------------- one dimension


def test_flat_1d() -> None:
    values = np.random.default_rng(0).random((50, 1), dtype=np.float32)
    queries = np.concatenate([values[:5] + 0.001, [[-1.0], [2.0], [np.nan], [np.inf]]]).astype(np.float32)
    ours, theirs = metalfaiss.IndexFlat1D(), faiss.IndexFlat1D()
    for index in (ours, theirs):
        index.add(values[:30])
        index.add(values[30:])
    for k in (1, 4, 49):
        same(ours.search(queries[:7], k), theirs.search(queries[:7], k))
    D, I = ours.search(queries, 60)
    assert np.isinf(D[:, 50:]).all()
    assert (I[:, 50:] == -1).all()
    assert (I[7:] == -1).all()
    same(ours.range_search(values[:2], 0.01)[0], theirs.range_search(values[:2], 0.01)[0])
    assert metalfaiss.vector_to_array(ours.perm).tolist() == faiss.vector_to_array(theirs.perm).tolist()
    sel = metalfaiss.SearchParameters(sel=metalfaiss.IDSelectorRange(10, 12))
    assert set(ours.search(queries[:3], 3, params=sel)[1].ravel().tolist()) == {-1, 10, 11}
    assert ours.remove_ids(np.arange(40)) == 40
    same(ours.search(queries[:2], 1)[0], faiss.knn(queries[:2], values[40:], 1, metric=faiss.METRIC_L1)[0])
    ours.permute_entries(np.arange(10)[::-1])
    same(ours.search(queries[:2], 1)[0], faiss.knn(queries[:2], values[40:], 1, metric=faiss.METRIC_L1)[0])
    late = metalfaiss.IndexFlat1D(False)
    late.add(values)
    with pytest.raises(RuntimeError, match="call update_permutation"):
        late.search(values, 1)
    late.update_permutation()
    assert late.search(values, 1)[1].ravel().tolist() == list(range(50))
    late.reset()
    assert late.search(values[:1], 1)[1].tolist() == [[-1]]


# ------------------------------------------------------------------------------------- codes in, codes out


@pytest.mark.parametrize("kind", ["Flat", "SQ8", "LSH", "IVF4,Flat", "IVF4,SQ8", "IDMap,SQ8", "IDMap2,Flat"])
def test_codes_are_stored(kind: str) -> None:
    index = metalfaiss.index_factory(6, kind)
    index.train(Y)
    codes, ids = index.sa_encode(Y), np.arange(100, 140)
    if "IDMap" in kind:
        with pytest.raises(RuntimeError, match="ids must be given"):
            index.add_sa_codes(codes)
        index.add_sa_codes(codes, ids)
    elif "IVF" in kind:
        index.add_sa_codes(codes[:20])
        index.add_sa_codes(codes[20:], np.arange(20, 40))
    else:
        with pytest.raises(RuntimeError, match="IndexIDMap around"):
            index.add_sa_codes(codes, ids)
        index.add_sa_codes(codes)
    wanted = metalfaiss.clone_index(index)
    wanted.reset()
    wanted.add_with_ids(Y, ids) if "IDMap" in kind else wanted.add(Y)
    same(index.search(X, 5), wanted.search(X, 5))
    if kind in ("Flat", "SQ8", "LSH"):
        order = np.random.default_rng(0).permutation(40)
        index.permute_entries(order)
        same(index.reconstruct_n(), wanted.reconstruct_n()[order])
        with pytest.raises(ValueError, match="perm must be a permutation of 0 to 39"):
            index.permute_entries(order[:-1])


@pytest.mark.parametrize("kind", ["IVF4,Flat", "IVF300,SQ8"])
def test_codes_of_known_lists(kind: str) -> None:
    ours, theirs = metalfaiss.index_factory(6, kind), faiss.index_factory(6, kind)
    y = np.random.default_rng(5).standard_normal((400, 6)).astype(np.float32)
    theirs.train(y)
    ours = metalfaiss.deserialize_index(faiss.serialize_index(theirs))
    lists = theirs.quantizer.assign(X[:4], 1).ravel()
    lists[2] = -1
    for with_lists in (False, True):
        size = ours.code_size + (ours.coarse_code_size() if with_lists else 0)
        a, b = np.zeros((4, size), np.uint8), np.zeros((4, size), np.uint8)
        ours.encode_vectors(4, X[:4], lists, a, with_lists)
        theirs.encode_vectors(4, faiss.swig_ptr(X), faiss.swig_ptr(lists), faiss.swig_ptr(b), with_lists)
        np.testing.assert_array_equal(np.delete(a, 2, 0), np.delete(b, 2, 0))
        assert not a[2].any()
        if not with_lists:
            back = np.zeros((4, 6), np.float32)
            ours.decode_vectors(4, a, np.maximum(lists, 0), back)
            np.testing.assert_allclose(back[[0, 1, 3]], X[[0, 1, 3]], atol=0.5)
    code = np.zeros(2, np.uint8)
    ours.encode_listno(3, code)
    assert ours.decode_listno(code) == 3
    assert ours.train_encoder_num_vectors() == theirs.train_encoder_num_vectors()
    assert ours.PARALLEL_MODE_NO_HEAP_INIT == theirs.PARALLEL_MODE_NO_HEAP_INIT


@BOTH
def test_calls_of_other_objects(lib: Any) -> None:
    binary = lib.IndexBinaryFlat(64)
    binary.add_c(30, lib.swig_ptr(CODES))
    binary.use_heap, binary.query_batch_size = False, 8
    D, I = np.zeros((4, 2), np.int32), np.zeros((4, 2), np.int64)
    binary.search_c(4, lib.swig_ptr(CODES), 2, lib.swig_ptr(D), lib.swig_ptr(I))
    assert I[:, 0].tolist() == [0, 1, 2, 3]
    assert not D[:, 0].any()
    rotation, out = lib.RandomRotationMatrix(6, 4), np.zeros((9, 4), np.float32)
    rotation.init(3)
    rotation.apply_noalloc(9, lib.swig_ptr(X), lib.swig_ptr(out))
    np.testing.assert_allclose(out, rotation.apply(X), rtol=1e-5)
    result = lib.RangeSearchResult(2)
    lib.rev_swig_ptr(result.lims, 3)[:] = [0, 2, 5]
    result.do_allocation()
    shards = lib.IndexShards(6)
    shard = lib.IndexFlatL2(6)
    shards.addIndex(shard)
    assert shards.count() == 1
    assert lib.ScalarQuantizer.QT_count == 27


def test_codes_of_a_mapped_scalar_quantizer_stay_in_the_file(tmp_path: Any) -> None:
    index = metalfaiss.index_factory(6, "SQ8")
    index.train(Y)
    index.add(Y)
    path = str(tmp_path / "sq")
    metalfaiss.write_index(index, path)
    for again in (metalfaiss.read_index(path, metalfaiss.IO_FLAG_MMAP), metalfaiss.read_index(path)):
        same(again.search(X, 4), index.search(X, 4))
        sel = metalfaiss.SearchParameters(sel=metalfaiss.IDSelectorRange(3, 20))
        same(again.search(X, 4, params=sel), index.search(X, 4, params=sel))
        same(again.reconstruct_n(), index.reconstruct_n())
        again.add(X)
        assert again.remove_ids(np.arange(5)) == 5
        assert again.ntotal == 44
        assert metalfaiss.read_index(path).ntotal == 40
