"""The scalar quantizer: each component of a vector by itself, in 4 to 16 bits."""

from __future__ import annotations

import functools
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core, _host
from metalfaiss._host import Array, Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.ownership import Owned

__all__ = ["ScalarQuantizer"]

# What csrc/cpu/row_codec.h calls them.
_F32, _F16, _BF16, _U8, _S8, _SQ8, _SQ6, _SQ4 = range(8)
_NONE = np.empty(0, np.float32)


@functools.cache
def float_codec(d: int) -> _core.Codec:
    """Vectors as they are."""
    return _core.Codec(_F32, d, _NONE, _NONE)


class ScalarQuantizer(Owned):
    """Codes of vectors, component by component; for the same training data they are FAISS's.

    ``QT_8bit``, ``QT_6bit`` and ``QT_4bit`` divide the range of each component, ``QT_8bit_uniform`` and
    ``QT_4bit_uniform`` one range for all; ``QT_fp16`` and ``QT_bf16`` round; ``QT_8bit_direct`` (0 to 255) and
    ``QT_8bit_direct_signed`` (-128 to 127) hold components that are integers.

    Args:
        d: the dimension of the vectors.
        qtype: one of the types above.

    Attributes:
        rangestat: how ranges are learned: ``RS_minmax``, ``RS_meanstd``, ``RS_quantiles`` or ``RS_optim``.
        rangestat_arg: by how much of itself a range grows (minmax), how many standard deviations it spans on each side
            (meanstd), or what part is left out on each side (quantiles).

    Raises:
        TypeError: an argument is not an integer.
        ValueError: ``d`` is less than 1.
        NotImplementedError: ``qtype`` is one of FAISS's that is not built.
    """

    QT_8bit, QT_4bit, QT_8bit_uniform, QT_4bit_uniform, QT_fp16 = range(5)
    QT_8bit_direct, QT_6bit, QT_bf16, QT_8bit_direct_signed = range(5, 9)
    # Not built yet: a quantizer of these raises NotImplementedError.
    QT_0bit, QT_1bit_tqmse, QT_2bit_tqmse, QT_3bit_tqmse, QT_4bit_tqmse, QT_8bit_tqmse = range(9, 15)
    QT_2bit_tq, QT_3bit_tq, QT_4bit_tq, QT_5bit_tq = range(15, 19)
    QT_1bit_eden, QT_2bit_eden, QT_3bit_eden, QT_4bit_eden = range(19, 23)
    QT_5bit_eden, QT_6bit_eden, QT_7bit_eden, QT_8bit_eden, QT_count = range(23, 28)
    RS_minmax, RS_meanstd, RS_quantiles, RS_optim = range(4)

    _TYPES = {  # noqa: RUF012 - (how components are coded, bits, whether ranges are learned)
        QT_8bit: (_SQ8, 8, True),
        QT_4bit: (_SQ4, 4, True),
        QT_8bit_uniform: (_SQ8, 8, True),
        QT_4bit_uniform: (_SQ4, 4, True),
        QT_fp16: (_F16, 16, False),
        QT_8bit_direct: (_U8, 8, False),
        QT_6bit: (_SQ6, 6, True),
        QT_bf16: (_BF16, 16, False),
        QT_8bit_direct_signed: (_S8, 8, False),
    }

    def __init__(self, d: int, qtype: int = QT_8bit) -> None:
        op = type(self).__name__
        self.d = _host.integer(op, "d", d, 1)
        self.qtype = _host.require_int(op, "qtype", qtype)
        if self.qtype not in self._TYPES:
            raise NotImplementedError(f"[{op}] qtype must be one of the types from 0 to 8. Received {qtype}.")
        self.rangestat = self.RS_minmax
        self.rangestat_arg = 0.0
        self._set_trained(_NONE)

    @property
    def bits(self) -> int:
        """Bits of a component."""
        return self._TYPES[self.qtype][1]

    @property
    def code_size(self) -> int:
        """Bytes of a code."""
        return (self.d * self.bits + 7) // 8

    @property
    def is_trained(self) -> bool:
        """Whether vectors can be coded: always, for types that learn nothing."""
        return self._codec is not None

    @property
    def trained(self) -> NDArray[np.float32]:
        """What was learned: minimum and width of one range, or all minima, then all widths; empty for the others."""
        return self._trained

    @trained.setter
    def trained(self, values: Any) -> None:
        trained = np.array(values, dtype=np.float32).reshape(-1)
        wanted = self._trained_size()
        if trained.size not in (0, wanted):
            raise ArgumentError(
                f"[ScalarQuantizer.trained] There must be {wanted} values, or none. Received {trained.size}."
            )
        self._set_trained(trained)

    def train(self, x: Array) -> None:
        """Learns the ranges of the components from vectors (n, d).

        Raises:
            TypeError: ``x`` is neither a NumPy array nor an ``mx.array``, or is complex.
            ValueError: its shape is not (n, d), or n is 0.
        """
        op = "ScalarQuantizer.train"
        vectors = _host.vectors(op, x, self.d)
        if not self._TYPES[self.qtype][2]:
            return
        if vectors.shape[0] == 0:
            raise ArgumentError(f"[{op}] x must hold vectors. Received none.")
        given = np.ascontiguousarray(_host.to_numpy(vectors.astype(mx.float32))[0])
        levels, stat = 1 << self.bits, _host.integer(op, "rangestat", self.rangestat, 0, 3)
        if self._uniform():
            one = _core.train_range(stat, self.rangestat_arg, levels, given.reshape(-1))
            self._set_trained(np.array(one, dtype=np.float32))
        else:
            self._set_trained(_core.train_ranges(stat, self.rangestat_arg, levels, given))

    def compute_codes(self, x: Array, *, stream: Stream = None) -> Any:
        """Codes (n, code_size), uint8, of vectors (n, d): NumPy for NumPy, a lazy ``mx.array`` for ``mx.array``.

        Raises:
            TypeError, ValueError: ``x`` is no array of vectors.
            RuntimeError: the quantizer is not trained.
        """
        op = "ScalarQuantizer.compute_codes"
        codes = _core.encode(_host.vectors(op, x, self.d), self._require_codec(op), stream=stream)
        return codes if isinstance(x, mx.array) else _host.to_numpy(codes)[0]

    def decode(self, codes: Array, *, stream: Stream = None) -> Any:
        """Vectors (n, d), float32, of codes (n, code_size): NumPy for NumPy, a lazy ``mx.array`` for ``mx.array``.

        Raises:
            ValueError: the shape is wrong.
            RuntimeError: the quantizer is not trained.
        """
        op = "ScalarQuantizer.decode"
        codec = self._require_codec(op)
        x = _core.decode(_host.to_mlx(op, "codes", codes), codec, stream=stream)
        return x if isinstance(codes, mx.array) else _host.to_numpy(x)[0]

    def _uniform(self) -> bool:
        return self.qtype in (self.QT_8bit_uniform, self.QT_4bit_uniform)

    def _trained_size(self) -> int:
        if not self._TYPES[self.qtype][2]:
            return 0
        return 2 if self._uniform() else 2 * self.d

    def _set_trained(self, trained: NDArray[np.float32]) -> None:
        self._trained = trained
        self._codec: _core.Codec | None = None
        if trained.size == self._trained_size():
            vmin, vdiff = np.split(trained, 2)
            if self._uniform():
                vmin, vdiff = np.full(self.d, vmin[0]), np.full(self.d, vdiff[0])
            self._codec = _core.Codec(self._TYPES[self.qtype][0], self.d, vmin.copy(), vdiff.copy())

    def _require_codec(self, op: str) -> _core.Codec:
        if self._codec is None:
            raise RuntimeError(f"[{op}] The quantizer must be trained. Received one that is not.")
        return self._codec

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_codec"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._set_trained(self._trained)

    def __repr__(self) -> str:
        names = {value: name for name, value in vars(ScalarQuantizer).items() if name.startswith("QT_")}
        return f"ScalarQuantizer({self.d}, {names[self.qtype]}, is_trained={self.is_trained})"
