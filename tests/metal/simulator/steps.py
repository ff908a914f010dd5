"""Plans made by hand, as ``_core.simulate`` would pass them: for tests of the simulator itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Plan"]

KERNELS = Path(__file__).resolve().parent / "kernels"


class Plan:
    """Collects steps over arrays that stay alive with it."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.source = (KERNELS / f"{family}.metal").read_text(encoding="ascii")
        self.steps: list[dict[str, Any]] = []
        self._arrays: list[tuple[str, np.ndarray[Any, Any]]] = []
        self._counts = {"input": 0, "output": 0, "scratch": 0}

    def _add(self, kind: str, array: np.ndarray[Any, Any]) -> tuple[str, int, int, int]:
        label = f"{kind} {self._counts[kind]}"
        self._counts[kind] += 1
        self._arrays.append((label, array))
        return label, array.ctypes.data, 0, array.nbytes

    def input(self, array: np.ndarray[Any, Any]) -> tuple[str, int, int, int]:
        return self._add("input", np.ascontiguousarray(array))

    def output(self, shape: tuple[int, ...], dtype: Any) -> tuple[str, int, int, int]:
        return self._add("output", np.zeros(shape, dtype))

    def scratch(self, bytes: int) -> tuple[str, int, int, int]:
        return self._add("scratch", np.zeros(bytes, np.uint8))

    def array(self, label: str) -> np.ndarray[Any, Any]:
        return dict(self._arrays)[label]

    def launch(
        self,
        kernel: str,
        arguments: Sequence[Any],
        *,
        groups: tuple[int, int, int] = (1, 1, 1),
        threads: tuple[int, int, int] = (32, 1, 1),
        threadgroup_bytes: int = 0,
        constants: dict[str, str] | None = None,
    ) -> None:
        constants = constants or {}
        defines = "".join(f"#define {name} {value}\n" for name, value in constants.items())
        name = "_".join([kernel, *(v.replace(" ", "_") for v in constants.values())])
        at = self.source.index("using namespace")
        source = f"{self.source[:at]}{defines}#define {kernel} {name}\n{self.source[at:]}"
        self.steps.append(
            {
                "step": "launch",
                "family": self.family,
                "kernel": kernel,
                "name": name,
                "source": source,
                "constants": list(constants.items()),
                "arguments": list(arguments),
                "groups": groups,
                "threads": threads,
                "threadgroup_bytes": threadgroup_bytes,
            }
        )

    def product(self, a: Any, b: Any, out: Any, mnk: tuple[int, int, int], **changes: Any) -> None:
        _, n, k = mnk
        step = {
            "step": "product",
            "a": a,
            "b": b,
            "out": out,
            "mnk": mnk,
            "strides": (k, n),
            "b_transposed": False,
            "a_transposed": False,
        }
        self.steps.append({**step, **changes})
