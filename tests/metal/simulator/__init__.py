"""Runs the project's Metal kernels on the CPU, and watches them.

A kernel's source is compiled as C++ for the host by clang, with a hook at every access to memory. Each thread is a
fiber, one threadgroup runs at a time, and threads wait for each other nowhere but in barriers and in operations of
their simdgroup: no lockstep is assumed. Every memory of a plan is a copy with nothing around it, and has a shadow that
knows who wrote and who read each byte, and between which barriers. What is found names the check in brackets, the
kernel, the source line, the thread, the memory, and what is wrong:

    [race] sums_float, metal/sums.metal:35 "sum += row[i];": thread 0 of threadgroup (0, 0, 0) reads 4 bytes at byte 4
    of threadgroup memory row, which thread 1 wrote at ... with no barrier for that memory between

The checks:

- out of bounds, wild access, misaligned, read-only, undefined (an index outside of an array, signed overflow, division
  by zero), crash (indices of thread arrays behind a pointer, a stack of 256 KB), time limit;
- unwritten (threadgroup memory in this threadgroup; scratch and outputs in this plan), write-only, unwritten output;
- race: two threads, the same byte, at least one write, not both atomic, and no threadgroup_barrier between whose flags
  name that memory (or simdgroup_barrier within a simdgroup). Accesses of matrix operations are the simdgroup's: they
  need a simdgroup_barrier against its own threads as well. Writing the same value is a race. race of threadgroups: the
  same between threadgroups of a launch, where no barrier helps;
- barrier, simd: not all threads of the threadgroup, or lanes of the simdgroup, come to the same call: also where the
  others have returned, and where a helper function is called at two places; shuffle: from a lane that is not there,
  or by distances that differ;
- launch, product, plan: steps against the kernels' signatures and Metal's limits; compile: what the host's compiler
  says, with variables that are not set as errors.

Variables of threads begin as a pattern (NaN as float) rather than as zero; so do threadgroup memory, scratch, outputs.

What it cannot see: gaps between the rows of strided inputs (reading them is within the bounds); one memory running over
into another through more than a megabyte of nothing; values that depend on which lane holds which element of a matrix;
register pressure, occupancy, bank conflicts, timing; the mathematics of Apple's library to the last bit; anything about
vectors of more than 16 bytes, which its headers leave out; the loads and stores that clang's -O1 removes. Mistakes
between atomics show in results alone, and only for some orders: under the schedule "random" threads also pause at
atomics. Tested on x86-64 Linux; the code for aarch64 and macOS has not run yet.
"""

from .simulator import SCHEDULES, Simulator, Traffic

__all__ = ["SCHEDULES", "Simulator", "Traffic"]
