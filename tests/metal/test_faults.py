"""Every planted fault is found, and named by the right check; the kernels as they are have no findings."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from metalfaiss import _core

from .faults import WRONG_RESULT, Fault, faults
from .simulator import Simulator

FAULTS = faults()
CASES = {f.case: f.multiplies for f in FAULTS}


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.__module__.rsplit('.', 1)[-1]}-{c.__name__}")
def test_the_cases_pass_without_faults(case: Callable[[], None]) -> None:
    simulator = Simulator(multiplies=CASES[case])
    with simulator.active(_core):
        case()
    simulator.check()
    assert simulator.traffic, "the case launches nothing"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.family}-{f.name}")
def test_planted_faults_are_found(fault: Fault) -> None:
    counts: list[int] = []

    def edit(family: str, source: str) -> str:
        if family != fault.family:
            return source
        counts.append(source.count(fault.old))
        return source.replace(fault.old, fault.new)

    simulator = Simulator(edit=edit, seconds=5, multiplies=fault.multiplies)
    wrong = ""
    with simulator.active(_core):
        try:
            fault.case()
        except AssertionError as e:
            wrong = str(e) or "the case fails"
    assert counts, f"the case launches no kernel of {fault.family}"
    assert set(counts) == {fault.count}, f"{fault.old!r} is in the source {counts[0]} times"
    if fault.expected == WRONG_RESULT:
        assert wrong, "the result is right"
        return
    found = "\n".join(simulator.findings)
    assert found, f"nothing is found; {wrong or 'the result is right'}"
    assert re.search(fault.expected, found), found
