"""Files of vectors and data sets against FAISS's readers."""

import faiss.contrib.datasets as faiss_datasets
import faiss.contrib.vecs_io as faiss_vecs_io
import numpy as np
import pytest

from metalfaiss.contrib import datasets, vecs_io


@pytest.mark.parametrize(("kind", "dtype"), [("fvecs", np.float32), ("ivecs", np.int32), ("bvecs", np.uint8)])
def test_vecs(tmp_path, rng, kind, dtype):
    x = rng.integers(0, 200, (7, 5)).astype(dtype)
    path = tmp_path / f"x.{kind}"
    getattr(vecs_io, f"{kind}_write")(path, x)
    for read in (getattr(vecs_io, f"{kind}_read"), getattr(vecs_io, f"{kind}_mmap")):
        found = read(path)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, x)
    if kind != "bvecs":
        np.testing.assert_array_equal(getattr(faiss_vecs_io, f"{kind}_read")(str(path)), x)
        getattr(faiss_vecs_io, f"{kind}_write")(str(tmp_path / "y"), x)
        assert (tmp_path / "y").read_bytes() == path.read_bytes()
    path.write_bytes(b"")
    assert getattr(vecs_io, f"{kind}_read")(path).shape == (0, 0)
    for bad in (b"\x05\0\0\0", b"\x01", b"\xff\xff\xff\xff" + b"\0" * 8):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=rf"\[{kind}_mmap\] .*x.{kind} must hold vectors of equal dimension"):
            getattr(vecs_io, f"{kind}_mmap")(path)
    with pytest.raises(ValueError, match=r"vectors must have shape"):
        getattr(vecs_io, f"{kind}_write")(path, x[0])


@pytest.mark.parametrize("metric", ["L2", "IP"])
def test_synthetic(metric):
    ours = datasets.SyntheticDataset(12, 30, 50, 9, metric)
    theirs = faiss_datasets.SyntheticDataset(12, 30, 50, 9, metric)
    for name in ("get_queries", "get_train", "get_database"):
        np.testing.assert_allclose(getattr(ours, name)(), getattr(theirs, name)(), rtol=1e-6)
    np.testing.assert_array_equal(ours.get_groundtruth(5), theirs.get_groundtruth(5))
    assert ours.get_train(7).shape == (7, 12)
    blocks = [block for part in range(3) for block in ours.database_iterator(8, (3, part))]
    np.testing.assert_array_equal(np.concatenate(blocks), ours.get_database())
    assert max(map(len, blocks)) == 8
    ours.check_sizes()
    assert str(ours) == f"dataset in dimension 12, metric {metric}: nq=9 nb=50 nt=30"


@pytest.fixture
def folder(tmp_path):
    datasets.set_dataset_basedir(tmp_path)
    yield tmp_path
    datasets.set_dataset_basedir("datasets")


def test_folders(folder, rng, monkeypatch):
    (folder / "bigann" / "gnd").mkdir(parents=True)
    base = rng.integers(0, 256, (40, 128), dtype=np.uint8)
    for name, n in (("query", 5), ("learn", 20), ("base", 40)):
        vecs_io.bvecs_write(folder / "bigann" / f"bigann_{name}.bvecs", base[:n])
    vecs_io.ivecs_write(folder / "bigann" / "gnd" / "idx_1M.ivecs", np.arange(50).reshape(5, 10))
    found = datasets.dataset_from_name("bigann1M")
    assert (found.d, found.nb, found.nq) == (128, 10**6, 10**4)
    np.testing.assert_array_equal(found.get_database(), base.astype(np.float32))
    np.testing.assert_array_equal(np.concatenate(list(found.database_iterator(7))), base)
    assert found.get_queries().dtype == np.float32
    assert found.get_train(11).shape == (11, 128)
    np.testing.assert_array_equal(found.get_groundtruth(3), np.arange(50).reshape(5, 10)[:, :3])
    with pytest.raises(ValueError, match=r"k must be at most 10"):
        found.get_groundtruth(11)
    with pytest.raises(ValueError, match=r"queries must have shape \(10000, 128\). Received \(5, 128\)"):
        found.check_sizes()


@pytest.mark.parametrize(
    ("name", "kind", "size"),
    [
        ("sift1M", datasets.DatasetSIFT1M, (128, 10**6)),
        ("gist1M", datasets.DatasetGIST1M, (960, 10**6)),
        ("deep100k", datasets.DatasetDeep1B, (96, 10**5)),
        ("bigann1B", datasets.DatasetBigANN, (128, 10**9)),
    ],
)
def test_names(name, kind, size):
    found = datasets.dataset_from_name(name)
    assert isinstance(found, kind)
    assert (found.d, found.nb) == size


def test_hdf5(folder, rng):
    h5py = pytest.importorskip("h5py")
    x = rng.standard_normal((30, 6)).astype(np.float32)
    with h5py.File(folder / "x.hdf5", "w") as file:
        file.attrs["distance"] = "angular"
        file["train"], file["test"], file["neighbors"] = x, x[:4], np.arange(12).reshape(4, 3)
    found = datasets.DatasetHDF5(folder / "x.hdf5")
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert (found.d, found.nb, found.nq, found.metric) == (6, 30, 4, "IP")
    np.testing.assert_allclose(found.get_database(), unit)
    np.testing.assert_allclose(np.concatenate(list(found.database_iterator(7))), unit)
    np.testing.assert_allclose(found.get_queries(), unit[:4])
    assert found.get_train(3).shape == (3, 6)
    np.testing.assert_array_equal(found.get_groundtruth(2), [[0, 1], [3, 4], [6, 7], [9, 10]])
    np.testing.assert_allclose(datasets.DatasetGlove(folder / "x.hdf5").get_queries(), unit[:4])


def test_errors():
    with pytest.raises(ValueError, match=r"dataset must be one of sift1M, .*Received 'x'"):
        datasets.dataset_from_name("x")
    with pytest.raises(ValueError, match=r"nb_M must be"):
        datasets.DatasetBigANN(3)
    with pytest.raises(ValueError, match=r"nb must be a power of 10"):
        datasets.DatasetDeep1B(5)
    for method in ("get_queries", "get_train", "get_database", "get_groundtruth"):
        with pytest.raises(NotImplementedError, match=r"\[Dataset"):
            getattr(datasets.Dataset(), method)()
