"""FAISS's helpers against FAISS's."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import mlx.core as mx
import numpy as np
import pytest

import metalfaiss

rng = np.random.default_rng(5)


@pytest.mark.parametrize("n", [0, 10, 1023, 1024, 5000])
@pytest.mark.parametrize("seed", [12345, 7, -3])
def test_random_numbers_are_those_of_faiss(n: int, seed: int) -> None:
    np.testing.assert_array_equal(metalfaiss.rand(n, seed), faiss.rand(n, seed))
    np.testing.assert_array_equal(metalfaiss.randint(n, seed), faiss.randint(n, seed))
    np.testing.assert_array_equal(metalfaiss.randint(n, seed, vmax=100), faiss.randint(n, seed, vmax=100))
    np.testing.assert_allclose(metalfaiss.randn(n, seed), faiss.randn(n, seed), rtol=1e-6)
    assert metalfaiss.rand((3, 4)).shape == metalfaiss.lrand((3, 4)).shape == (3, 4)
    with pytest.raises(TypeError, match="seed must be an int"):
        metalfaiss.rand(3, 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("keep_max", [False, True])
def test_result_heap(keep_max: bool) -> None:
    parts = [(rng.random((4, 9), dtype=np.float32), rng.integers(0, 999, (4, 9))) for _ in range(3)]
    heaps = [f.ResultHeap(4, 12, keep_max) for f in (metalfaiss, faiss)]
    for heap in heaps:
        for D, I in parts:
            heap.add_result(D, I)
        heap.add_result_subset([2, 0], parts[0][0][:2] / 2, np.arange(9))
        heap.add_result_subset([1], parts[1][0][:1] / 3, parts[1][1][:1])
        heap.finalize()
    np.testing.assert_array_equal(heaps[0].D, heaps[1].D)
    np.testing.assert_array_equal(heaps[0].I, heaps[1].I)
    with pytest.raises(ValueError, match=r"\[ResultHeap.add_result\] D and I must have shape \(4, n\)"):
        heaps[0].add_result(np.zeros((3, 2)), np.zeros((3, 2)))


@pytest.mark.parametrize("keep_max", [False, True])
def test_merge_knn_results(keep_max: bool) -> None:
    D = np.sort(rng.random((3, 5, 8), dtype=np.float32), axis=2)
    D = np.ascontiguousarray(D[..., ::-1]) if keep_max else D
    I = rng.permutation(120).reshape(3, 5, 8)
    I[1, 2, 5:] = -1
    for ours, theirs in zip(
        metalfaiss.merge_knn_results(D, I, keep_max), faiss.merge_knn_results(D, I, keep_max), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="must have one shape"):
        metalfaiss.merge_knn_results(D, I[0])


def test_intersections() -> None:
    a, b = rng.integers(-1, 12, (40, 7)), rng.integers(-1, 12, (40, 9))
    assert metalfaiss.eval_intersection(a, b) == faiss.eval_intersection(a, b)
    expected = len(set(a[0]) & set(b[0]) - {-1})
    assert metalfaiss.ranklist_intersection_size(7, a[0], 9, b[0]) == expected
    assert metalfaiss.eval_intersection(a[:0], b[:0]) == 0
    with pytest.raises(ValueError, match="must have n rows each"):
        metalfaiss.eval_intersection(a, b[:3])


def test_normalize_l2() -> None:
    x = rng.standard_normal((20, 6), dtype=np.float32)
    x[3] = 0
    ours, theirs, lazy = x.copy(), x.copy(), mx.array(x)
    assert metalfaiss.normalize_L2(ours) is None
    faiss.normalize_L2(theirs)
    metalfaiss.normalize_L2(lazy)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    np.testing.assert_allclose(np.array(lazy), theirs, rtol=1e-6)
    strided = x.copy()[::2]
    metalfaiss.normalize_L2(strided)
    np.testing.assert_allclose(strided, theirs[::2], rtol=1e-6)
    with pytest.raises(TypeError, match=r"must be an array of float32. Received float64"):
        metalfaiss.normalize_L2(x.astype(np.float64))
    with pytest.raises(ValueError, match=r"must have shape \(n, d\)"):
        metalfaiss.normalize_L2(x[0])


def test_copies_and_casts() -> None:
    index = metalfaiss.IndexFlatL2(4)
    index.add(np.eye(4, dtype=np.float32))
    twin = metalfaiss.clone_index(index)
    twin.reset()
    assert (index.ntotal, twin.ntotal) == (4, 0)
    assert metalfaiss.downcast_index(index) is index
    flat = metalfaiss.rev_swig_ptr(index.get_xb(), 16).reshape(4, 4)
    np.testing.assert_array_equal(flat, np.eye(4))
    assert metalfaiss.swig_ptr(flat) is flat
    with pytest.raises(ValueError, match="a must be contiguous"):
        metalfaiss.swig_ptr(flat.T[::2])
    with pytest.raises(TypeError, match=r"index must be an Index. Received int"):
        metalfaiss.clone_index(3)  # type: ignore[arg-type]
    assert metalfaiss.clone_binary_index([1]) == [1]
    assert metalfaiss.RangeSearchResult(3).lims.shape == (4,)


@pytest.fixture
def threads() -> Iterator[int]:
    before = metalfaiss.omp_get_max_threads()
    yield before
    metalfaiss.omp_set_num_threads(before)


def test_environment(threads: int, simd_level: str) -> None:
    metalfaiss.omp_set_num_threads(1)
    assert metalfaiss.omp_get_max_threads() == metalfaiss.num_threads() == 1
    with pytest.raises(ValueError, match="num_threads must be at least 1"):
        metalfaiss.omp_set_num_threads(0)
    config = metalfaiss.SIMDConfig
    assert config.get_level_name() == {"portable": "NONE", "neon": "ARM_NEON"}.get(simd_level, simd_level.upper())
    assert config.is_simd_level_available(config.get_dispatched_level())
    config.set_level(metalfaiss.SIMDLevel_NONE)
    assert metalfaiss.simd_level() == "portable"
    with pytest.raises(ValueError, match="level must be one of NONE"):
        config.set_level(77)
    assert metalfaiss.get_compile_options().startswith("OPTIMIZE NONE")
    assert metalfaiss.get_version() == faiss.__version__
    assert (metalfaiss.FAISS_VERSION_MAJOR, metalfaiss.FAISS_VERSION_MINOR) == (1, 15)
    assert metalfaiss.get_num_gpus() == mx.device_count(mx.gpu)
    assert metalfaiss.get_mem_usage_kb() > 1000
    assert metalfaiss.SIMDLevel_AVX2 == faiss.SIMDLevel_AVX2
    assert metalfaiss.SIMDLevel_AVX512 == faiss.SIMDLevel_AVX512
    assert metalfaiss.SIMDLevel_ARM_NEON == faiss.SIMDLevel_ARM_NEON


def test_matrix_stats() -> None:
    x = rng.random((10, 3), dtype=np.float32)
    x[1, 2], x[4], x[5], x[:, 1] = np.nan, x[3], 0, 7
    stats = metalfaiss.MatrixStats(x)
    assert (stats.n, stats.d, stats.n_valid) == (10, 3, 9)
    assert "repeated: 1 vectors" in stats.comments
    assert "constant: 1 dimensions" in stats.comments
    theirs = faiss.MatrixStats(x)
    assert (stats.min_norm2, stats.max_norm2) == pytest.approx((theirs.min_norm2, theirs.max_norm2))
    assert (stats.n_valid, stats.n_collision) == (theirs.n_valid, theirs.n_collision)
    assert metalfaiss.MatrixStats(x[:0]).n_valid == 0
    with pytest.raises(ValueError, match=r"must have shape \(n, d\)"):
        metalfaiss.MatrixStats(x[0])
