"""The checks of smoke.py, of which sanitizers are run on a GPU, launch every kernel that an NVIDIA GPU can."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import mlx.core as mx
import pytest
from gpu import smoke
from signatures import kernels

from metalfaiss import _core


@pytest.mark.filterwarnings("ignore")
def test_every_kernel_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    found: set[str] = set()

    def note(steps: list[dict[str, Any]]) -> None:  # nothing runs, so results are wrong
        found.update(s["kernel"] for s in steps if s["step"] == "launch")

    monkeypatch.setattr(smoke, "GPU", mx.cpu)
    _core.simulate(note, multiplies=True)
    try:
        for _, check in smoke.checks():
            with suppress(AssertionError):
                check()
    finally:
        _core.simulate(None)
    every = {k.name for family in _core.kernel_families() for k in kernels(_core.kernel_source(family))}
    assert every - found == set()
