"""The GPU kernels of exact search, simulated, against float64: ids are those of float64 arithmetic, ties by id."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from oracles.search import FLT_MAX, METRICS, SUBNORMAL, check, scores

from metalfaiss import METRIC_INNER_PRODUCT, METRIC_L2, IndexFlat, _core
from metalfaiss.distances import knn

from .knn_limits import limits
from .simulator import SCHEDULES, Simulator, product

Rng = np.random.Generator
DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}
MANY = {"few_queries": 1, "few_products": 1}  # matrix products however small
# Rows scanned in passes; threadgroup memory of the simulator holds rows of 32 columns.
SCAN = {"few_products": 1, "scan_products": 1, "scan_columns": 32, "scan_capacity": 256}
WAYS = {"direct": {}, "products": MANY, "scan": SCAN}
anything = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def normal(rng: Rng, *shape: int, mean: float = 0.0) -> Any:
    return (rng.standard_normal(shape) + mean).astype(np.float32)


def kernels(sim: Simulator) -> list[str]:
    return [t.kernel for t in sim.traffic]


def exact_bytes(sim: Simulator) -> int:
    """What knn_exact read of the database: 0 where results were proven without it."""
    return sum(t.bytes["input 1"].read for t in sim.traffic if t.kernel == "knn_exact" and "input 1" in t.bytes)


# ---------------------------------------------------------------------- sizes

# (nq, nb, d, k): rows around a simdgroup's, a round's and a slab's; columns around 32; every kind of list.
DIRECT = {
    "one query": [(1, nb, d, 3) for nb, d in [(1, 1), (31, 31), (32, 32), (33, 33), (255, 64), (256, 3), (257, 65)]],
    "one query, slabs": [(1, nb, 5, 16) for nb in (511, 512, 513, 1025, 1500)],
    "four queries": [(n, nb, d, 10) for n, nb, d in [(2, 7, 1), (3, 64, 33), (4, 65, 32), (4, 129, 7), (3, 1100, 4)]],
    "more queries": [(n, nb, d, 12) for n, nb, d in [(5, 15, 9), (15, 16, 33), (16, 17, 4), (17, 33, 5), (32, 600, 3)]],
    "lists of 128": [(1, 700, 4, 17), (6, 700, 4, 104), (33, 260, 3, 40)],
    "lists of 512": [(1, 1300, 3, 105), (6, 1300, 3, 460)],
    "lists of 2048": [(2, 2300, 3, 461), (1, 2600, 2, 1920), (1, 600, 2, 700)],
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", DIRECT)
def test_direct(simulator: Simulator, rng: Rng, kind: str, metric: int) -> None:
    with limits(threadgroups=6):
        for nq, nb, d, k in DIRECT[kind]:
            simulator.traffic.clear()
            check(normal(rng, nq, d), normal(rng, nb, d), k, metric)
            assert kernels(simulator)[0] == "knn_direct"


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("size", [(2, 1, 3, 1), (33, 700, 20, 5), (40, 1500, 33, 16), (9, 4200, 4, 10)], ids=str)
def test_products(simulator: Simulator, rng: Rng, size: tuple[int, ...], metric: int) -> None:
    nq, nb, d, k = size
    for scratch in (64 << 20, 400_000, 150_000):  # one chunk and several, one tile of queries and several
        with limits(**MANY, scratch=scratch, threadgroups=4 * nq):
            simulator.traffic.clear()
            check(normal(rng, nq, d), normal(rng, nb, d), k, metric)
    products = kernels(simulator).count("product")
    assert products > 2 or nb < 4000
    assert kernels(simulator).count("knn_select") == products


# (nq, nb, d, k): rows around a tile's and a pass's, one group of queries and two, columns around 32.
SCANS = [(1, 700, 33, 5), (3, 1500, 8, 10), (5, 129, 32, 3), (70, 900, 31, 10), (6, 2300, 4, 16)]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_scans(simulator: Simulator, rng: Rng, dtype: str, metric: int) -> None:
    for nq, nb, d, k in SCANS:
        simulator.traffic.clear()
        with limits(**SCAN, threadgroups=6):
            check(normal(rng, nq, d), mx.array(normal(rng, nb, d)).astype(DTYPES[dtype]), k, metric)
        assert kernels(simulator).count("knn_tighten") == kernels(simulator).count("knn_scan")
        assert ("knn_finish_few" in kernels(simulator)) == (nq <= 4)
        assert exact_bytes(simulator) == 0


def test_a_scan_whose_lists_overflow_is_searched_again(simulator: Simulator, rng: Rng) -> None:
    for nq in (2, 6):
        xq = normal(rng, nq, 8)
        xb = normal(rng, 2000, 8)
        for t in range(16):  # what the first pass reads is far from all queries
            xb[t * 8 :: 128] += 100.0 if t % 16 == 0 else 0.0
        with limits(**SCAN, threadgroups=6):
            check(xq, xb, 3, METRIC_L2)


def test_products_are_for_many_queries(simulator: Simulator, rng: Rng) -> None:
    check(normal(rng, 33, 64), normal(rng, 8200, 64), 3)
    assert "product" in kernels(simulator)
    assert exact_bytes(simulator) == 0
    simulator.traffic.clear()
    check(normal(rng, 33, 64), normal(rng, 700, 64), 3)
    assert "product" not in kernels(simulator)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("size", [(1, 300, 3, 1921), (2, 4300, 2, 2000), (5, 2100, 2, 2100)], ids=str)
def test_large_k(simulator: Simulator, rng: Rng, size: tuple[int, ...], metric: int) -> None:
    nq, nb, d, k = size
    for threadgroups in (1, 3):  # one list a query, and several that are merged
        with limits(threadgroups=threadgroups, slab_rows=256, scratch=1 << 20):
            check(normal(rng, nq, d), normal(rng, nb, d), k, metric)
    assert set(kernels(simulator)) == {"knn_exact", "knn_exact_merge"}


@pytest.mark.parametrize("metric", METRICS)
def test_empty_and_padded(simulator: Simulator, metric: int) -> None:
    for nq, nb, d, k in ((0, 5, 3, 2), (3, 0, 4, 2), (0, 0, 0, 1), (2, 3, 1, 9), (2, 3, 0, 5), (1, 2, 3, 40)):
        check(np.ones((nq, d), np.float32), np.ones((nb, d), np.float32), k, metric, exact=True)


@anything
@given(st.data())
def test_any_size(simulator: Simulator, data: st.DataObject) -> None:
    nq, d = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 40))
    nb, k = data.draw(st.integers(1, 700)), data.draw(st.integers(1, 16))
    way = data.draw(st.sampled_from(sorted(WAYS)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    mean = data.draw(st.sampled_from([0.0, 1.0, 1e4]))
    divided = {
        "threadgroups": data.draw(st.integers(1, 100)),
        "slab_rows": data.draw(st.sampled_from([32, 100, 1000])),
        "scratch": data.draw(st.sampled_from([40_000, 200_000, 64 << 20])),
        "tile_queries": data.draw(st.sampled_from([3, 2048])),
    }
    with limits(**WAYS[way], **divided):
        check(normal(rng, nq, d, mean=mean), normal(rng, nb, d, mean=mean), k, data.draw(st.sampled_from(METRICS)))


# ----------------------------------------------------------- ties and accuracy


@anything
@given(st.data())
def test_ties_go_to_the_lower_id(simulator: Simulator, data: st.DataObject) -> None:
    nq, nb = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 150))
    d, k = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 16))
    small = st.integers(-1, 2).map(float)
    xq = data.draw(hnp.arrays(np.float32, (nq, d), elements=small, fill=small))
    xb = data.draw(hnp.arrays(np.float32, (nb, d), elements=small, fill=small))
    for metric in METRICS:
        with limits(**WAYS[data.draw(st.sampled_from(sorted(WAYS)))]):
            check(xq, xb, k, metric, exact=True)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_proven_is_searched_again(simulator: Simulator, rng: Rng, way: str, metric: int) -> None:
    xb = normal(rng, 900, 6)
    xb[100:300] = xb[100]  # one query's neighbours are more equals than a list holds
    xq = np.concatenate([xb[100:101] * (2 if metric == METRIC_INNER_PRODUCT else 1), normal(rng, 3, 6)])
    with limits(**WAYS[way], threadgroups=3):
        check(xq, xb, 16, metric, exact=False)
    if isinstance(simulator, Simulator):  # a GPU counts no bytes
        assert exact_bytes(simulator) >= xb.nbytes
    found = np.array(knn(mx.array(xq[:1]), mx.array(xb), 16, metric)[1])[0]
    if metric == METRIC_L2:
        np.testing.assert_array_equal(found, np.arange(100, 116))


@pytest.mark.parametrize("way", WAYS)
def test_random_vectors_are_proven_at_once(simulator: Simulator, rng: Rng, way: str) -> None:
    for metric in METRICS:
        with limits(**WAYS[way]):
            check(normal(rng, 10, 48), normal(rng, 800, 48), 10, metric)
            if metric == METRIC_L2:  # the origin moves, so it costs nothing to be far from it
                check(normal(rng, 10, 48, mean=1e4), normal(rng, 800, 48, mean=1e4), 10, metric)
    assert exact_bytes(simulator) == 0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("way", WAYS)
class TestAccuracy:
    def test_far_from_the_origin(self, simulator: Simulator, rng: Rng, way: str, metric: int) -> None:
        with limits(**WAYS[way]):
            check(normal(rng, 3, 48, mean=1e4), normal(rng, 500, 48, mean=1e4), 10, metric)

    def test_near_duplicates(self, simulator: Simulator, rng: Rng, way: str, metric: int) -> None:
        center = rng.standard_normal((1, 32))
        cloud = center + 1e-6 * rng.standard_normal((150, 32))
        xb = np.concatenate([10 * rng.standard_normal((200, 32)), cloud]).astype(np.float32)
        xq = (center + 1e-6 * rng.standard_normal((3, 32))).astype(np.float32)
        with limits(**WAYS[way]):
            check(xq, xb, 15, metric)

    def test_outliers(self, simulator: Simulator, rng: Rng, way: str, metric: int) -> None:
        for scale in (1e18, 1e30):
            xb, xq = normal(rng, 700, 8), normal(rng, 3, 8)
            xb[::100] *= np.float32(scale)
            xq[1] *= np.float32(scale)
            with limits(**WAYS[way]):
                check(xq, xb, 12, metric)

    def test_mixed_norms(self, simulator: Simulator, rng: Rng, way: str, metric: int) -> None:
        xq, xb = (
            (rng.standard_normal((n, 10)) * 10.0 ** rng.uniform(-12, 12, (n, 1))).astype(np.float32) for n in (4, 400)
        )
        with limits(**WAYS[way]):
            check(xq, xb, 14, metric)

    def test_tiny_values(self, simulator: Simulator, rng: Rng, way: str, metric: int) -> None:
        for scale in (1e-20, 1e-30, 1e-42):
            xq, xb = ((scale * rng.standard_normal((n, 6))).astype(np.float32) for n in (3, 200))
            with limits(**WAYS[way]):
                distances, ids = (np.array(x) for x in knn(mx.array(xq), mx.array(xb), 10, metric))
            s = scores(xq.astype(np.float64), xb.astype(np.float64), metric)
            np.testing.assert_array_equal(ids, np.argsort(s, axis=1, kind="stable")[:, :10])
            best = np.take_along_axis(s, ids, 1) * (1 if metric == METRIC_L2 else -1)
            np.testing.assert_allclose(distances, best.astype(np.float32), rtol=3e-7, atol=SUBNORMAL)

    def test_nan_and_inf(self, simulator: Simulator, rng: Rng, way: str, metric: int) -> None:
        xq, xb = normal(rng, 4, 9), normal(rng, 300, 9)
        xb[3::7, 2], xb[5::11, 8], xb[6::13, 0] = np.nan, np.inf, -np.inf
        xq[1, 4], xq[2, 8] = np.nan, np.inf
        xb[200], xb[201] = FLT_MAX, -FLT_MAX
        with limits(**WAYS[way]):
            check(xq, xb, 12, metric)
            check(xq, xb[3:5], 2, metric)
            check(xq, np.full_like(xb, np.nan), 3, metric)

    def test_large_terms_that_cancel(self, simulator: Simulator, rng: Rng, way: str, metric: int) -> None:
        xb = np.float32([[1e30, -1e30, 3], [1e30, -1e30, 2], [1, 2, 3], [-1e30, 1e30, 1e-30]] * 3)
        with limits(**WAYS[way]):
            check(np.float32([[1e30, 1e30, 0], [1e-30, 0, 1], [1, 1, 1]]), xb, 5, metric)


def test_products_in_tf32(simulator: Simulator, rng: Rng, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the bound for it, a product that rounds its operands to 11 bits changes no result."""
    if not isinstance(simulator, Simulator):
        pytest.skip("the rounding is put into the simulator's product")
    view = product._view
    rounded = []

    def in_tf32(at: Any, rows: int, columns: int, *args: Any) -> Any:
        x = view(at, rows, columns, *args)
        if (rows, columns) == (12, 900):  # the output
            return x
        rounded.append(rows)
        return ((x.view(np.int32) + (1 << 12)) & ~((1 << 13) - 1)).view(np.float32)

    monkeypatch.setattr(product, "_view", in_tf32)
    with limits(**MANY):
        for metric in METRICS:
            check(normal(rng, 12, 40), normal(rng, 900, 40), 10, metric)
    assert rounded == [12, 900] * 2
    assert exact_bytes(simulator) < 900 * 40 * 4 * 12  # the bound is tight enough to be of use


# ----------------------------------------------------------- storage, batches


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("way", WAYS)
def test_half_types(simulator: Simulator, rng: Rng, way: str, dtype: str) -> None:
    xb = mx.array(normal(rng, 300, 21)).astype(DTYPES[dtype])
    for metric in METRICS:
        with limits(**WAYS[way]):
            check(mx.array(normal(rng, 4, 21)), xb, 9, metric)
            check(mx.array(normal(rng, 3, 20)).astype(DTYPES[dtype]), xb[::-2, 1:], 9, metric)


STRIDES = {
    "columns": lambda x: mx.contiguous(x.T).T,
    "every other column": lambda x: mx.repeat(x, 2, axis=1)[:, ::2],
    "every other row": lambda x: mx.repeat(x, 2, axis=0)[::2],
    "reversed": lambda x: mx.contiguous(x[::-1, ::-1])[::-1, ::-1],
    "a part": lambda x: mx.pad(x, 3)[3:-3, 3:-3],
    "one row": lambda x: mx.broadcast_to(x[:1], x.shape),
}


@pytest.mark.parametrize("view", STRIDES)
@pytest.mark.parametrize("way", WAYS)
def test_strides(simulator: Simulator, rng: Rng, way: str, view: str) -> None:
    xq, xb = STRIDES[view](mx.array(normal(rng, 4, 13))), STRIDES[view](mx.array(normal(rng, 200, 13)))
    for metric in METRICS:
        with limits(**WAYS[way]):
            check(xq, xb, 7, metric)


BATCHES = [
    ((3,), ()),
    ((), (3,)),
    ((3,), (1,)),
    ((2, 1), (3,)),
    ((2, 3), (2, 3)),
    ((2, 1, 2, 1, 2), (1, 2, 1, 2, 1)),  # more dimensions than a launch takes
    ((0,), ()),
    ((), (0,)),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("batches", BATCHES, ids=str)
def test_batches(simulator: Simulator, rng: Rng, batches: tuple[tuple[int, ...], ...], way: str) -> None:
    xq, xb = (mx.array(normal(rng, *batch, n, 4)) for batch, n in zip(batches, (5, 30), strict=True))
    batch = np.broadcast_shapes(*batches)
    q = np.broadcast_to(np.array(xq), (*batch, 5, 4)).reshape(-1, 5, 4)
    b = np.broadcast_to(np.array(xb), (*batch, 30, 4)).reshape(-1, 30, 4)
    for tile in (2048, 7):
        with limits(**WAYS[way], tile_queries=tile):
            distances, ids = knn(xq, xb, 3)
            assert distances.shape == ids.shape == (*batch, 5, 3)
            for i, found in enumerate(zip(distances.reshape(-1, 5, 3), ids.reshape(-1, 5, 3), strict=True)):
                check(q[i], b[i], 3, METRIC_L2, found)


# ------------------------------------------------------------------ transforms


def pure(xq: mx.array, xb: mx.array, k: int) -> mx.array:
    """The distances by MLX operations from the ids: what the derivatives must be."""
    ids = mx.stop_gradient(knn(xq, xb, k)[1])
    rows = mx.take(xb, mx.maximum(ids, 0).reshape(-1), axis=0).reshape(*ids.shape, xb.shape[-1])
    return ((xq[..., None, :] - rows) ** 2).sum(-1)


def test_gradients(simulator: Simulator, rng: Rng) -> None:
    xq, xb = mx.array(normal(rng, 4, 5)), mx.array(normal(rng, 40, 5))
    ours, theirs = (
        mx.value_and_grad(lambda q, b, f=f: f(q, b).sum(), argnums=(0, 1))(xq, xb)
        for f in (lambda q, b: knn(q, b, 3)[0], lambda q, b: pure(q, b, 3))
    )
    for a, e in zip([ours[0], *ours[1]], [theirs[0], *theirs[1]], strict=True):
        np.testing.assert_allclose(np.array(a), np.array(e), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axes", [(0, None), (0, 0), (None, 0), (1, 2)], ids=str)
def test_vmap(simulator: Simulator, rng: Rng, axes: tuple[int | None, int | None]) -> None:
    xq, xb = normal(rng, 3, 4, 3), normal(rng, 3, 20, 3)
    args = [mx.array(x[0] if a is None else np.moveaxis(x, 0, a)) for x, a in zip((xq, xb), axes, strict=True)]
    distances, ids = mx.vmap(lambda q, b: knn(q, b, 3), in_axes=axes)(*args)
    for i in range(3):
        q, b = (x[0 if a is None else i] for x, a in zip((xq, xb), axes, strict=True))
        check(q, b, 3, METRIC_L2, (distances[i], ids[i]))


@pytest.mark.parametrize("shapeless", [False, True])
def test_compile(simulator: Simulator, rng: Rng, shapeless: bool) -> None:
    search = mx.compile(lambda q, b: knn(2 * q, b, 4), shapeless=shapeless)
    for nq, nb, d in ((4, 40, 5), (6, 90, 7), (3, 2, 5)):
        xq, xb = normal(rng, nq, d), normal(rng, nb, d)
        check(2 * xq, xb, 4, METRIC_L2, search(mx.array(xq), mx.array(xb)))


def test_streams(simulator: Simulator, rng: Rng) -> None:
    xq, xb = normal(rng, 4, 5), normal(rng, 60, 5)
    stream = mx.new_stream(mx.cpu)
    check(xq, xb, 3, METRIC_L2, knn(mx.array(xq), mx.array(xb), 3, stream=stream))


@pytest.mark.parametrize("way", WAYS)
def test_the_order_of_threads_does_not_matter(rng: Rng, way: str) -> None:
    xq, xb = (rng.integers(0, 3, (n, 3)).astype(np.float32) for n in (5, 600))  # ties: the exact kernels as well
    results = []
    for schedule in SCHEDULES:
        simulator = Simulator(schedule)
        with simulator.active(_core), limits(**WAYS[way], threadgroups=10, slab_rows=64):
            results.append([np.array(x) for metric in METRICS for x in knn(mx.array(xq), mx.array(xb), 12, metric)])
        simulator.check()
        assert exact_bytes(simulator) > 0
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


# ----------------------------------------------------------------------- index


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_index_flat(simulator: Simulator, rng: Rng, dtype: str, metric: int) -> None:
    index = IndexFlat(11, metric, dtype=DTYPES[dtype])
    xb, xq = normal(rng, 300, 11), normal(rng, 4, 11)
    index.add(xb)
    found = index.search(xq, 9)
    assert "knn_direct" in kernels(simulator)
    check(xq, mx.array(xb).astype(DTYPES[dtype]), 9, metric, found)
    half = normal(rng, 90, 11)  # a second chunk
    index.add(half)
    found = index.search(mx.array(xq), 9)
    check(xq, mx.array(np.concatenate([xb, half])).astype(DTYPES[dtype]), 9, metric, found)


def test_an_index_far_from_the_origin(simulator: Simulator, rng: Rng) -> None:
    index = IndexFlat(8)
    xb, xq = normal(rng, 400, 8, mean=1e4), normal(rng, 40, 8, mean=1e4)
    index.add(xb)
    check(xq, xb, 5, METRIC_L2, index.search(xq, 5))
