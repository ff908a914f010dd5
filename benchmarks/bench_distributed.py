"""Exact search over vectors spread over ranks, against one rank with all of them.

    mlx.launch -n 2 python benchmarks/bench_distributed.py [--nb 1000000] [--device gpu]

Rank 0 prints a line: seconds of one rank and of all, the speed-up, and whether results are equal.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import mlx.core as mx

import metalfaiss
from metalfaiss.distributed import knn

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--nb", type=int, default=1_000_000)
parser.add_argument("--nq", type=int, default=1000)
parser.add_argument("--d", type=int, default=128)
parser.add_argument("--k", type=int, default=10)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
args = parser.parse_args()
mx.set_default_device(mx.gpu if args.device == "gpu" else mx.cpu)
group = mx.distributed.init()
rank, size = group.rank(), group.size()

xq = mx.random.normal((args.nq, args.d), key=mx.random.key(1))
xb = mx.random.normal((args.nb, args.d), key=mx.random.key(0))
part = mx.contiguous(xb[rank * args.nb // size : (rank + 1) * args.nb // size])
mx.eval(xq, xb, part)


def seconds(work: Callable[[], tuple[mx.array, mx.array]]) -> tuple[float, tuple[mx.array, mx.array]]:
    mx.eval(mx.distributed.all_sum(mx.zeros(1), group=group))  # ranks start together
    start = time.perf_counter()
    found = work()
    mx.eval(found)
    return time.perf_counter() - start, found


alone, together, equal = [], [], True
for _ in range(args.rounds + 1):
    # Alone: the others wait, so that one rank has the machine.
    one, whole = seconds(lambda: metalfaiss.knn(xq, xb, args.k)) if rank == 0 else seconds(lambda: (xq, xq))
    all_ranks, spread = seconds(lambda: knn(xq, part, args.k, group=group))
    alone.append(one)
    together.append(all_ranks)
    if rank == 0:
        equal = equal and all(bool(mx.array_equal(a, b)) for a, b in zip(whole, spread, strict=True))
if rank == 0:
    t1, tn = statistics.median(alone[1:]), statistics.median(together[1:])
    print(
        f"{args.nb} x {args.d}, {args.nq} queries, k={args.k} on {args.device}: 1 rank {1e3 * t1:.2f} ms, {size} ranks "
        f"{1e3 * tn:.2f} ms, speed-up {t1 / tn:.2f}, results {'equal' if equal else 'DIFFER'}"
    )
