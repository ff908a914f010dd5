"""Tensors in place of arrays: in a process of its own, with PyTorch where it is, and a stand-in where it is not."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, types
import numpy as np

try:
    import torch
except ImportError:
    class Tensor:
        def __init__(self, array, device="cpu", dtype=None):
            self.array, self.device = array, types.SimpleNamespace(type=device)
            self.dtype = f"torch.{array.dtype}" if dtype is None else dtype
        def detach(self): return self
        def numpy(self):
            if self.dtype == "torch.bfloat16":
                raise TypeError("Got unsupported ScalarType BFloat16")
            return self.array
        def float(self): return Tensor(self.array.astype(np.float32))
        def new_tensor(self, array): return Tensor(np.asarray(array))
        def __array__(self, dtype=None, copy=None): return np.array(self.array, dtype=dtype)
    torch = types.ModuleType("torch")
    torch.Tensor, torch.from_numpy = Tensor, lambda array: Tensor(array)
    sys.modules["torch"] = torch
    elsewhere, bfloat16 = (lambda t: Tensor(t.array, "cuda")), (lambda t: Tensor(t.array, dtype="torch.bfloat16"))
else:
    elsewhere, bfloat16 = (lambda t: t.to("meta")), (lambda t: t.bfloat16())

import metalfaiss as faiss
import metalfaiss.contrib.torch_utils

x = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
ids = np.arange(200) + 1000
tensor = torch.from_numpy

def same(found, wanted):
    found, wanted = (v if isinstance(v, tuple) else (v,) for v in (found, wanted))
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted):
        assert isinstance(a, torch.Tensor) and type(b) is np.ndarray, (type(a), type(b))
        np.testing.assert_array_equal(a.numpy(), b)

for kind in ("Flat", "IVF4,Flat", "IVF4,SQ8", "SQ8", "IDMap2,Flat", "PCA8,Flat", "Flat,RFlat", "LSH"):
    a, b = faiss.index_factory(8, kind), faiss.index_factory(8, kind)
    a.train(tensor(x)), b.train(x)
    if "IDMap" in kind:
        a.add_with_ids(tensor(x), tensor(ids)), b.add_with_ids(x, ids)
    else:
        a.add(tensor(x)), b.add(x)
    same(a.search(tensor(x[:9]), 3), b.search(x[:9], 3))
    same(a.assign(tensor(x[:9]), 3), b.assign(x[:9], 3))
    lims, D, I = a.range_search(tensor(x[:9]), 2.0)
    same((lims, D, I), tuple(v.astype(np.int64) if v.dtype == np.uint64 else v for v in b.range_search(x[:9], 2.0)))
    if kind == "IVF4,Flat":
        lists = np.zeros((9, 1), np.int64)
        same(a.search_preassigned(tensor(x[:9]), 3, tensor(lists)), b.search_preassigned(x[:9], 3, lists))
        a.set_direct_map_type(faiss.DirectMap.Hashtable)
        a.update_vectors(tensor(np.array([3])), tensor(x[7:8]))
        same(a.reconstruct(3), x[7])
        assert a.remove_ids(tensor(np.array([5, 6]))) == 2
        continue
    if "IVF" not in kind:
        out = np.empty((2, 8), np.float32)
        key = 1000 if "IDMap" in kind else 0
        same(a.reconstruct(key + 4), np.asarray(b.reconstruct(key + 4, np.empty(8, np.float32))))
        assert b.reconstruct_n(key, 2, out) is out
        same(a.reconstruct_n(key, 2), out)
        same(a.search_and_reconstruct(tensor(x[:9]), 3), b.search_and_reconstruct(x[:9], 3))
    same(a.sa_encode(tensor(x[:9])), b.sa_encode(x[:9]))
    same(a.sa_decode(a.sa_encode(tensor(x[:9]))), b.sa_decode(b.sa_encode(x[:9])))

index = faiss.IndexFlatL2(8)
index.add(tensor(x.astype(np.float16)))
index.reset()
index.add(bfloat16(tensor(x)))
index.reset()
index.add(x)
D, I = tensor(np.zeros((9, 3), np.float32)), tensor(np.zeros((9, 3), np.int64))
found = index.search(tensor(x[:9]), 3, D=D, I=I)
assert found[0] is D and found[1] is I and (I.numpy()[:, 0] == np.arange(9)).all()
assert type(index.search(x[:9], 3)[0]) is np.ndarray
same(faiss.knn(tensor(x[:9]), tensor(x), 3), faiss.knn(x[:9], x, 3))
codes = np.random.default_rng(1).integers(0, 256, (50, 8), dtype=np.uint8)
binary = faiss.IndexBinaryFlat(64)
binary.add(tensor(codes))
same(binary.search(tensor(codes[:3]), 2), binary.search(codes[:3], 2))
from metalfaiss.contrib.torch.clustering import DatasetAssign, kmeans
from metalfaiss.contrib import clustering
data = DatasetAssign(tensor(x))
assert (data.count(), data.dim()) == (200, 8)
same(kmeans(5, data, 4, verbose=False), clustering.kmeans(5, clustering.DatasetAssign(x), 4, verbose=False))
centroids, stats = kmeans(5, data, 3, verbose=False, return_stats=True)
assert isinstance(centroids, torch.Tensor) and len(stats) == 3
assert type(kmeans(5, clustering.DatasetAssign(x), 2, verbose=False)) is np.ndarray
ids, D, sums = data.assign_to(centroids, tensor(np.ones(200, np.float32)))
assert type(ids) is np.ndarray and isinstance(D, torch.Tensor) and sums.numpy().shape == (5, 8)
try:
    DatasetAssign(elsewhere(tensor(x)))
    raise SystemExit("a tensor on another device was taken")
except TypeError as error:
    assert "call x.cpu()" in str(error), error
try:
    index.add(elsewhere(tensor(x)))
    raise SystemExit("a tensor on another device was taken")
except TypeError as error:
    assert "call x.cpu()" in str(error), error
assert index.ntotal == 200
print("all there")
"""


def test_tensors_in_place_of_arrays() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.endswith("all there\n"), done.stdout + done.stderr


def test_importing_it_needs_no_torch() -> None:
    code = "import sys, metalfaiss.contrib.torch_utils; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
