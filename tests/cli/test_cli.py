"""The command line, on small files."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from typer.testing import CliRunner

import metalfaiss
from metalfaiss.cli import files, main
from metalfaiss.cli.app import app, loaded
from metalfaiss.cli.evaluate import evaluate, recall

if not any(command.callback is evaluate for command in app.registered_commands):
    app.command()(evaluate)


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def folder(tmp_path, rng):
    x = rng.standard_normal((600, 16), dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "q.npy", x[:20] + 0.01)
    np.save(tmp_path / "codes.npy", rng.integers(0, 256, (600, 8), dtype=np.uint8))
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("suffix", ["npy", "fvecs", "hdf5", "safetensors"])
def test_convert(folder, suffix):
    if suffix == "hdf5":
        pytest.importorskip("h5py")
    before = np.load(folder / "x.npy")
    run("convert", folder / "x.npy", folder / f"y.{suffix}", "--batch", 70)
    run("convert", folder / f"y.{suffix}", folder / "z.npy", "--batch", 1000)
    np.testing.assert_array_equal(np.load(folder / "z.npy"), before)
    opened = files.open_vectors(folder / f"y.{suffix}")
    assert (opened.n, opened.d, opened.dtype) == (600, 16, np.float32)
    np.testing.assert_array_equal(opened.sample(9, 3), opened.rows(0, 600)[np.sort(_chosen(9))])
    assert names(folder) == sorted(["codes.npy", "q.npy", "x.npy", f"y.{suffix}", "z.npy"])


def _chosen(count):
    return np.random.default_rng(3).choice(600, count, replace=False)


def test_convert_bytes(folder):
    run("convert", folder / "codes.npy", folder / "c.bvecs")
    np.testing.assert_array_equal(files.open_vectors(folder / "c.bvecs").rows(0, 600), np.load(folder / "codes.npy"))
    assert "Values must be of uint8" in run("convert", folder / "x.npy", folder / "d.bvecs", code=1)
    assert "must be one of .npy" in run("convert", folder / "x.npy", folder / "x.csv", code=1)
    assert not (folder / "d.bvecs").exists()


def test_a_file_of_several_arrays(folder):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "two.h5", "w") as file:
        file["train"], file["test"] = np.load(folder / "x.npy"), np.load(folder / "q.npy")
    assert "--dataset must name an array" in run("convert", folder / "two.h5", folder / "y.npy", code=1)
    assert "--dataset must be one of test, train" in run(
        "convert", folder / "two.h5", folder / "y.npy", "--dataset", "x", code=1
    )
    run("convert", folder / "two.h5", folder / "y.npy", "--dataset", "test")
    assert np.load(folder / "y.npy").shape == (20, 16)


def test_damaged_safetensors(folder):
    path = folder / "bad.safetensors"
    header = json.dumps({"v": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}}).encode()
    for content in (b"\xff" * 8, b"\x01", len(header).to_bytes(8, "little") + header + b"\0" * 60):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad.safetensors"):
            files.open_vectors(path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("name", ["y.npy", "y.fvecs", "y.safetensors"])
def test_an_interrupted_file_is_not_there(folder, error, name):
    (folder / name).write_bytes(b"old")
    before = names(folder)

    def interrupted():
        with files.create_vectors(folder / name, 5, 2, np.float32) as write:
            write(np.zeros((2, 2), np.float32))
            raise error

    with pytest.raises(error):
        interrupted()
    assert names(folder) == before
    assert (folder / name).read_bytes() == b"old"


@pytest.mark.parametrize("factory", ["Flat", "PCA8,Flat", "LSH64r"])
def test_build_search_info(folder, factory):
    index = folder / "x.faiss"
    assert "600 vectors" in run("build", folder / "x.npy", "-f", factory, "-o", index, "--batch", 100)
    output, distances = folder / "ids.ivecs", folder / "D.npy"
    run("search", index, folder / "q.npy", "-k", 3, "-o", folder / "ids.npy", "--distances", distances, "--batch", 7)
    D, I = loaded(index).search(np.load(folder / "q.npy"), 3)
    np.testing.assert_array_equal(np.load(folder / "ids.npy"), I)
    np.testing.assert_allclose(np.load(distances), D, rtol=1e-5)  # of other batches
    run("search", index, folder / "q.npy", "-k", 3, "-o", output)
    np.testing.assert_array_equal(files.open_vectors(output).rows(0, 20), I)
    assert str(I[0, 0]) in run("search", index, folder / "q.npy", "-k", 3)
    shown = run("info", index)
    assert "ntotal" in shown
    assert "600" in shown
    assert type(loaded(index)).__name__ in shown


def test_binary(folder):
    index = folder / "c.faiss"
    run("build", folder / "codes.npy", "-f", "BIVF8", "-o", index)
    run("search", index, folder / "codes.npy", "-k", 1, "-o", folder / "ids.npy", "-p", "nprobe=2")
    np.testing.assert_array_equal(np.load(folder / "ids.npy")[:, 0], np.arange(600))
    assert "IndexBinaryIVF" in run("info", index)
    run("evaluate", index, folder / "codes.npy", "--base", folder / "codes.npy", "-k", 1, "-s", "nprobe=1,8")


@pytest.mark.parametrize("truth", ["--base", "--ground-truth"])
def test_evaluate(folder, truth):
    index, plot, figures = folder / "x.faiss", folder / "plot.svg", folder / "figures.json"
    run("build", folder / "x.npy", "-f", "Flat", "-o", index)
    base = folder / "x.npy"
    if truth == "--ground-truth":
        base = folder / "truth.ivecs"
        run("search", index, folder / "q.npy", "-k", 10, "-o", base)
    drawn = ["--plot", plot] if _has("matplotlib") else []
    shown = run("evaluate", index, folder / "q.npy", truth, base, "--runs", 1, "--json", figures, *drawn)
    assert "1.0000" in shown
    assert json.loads(figures.read_text())["points"][0]["recall"] == 1
    assert not drawn or plot.read_bytes()[:5] == b"<?xml"


def _has(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def test_errors(folder):
    index = folder / "x.faiss"
    run("build", folder / "x.npy", "-f", "Flat", "-o", index)
    before = index.read_bytes()
    assert "--metric must be l2 or ip" in run(
        "build", folder / "x.npy", "-f", "Flat", "-o", index, "--metric", "l3", code=1
    )
    assert "Nonsense" in run("build", folder / "x.npy", "-f", "Nonsense", "-o", index, code=1)
    assert index.read_bytes() == before
    assert "Rows must have 16 columns" in run("search", index, folder / "codes.npy", code=1)
    assert "must be a setting of the index. Received 'nprobe'" in run(
        "search", index, folder / "q.npy", "-p", "nprobe=3", code=1
    )
    assert "--ground-truth or --base" in run("evaluate", index, folder / "q.npy", code=1)
    assert "--sweep must be" in run("evaluate", index, folder / "q.npy", "--base", folder / "x.npy", "-s", "x", code=1)
    assert "error:" in run("info", folder / "x.npy", code=1)
    assert names(folder) == ["codes.npy", "q.npy", "x.faiss", "x.npy"]


def test_recall():
    assert recall(np.array([[1, 2], [5, 6]]), np.array([[2, 3], [6, 5]])) == 0.75


def test_doctor():
    shown = run("doctor")
    assert metalfaiss.__version__ in shown
    assert "ok" in shown
    assert "failed" not in shown


def test_main(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["metalfaiss", "--help"])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0
    shown = capsys.readouterr().out
    for command in ("build", "search", "info", "convert", "evaluate", "doctor"):
        assert command in shown
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"pip install 'metalfaiss\[cli\]'"):
        main()


def test_path_of_a_new_folder(folder):
    run("convert", folder / "x.npy", Path(folder) / "new" / "y.npy")
    assert (folder / "new" / "y.npy").exists()


def test_awkward_input(folder):
    index, codes, q = folder / "x.faiss", folder / "c.faiss", folder / "q.npy"
    run("build", folder / "x.npy", "-f", "Flat", "-o", index)
    run("build", folder / "codes.npy", "-f", "BFlat", "-o", codes)
    (folder / "empty.npy").touch()
    (folder / "cut.npy").write_bytes((folder / "x.npy").read_bytes()[:900])
    np.save(folder / "complex.npy", np.zeros((3, 16), np.complex64))
    np.save(folder / "none.npy", np.zeros((0, 16), np.float32))
    np.save(folder / "large.npy", np.full((2, 16), 2**31))
    (folder / "bad.safetensors").write_bytes((2).to_bytes(8, "little") + b"[]")
    before = names(folder)
    for arguments, message in (
        (("convert", folder / "empty.npy", folder / "y.npy"), "empty.npy] The file must be a whole array"),
        (("convert", folder / "cut.npy", folder / "y.npy"), "cut.npy] The file must be a whole array"),
        (("convert", folder / "complex.npy", folder / "y.npy"), "real numbers. Received complex64"),
        (("convert", folder / "large.npy", folder / "y.ivecs"), "Values must be of int32"),
        (("convert", folder / "bad.safetensors", folder / "y.npy"), "must be one of safetensors"),
        (("build", folder / "x.npy", "-f", "BFlat", "-o", folder / "y.faiss"), "Values must be of uint8"),
        (("search", index, q, "--distances", folder / "D.npy"), "--distances must go with --output"),
        (("search", index, q, "-o", folder / "D.npy", "--distances", folder / "D.npy"), "to another file"),
        (("search", index, q, "-k", 300, "-o", folder / "ids.bvecs"), "Values must be of uint8"),
        (("search", index, q, "-p", "ntotal=3"), "must be a setting of the index"),
        (("search", index, q, "-p", "d"), "must read name=number"),
        (("evaluate", index, folder / "none.npy", "--base", folder / "x.npy"), "must hold queries"),
    ):
        assert message in " ".join(run(*arguments, code=1).split()), arguments
    assert names(folder) == before
    run("build", folder / "x.npy", "-f", "Flat", "-o", folder, code=2)
    assert run("--version").strip() == metalfaiss.__version__
