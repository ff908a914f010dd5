"""The bytes that kernels move are those of the table, and no more than the ceilings allow."""

from __future__ import annotations

import pytest

from .traffic import Case, cases, measure, stored

CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_traffic(case: Case) -> None:
    row = measure(case)
    assert row["ratio"] <= case.ceiling, f"{row['moved']} bytes of {case.operands}, at least {case.minimum} must move"
    again = "run python -m tests.metal.traffic --write and look at the difference"
    assert stored().get(case.name) == row, f"the table differs: {again}"


def test_the_table_has_no_other_rows() -> None:
    assert list(stored()) == [case.name for case in CASES]
