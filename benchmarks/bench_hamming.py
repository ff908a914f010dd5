"""Binary codes: IndexBinaryFlat, IndexBinaryIVF and the hashes against FAISS's, on random codes.

Flat search of 256 bits is in bench_faiss.py.

The floor is one read of the codes; for many queries the arithmetic counts, docs/binary.md says how much there is.

    python benchmarks/bench_hamming.py [--quick]
"""

import faiss
import mlx.core as mx
import numpy as np

import metalfaiss
from harness import Benchmark


def hashes(bench: Benchmark, name: str, form: str, nflip: int, codes: np.ndarray, xq: np.ndarray) -> None:
    """Each single query is another one: the caches of a program that searches hold no list of the last."""
    works = {
        "1000 queries at once": lambda lib, index: index.search(xq, 10),
        "1000 queries, each alone": lambda lib, index: [index.search(xq[i : i + 1], 10) for i in range(1000)],
        "add": lambda lib, index: (index.reset(), index.add(codes)),
        "write and read": lambda lib, index: lib.deserialize_index_binary(lib.serialize_index_binary(index)),
    }
    if not any(bench.wants(f"{name}, {work}") for work in works):
        return
    libraries = {"native": metalfaiss, "faiss": faiss}
    made = {key: lib.index_binary_factory(8 * codes.shape[1], form) for key, lib in libraries.items()}
    for index in made.values():
        index.add(codes)
        index.nflip = nflip
    for work, do in works.items():
        if bench.wants(f"{name}, {work}"):
            contenders = {key: lambda key=key, do=do: do(libraries[key], made[key]) for key in made}
            bench.case(f"{name}, {work}", contenders, rounds=5 if "queries" in work else 3)


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

    for form, nflip in (("BHash16", 0), ("BHash16", 2), ("BHash24", 3), ("BHash4x16", 1)):
        hashes(bench, f"{form}, {bits} bits of {n}, nflip={nflip}", form, nflip, codes, codes[:1000] ^ flips[1:1001])
    bench.finish()


if __name__ == "__main__":
    main()
