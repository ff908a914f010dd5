"""Every operation on the GPU, on small shapes, against the same operation on the CPU: ``python tests/gpu/smoke.py``.

Small enough for compute-sanitizer: memcheck finds accesses out of bounds, racecheck races in shared memory.
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
from metalfaiss import IndexFlatL2, knn, pairwise_distances, select_k
from metalfaiss.faissmlx.kernels.gemm_kernels import gemm_at_b, gemm_av, z_step
from metalfaiss.faissmlx.qr import qr
from metalfaiss.faissmlx.svd import svd_step, topk_svd

Check = Callable[[], None]
_rng = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return _rng.standard_normal(shape, dtype=np.float32)


def compare(
    op: Callable[..., object], *arrays: np.ndarray, dtype: mx.Dtype = mx.float32, tolerance: float = 1e-4
) -> None:
    """The op of the arrays on both devices: integers are equal, floats are close."""
    results = []
    for device in (mx.cpu, mx.gpu):
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


def factors(m: int, n: int, *batch: int) -> None:
    a = normal(*batch, m, n)
    q, r = (np.array(x, dtype=np.float64) for x in qr(mx.array(a), stream=mx.gpu))
    k = min(m, n)
    size = np.abs(a).max() * np.sqrt(m)
    np.testing.assert_allclose(q @ r, a, atol=1e-5 * size)
    np.testing.assert_allclose(np.swapaxes(q, -1, -2) @ q, np.broadcast_to(np.eye(k), (*batch, k, k)), atol=1e-5)
    np.testing.assert_array_equal(np.tril(r, -1), 0)


def singular_values() -> None:
    a = normal(300, 40) @ np.diag(0.7 ** np.arange(40)).astype(np.float32)
    found = np.array(topk_svd(mx.array(a), 5, stream=mx.gpu)[1])
    np.testing.assert_allclose(found, np.linalg.svd(a.astype(np.float64), compute_uv=False)[:5], rtol=1e-4)


def transforms() -> None:
    a, v = mx.array(normal(70, 20)), mx.array(normal(20, 4))
    with mx.stream(mx.gpu):
        loss = lambda v: svd_step(a, v).square().sum() + z_step(a, v).sum()  # noqa: E731
        eager, graph = mx.grad(loss)(v), mx.compile(mx.grad(loss))(v)
        mx.eval(eager, graph)
    assert np.isfinite(np.array(eager)).all()
    np.testing.assert_allclose(np.array(graph), np.array(eager), rtol=1e-3, atol=1e-3 * float(mx.abs(eager).max()))


def index() -> None:
    x = normal(500, 16)
    flat = IndexFlatL2(16)
    flat.add(x)
    np.testing.assert_array_equal(flat.search(mx.array(x), 1, stream=mx.gpu)[1].tolist(), np.arange(500)[:, None])


def checks() -> Iterator[tuple[str, Check]]:
    for m, n, k in [(37, 29, 3), (300, 70, 40), (65, 130, 129), (5000, 64, 8)]:
        for op, second in [(gemm_av, (n, k)), (gemm_at_b, (m, k)), (z_step, (n, k))]:
            a, b = normal(m, n), normal(*second)
            yield f"{op.__name__} {m}x{n} k={k}", lambda op=op, a=a, b=b: compare(op, a, b)
    a, b = normal(3, 33, 17), normal(3, 17, 5)
    yield "gemm_av float16", lambda: compare(gemm_av, a, b, dtype=mx.float16, tolerance=2e-2)
    yield "z_step bfloat16", lambda: compare(z_step, a, b, dtype=mx.bfloat16, tolerance=5e-2)
    for m, n, batch in [(50, 7, ()), (7, 50, ()), (700, 64, ()), (300, 130, ()), (64, 16, (40,)), (16400, 65, (2,))]:
        yield f"qr {m}x{n} {batch}", lambda m=m, n=n, batch=batch: factors(m, n, *batch)
    for n, k in [(10, 3), (5000, 10), (5000, 300), (70000, 2000)]:
        for largest in (False, True):
            x = normal(3, n)
            yield (
                f"select_k {n} k={k} largest={largest}",
                lambda x=x, k=k, largest=largest: compare(select_k_of(k, largest), x),
            )
    for nq, nb, d, k in [
        (1, 3000, 24, 5),
        (3, 3000, 24, 100),
        (40, 3000, 128, 10),
        (40, 20000, 70, 10),
        (5, 700, 9, 600),
    ]:
        for metric in (metalfaiss.METRIC_L2, metalfaiss.METRIC_INNER_PRODUCT):
            xq, xb = normal(nq, d), normal(nb, d)
            yield (
                f"knn {nq}x{nb} d={d} k={k} metric={metric}",
                lambda xq=xq, xb=xb, k=k, metric=metric: compare(knn_of(k, metric), xq, xb, tolerance=1e-5),
            )
    xq, xb = normal(33, 20), normal(90, 20)
    yield "pairwise_distances", lambda: compare(pairwise_distances, xq, xb, tolerance=1e-5)
    yield "topk_svd", singular_values
    yield "transforms", transforms
    yield "IndexFlatL2", index


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
