"""Search over ranks: results are those of one rank. The ranks are processes of this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

import metalfaiss
from metalfaiss.distributed import knn

LAUNCH = Path(sys.executable).with_name("mlx.launch")
launch = str(LAUNCH) if LAUNCH.exists() else shutil.which("mlx.launch")


@pytest.mark.skipif(launch is None, reason="mlx.launch is not installed")
@pytest.mark.parametrize("ranks", [2, 3])
def test_as_one_rank(ranks: int) -> None:
    script = Path(__file__).with_name("ranks.py")
    command = [str(launch), "--backend", "ring", "-n", str(ranks), sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.count("as one") == ranks, done.stdout + done.stderr


def test_a_single_rank(rng: np.random.Generator) -> None:
    x = rng.standard_normal((50, 6), dtype=np.float32)
    for found, wanted in zip(knn(x, x, 4), metalfaiss.knn(x, x, 4), strict=True):
        np.testing.assert_array_equal(np.array(found), wanted)
    assert isinstance(knn(x, mx.array(x), 4)[0], mx.array)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"\[distributed\.knn\] xq and xb must have 2 dimensions"):
        knn(mx.zeros((2, 3, 4)), mx.zeros((5, 4)), 1)
    with pytest.raises(ValueError, match="same number of columns"):
        knn(mx.zeros((3, 4)), mx.zeros((5, 3)), 1)
    with pytest.raises(TypeError, match="k must be an int"):
        knn(mx.zeros((3, 4)), mx.zeros((5, 4)), 1.5)  # type: ignore[arg-type]
