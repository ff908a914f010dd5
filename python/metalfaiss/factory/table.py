"""docs/factory.md: what can be described, and what of it is built. ``python -m metalfaiss.factory.table FILE``."""

from __future__ import annotations

import sys
from pathlib import Path

from metalfaiss.factory.build import is_built
from metalfaiss.factory.rules import RULES

__all__ = ["document"]

HEAD = """# Descriptions of indexes

`index_factory(d, description, metric)` and `index_binary_factory(d, description)` read FAISS's descriptions, all but
those of SVS, which the wheels of faiss-cpu do not have either. What is not built yet raises `NotImplementedError` and
names the part; what is no description raises `RuntimeError`. `reverse_index_factory(index)` is the way back.

n, M, b, ... are numbers; what stands in brackets may be left out. norm is one of _Nfloat, _Nnone, _Nqint8, _Nqint4,
_Ncqint8, _Ncqint4, _Nlsq2x4, _Nrq2x4. X and Y are descriptions themselves. Transforms stand before an index, a coarse
part before a comma and an IVF code.

This page is generated: `python -m metalfaiss.factory.table docs/factory.md`.

| where | form | builds | state |
|---|---|---|---|
"""


def document() -> str:
    """The page."""
    rows = [
        f"| {rule.group} | {rule.form} | {rule.builds} | {'built' if is_built(rule) else 'planned'} |" for rule in RULES
    ]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(document())
