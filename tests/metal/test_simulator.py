"""The simulator finds what is wrong with a kernel, and nothing in a correct one."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from .simulator import SCHEDULES, Simulator
from .simulator.samples import SAMPLES


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", SAMPLES)
def test_correct_kernels_have_no_findings(name: str, schedule: str) -> None:
    plan, check = SAMPLES[name]()
    simulator = Simulator(schedule, seed=3)
    simulator(plan.steps)
    simulator.check()
    check()


class Wrong(NamedTuple):
    sample: str
    name: str
    old: str
    new: str
    expected: str  # a regular expression


BARRIER = "  threadgroup_barrier(mem_flags::mem_threadgroup);\n"
SIMD_BARRIER = "  simdgroup_barrier(mem_flags::mem_threadgroup);\n"

WRONG = [
    # Addresses.
    Wrong(
        "sums", "read_behind_input", "float(from[i])", "float(from[i + p.stride * p.rows])", "out of bounds.*input 0"
    ),
    Wrong(
        "sums",
        "read_before_input",
        "float(from[i])",
        "float(from[(int64_t)i - p.stride * 3])",
        "out of bounds.*input 0",
    ),
    Wrong("sums", "no_tail_check", "i < columns; i += threads", "i < columns + 200; i += threads", "out of bounds"),
    Wrong(
        "sums",
        "write_behind_output",
        "out[group.x] =",
        "out[group.x + 1] =",
        "out of bounds.*writes 4 bytes at byte 12 of output 0 .out., which has 12",
    ),
    Wrong(
        "sums",
        "threadgroup_overrun",
        "part[simd] =",
        "part[simd + 4] =",
        "undefined.*index [4-7] is outside of part, 'float",
    ),
    Wrong(
        "sums",
        "threadgroup_pointer_overrun",
        "part[simd] =",
        "*(&part[0] + simd + 1) =",
        "out of bounds.*byte 16 of threadgroup array part",
    ),
    Wrong("sums", "dynamic_overrun", "row[i] = float", "row[i + 8] = float", "out of bounds.*threadgroup memory row"),
    Wrong(
        "sums",
        "dynamic_underrun",
        "sum += row[i]",
        "sum += row[(int)i - 1]",
        "out of bounds.*byte -4 of threadgroup memory row",
    ),
    Wrong("sums", "parameters_overrun", "(uint)p.columns", "(uint)(&p.columns)[2]", "out of bounds.*parameters p"),
    Wrong(
        "sums",
        "wild_store",
        "out[group.x] = total",
        "*(device float*)(ulong)(group.x * 8 + 8) = total",
        "wild access.*writes 4 bytes at address 0x",
    ),
    Wrong(
        "sums",
        "null_read",
        "float(from[i])",
        "float(*(device const T*)(ulong)0)",
        "crash.*outside|wild access.*reads 4",
    ),
    Wrong(
        "sums",
        "thread_array",
        "float sum = 0;",
        "float keep[4]; for (uint i = 0; i < 4; i++) { keep[i] = 0; } float sum = keep[columns / 30];",
        "undefined.*index 5 is outside",
    ),
    Wrong(
        "sums",
        "thread_pointer",
        "float sum = 0;",
        "float keep[4] = {0, 0, 0, 0}; thread float* k = keep; float sum = k[columns / 30];",
        "crash.*outside of an array",
    ),
    Wrong(
        "shortest",
        "misaligned",
        "float4(x[i * quads + j])",
        "*(device const float4*)((device const float*)x + i * quads * 4 + j * 4 + 1)",
        "misaligned.*16 bytes",
    ),
    Wrong(
        "product",
        "matrix_load",
        "simdgroup_load(right, &b_tile[0][0], 8)",
        "simdgroup_load(right, &b_tile[0][0], 9)",
        "out of bounds.*threadgroup array b_tile",
    ),
    Wrong(
        "product",
        "matrix_store",
        "simdgroup_store(sum, c_tile, 8)",
        "simdgroup_store(sum, c_tile, 8, ulong2(0, 1))",
        "out of bounds.*threadgroup array c_tile",
    ),
    Wrong("product", "two_dimensions", "b_tile[y][x] = ", "b_tile[y][x + 1] = ", "undefined.*index 8 is outside"),
    Wrong(
        "product",
        "missing_column_check",
        "if (row + y < n && column + x < n) {",
        "if (row + y < n) {",
        "race of threadgroups.*output 0|out of bounds.*output 0",
    ),
    Wrong(
        "product", "missing_row_check", "row + y < n && k + x < n ? a", "k + x < n ? a", "out of bounds.*input 0 .a."
    ),
    Wrong(
        "histogram",
        "atomic_overrun",
        "&counts[x[i] % BINS]",
        "&counts[0] + x[i] % BINS + 8",
        "out of bounds.*threadgroup array counts",
    ),
    # What was not written.
    Wrong(
        "sums",
        "uninitialised_tile",
        "i < columns; i += threads",
        "i + 1 < columns; i += threads",
        "unwritten.*byte 596 of threadgroup memory row",
    ),
    Wrong(
        "sums",
        "uninitialised_part",
        "if (lane == 0) {",
        "if (lane == 0 && simd != 2) {",
        "unwritten.*byte 8 of threadgroup array part",
    ),
    Wrong(
        "sums",
        "unwritten_output",
        "if (tid == 0) {",
        "if (tid == 0 && group.x != 1) {",
        "unwritten output.*4 of the 12 bytes of output 0.*first at byte 4",
    ),
    Wrong("sums", "uninitialised_variable", "float total = 0;", "float total;", "compile.*uninitialized"),
    Wrong("sums", "read_output", "float total = 0;", "float total = out[group.x];", "unwritten.*output 0"),
    Wrong(
        "histogram",
        "uninitialised_counts",
        "if (tid < BINS) {\n    atomic_store_explicit(&counts",
        "if (tid + 1 < BINS) {\n    atomic_store_explicit(&counts",
        "unwritten.*byte 252 of threadgroup array counts",
    ),
    Wrong(
        "histogram",
        "uninitialised_scratch",
        "if (tid < BINS) {\n    atomic_store_explicit(&bins",
        "if (tid > 0) {\n    atomic_store_explicit(&bins",
        "unwritten.*byte 0 of scratch 0",
    ),
    # Races inside a threadgroup.
    Wrong("sums", "no_first_barrier", BARRIER + "  // Each", "  // Each", "race.*threadgroup memory row.*no barrier"),
    Wrong(
        "sums",
        "no_second_barrier",
        BARRIER + "  if (tid == 0)",
        "  if (tid == 0)",
        "(race|unwritten).*threadgroup array part",
    ),
    Wrong(
        "sums",
        "wrong_fence",
        BARRIER + "  // Each",
        BARRIER.replace("mem_threadgroup", "mem_device") + "  // Each",
        "race.*threadgroup memory row",
    ),
    Wrong(
        "sums",
        "no_fence",
        BARRIER + "  // Each",
        BARRIER.replace("mem_threadgroup", "mem_none") + "  // Each",
        "race.*threadgroup memory row",
    ),
    Wrong(
        "sums", "simdgroup_barrier", BARRIER + "  // Each", SIMD_BARRIER + "  // Each", "race.*threadgroup memory row"
    ),
    Wrong("sums", "same_value", "if (tid == 0) {", "if (tid < 2) {", "race.*output 0"),
    Wrong(
        "sums",
        "all_lanes_write",
        "if (lane == 0) {",
        "{",
        "race.*writes 4 bytes at byte .* of threadgroup array part, which thread .* wrote",
    ),
    Wrong(
        "product",
        "no_load_barrier",
        SIMD_BARRIER.replace("  s", "    s") + "    simdgroup_matrix",
        "    simdgroup_matrix",
        "(race|unwritten).*_tile",
    ),
    Wrong(
        "product",
        "no_reuse_barrier",
        SIMD_BARRIER.replace("  s", "    s") + "  }",
        "  }",
        "race.*writes.*_tile.*matrix operation",
    ),
    Wrong(
        "product",
        "no_store_barrier",
        SIMD_BARRIER + "  for (int i = (int)lane; i < 64; i += 32) {\n    const int y = i / 8, x = i % 8;\n    if",
        "  for (int i = (int)lane; i < 64; i += 32) {\n    const int y = i / 8, x = i % 8;\n    if",
        "(race|unwritten).*c_tile",
    ),
    Wrong(
        "histogram",
        "wrong_device_fence",
        "mem_flags::mem_device",
        "mem_flags::mem_threadgroup",
        "(race|unwritten).*scratch 1",
    ),
    Wrong(
        "histogram",
        "not_atomic",
        "atomic_fetch_add_explicit(&counts[x[i] % BINS], 1u, memory_order_relaxed)",
        "((threadgroup uint*)counts)[x[i] % BINS] += 1",
        "race.*threadgroup array counts",
    ),
    Wrong(
        "histogram",
        "atomic_and_plain",
        "const uint count = atomic_load_explicit(&counts[tid], memory_order_relaxed)",
        "const uint count = *(threadgroup uint*)&counts[tid]; "
        "atomic_fetch_add_explicit(&counts[(tid + 1) % BINS], 1u, memory_order_relaxed)",
        "race.*threadgroup array counts",
    ),
    # Races between threadgroups.
    Wrong("sums", "groups_write_one", "out[group.x] =", "out[0] =", "race of threadgroups.*output 0"),
    Wrong(
        "histogram",
        "groups_not_atomic",
        "atomic_fetch_add_explicit(&bins[tid], count, memory_order_relaxed)",
        "((device uint*)bins)[tid] += count",
        "race of threadgroups.*scratch 0",
    ),
    Wrong(
        "product",
        "groups_read_others",
        "sum = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);",
        "sum = make_filled_simdgroup_matrix<float, 8, 8>(group.x + group.y > 0 ? c[0] : 0.0f);",
        "race of threadgroups.*output 0|unwritten.*output 0",
    ),
    # Where threads do not meet.
    Wrong(
        "sums",
        "divergent_barrier",
        BARRIER + "  // Each",
        "  if (tid < 64) {\n" + BARRIER + "  }\n  // Each",
        "barrier.*64 of the 128|barrier.*thread",
    ),
    Wrong(
        "sums",
        "barrier_after_return",
        "  const uint threads = SIMDS * 32;",
        "  const uint threads = SIMDS * 32;\n  if (tid == 77) { return; }",
        "barrier|simd",
    ),
    Wrong(
        "sums",
        "two_barriers",
        BARRIER + "  // Each",
        "  if (tid < 64) {\n" + BARRIER + "  } else {\n" + BARRIER + "  }\n  // Each",
        "barrier.*elsewhere",
    ),
    Wrong(
        "sums",
        "barrier_in_loop",
        "sum += row[i];",
        "sum += row[i];\n    threadgroup_barrier(mem_flags::mem_none);",
        "barrier|simd",
    ),
    Wrong(
        "sums",
        "divergent_simd",
        "sum = simd_sum(sum);",
        "if (lane < 16) { sum = simd_sum(sum); }",
        r"\[(simd|barrier)\].*simd_sum",
    ),
    Wrong(
        "sums",
        "two_simd_sums",
        "sum = simd_sum(sum);",
        "if (lane < 16) { sum = simd_sum(sum); } else { sum = simd_sum(sum); }",
        r"\[simd\].*simd_sum.*elsewhere",
    ),
    Wrong(
        "sums",
        "simd_after_return",
        "  sum = simd_sum(sum);",
        "  if (tid == 5) { return; }\n  sum = simd_sum(sum);",
        r"\[simd\].*simd_sum.*thread 5 .*has returned",
    ),
    Wrong(
        "shortest",
        "two_helpers",
        "  mine = reduce(mine);",
        "  if (lane < 16) { mine = reduce(mine); } else { mine = reduce(mine); }",
        r"\[simd\].*simd_shuffle_xor",
    ),
    Wrong(
        "shortest",
        "simd_in_tail",
        "length += sum_of(v * v);",
        "length += sum_of(v * v); length = simd_max(length);",
        r"\[simd\].*simd_max",
    ),
    Wrong(
        "shortest",
        "shuffle_outside",
        "simd_shuffle_xor(mine.index, step)",
        "simd_shuffle(mine.index, (ushort)(step * 2))",
        "shuffle.*asks for lane 32",
    ),
    Wrong(
        "shortest",
        "shuffle_uneven",
        "  mine = reduce(mine);",
        "  mine.index = simd_shuffle_down(mine.index, (ushort)(lane / 4));\n  mine = reduce(mine);",
        "shuffle.*different",
    ),
    Wrong(
        "product",
        "divergent_matrix_load",
        "    simdgroup_load(left, a_tile, 8);",
        "    left = simdgroup_matrix<T, 8, 8>(0); if (lane != 3) { simdgroup_load(left, a_tile, 8); }",
        r"\[simd\].*simdgroup_load",
    ),
    Wrong(
        "product",
        "divergent_matrix_product",
        "    simdgroup_multiply_accumulate(sum",
        "    if (lane != 3) simdgroup_multiply_accumulate(sum",
        r"\[simd\].*simdgroup_multiply_accumulate",
    ),
    # Arithmetic and time.
    Wrong(
        "sums",
        "overflow",
        "const uint columns = (uint)p.columns;",
        "const uint columns = (uint)p.columns + 0 * (uint)(p.columns * 100000000);",
        "undefined.*product overflows 'int",
    ),
    Wrong("histogram", "division_by_zero", "x[i] % BINS", "x[i] % ((n - 1000) / BINS)", "undefined.*division by zero"),
    Wrong(
        "sums",
        "endless",
        "for (uint i = 0; i < SIMDS; i++) {\n      total += part[i];",
        "for (uint i = 0; i < SIMDS; i += SIMDS * 0) {\n      total += part[i];",
        "time limit.*0.2 s",
    ),
    Wrong(
        "sums",
        "endless_without_memory",
        "    float total = 0;",
        "    float total = 0; for (uint i = 1; i != 0; i = i * 3) { total = total + 1; }",
        "time limit",
    ),
    Wrong(
        "sums",
        "large_stack",
        "  const uint threads = SIMDS * 32;",
        "  const uint threads = SIMDS * 32; float big[100000];\n"
        "for (uint i = 0; i < 100000; i++) { big[i] = float(i) + p.columns; } if (big[group.x + 7] == 3) { return; }",
        "crash.*stack",
    ),
    # Metal's own limits.
    Wrong(
        "sums",
        "too_much_threadgroup_memory",
        "part[SIMDS]",
        "part[SIMDS + 8192]",
        "launch.*threadgroup memory: at most 32768",
    ),
    Wrong("sums", "double", "float total = 0;", "double total = 0; total = total * part[0];", "compile.*double"),
    Wrong(
        "sums",
        "write_constant",
        "const uint columns = (uint)p.columns;",
        "p.columns = 1; const uint columns = 1;",
        "compile",
    ),
    Wrong("sums", "ambiguous_min", "min(columns, tid", "min((int)columns, tid", "compile.*min"),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda w: f"{w.sample}-{w.name}")
def test_wrong_kernels_are_found(wrong: Wrong) -> None:
    def edit(family: str, source: str) -> str:
        if family == ("vectors" if wrong.sample == "shortest" else wrong.sample):
            assert source.count(wrong.old) == 1, f"{wrong.old!r} is there {source.count(wrong.old)} times"
        return source.replace(wrong.old, wrong.new)

    for schedule in SCHEDULES:
        plan, _ = SAMPLES[wrong.sample]()
        simulator = Simulator(schedule, edit=edit, seconds=0.2)
        simulator(plan.steps)
        with pytest.raises(AssertionError) as found:
            simulator.check()
        assert re.search(wrong.expected, str(found.value), re.DOTALL), f"{schedule}: {found.value}"
