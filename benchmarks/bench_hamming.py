"""Binary codes: IndexBinaryFlat and IndexBinaryIVF against FAISS's, on random codes.

Flat search of 256 bits is in bench_faiss.py.

The floor is one read of the codes; for many queries the arithmetic counts, docs/binary.md says how much there is.

    python benchmarks/bench_hamming.py [--quick]
"""

import faiss
import mlx.core as mx
import numpy as np

import metalfaiss
from harness import Benchmark


def main() -> None:
    bench = Benchmark("hamming", __doc__)
    rng = np.random.default_rng(0)
    n = bench.pick(full=1_000_000, quick=100_000)

    def case(name: str, ours: object, theirs: object, xq: np.ndarray, k: int, nbytes: int) -> None:
        if bench.wants(name):
            contenders = {"native": lambda: ours.search(xq, k), "faiss": lambda: theirs.search(xq, k)}
            bench.case(name, contenders, nbytes=nbytes, rounds=5)

    for bits in bench.pick(full=[64, 1024], quick=[64]):
        codes = rng.integers(0, 256, (n, bits // 8), dtype=np.uint8)
        ours, theirs = metalfaiss.IndexBinaryFlat(bits), faiss.IndexBinaryFlat(bits)
        ours.add(mx.array(codes))
        theirs.add(codes)
        for nq, k in [(1, 10), (16, 10), (200, 10), (200, 100)]:
            xq = rng.integers(0, 256, (nq, bits // 8), dtype=np.uint8)
            case(f"flat, {bits} bits, {nq} queries of {n}, k={k}", ours, theirs, xq, k, codes.nbytes)

    bits, nlist = 256, 1024
    centers = rng.integers(0, 256, (nlist, bits // 8), dtype=np.uint8)
    flips = rng.integers(0, 256, (n, bits // 8), dtype=np.uint8) & rng.integers(0, 256, (n, bits // 8), dtype=np.uint8)
    codes = centers[rng.integers(0, nlist, n)] ^ flips
    quantizers = metalfaiss.IndexBinaryFlat(bits), faiss.IndexBinaryFlat(bits)
    for quantizer in quantizers:
        quantizer.add(centers)
    ours = metalfaiss.IndexBinaryIVF(quantizers[0], bits, nlist)
    theirs = faiss.IndexBinaryIVF(quantizers[1], bits, nlist)
    for index in (ours, theirs):
        index.add(codes)
        index.nprobe = 16
    for nq in (1, 200):
        xq = codes[:nq]
        case(
            f"IVF{nlist}, {bits} bits, {nq} queries of {n}, nprobe=16, k=10", ours, theirs, xq, 10, 16 * n // nlist * 32
        )
    bench.finish()


if __name__ == "__main__":
    main()
