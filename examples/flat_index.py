"""Exact search with IndexFlatL2: as in FAISS with NumPy, lazily with MLX, compiled, and differentiated.

python examples/flat_index.py
"""

import mlx.core as mx
import numpy as np

import metalfaiss as faiss

mx.set_default_device(mx.cpu)  # on a Mac leave it out: the kernels of its GPU have yet to be run there

d, rng = 64, np.random.default_rng(0)
vectors = rng.standard_normal((10_000, d), dtype=np.float32)
queries = vectors[:5] + 0.01 * rng.standard_normal((5, d), dtype=np.float32)

# NumPy in, NumPy out: a program written for FAISS.
index = faiss.IndexFlatL2(d)
index.add(vectors)
D, I = index.search(queries, 3)
print("nearest:", I[:, 0], "at", D[:, 0].round(4))

# mx.array in, lazy mx.array out: the search joins the graph around it, and runs when that runs.
xq = mx.array(queries)
D, I = index.search(mx.fast.rms_norm(xq, None, 1e-6), 3)
print("within a graph:", I[:, 0])


# Inside mx.compile.
@mx.compile
def majority(xq: mx.array, labels: mx.array) -> mx.array:
    _, I = index.search(xq, 5)
    return mx.mean(labels[I], axis=1) > 0.5


labels = mx.array(vectors[:, 0] > 0)
print("majority of the labels of 5 neighbours:", majority(xq, labels))


# Distances have gradients, with respect to the queries and to the stored vectors: codewords that learn.
def distortion(codewords: mx.array) -> mx.array:
    codebook = faiss.IndexFlatL2(d)
    codebook.add(codewords)
    D, _ = codebook.search(mx.array(vectors[:2000]), 1)
    return D.mean()


step = mx.value_and_grad(distortion)
codewords = mx.array(vectors[:16])
for i in range(10):
    value, gradient = step(codewords)
    codewords = codewords - 50 / 16 * gradient
    if i in (0, 9):
        print(f"distortion after {i} steps: {value.item():.2f}")
