"""K-means: FAISS's results and behaviour, and the native operations of an iteration against float64."""

from __future__ import annotations

from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest

import metalfaiss
from metalfaiss import Clustering, ClusteringParameters, IndexFlatIP, IndexFlatL2, Kmeans, _core, _host, _lloyd, random


def points(n: int, d: int, seed: int = 0, offset: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.5 + offset
    return x.astype(np.float32)


def theirs(x: np.ndarray, k: int, **kwargs: Any) -> faiss.Kmeans:
    km = faiss.Kmeans(x.shape[1], k, **kwargs)
    km.train(x)
    return km


# ------------------------------------------------------------------------------------------- native operations


@pytest.mark.parametrize(
    ("n", "k", "d"), [(300, 40, 24), (97, 1, 5), (6, 17, 130), (500, 33, 16), (99, 2100, 9), (50, 70, 600)]
)
@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("peaks", [False, True])
def test_assignment_is_exact(simd_level: str, n: int, k: int, d: int, offset: float, peaks: bool) -> None:
    x, c = points(n, d, 1, offset), points(k, d, 2, offset)
    if peaks:  # one coordinate is nearly all there is: few bits for the others
        x[:, d // 2] *= 300
        c[:, d // 2] *= 300
    exact = ((x[:, None].astype(np.float64) - c[None]) ** 2).sum(-1)
    D, I, measured = _core.kmeans_assign(mx.array(x), mx.array(c))
    np.testing.assert_allclose(exact[np.arange(n), np.array(I)], exact.min(1), rtol=1e-6)
    np.testing.assert_allclose(np.array(D), exact.min(1), rtol=1e-5)
    assert n <= measured.item() <= n * (k + 1)


def test_few_centroids_are_measured(simd_level: str) -> None:
    x, c = points(500, 64), points(300, 64, 1)
    assert _core.kmeans_assign(mx.array(x), mx.array(c))[2].item() < 5 * 500


def test_nearest_of_numpy_vectors(simd_level: str) -> None:
    x, c = points(17000, 9), points(40, 9, 1)
    x[5] = np.nan
    centroids = mx.array(c)
    mx.eval(centroids)
    assert np.array_equal(_core.kmeans_nearest(x, centroids), metalfaiss.knn(x, c, 1)[1][:, 0])
    assert _core.kmeans_nearest(x[:0], centroids).shape == (0,)
    with pytest.raises(ValueError, match="centroids must have shape"):
        _core.kmeans_nearest(x[:, :8].copy(), centroids)
    with pytest.raises(ValueError, match="evaluated"):
        _core.kmeans_nearest(x, centroids + 1)
    with pytest.raises(ValueError, match="must have rows"):
        _core.kmeans_nearest(x, mx.zeros((0, 9)))


def test_assignment_of_what_is_not_finite_or_huge(simd_level: str) -> None:
    x, c = points(20, 24), points(40, 24, 1)
    x[3, 5], x[4], x[5], x[6] = np.nan, np.inf, 1e15, 1e-30
    for huge in (c[0, 0], np.nan, 1e30, 0.0):
        c[7] = huge
        D, I = metalfaiss.knn(x, c, 1)
        found = _core.kmeans_assign(mx.array(x), mx.array(c))
        told_apart = np.arange(20) != 5  # in float32 all centroids are equally far from 1e15
        assert np.array_equal(np.array(found[1])[told_apart], I[told_apart, 0])
        np.testing.assert_allclose(np.array(found[0]), D[:, 0], rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-18, 1e-25, 1e12, 1e17])
def test_assignment_of_tiny_and_large_vectors(simd_level: str, scale: float) -> None:
    x, c = points(60, 33) * np.float32(scale), points(70, 33, 1) * np.float32(scale)
    exact = ((x[:, None].astype(np.float64) - c[None]) ** 2).sum(-1)
    D, I, _ = _core.kmeans_assign(mx.array(x), mx.array(c))
    tiny = 33 * 1e-44  # squares that underflow
    assert (exact[np.arange(60), np.array(I)] <= exact.min(1) * (1 + 1e-5) + tiny).all()
    np.testing.assert_allclose(np.array(D), exact.min(1), rtol=1e-5, atol=tiny)


def test_equally_near_centroids_give_the_first(simd_level: str) -> None:
    x, c = points(50, 130), points(9, 130, 1)
    _, I, _ = _core.kmeans_assign(mx.array(x), mx.array(np.concatenate([c, c])))
    assert np.array(I).max() < 9


@pytest.mark.parametrize(("n", "k", "d"), [(1000, 7, 33), (5000, 1, 4), (5, 9, 3), (0, 4, 2), (20000, 3, 8)])
@pytest.mark.parametrize("weighted", [False, True])
def test_means(simd_level: str, n: int, k: int, d: int, weighted: bool, rng: np.random.Generator) -> None:
    x, ids = points(n, d), rng.integers(-1, k + 1, n)
    w = rng.random(n).astype(np.float32) if weighted else None
    means, totals, _ = _core.kmeans_means(mx.array(x), mx.array(ids), None if w is None else mx.array(w), k)
    for j in range(k):
        own = ids == j
        weight = np.ones(own.sum()) if w is None else w[own].astype(np.float64)
        assert totals[j].item() == pytest.approx(weight.sum(), rel=1e-6)
        expected = (x[own] * weight[:, None]).sum(0) / weight.sum() if own.any() else np.zeros(d)
        np.testing.assert_allclose(np.array(means[j]), expected, atol=1e-6)


@pytest.mark.parametrize("moved", [0.0, 0.01, 0.3, 1.0])
def test_means_where_some_moved_are_those_of_all(simd_level: str, moved: float, rng: np.random.Generator) -> None:
    n, k, x = 6000, 5, points(6000, 33)
    x[17] *= 1e20  # whose traces a sum of differences would keep
    before = rng.integers(-1, k + 1, n)
    before[17] = 1
    ids = np.where(rng.random(n) < moved, rng.integers(-1, k + 1, n), before)
    ids[17] = 2 if moved else 1
    ids[ids == 3] = 4  # which leaves one empty
    vectors, old, new = mx.array(x), mx.array(before), mx.array(ids)
    sums = _core.kmeans_means(vectors, old, None, k)[2]
    again = _core.kmeans_means(vectors, new, None, k, (old, sums))
    whole = _core.kmeans_means(vectors, new, None, k)
    np.testing.assert_array_equal(np.array(again[1]), np.array(whole[1]))
    np.testing.assert_allclose(np.array(again[0]), np.array(whole[0]), rtol=1e-6, atol=1e-9)


def test_a_borrowed_matrix_is_read_where_it_lies(rng: np.random.Generator) -> None:
    x = rng.random((40, 3), dtype=np.float32)
    before, seen = x.copy(), _host.borrowed("test", x, 3)
    assert np.shares_memory(np.array(seen, copy=False), x)
    mx.eval(mx.add(seen, 1, stream=mx.cpu), mx.sort(seen, axis=0, stream=mx.cpu))
    assert np.array_equal(np.array(seen), before)
    assert _core.all_finite(seen)
    for odd in (x[::2], x.astype(np.float64), x[:0]):
        assert np.array_equal(np.array(_host.borrowed("test", odd, 3)), odd.astype(np.float32))
    for value in (np.nan, np.inf, -np.inf):
        x[39, 2] = value
        assert not _core.all_finite(seen)


@pytest.mark.parametrize(("n", "k", "d"), [(300, 70, 24), (97, 129, 5), (40, 200, 300)])
def test_assignment_with_a_memory_is_the_same(
    simd_level: str, n: int, k: int, d: int, rng: np.random.Generator
) -> None:
    x, c = points(n, d, 1), points(k, d, 2)
    x[5, 0], x[6] = np.nan, 1e25  # bounds of what is nowhere near are no bounds
    memory, measured = _core.KmeansMemory(n, k, d), []
    for moved in (0.0, 1.0, 0.02, 0.0, 0.3, 0.01, 3.0, 0.0):  # of the length of a coordinate
        c = c + np.float32(moved) * rng.standard_normal((k, d)).astype(np.float32)
        if moved == 0.3:
            c[3] = 1e22  # too long for sums of squares
        elif moved == 3.0:
            c[3] = x[0]
        D, I, count = _core.kmeans_assign(mx.array(x), mx.array(c), memory)
        plain = _core.kmeans_assign(mx.array(x), mx.array(c))
        assert np.array_equal(np.array(I), np.array(plain[1]))
        assert np.array_equal(np.array(D), np.array(plain[0]))
        measured.append(count.item())
        bounds, step = memory.bounds()
        if len(measured) > 1:
            apart = np.sqrt(((x[:, None].astype(np.float64) - c[None]) ** 2).sum(-1))
            lower = bounds[:, :k] * np.float64(step)
            assert (lower <= np.where(np.isnan(apart), 0, apart) * (1 + 1e-6)).all()
        else:
            assert bounds.shape == (0, 0)
    assert measured[3] < 3 * n + 3 * k, "where nothing moves, each measures its last centroid and hardly any other"
    memory.forget()
    assert memory.bounds()[0].shape == (0, 0)
    D, I, count = _core.kmeans_assign(mx.array(x), mx.array(c), memory)
    assert np.array_equal(np.array(I), np.array(plain[1]))
    assert count.item() == plain[2].item()


def test_a_memory_without_bounds_keeps_codes_only(rng: np.random.Generator) -> None:
    x, c = mx.array(points(300, 40)), mx.array(points(70, 40, 2))
    memory = _core.KmeansMemory(300, 70, 40, bounds=False)
    plain = _core.kmeans_assign(x, c)
    for _ in range(3):
        found = _core.kmeans_assign(x, c, memory)
        assert [np.array(a).tolist() for a in found] == [np.array(a).tolist() for a in plain]
    assert memory.bounds()[0].shape == (0, 0)


@pytest.mark.parametrize("most", [-1.0, 0.25])
def test_training_is_the_same_by_rounded_vectors(most: float, monkeypatch: pytest.MonkeyPatch) -> None:
    x = points(1500, 140)
    monkeypatch.setattr(_lloyd, "MOST_MEASURED", most)
    km = Kmeans(140, 130, niter=4, min_points_per_centroid=1)
    km.train(x)
    exact = theirs(x, 130, niter=4, min_points_per_centroid=1)
    np.testing.assert_allclose(km.obj, exact.obj, rtol=1e-3)


def test_rounding_is_left_where_it_does_not_pay() -> None:
    x = points(2000, 20) * np.float32(1e-3)
    x[::2] += 1000  # two places so far apart that 8 bits tell nothing else
    km = Kmeans(20, 100, niter=3, min_points_per_centroid=1)
    assert not _lloyd.rounding_pays(mx.array(x), mx.array(x[:100]))
    km.train(x)
    exact = theirs(x, 100, niter=3, min_points_per_centroid=1)
    np.testing.assert_allclose(km.obj, exact.obj, rtol=0.05)


def test_results_do_not_depend_on_threads() -> None:
    x = points(3000, 130)
    before, results = metalfaiss.num_threads(), []
    for threads in (1, 2, 3):
        metalfaiss.set_num_threads(threads)
        km = Kmeans(130, 128, niter=3, min_points_per_centroid=1)
        km.train(x)
        results.append(km.centroids)
    metalfaiss.set_num_threads(before)
    assert all(np.array_equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("weighted", [False, True])
def test_means_of_a_gpu_are_those_of_the_cpu(
    weighted: bool, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    x, ids = mx.array(points(700, 12)), mx.array(rng.integers(0, 9, 700))
    w = mx.array(rng.random(700).astype(np.float32)) if weighted else None
    native = _lloyd.cluster_means(x, ids, w, 10, None)
    monkeypatch.setattr(_lloyd, "on_cpu", lambda stream: False)
    monkeypatch.setattr(_lloyd, "BLOCK", 300)
    pure = _lloyd.cluster_means(x, ids, w, 10, None)
    for a, b in zip(native, pure, strict=True):
        np.testing.assert_allclose(np.array(a), np.array(b), atol=1e-5, rtol=1e-5)
    km = Kmeans(12, 8, niter=4)
    km.train(np.array(x))
    assert len(km.obj) == 4


def test_wrong_shapes_are_refused() -> None:
    x = mx.zeros((4, 3))
    with pytest.raises(ValueError, match="centroids must have shape"):
        _core.kmeans_assign(x, mx.zeros((4, 2)))
    with pytest.raises(ValueError, match="centroids must have rows"):
        _core.kmeans_assign(x, mx.zeros((0, 3)))
    for memory, what in ((_core.KmeansMemory(5, 4, 3), "x of this memory"), (_core.KmeansMemory(4, 5, 3), "centroids")):
        with pytest.raises(ValueError, match=what):
            _core.kmeans_assign(x, x, memory)
    with pytest.raises(ValueError, match=r"k less than 1\. Received 4, 3 and 0"):
        _core.KmeansMemory(4, 0, 3)
    with pytest.raises(ValueError, match="k must be at least 1"):
        _core.kmeans_means(x, mx.zeros((4,)), None, 0)
    with pytest.raises(ValueError, match=r"weights or before must be None\. Received both"):
        _core.kmeans_means(x, mx.zeros((4,)), mx.ones((4,)), 1, (mx.zeros((4,)), mx.zeros((1, 9))))
    with pytest.raises(ValueError, match="the sums of before must have shape"):
        _core.kmeans_means(x, mx.zeros((4,)), None, 1, (mx.zeros((4,)), mx.zeros((1, 1))))
    with pytest.raises(ValueError, match="x must be float32, evaluated"):
        _core.all_finite(mx.zeros((3,), dtype=mx.int32))


# -------------------------------------------------------------------------------------------- FAISS's numbers


@pytest.mark.parametrize(("n", "seed"), [(20, 1234), (5000, 77), (2, 3), (1, 0)])
def test_permutations_are_those_of_faiss(n: int, seed: int) -> None:
    p = np.zeros(n, dtype=np.int32)
    faiss.rand_perm(faiss.swig_ptr(p), n, seed)
    for count in (n, n // 2):
        assert random.permutation(n, count, seed).tolist() == p[:count].tolist()


@pytest.mark.parametrize("n", [0, 1, 1000, 5001])
def test_normal_numbers_are_those_of_faiss(n: int) -> None:
    assert random.randn(n, 5).tolist() == faiss.randn(n, seed=5).tolist()


@pytest.mark.parametrize(
    ("k", "kwargs"),
    [
        (16, {}),
        (130, {"niter": 6}),
        (20, {"nredo": 3, "niter": 5}),
        (20, {"spherical": True}),
        (20, {"int_centroids": True}),
        (10, {"max_points_per_centroid": 30}),
        (10, {"max_points_per_centroid": 30, "use_faster_subsampling": True}),
        (10, {"early_stop_threshold": 0.05}),
    ],
)
@pytest.mark.parametrize("d", [8, 130])
def test_kmeans_finds_what_faiss_finds(k: int, kwargs: dict[str, Any], d: int) -> None:
    x = points(2000, d) * (10 if "int_centroids" in kwargs else 1)
    kwargs = {"niter": 10, "seed": 5, "min_points_per_centroid": 1} | kwargs
    a, b = theirs(x, k, **kwargs), Kmeans(d, k, **kwargs)
    final = b.train(x)
    assert final == b.obj[-1]
    # A GPU does not wait to hear that nothing moved any more.
    assert len(b.obj) == len(b.iteration_stats)
    assert len(b.obj) == len(a.obj) or (mx.default_device() == mx.gpu and len(b.obj) > len(a.obj))
    np.testing.assert_allclose(b.obj[: len(a.obj)], a.obj, rtol=1e-2)
    assert b.centroids.shape == (k, d)
    assert b.centroids.dtype == np.float32
    np.testing.assert_allclose(
        b.iteration_stats[0]["imbalance_factor"], a.iteration_stats[0]["imbalance_factor"], rtol=1e-5
    )
    D, I = b.assign(x)
    assert D.shape == I.shape == (2000,)
    assert b.index.ntotal == k


def test_weights_and_initial_centroids() -> None:
    x = points(1000, 6)
    w = np.random.default_rng(2).random(1000).astype(np.float32)
    for frozen in (False, True):
        a, b = (module.Kmeans(6, 8, niter=5, frozen_centroids=frozen) for module in (faiss, metalfaiss))
        for km in (a, b):
            km.train(x, weights=w, init_centroids=x[:3])
        np.testing.assert_allclose(b.centroids, a.centroids, atol=1e-4)
    np.testing.assert_array_equal(b.centroids[:3], x[:3])


def test_empty_clusters_take_half_of_large_ones() -> None:
    x = np.repeat(points(40, 4), 30, axis=0)
    x[:600] = x[0]
    km = Kmeans(4, 30, niter=8)
    km.train(x)
    assert km.iteration_stats[0]["nsplit"] > 0
    assert len(np.unique(km.assign(x)[1])) > 15
    centroids, nsplit = _lloyd.split_empty(mx.ones((4, 2)), mx.array([0.0, 3.0, 5.0, 0.0]), 1, None)
    assert nsplit.item() == 1
    np.testing.assert_allclose(np.array(centroids[3] + centroids[2]), 2)
    assert (np.array(centroids[3]) != np.array(centroids[2])).all()


def test_clustering_through_any_index() -> None:
    x = points(1200, 8)
    for ours, other in ((IndexFlatL2(8), faiss.IndexFlatL2(8)), (IndexFlatIP(8), faiss.IndexFlatIP(8))):
        a, b = faiss.Clustering(8, 12), Clustering(8, 12)
        a.niter = b.niter = 4
        a.train(x, other)
        b.train(x, ours)
        np.testing.assert_allclose(
            metalfaiss.vector_to_array(b.centroids), faiss.vector_to_array(a.centroids), atol=1e-4
        )
        assert ours.ntotal == 12
        assert b.iteration_stats.at(3).obj == pytest.approx(a.iteration_stats.at(3).obj, rel=1e-3)
    indirect = metalfaiss.IndexIDMap(IndexFlatL2(8))
    b = Clustering(8, 12)
    with pytest.raises(RuntimeError):  # such an index cannot be added to without ids
        b.train(x, indirect)


def test_encoded_vectors() -> None:
    x = points(1200, 8)
    codec = IndexFlatL2(8)
    a, b = Clustering(8, 12), Clustering(8, 12)
    a.niter = b.niter = 3
    b.decode_block_size = 500
    a.train(x, IndexFlatL2(8))
    b.train_encoded(codec.sa_encode(x), codec, IndexFlatL2(8))
    np.testing.assert_allclose(np.asarray(a.centroids), np.asarray(b.centroids), atol=1e-5)
    with pytest.raises(TypeError, match="uint8"):
        b.train_encoded(x, codec, IndexFlatL2(8))


def test_as_many_points_as_clusters(capsys: pytest.CaptureFixture[str]) -> None:
    x = points(10, 4)
    km = Kmeans(4, 10)
    assert km.train(x) == 0
    np.testing.assert_array_equal(km.centroids, x)
    assert "please provide at least 390" in capsys.readouterr().err


def test_mlx_arrays_and_a_single_call(capsys: pytest.CaptureFixture[str]) -> None:
    x = points(1000, 5)
    km = Kmeans(5, 8, niter=3, verbose=True)
    km.train(mx.array(x))
    assert "Iteration 2" in capsys.readouterr().out
    _, I = km.assign(mx.array(x))
    assert isinstance(I, mx.array)
    out = np.zeros((8, 5), dtype=np.float32)
    assert metalfaiss.kmeans_clustering(5, 1000, 8, x, out) == pytest.approx(
        faiss.kmeans_clustering(5, 1000, 8, faiss.swig_ptr(x), faiss.swig_ptr(out.copy())), rel=1e-3
    )


def test_errors() -> None:
    x = points(20, 4)
    with pytest.raises(AttributeError):
        Kmeans(4, 3, nonsense=1)
    with pytest.raises(RuntimeError, match="at least k = 30"):
        Kmeans(4, 30).train(x)
    with pytest.raises(RuntimeError, match="trained"):
        Kmeans(4, 3).assign(x)
    with pytest.raises(ValueError, match="shape"):
        Kmeans(5, 3).train(x)
    with pytest.raises(ValueError, match="weights"):
        Kmeans(4, 3).train(x, weights=np.ones(3))
    with pytest.raises(RuntimeError, match="index must have d"):
        Clustering(4, 3).train(x, IndexFlatL2(5))
    with pytest.raises(ValueError, match=r"init_method must be one of .* Received 3"):
        ClusteringParameters(init_method=3)
    for bad in (np.nan, np.inf):
        x[3, 2] = bad
        with pytest.raises(RuntimeError, match="finite"):
            Kmeans(4, 3).train(x)


# ----------------------------------------------------------------------------------------------- starts, numbers


@pytest.mark.parametrize("method", [1, 2])
@pytest.mark.parametrize("given", [0, 5])
def test_starts_that_are_far_apart(method: int, given: int) -> None:
    """Of 30 tight groups a random start misses some, k-means++ none, and a Markov chain few."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal((40, 8)) / 10 + 10 * rng.standard_normal(8) for _ in range(30)])
    x = x.astype(np.float32)
    settings: Any = {"niter": 1, "min_points_per_centroid": 1}
    random_start = Kmeans(8, 30, **settings)
    random_start.train(x)
    for seed in (3, 4):
        ours = Kmeans(8, 30, init_method=method, afkmc2_chain_length=200, seed=seed, **settings)
        ours.train(x, init_centroids=x[: 40 * given : 40] if given else None)
        again = Kmeans(8, 30, init_method=method, afkmc2_chain_length=200, seed=seed, **settings)
        again.train(mx.array(x), init_centroids=x[: 40 * given : 40] if given else None)
        assert ours.obj is not None
        assert random_start.obj is not None
        assert ours.obj[0] < random_start.obj[0] / 10
        np.testing.assert_array_equal(ours.centroids, again.centroids)
    other = theirs(x, 30, init_method=method, afkmc2_chain_length=200, **settings)
    if method == 1:
        assert ours.obj[0] < 1.2 * other.obj[0]


@pytest.mark.parametrize("method", [1, 2])
def test_starts_of_equal_points_and_codes(method: int) -> None:
    settings: Any = {"niter": 2, "init_method": method, "min_points_per_centroid": 1}
    same = Kmeans(4, 3, **settings)
    assert same.train(np.ones((20, 4), np.float32)) < 1e-3
    x, codec = points(200, 4), metalfaiss.IndexScalarQuantizer(4, metalfaiss.ScalarQuantizer.QT_fp16)
    clustering = Clustering(4, 5, ClusteringParameters(**settings))
    clustering.train_encoded(codec.sa_encode(x), codec, IndexFlatL2(4))
    assert clustering.iteration_stats[-1].obj < 1.3 * theirs(x, 5, **settings).obj[-1]


@pytest.mark.parametrize(("n", "k"), [(5, 5), (30, 3), (200, 4), (1000, 17), (7, 1)])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_numbers(n: int, k: int, offset: float) -> None:
    x = (np.random.default_rng(n).standard_normal(n) + offset).astype(np.float32)
    ours, faisss = np.zeros(k, np.float32), np.zeros(k, np.float32)
    factor = metalfaiss.kmeans1d(x, n, k, ours)
    other = faiss.kmeans1d(faiss.swig_ptr(x), n, k, faiss.swig_ptr(faisss))
    costs = [((x[:, None].astype(np.float64) - c) ** 2).min(1).sum() for c in (ours, faisss)]
    assert costs[0] <= costs[1] * (1 + 1e-4) + 1e-9
    clustering = metalfaiss.Clustering1D(k)
    clustering.train_exact(x[:, None])
    assert np.asarray(clustering.centroids).tolist() == ours.tolist()
    stats = clustering.iteration_stats[0]
    assert stats.obj == pytest.approx(costs[0], rel=1e-4, abs=1e-6)
    assert stats.imbalance_factor == factor
    if not offset and n > k:
        assert factor == pytest.approx(other)
        np.testing.assert_allclose(ours, np.sort(faisss), rtol=1e-4)


def test_too_few_numbers() -> None:
    with pytest.raises(ValueError, match=r"x must hold at least 3 finite numbers\. Received 2"):
        metalfaiss.Clustering1D(3).train_exact(np.array([1, 2], np.float32))
    with pytest.raises(ValueError, match=r"^\[kmeans1d\] x must hold"):
        metalfaiss.kmeans1d(np.array([1, np.nan], np.float32), 2, 1, np.zeros(1, np.float32))


@pytest.mark.parametrize("apply_pca", [True, False])
def test_progressive_dimensions(apply_pca):
    x = faiss.rand_smooth_vectors(2000, 24)
    objectives = []
    for module in (metalfaiss, faiss):
        parameters = module.ProgressiveDimClusteringParameters()
        assert (parameters.niter, parameters.progressive_dim_steps, parameters.apply_pca) == (10, 10, True)
        parameters.apply_pca, parameters.progressive_dim_steps = apply_pca, 4
        made = module.ProgressiveDimClustering(24, 30, parameters)
        made.train(len(x), module.swig_ptr(x), module.ProgressiveDimIndexFactory())
        assert (made.d, made.k, made.iteration_stats.size()) == (24, 30, 40)
        centroids = module.vector_to_array(made.centroids).reshape(30, 24)
        objectives.append(faiss.knn(x, centroids, 1)[0].sum())
    assert objectives[0] < 1.02 * objectives[1]
    asked = []
    ours = metalfaiss.ProgressiveDimClustering(24, 30)
    ours.train(len(x), x, lambda d: asked.append(d) or metalfaiss.IndexFlatL2(d))
    assert asked == [int(24 ** (i / 10) + 1e-9) for i in range(1, 11)]
    with pytest.raises(ValueError, match=r"x must hold 3 vectors of 24 values"):
        ours.train(3, x, metalfaiss.ProgressiveDimIndexFactory())


@pytest.mark.parametrize("lib", [faiss, metalfaiss], ids=["faiss", "metalfaiss"])
def test_centroids_as_processed(lib: Any) -> None:
    clustering = lib.Clustering(4, 2)
    clustering.spherical = clustering.int_centroids = True
    lib.copy_array_to_vector(np.array([3, 4, 0, 0, 0.1, 0.9, 0, 0], np.float32), clustering.centroids)
    clustering.post_process_centroids()
    assert lib.vector_to_array(clustering.centroids).tolist() == [1, 1, 0, 0, 0, 1, 0, 0]
