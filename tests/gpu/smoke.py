"""Every operation on the GPU, on small shapes, against the same operation on the CPU: ``python tests/gpu/smoke.py``.

Small enough for compute-sanitizer: memcheck finds accesses out of bounds, racecheck races in shared memory. Together
the checks launch every kernel that an NVIDIA GPU runs (tests/metal/test_smoke.py).
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterator

import mlx.core as mx
import numpy as np

import metalfaiss
from metalfaiss import IndexFlatL2, _core, knn, pairwise_distances, select_k
from metalfaiss.faissmlx.kernels.gemm_kernels import gemm_at_b, gemm_av, z_step
from metalfaiss.faissmlx.qr import qr
from metalfaiss.faissmlx.svd import svd_step, topk_svd

Check = Callable[[], None]
GPU = mx.gpu
_rng = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return _rng.standard_normal(shape, dtype=np.float32)


def compare(
    op: Callable[..., object], *arrays: np.ndarray, dtype: mx.Dtype = mx.float32, tolerance: float = 1e-4
) -> None:
    """The op of the arrays on both devices: integers are equal, floats are close."""
    results = []
    for device in (mx.cpu, GPU):
        inputs = [mx.array(a).astype(dtype, stream=mx.cpu) for a in arrays]
        mx.eval(inputs)
        found = op(*inputs, stream=device)
        found = list(found) if isinstance(found, (tuple, list)) else [found]
        found = [f.astype(mx.float32, stream=device) if f.dtype in (mx.float16, mx.bfloat16) else f for f in found]
        mx.eval(found)
        results.append([np.array(f) for f in found])
    for on_cpu, on_gpu in zip(*results, strict=True):
        assert on_cpu.shape == on_gpu.shape
        if on_cpu.dtype.kind in "iu":
            np.testing.assert_array_equal(on_gpu, on_cpu)
        else:
            scale = max(1.0, float(np.abs(on_cpu[np.isfinite(on_cpu)]).max(initial=0)))
            np.testing.assert_allclose(on_gpu, on_cpu, rtol=tolerance, atol=tolerance * scale)


def factors(m: int, n: int, *batch: int, rank: int | None = None) -> None:
    """The factors of a random matrix, or of one of that rank."""
    a = normal(*batch, m, n) if rank is None else normal(m, rank) @ normal(rank, n)
    q, r = (np.array(x, dtype=np.float64) for x in qr(mx.array(a), stream=GPU))
    k = min(m, n)
    size = np.abs(a).max() * np.sqrt(m)
    np.testing.assert_allclose(q @ r, a, atol=1e-5 * size)
    np.testing.assert_allclose(np.swapaxes(q, -1, -2) @ q, np.broadcast_to(np.eye(k), (*batch, k, k)), atol=1e-5)
    np.testing.assert_array_equal(np.tril(r, -1), 0)


def search(size: tuple[int, int, int, int], metric: int, dtype: mx.Dtype, **limits: int) -> None:
    """A search that is divided as limits say: see KnnLimits (csrc/gpu/plans/knn.h)."""
    nq, nb, d, k = size
    xb = np.array(mx.array(normal(nb, d)).astype(dtype, stream=mx.cpu).astype(mx.float32, stream=mx.cpu))
    _core.set_knn_limits(**limits)
    try:
        compare(
            lambda xq, xb, stream: knn(xq, xb.astype(dtype, stream=stream), k, metric=metric, stream=stream),
            normal(nq, d),
            xb,
            tolerance=1e-5,
        )
    finally:
        _core.set_knn_limits()


def singular_values() -> None:
    a = normal(300, 40) @ np.diag(0.7 ** np.arange(40)).astype(np.float32)
    found = np.array(topk_svd(mx.array(a), 5, stream=GPU)[1])
    np.testing.assert_allclose(found, np.linalg.svd(a.astype(np.float64), compute_uv=False)[:5], rtol=1e-4)


def transforms() -> None:
    a, v = mx.array(normal(70, 20)), mx.array(normal(20, 4))
    with mx.stream(GPU):
        loss = lambda v: svd_step(a, v).square().sum() + z_step(a, v).sum()  # noqa: E731
        eager, graph = mx.grad(loss)(v), mx.compile(mx.grad(loss))(v)
        mx.eval(eager, graph)
    assert np.isfinite(np.array(eager)).all()
    np.testing.assert_allclose(np.array(graph), np.array(eager), rtol=1e-3, atol=1e-3 * float(mx.abs(eager).max()))


def index() -> None:
    x = normal(500, 16)
    flat = IndexFlatL2(16)
    flat.add(x)
    np.testing.assert_array_equal(flat.search(mx.array(x), 1, stream=GPU)[1].tolist(), np.arange(500)[:, None])


def checks() -> Iterator[tuple[str, Check]]:
    for m, n, k in [(37, 29, 3), (300, 70, 40), (65, 130, 129), (5000, 64, 8)]:
        for op, second in [(gemm_av, (n, k)), (gemm_at_b, (m, k)), (z_step, (n, k))]:
            a, b = normal(m, n), normal(*second)
            yield f"{op.__name__} {m}x{n} k={k}", lambda op=op, a=a, b=b: compare(op, a, b)
    a, b = normal(3, 33, 17), normal(3, 17, 5)
    yield "gemm_av float16", lambda: compare(gemm_av, a, b, dtype=mx.float16, tolerance=2e-2)
    yield "z_step bfloat16", lambda: compare(z_step, a, b, dtype=mx.bfloat16, tolerance=5e-2)
    wide, tall = normal(20, 9000), normal(9000, 3)
    yield "gemm_av, a sum of slabs", lambda: compare(gemm_av, wide, tall)
    for m, n, batch in [(50, 7, ()), (7, 50, ()), (700, 64, ()), (300, 130, ()), (64, 16, (40,)), (16400, 65, (2,))]:
        yield f"qr {m}x{n} {batch}", lambda m=m, n=n, batch=batch: factors(m, n, *batch)
    yield "qr of low rank", lambda: factors(1100, 40, rank=30)  # by its Gram matrix, and then without
    yield "qr of low rank in many launches", lambda: factors(1100, 140, rank=100)
    for rows, n, k in SELECTIONS:
        x = normal(rows, n)
        x[:, : n // 9] = x[:, n // 9 : n // 9 * 2]  # equals
        dtype = mx.float16 if n % 2 else mx.float32
        for largest in (False, True):
            yield (
                f"select_k {rows}x{n} k={k} largest={largest}",
                lambda x=x, k=k, largest=largest, dtype=dtype: compare(select_k_of(k, largest), x, dtype=dtype),
            )
    for way, (limits, sizes) in SEARCHES.items():
        for i, size in enumerate(sizes):
            for metric in (metalfaiss.METRIC_L2, metalfaiss.METRIC_INNER_PRODUCT):
                dtype = (mx.float32, mx.float16, mx.bfloat16)[(i + metric) % 3]
                yield (
                    f"knn {way} {size} metric={metric} {dtype}",
                    lambda size=size, metric=metric, dtype=dtype, limits=limits: search(size, metric, dtype, **limits),
                )
    x = normal(300, 6)
    x[50:250] = x[50]
    yield "knn of equals", lambda: compare(knn_of(16, metalfaiss.METRIC_L2), x[50:52], x)
    yield "knn of nothing", lambda: compare(knn_of(3, metalfaiss.METRIC_L2), normal(2, 4), normal(0, 4))
    xq, xb = normal(33, 20), normal(90, 20)
    yield "pairwise_distances", lambda: compare(pairwise_distances, xq, xb, tolerance=1e-5)
    yield "topk_svd", singular_values
    yield "transforms", transforms
    yield "IndexFlatL2", index


# (rows, n, k). Odd n: 16 bits.
SELECTIONS = [
    (3, 10, 3),  # a simdgroup a row
    (70, 901, 100),
    (3, 5000, 300),  # a threadgroup a row
    (2, 70000, 10),  # segments
    (1, 70001, 10),
    (1, 1200000, 2000),  # whose pairs are merged twice
    (2, 15000, 3000),  # in registers
    (1, 20001, 3000),  # digit by digit, and sorted
    (1, 70000, 4000),  # of what a filter leaves
]

# (nq, nb, d, k) of each way to search.
SEARCHES: dict[str, tuple[dict[str, int], list[tuple[int, int, int, int]]]] = {
    "as usual": ({}, [(1, 3000, 24, 5), (3, 3000, 24, 100), (40, 20000, 70, 10), (5, 700, 9, 600), (1, 2300, 3, 2000)]),
    "directly": ({"scan_columns": 0}, [(1, 3000, 24, 5), (3, 3000, 24, 20), (16, 1300, 33, 10), (5, 1300, 9, 200)]),
    "by products": ({"few_queries": 1, "few_products": 1, "scan_columns": 0}, [(40, 3000, 128, 10), (9, 1300, 33, 20)]),
    "by products in many steps": (
        {"few_queries": 1, "few_products": 1, "scan_columns": 0, "tile_queries": 8},
        [(70, 1300, 24, 10)],
    ),
    # One query and several, a few tiles of queries that stay and more that pass, a last step of 8 and of 32, columns in
    # vectors of eight, of four, one by one, and more than 128; lists of 32, 128 and 512.
    "by scans": (
        {"few_products": 1, "scan_products": 1, "scan_columns": 256, "scan_capacity": 256, "threadgroups": 8},
        [
            *((1, 2000, 33, 10), (3, 1500, 64, 10), (4, 700, 24, 3), (1, 1500, 64, 10), (2, 1500, 40, 5)),
            *((70, 1300, 128, 10), (33, 1300, 128, 10), (100, 900, 64, 7), (6, 2300, 200, 16), (5, 300, 9, 3)),
            *((6, 1500, 64, 10), (200, 600, 32, 5)),
        ],
    ),
    "by scans with long lists": (
        {"few_products": 1, "scan_products": 1, "scan_columns": 256, "threadgroups": 8},
        [(1, 9000, 16, 20), (1, 9000, 16, 120), (7, 9000, 16, 20), (7, 20000, 16, 120)],
    ),
}


def select_k_of(k: int, largest: bool) -> Callable[..., object]:
    return lambda x, stream: select_k(x, k, largest=largest, stream=stream)


def knn_of(k: int, metric: int) -> Callable[..., object]:
    return lambda xq, xb, stream: knn(xq, xb, k, metric=metric, stream=stream)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="checks whose name contains this")
    args = parser.parse_args()
    mx.set_default_device(mx.cpu)  # each check names its streams
    metalfaiss.show_config()
    failed = 0
    for name, check in checks():
        if args.only not in name:
            continue
        start = time.perf_counter()
        try:
            check()
            print(f"ok     {time.perf_counter() - start:7.3f} s  {name}", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {name}\n{traceback.format_exc(limit=-2)[-1500:]}", flush=True)
    print(f"{failed} failed" if failed else "all passed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
