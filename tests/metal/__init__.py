"""Proves the Metal kernels without a GPU. A package, so that its files may be called like those of tests/."""

import sys
from pathlib import Path

# The tools that builds use: flatten, signatures, specialise, cuda.
TOOLS = Path(__file__).resolve().parents[2] / "metal/tools"
if str(TOOLS) not in sys.path:
    sys.path.insert(0, str(TOOLS))
