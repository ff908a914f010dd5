"""The helpers of contrib, against FAISS's or against a plain computation."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from faiss.contrib import clustering as their_clustering
from faiss.contrib import evaluation as their_evaluation
from faiss.contrib import exhaustive_search as their_search
from faiss.contrib import factory_tools as their_factory
from faiss.contrib import vecs_io as their_vecs_io

import metalfaiss
from metalfaiss.contrib import (
    clustering,
    evaluation,
    exhaustive_search,
    factory_tools,
    inspect_tools,
    ivf_tools,
    vecs_io,
)


def points(n: int, d: int = 8) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((n, d), dtype=np.float32)


@pytest.fixture
def ranges() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """True results of a range search, and others, some queries without any."""
    index = faiss.IndexFlatL2(8)
    index.add(points(100))
    lims, D, I = index.range_search(points(21), 6.0)
    rng = np.random.default_rng(3)
    keep = rng.random(len(D)) < 0.7
    counts = np.concatenate([[0], np.cumsum(keep)])[lims.astype(np.int64)]
    changed = np.where(rng.random(keep.sum()) < 0.8, I[keep], I[keep] + 1000)
    return [(lims, D, I), (counts.astype(np.uint64), D[keep], changed)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # FAISS leaves pools open
@pytest.mark.parametrize("mode", ["overall", "average"])
def test_precision_and_recall(ranges: list[tuple[np.ndarray, np.ndarray, np.ndarray]], mode: str) -> None:
    (L, _, I), (lims, D, ids) = ranges
    L, lims = L.astype(np.int64), lims.astype(np.int64)
    expected = their_evaluation.range_PR(L, I, lims, ids, mode=mode)
    assert evaluation.range_PR(L, I, lims, ids, mode=mode) == pytest.approx(expected)
    thresholds = [1.0, 3.0, 5.0, 9.0]
    theirs = their_evaluation.range_PR_multiple_thresholds(L, I, lims, D, ids, thresholds, mode=mode)
    ours = evaluation.range_PR_multiple_thresholds(L, I, lims, D, ids, thresholds, mode=mode)
    np.testing.assert_allclose(ours, theirs)
    with pytest.raises(ValueError, match="mode"):
        evaluation.range_PR(L, I, lims, ids, mode="nonsense")


def test_comparisons(ranges: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    (L, D, I), (lims, E, ids) = ranges
    for ours, theirs in zip(
        evaluation.filter_range_results(L, D, I, 4.0), their_evaluation.filter_range_results(L, D, I, 4.0), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    evaluation.check_ref_range_results(L, D, I, L, D, I)
    with pytest.raises(AssertionError):
        evaluation.check_ref_range_results(L, D, I, lims, E, ids)
    a, b = np.arange(12).reshape(2, 6), np.arange(3, 15).reshape(2, 6)
    assert evaluation.knn_intersection_measure(a, b) == their_evaluation.knn_intersection_measure(a, b)
    with pytest.raises(ValueError, match="shape"):
        evaluation.knn_intersection_measure(a, b[:1])
    d = np.array([[1.0, 2.0, 2.0, 3.0]])
    i = np.array([[4, 5, 6, 7]])
    evaluation.check_ref_knn_with_draws(d, i, d, np.array([[4, 6, 5, 9]]))
    with pytest.raises(AssertionError):
        evaluation.check_ref_knn_with_draws(d, i, d, np.array([[4, 6, 8, 7]]))


@pytest.mark.parametrize("metric", [faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT])
def test_ground_truth_block_by_block(metric: int) -> None:
    xq, xb = points(20), points(300)
    blocks = [xb[:100], xb[100:110], xb[110:]]
    D, I = exhaustive_search.knn_ground_truth(xq, iter(blocks), 7, metric)
    D2, I2 = their_search.knn_ground_truth(xq, iter(blocks), 7, metric)
    np.testing.assert_array_equal(I, I2)
    np.testing.assert_allclose(D, D2, rtol=1e-5)
    few, ids = exhaustive_search.knn_ground_truth(xq, iter([xb[:2]]), 4, metric)
    assert (ids[:, 2:] == -1).all()
    assert few.shape == (20, 4)


def test_ranges_block_by_block() -> None:
    xq, xb = points(20), points(300)
    ours = exhaustive_search.range_ground_truth(xq, iter([xb[:100], xb[100:]]), 5.0)
    theirs = their_search.range_ground_truth(xq, iter([xb]), 5.0)
    evaluation.check_ref_range_results(*(theirs[i] for i in (0, 1, 2)), *ours)
    assert exhaustive_search.range_ground_truth(xq, iter([]), 5.0)[0].tolist() == [0] * 21
    smaller = exhaustive_search.threshold_radius(*ours, 3.0)
    for a, b in zip(smaller, their_search.threshold_radius(*ours, 3.0), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("clip", [False, True])
def test_ranges_with_a_limit(clip: bool) -> None:
    xq, xb = points(200), points(300)
    ours, theirs = metalfaiss.IndexFlatL2(8), faiss.IndexFlatL2(8)
    for index in (ours, theirs):
        index.add(xb)
    queries = exhaustive_search.exponential_query_iterator
    a = exhaustive_search.range_search_max_results(ours, queries(xq), 9.0, min_results=400, clip_to_min=clip)
    b = their_search.range_search_max_results(theirs, queries(xq), 9.0, min_results=400, clip_to_min=clip)
    assert a[0] == pytest.approx(b[0], rel=1e-5)
    evaluation.check_ref_range_results(*b[1:], *a[1:])
    assert [len(batch) for batch in queries(xq)] == [32, 64, 104]
    with pytest.raises(ValueError, match="max_results"):
        exhaustive_search.range_search_max_results(ours, queries(xq), 9.0)


@pytest.mark.parametrize(
    "text",
    ["Flat", "SQ8", "SQ4", "SQ6", "SQfp16", "PQ8", "PQ8x4", "Flat,RFlat", "IVF10,PQ8+4", "OPQ8_32,IVF10,PQ8x4fs",
     "PCA16,Flat", "PCAR16,SQ8,Refine(SQfp16)", "IVF10(Flat),SQ6", "RR32,Flat", "OPQ4,PQ4", "HNSW32,Flat",
     "IVF10_HNSW32,Flat"],
)  # fmt: skip
def test_code_sizes(text: str) -> None:
    expected = their_factory.get_code_size(64, "PQ8x4" if text == "OPQ8_32,IVF10,PQ8x4fs" else text)
    assert factory_tools.get_code_size(64, text) == expected


def test_code_sizes_of_the_project() -> None:
    assert factory_tools.get_code_size(64, "HR,Pad100,IDMap,LSH12") == 2
    assert factory_tools.reverse_index_factory(metalfaiss.index_factory(8, "PCA4,Flat")) == "PCA4,Flat"
    with pytest.raises(NotImplementedError, match="size"):
        factory_tools.get_code_size(64, "RaBitQ")
    with pytest.raises(RuntimeError):
        factory_tools.get_code_size(64, "Nonsense")


def test_looking_into_things() -> None:
    rng = np.random.default_rng(0)
    A, b = rng.random((3, 8), dtype=np.float32), rng.random(3, dtype=np.float32)
    for bias in (None, b):
        made = inspect_tools.make_LinearTransform_matrix(A, bias)
        matrix, shift = inspect_tools.get_LinearTransform_matrix(made)
        np.testing.assert_array_equal(matrix, A)
        assert shift.shape == ((0,) if bias is None else (3,))
        np.testing.assert_allclose(made.apply(points(5)), points(5) @ A.T + (0 if bias is None else b), atol=1e-5)
    with pytest.raises(ValueError, match="A must have shape"):
        inspect_tools.make_LinearTransform_matrix(A, b[:2])
    index = metalfaiss.IndexFlatL2(8)
    index.add(points(6))
    np.testing.assert_array_equal(inspect_tools.get_flat_data(index), points(6))
    assert inspect_tools.get_flat_codes(index).shape == (6, 32)
    lists = metalfaiss.ArrayInvertedLists(3, 4)
    lists.add_entries(1, np.array([7, 9]), np.arange(8, dtype=np.uint8).reshape(2, 4))
    ids, codes = inspect_tools.get_invlist(lists, 1)
    assert (ids.tolist(), codes.tolist()) == ([7, 9], [[0, 1, 2, 3], [4, 5, 6, 7]])
    assert inspect_tools.get_invlist_sizes(lists).tolist() == [0, 2, 0]


def test_two_levels() -> None:
    x = points(2000)
    for rebalance in (True, False):
        centroids, stats = clustering.two_level_clustering(
            x, 4, 20, rebalance=rebalance, niter=4, min_points_per_centroid=1
        )
        assert centroids.shape == (20, 8)
        assert len(stats) == 5
    flat = metalfaiss.Kmeans(8, 20, niter=4)
    flat.train(x)
    found = metalfaiss.knn(x, centroids, 1)[0].sum()
    assert found < 1.1 * flat.obj[-1]


def test_lists_by_hand() -> None:
    x, xq = points(1000), points(20)
    index = metalfaiss.index_factory(8, "IVF16,Flat")
    clustering.train_ivf_index_with_2level(index, x, niter=3, min_points_per_centroid=1)
    assigned = index.quantizer.search(x, 1)[1][:, 0]
    ivf_tools.add_preassigned(index, x, assigned, np.arange(1000))
    index.nprobe = 4
    probes = index.quantizer.search(xq, 4)[1]
    I = index.search(xq, 5)[1]
    for found in (ivf_tools.search_preassigned(index, xq, 5, probes), index.search(xq, 5)):
        np.testing.assert_array_equal(found[1], I)
    ivf_tools.sort_invlists_by_size(index)
    assert (np.diff(inspect_tools.get_invlist_sizes(index.invlists)) >= 0).all()
    np.testing.assert_array_equal(index.search(xq, 5)[1], I)
    old = ivf_tools.replace_ivf_quantizer(index, metalfaiss.IndexFlatL2(8))
    assert old.ntotal == index.quantizer.ntotal == 16
    lims, _, ids = ivf_tools.range_search_preassigned(index, xq, 3.0, index.quantizer.search(xq, 4)[1])
    assert len(lims) == 21
    assert set(ids) <= set(range(1000))
    with pytest.raises(ValueError, match="permutation"):
        ivf_tools.permute_invlists(index, np.zeros(16))
    with pytest.raises(ValueError, match="list_nos"):
        ivf_tools.search_preassigned(index, xq, 5, probes[:, :2])


# ---------------------------------------------------------------------------------------------- FAISS's signatures


def test_repeated_timing() -> None:
    threads = metalfaiss.num_threads()
    timer = evaluation.RepeatTimer(warmup=1, nt=1, runs=4)
    seen = []
    for run in timer:
        seen.append((run, metalfaiss.num_threads()))
    assert seen == [(i, 1) for i in range(4)]
    assert (timer.nruns(), metalfaiss.num_threads()) == (3, threads)
    assert timer.ms() >= 0
    assert timer.ms_std() >= 0
    short = evaluation.RepeatTimer(runs=1000, max_secs=0.0)
    assert [run for run in short] == [0]
    with pytest.raises(RuntimeError, match="must have run"):
        evaluation.RepeatTimer().ms()
    with pytest.raises(ValueError, match="warmup must be from 0 to runs - 1"):
        evaluation.RepeatTimer(warmup=2, runs=2)


def test_sorted_ranges(ranges: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    lims, D, I = (a.astype(np.int64) if a.dtype == np.uint64 else a for a in ranges[0])
    mixed = np.concatenate([np.arange(a, b)[::-1] for a, b in pairwise(lims)]).astype(int)
    ours = evaluation.sort_range_res_2(lims, D[mixed], I[mixed])
    theirs = their_evaluation.sort_range_res_2(lims, D[mixed], I[mixed])
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        evaluation.sort_range_res_1(lims, I[mixed]), their_evaluation.sort_range_res_1(lims, I[mixed])
    )


def test_calls_in_the_order_of_faiss() -> None:
    x, q = points(200), points(21)
    for module in (exhaustive_search, their_search):
        assert module.knn_ground_truth(q, iter([x]), 3, faiss.METRIC_L2, False, 0)[1].shape == (21, 3)
        assert module.range_ground_truth(q, iter([x]), 3.0, faiss.METRIC_L2, False, 0)[0].shape == (22,)
    index = metalfaiss.IndexFlatL2(8)
    index.add(x)
    found = exhaustive_search.range_search_max_results(index, iter([q]), 9.0, 400, 300, False, 0, True)
    assert len(found[2]) <= 400


def test_kmeans_of_data_that_assigns_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.concatenate([points(60) / 20 + 5 * centre for centre in points(6)])
    data = clustering.DatasetAssign(x)
    assert (data.count(), data.dim()) == (360, 8)
    centroids, stats = clustering.kmeans(6, data, 8, checkpoint=str(tmp_path / "c.npy"), return_stats=True)
    assert "Iteration 7" in capsys.readouterr().out
    np.testing.assert_array_equal(np.load(tmp_path / "c.npy"), centroids)
    assert stats[-1]["obj"] <= stats[0]["obj"]
    ids, D, sums = data.assign_to(centroids, weights=np.full(360, 2.0))
    theirs = their_clustering.DatasetAssign(x).assign_to(centroids, weights=np.full(360, 2.0, np.float32))
    np.testing.assert_array_equal(ids, theirs[0])
    np.testing.assert_allclose(D, theirs[1], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(sums, theirs[2], rtol=1e-4, atol=1e-3)
    assert clustering.kmeans(3, data, 1, verbose=False).shape == (3, 8)
    with pytest.raises(ValueError, match="at least k = 361 vectors"):
        clustering.kmeans(361, data)


def test_batches_of_a_file(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (23, 5), dtype=np.uint8)
    vecs_io.bvecs_write(tmp_path / "x.bvecs", x)
    batches = list(vecs_io.bvecs_iter(tmp_path / "x.bvecs", 10))
    assert [len(batch) for batch in batches] == [10, 10, 3]
    np.testing.assert_array_equal(np.concatenate(batches), x)


def test_batches_across_files(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (53, 5), dtype=np.uint8)
    for i, (a, b) in enumerate(pairwise([0, 4, 8, 40, 53])):
        vecs_io.bvecs_write(tmp_path / f"chunk_{i:04}.bvecs", x[a:b])
    for size in (1, 10, 100):
        batches = list(vecs_io.bvecs_iter_chunked(tmp_path, size))
        theirs = list(their_vecs_io.bvecs_iter_chunked(str(tmp_path), size))
        assert [len(batch) for batch in batches] == [len(batch) for batch in theirs]
        np.testing.assert_array_equal(np.concatenate(batches), x)
    (tmp_path / "chunk_0001.bvecs").unlink()
    with pytest.raises(ValueError, match=r"Received numbers \[0, 2, 3\]"):
        list(vecs_io.bvecs_iter_chunked(tmp_path))


@pytest.mark.parametrize("module", [evaluation, their_evaluation], ids=["ours", "theirs"])
def test_settings_worth_their_time(module: Any) -> None:
    points = module.OperatingPointsWithRanges()
    points.add_range("nprobe", [1, 2, 4, 8])
    points.add_range("ht", [16, 32, 64])
    assert (points.num_experiments(), points.do_nothing_key().tolist()) == (12, [0, 0])
    assert [points.cno_to_key(i).tolist() for i in (0, 5, 11)] == [[0, 0], [1, 1], [3, 2]]
    assert points.sample_experiments(5) == [0, 11, 5, 1, 8]
    assert sorted(points.sample_experiments(0)) == list(range(12))
    assert points.get_parameters(points.cno_to_key(7)) == {"nprobe": 8, "ht": 32}
    assert points.add_operating_point(points.cno_to_key(0), 0.2, 1.0)
    assert points.add_operating_point(points.cno_to_key(11), 0.9, 8.0)
    assert points.add_operating_point(points.cno_to_key(5), 0.9, 4.0)
    assert not points.add_operating_point(points.cno_to_key(4), 0.1, 2.0)
    assert ([t for _, _, t in points.operating_points], len(points.suboptimal_points)) == ([1.0, 4.0], 2)
    assert points.predict_bounds(np.array([1, 0])) == (0.9, 1.0)
    assert points.predict_bounds(np.array([3, 1])) == (0.9, 4.0)
    assert points.should_run_experiment(np.array([1, 0]))
    assert not points.should_run_experiment(np.array([3, 1]))
    points.restrict_range("nprobe", 4)
    assert points.ranges[0] == ("nprobe", [1, 2])
    with pytest.raises(RuntimeError, match=r"not found|must be one of nprobe, ht"):
        points.restrict_range("M", 4)


def test_bad_settings() -> None:
    points = evaluation.OperatingPointsWithRanges()
    points.add_range("nprobe", [1, 2, 4, 8])
    with pytest.raises(ValueError, match="n_autotune must be 0, or at least 2"):
        points.sample_experiments(1)
    with pytest.raises(ValueError, match="cno must be from 0 to 3"):
        points.cno_to_key(4)
    for call in (lambda: evaluation.OperatingPoints().compare_keys(1, 2), evaluation.OperatingPoints().do_nothing_key):
        with pytest.raises(NotImplementedError):
            call()


@pytest.mark.parametrize("metric", [faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT])
def test_ranges_of_an_index_that_finds_neighbours(metric: int) -> None:
    x, q = points(400), points(30)
    radius = 6.0 if metric == faiss.METRIC_L2 else 2.0
    outcomes = []
    for f, module in ((metalfaiss, exhaustive_search), (faiss, their_search)):
        index = f.IndexFlat(8, metric)
        index.add(x)
        outcomes.append([module.range_search_gpu(q, radius, index, other, 20) for other in (index, x, None)])
    for ours, theirs in zip(*outcomes, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        for a, b in pairwise(ours[0]):
            assert set(ours[2][a:b]) == set(theirs[2][a:b])
    codes = np.random.default_rng(0).integers(0, 256, (90, 4), dtype=np.uint8)
    binary = metalfaiss.IndexBinaryFlat(32)
    binary.add(codes)
    lims, D, _ = exhaustive_search.range_search_gpu(codes, 12, binary, codes, 5)
    np.testing.assert_array_equal(lims, binary.range_search(codes, 12)[0])
    assert D.dtype == np.int32


def test_a_radius_for_so_many_results() -> None:
    draw = np.random.default_rng(0)
    for keep_max in (False, True):
        batches = [(np.array([3, 4]), draw.random(7, dtype=np.float32), np.arange(7)) for _ in range(5)]
        ours, theirs = list(batches), list(batches)
        assert exhaustive_search.apply_maxres(ours, 20, keep_max) == their_search.apply_maxres(theirs, 20, keep_max)
        for a, b in zip(ours, theirs, strict=True):
            for first, second in zip(a, b, strict=True):
                np.testing.assert_array_equal(first, second)
    with pytest.raises(ValueError, match="There must be more than 20 results"):
        exhaustive_search.apply_maxres(ours, 20)


def test_fields_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    inspect_tools.print_object_fields(metalfaiss.index_factory(8, "IVF4,Flat"))
    printed = capsys.readouterr().out
    assert "nprobe = 1\n" in printed
    assert "code_size = 32\n" in printed
