"""The simulator finds what is wrong with a plan: launches that do not fit their kernels, products, gaps in outputs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from .simulator import Simulator
from .simulator.samples import SAMPLES, sums
from .simulator.steps import Plan

Change = Callable[[dict[str, Any]], None]


def _argument(index: int, access: str) -> Change:
    return lambda step: step["arguments"].__setitem__(index, (step["arguments"][index][0], access))


def _set(**values: Any) -> Change:
    return lambda step: step.update(values)


def _move(index: int, bytes: int) -> Change:
    def change(step: dict[str, Any]) -> None:
        (label, address, low, high), access = step["arguments"][index]
        step["arguments"][index] = ((label, address + bytes, low - bytes, high - bytes), access)

    return change


WRONG: dict[str, tuple[str, int, Change, str]] = {
    "missing argument": ("sums", 0, lambda s: s["arguments"].pop(), "2 arguments for the kernel's 3 buffers"),
    "extra argument": ("sums", 0, lambda s: s["arguments"].append(b""), "4 arguments for the kernel's 3 buffers"),
    "input written": ("sums", 0, _argument(0, "read_write"), "const in the kernel.*would write to input 0"),
    "output read": ("sums", 0, _argument(1, "read"), "not const in the kernel, but output 0 is bound to it as read"),
    "short parameters": (
        "sums", 0, lambda s: s["arguments"].__setitem__(2, b"1234"), "buffer 2 .p. has 16 bytes in the kernel and 4",
    ),
    "parameters for a pointer": (
        "sums", 0, lambda s: s["arguments"].__setitem__(1, b"1234"), "buffer 1 .out. is bound to parameters",
    ),
    "memory for parameters": (
        "sums", 0, lambda s: s["arguments"].__setitem__(2, s["arguments"][0]), "constant parameters, but input 0",
    ),
    "no threads": ("sums", 0, _set(threads=(0, 1, 1)), "threads.x is 0"),
    "many threads": ("sums", 0, _set(threads=(128, 16, 1)), "2048 threads in a threadgroup: at most 1024"),
    "half a simdgroup": ("sums", 0, _set(threads=(48, 1, 1)), "simd_sum is in a simdgroup of 16 lanes.*multiple of 32"),
    "no groups": ("sums", 0, _set(groups=(3, 0, 1)), "groups.y is 0"),
    "many groups": ("sums", 0, _set(groups=(2**31, 1, 1)), r"groups.x is 2147483648.*below 2\^31"),
    "positions beyond 32 bits": ("histogram", 1, _set(groups=(2**30, 1, 1)), "positions in it are 32-bit"),
    "no threadgroup memory": ("sums", 0, _set(threadgroup_bytes=0), r"has \[\[threadgroup\(0\)\]\], but"),
    "odd threadgroup memory": ("sums", 0, _set(threadgroup_bytes=604), "a multiple of 16"),
    "superfluous threadgroup memory": ("product", 0, _set(threadgroup_bytes=64), r"has no \[\[threadgroup\(0\)\]\]"),
    "much threadgroup memory": ("sums", 0, _set(threadgroup_bytes=32768), "32784 bytes of threadgroup memory: at most"),
    "little threadgroup memory": ("sums", 0, _set(threadgroup_bytes=592), "out of bounds.*threadgroup memory row"),
    "misaligned buffer": ("shortest", 0, _move(0, 4), "needs addresses that are a multiple of 16; input 0 begins 4"),
    "unknown kernel": ("sums", 0, _set(kernel="sum"), "the source has 0 kernels called sum"),
    "unused constant": ("sums", 0, _set(constants=[("WIDTH", "8")]), "the constant WIDTH is not used"),
    "few groups": ("sums", 0, _set(groups=(2, 1, 1)), "unwritten output.*4 of the 12 bytes"),
    "many rows": ("sums", 0, _set(groups=(4, 1, 1)), "out of bounds.*(input|output) 0"),
    "reads what it says to write": ("histogram", 1, _argument(1, "write"), "write-only.*scratch 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_launches_are_found(name: str) -> None:
    sample, index, change, expected = WRONG[name]
    plan, _ = SAMPLES[sample]()
    change(plan.steps[index])
    _expect(plan, expected)


def _expect(plan: Plan, expected: str) -> None:
    simulator = Simulator()
    simulator(plan.steps)
    with pytest.raises(AssertionError) as found:
        simulator.check()
    assert re.search(expected, str(found.value), re.DOTALL), found.value


def test_scratch_that_no_launch_wrote_is_found() -> None:
    plan, _ = SAMPLES["histogram"]()
    del plan.steps[0]
    _expect(plan, "unwritten.*scratch 0")


def test_an_output_that_no_step_names_is_found() -> None:
    plan, _ = SAMPLES["sums"]()
    plan.steps.append({"step": "end", "outputs": [plan.output((8,), np.uint8)], "offsets": {}})
    _expect(plan, "8 of the 8 bytes of output 1 are written by nobody")


def test_two_sources_of_one_name_are_found() -> None:
    plan, _ = SAMPLES["sums"]()
    other, _ = SAMPLES["sums"]()
    other.steps[0]["source"] += "// different\n"
    plan.steps += other.steps
    _expect(plan, "two different sources")


@pytest.mark.parametrize("guard", [0, 1, -5])
def test_a_launch_behind_a_guard(guard: int) -> None:
    plan, check = sums()
    plan.steps[0]["guard"] = plan.input(np.array([guard], np.int32))
    simulator = Simulator()
    simulator(plan.steps)
    assert len(simulator.traffic) == (guard != 0)
    if guard:
        simulator.check()
        check()
    else:
        with pytest.raises(AssertionError, match=r"unwritten output.*12 of the 12 bytes of output 0"):
            simulator.check()


def test_a_guard_that_nobody_wrote_is_found() -> None:
    plan, _ = SAMPLES["sums"]()
    plan.steps[0]["guard"] = plan.scratch(4)
    _expect(plan, "unwritten.*nobody wrote what guards it, byte 0 of scratch 0")


def test_the_simulator_keeps_errors_of_its_own() -> None:
    plan, _ = SAMPLES["sums"]()
    del plan.steps[0]["threads"]
    _expect(plan, "simulator.*KeyError")


def test_memory_below_the_first_element() -> None:
    """As arrays with negative strides have it."""
    plan, check = sums()
    (label, address, low, high), access = plan.steps[0]["arguments"][0]
    plan.steps[0]["arguments"][0] = ((label, address, low, high), access)
    source = plan.steps[0]["source"]
    plan.steps[0]["source"] = source.replace("x + (int64_t)group.x * p.stride", "x - (2 - (int64_t)group.x) * p.stride")
    _move(0, 2 * 152 * 4)(plan.steps[0])
    simulator = Simulator()
    simulator(plan.steps)
    simulator.check()
    check()


def _product(**changes: Any) -> Plan:
    a, b = np.arange(15, dtype=np.float32).reshape(5, 3), np.ones((3, 4), np.float32)
    plan = Plan("sums")
    plan.product(plan.input(a), plan.input(b), plan.output((5, 4), np.float32), **{"mnk": (5, 4, 3), **changes})
    return plan


def test_product() -> None:
    plan = _product()
    simulator = Simulator()
    simulator(plan.steps)
    simulator.check()
    np.testing.assert_array_equal(plan.array("output 0"), plan.array("input 0") @ plan.array("input 1"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"mnk": (6, 4, 3)}, r"product.*a is \(6, 3\)"),
        ({"mnk": (5, 5, 3)}, r"product.*b is \(3, 5\)"),
        ({"strides": (3, 3)}, r"product.*b is \(3, 4\) with 3 elements"),
        ({"b_transposed": True, "strides": (3, 4)}, r"product.*b is \(4, 3\) with 4"),
        ({"mnk": (4, 4, 3)}, "unwritten output.*16 of the 80 bytes"),
    ],
)
def test_wrong_products_are_found(changes: dict[str, Any], expected: str) -> None:
    _expect(_product(**changes), expected)


def test_products_read_only_what_is_written() -> None:
    plan = _product()
    plan.steps[0]["a"] = plan.scratch(60)
    _expect(plan, "unwritten.*a reads byte 0 of scratch 0")


def test_traffic() -> None:
    simulator = Simulator()
    plan, _ = sums(rows=3, columns=150)
    simulator(plan.steps)
    plan, _ = SAMPLES["product"]()
    simulator(plan.steps)
    simulator.check()
    bytes = simulator.traffic[0].bytes
    assert simulator.traffic[0].kernel == "sums"
    assert set(bytes) == {"input 0", "output 0"}
    assert bytes["input 0"] == (4 * 3 * 150, 0, 4 * 3 * 150, 0)
    assert bytes["output 0"] == (0, 4 * 3, 0, 4 * 3)
    # Each of 2 x 2 tiles reads its rows of A and its columns of B: all of both, twice.
    bytes = simulator.traffic[1].bytes
    assert bytes["input 0"].read == bytes["input 1"].read == 2 * 4 * 13 * 13
    assert bytes["output 0"].written == 4 * 13 * 13


def test_traffic_counts_what_a_threadgroup_reads_twice_once() -> None:
    simulator = Simulator(edit=lambda _, source: source.replace("= float(from[i])", "= float(from[i]) + from[0] * 0"))
    plan, check = sums(rows=3, columns=150)
    simulator(plan.steps)
    simulator.check()
    check()
    assert simulator.traffic[0].bytes["input 0"].read == 4 * 3 * 150
    assert simulator.traffic[0].bytes["input 0"].issued_read == 2 * 4 * 3 * 150
