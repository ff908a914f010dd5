"""metal/specialisations.txt: which kernels a package brings compiled."""

from __future__ import annotations

import re

from specialise import FILE

from .specialisations import launches, listing


def test_list_is_what_plans_launch() -> None:
    found = launches()
    assert FILE.read_text(encoding="ascii") == listing(found), "run python -m tests.metal.specialisations"
    for specialisation, source in found.items():
        assert specialisation.source() == source
        assert re.fullmatch(r"\w+", specialisation.name)
    assert len({s.name for s in found}) == len(found), "two specialisations have one name"
