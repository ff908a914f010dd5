"""Runs the steps of plans on an NVIDIA GPU: the kernels, translated, in the place of the simulator.

Needs the driver and PyPI's nvidia-cuda-nvrtc. Memories are copied there and back, so this is for tests: of kernels and
plans on real hardware, where a warp is a simdgroup and threads run at once.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import traceback
from typing import Any

import numpy as np
from cuda import translate
from signatures import kernels

from .nvrtc import CompileError, compile_cuda
from .runner import Runner, Traffic

__all__ = ["CudaRunner", "available"]

GUARD = 4096  # bytes around each memory that nobody may write
POISON = 0xA5  # in them, and in what nobody has written yet
USUAL_MEMORY = 48 << 10  # bytes of dynamic shared memory that a block has without asking
MAX_DYNAMIC_SHARED_SIZE = 8  # a CUfunction_attribute
GRID_LIMIT = 65535  # blocks along y and z; beyond, msl_group finds the position along x

_PRODUCT = """
extern "C" __global__ void product(const float* a, const float* b, float* out, long m, long n, long k, long a_stride,
                                   long b_stride, int b_transposed, int a_transposed) {
  long i = blockIdx.x * 256l + threadIdx.x, row = i / n, column = i % n;
  if (i < m * n) {
    float sum = 0.0f;
    for (long l = 0; l < k; l++) {
      float x = a_transposed ? a[l * a_stride + row] : a[row * a_stride + l];
      sum = __fmaf_rn(x, b_transposed ? b[column * b_stride + l] : b[l * b_stride + column], sum);
    }
    out[i] = sum;
  }
}
"""


class CudaError(RuntimeError):
    """What the driver says."""


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def _call(name: str, *arguments: Any) -> None:
    status = getattr(_driver(), name)(*arguments)
    if status != 0:
        text = ctypes.c_char_p()
        _driver().cuGetErrorString(status, ctypes.byref(text))
        raise CudaError(f"{name}: {(text.value or b'unknown').decode()}")


@functools.cache
def _context() -> ctypes.c_void_p:
    context, device = ctypes.c_void_p(), ctypes.c_int()
    _call("cuInit", 0)
    _call("cuDeviceGet", ctypes.byref(device), 0)
    _call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    return context


@functools.cache
def architecture() -> str:
    """That of the first GPU, as NVRTC names it."""
    _context()
    major, minor = ctypes.c_int(), ctypes.c_int()
    _call("cuDeviceGetAttribute", ctypes.byref(major), 75, 0)
    _call("cuDeviceGetAttribute", ctypes.byref(minor), 76, 0)
    return f"sm_{major.value}{minor.value}"


def available() -> bool:
    """Whether there is an NVIDIA GPU."""
    try:
        _context()
    except (OSError, CudaError):
        return False
    return True


@functools.cache
def _function(source: str, name: str) -> ctypes.c_void_p:
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    _call("cuModuleLoadData", ctypes.byref(module), compile_cuda(source, architecture()))
    _call("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
    return function


def _launch(
    function: ctypes.c_void_p, grid: tuple[int, ...], block: tuple[int, ...], shared: int, arguments: list[Any]
) -> None:
    places = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(a) for a in arguments))
    if shared > USUAL_MEMORY:
        _call("cuFuncSetAttribute", function, MAX_DYNAMIC_SHARED_SIZE, shared)
    _call("cuLaunchKernel", function, *grid, *block, shared, None, places, None)
    _call("cuCtxSynchronize")


class _Memory:
    """A memory of a plan on the device, as far behind an aligned address as in its allocation, between guards."""

    def __init__(self, label: str, base: int, size: int, offset: int) -> None:
        self.label, self.base, self.size = label, base, size
        self.allocation = ctypes.c_uint64()
        self.total = size + 2 * GUARD + 256
        _call("cuMemAlloc_v2", ctypes.byref(self.allocation), ctypes.c_size_t(self.total))
        _call("cuMemsetD8_v2", self.allocation, ctypes.c_ubyte(POISON), ctypes.c_size_t(self.total))
        self.first = GUARD + offset % 256
        if label.startswith("input") and size > 0:
            _call("cuMemcpyHtoD_v2", self.at(base), ctypes.c_void_p(base), ctypes.c_size_t(size))

    def at(self, address: int) -> ctypes.c_uint64:
        return ctypes.c_uint64(self.allocation.value + self.first + address - self.base)

    def end(self) -> list[str]:
        """Brings an output back and frees the memory; what is wrong with it."""
        data = np.empty(self.total, np.uint8)
        _call("cuMemcpyDtoH_v2", ctypes.c_void_p(data.ctypes.data), self.allocation, ctypes.c_size_t(self.total))
        _call("cuMemFree_v2", self.allocation)
        inside = data[self.first : self.first + self.size].copy()
        if self.label.startswith("output") and self.size > 0:
            ctypes.memmove(self.base, inside.ctypes.data, self.size)
        data[self.first : self.first + self.size] = POISON
        wild = np.flatnonzero(data != POISON)
        found = [f"[wild store] byte {wild[0] - self.first} of {self.label} ({self.size} bytes)"] if wild.size else []
        if self.label.startswith("input") and self.size > 0:
            original = np.ctypeslib.as_array((ctypes.c_ubyte * self.size).from_address(self.base))
            found += [] if np.array_equal(original, inside) else [f"[input] {self.label} was written"]
        return found


def _buffers(step: dict[str, Any]) -> list[tuple[str, int, int, int]]:
    if step["step"] == "launch":
        guard = [step["guard"]] if step.get("guard") else []
        return [*(argument[0] for argument in step["arguments"] if not isinstance(argument, bytes)), *guard]
    return [step["a"], step["b"], step["out"]] if step["step"] == "product" else list(step.get("outputs", []))


class CudaRunner(Runner):
    """As the simulator, but on an NVIDIA GPU, with fewer checks and without counting bytes."""

    _lock = threading.Lock()

    def __call__(self, steps: list[dict[str, Any]]) -> None:
        """Runs the steps of a plan. Raises nothing: see `check`."""
        with CudaRunner._lock:
            try:
                self._run(steps)
            except CompileError as e:
                self.findings.append(f"[compile] {e}")
            except Exception:
                self.findings.append(f"[cuda] it failed\n{traceback.format_exc()}")

    def _run(self, steps: list[dict[str, Any]]) -> None:
        _call("cuCtxSetCurrent", _context())
        memories: dict[str, _Memory] = {}
        offsets = steps[-1].get("offsets", {}) if steps else {}
        for label, address, low, high in (buffer for step in steps for buffer in _buffers(step)):
            if label not in memories:
                memories[label] = _Memory(label, address + low, high - low, offsets.get(label, -low) + low)
        for step in steps:
            if step["step"] == "launch":
                self._kernel(step, memories)
                self.traffic.append(Traffic(step["name"], step["kernel"], {}))
            elif step["step"] == "product":
                self._product(step, memories)
                self.traffic.append(Traffic("product", "product", {}))
        for memory in memories.values():
            self.findings += memory.end()

    def _kernel(self, step: dict[str, Any], memories: dict[str, _Memory]) -> None:
        x, y, z = step["groups"]
        grid = (x, y, z) if max(y, z) <= GRID_LIMIT else (x * y * z, 1, 1)
        source = translate(step["source"], int(np.prod(step["threads"])), step["kernel"])
        arguments: list[Any] = []
        for argument in step["arguments"]:
            if isinstance(argument, bytes):
                arguments.append(ctypes.create_string_buffer(argument, len(argument)))
            else:
                (label, address, _, _), _ = argument
                arguments.append(memories[label].at(address))
        order = _order(step["source"], step["kernel"])
        groups = (ctypes.c_uint32 * 4)(x, y, z)
        guard = memories[step["guard"][0]].at(step["guard"][1]) if step.get("guard") else ctypes.c_uint64(0)
        arguments = [*(arguments[i] for i in order), groups, guard]
        _launch(_function(source, step["name"]), grid, step["threads"], step["threadgroup_bytes"], arguments)

    def _product(self, step: dict[str, Any], memories: dict[str, _Memory]) -> None:
        m, n, k = step["mnk"]
        if m * n == 0:
            return
        places = [memories[step[name][0]].at(step[name][1]) for name in ("a", "b", "out")]
        sizes = [ctypes.c_int64(i) for i in (m, n, k, *step["strides"])]
        arguments = [*places, *sizes, ctypes.c_int32(step["b_transposed"]), ctypes.c_int32(step["a_transposed"])]
        _launch(_function(_PRODUCT, "product"), (-(-m * n // 256), 1, 1), (256, 1, 1), 0, arguments)


@functools.cache
def _order(source: str, kernel: str) -> list[int]:
    """The buffers in the order of the kernel's parameters."""
    parameters = next(k.parameters for k in kernels(source) if k.name == kernel)
    return [p.index for p in parameters if p.is_buffer and p.index is not None]
