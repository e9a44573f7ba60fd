"""How loops are compiled, and bfloat16 in them.

numpy does not know bfloat16, so that such numbers come as the upper halves of float32 bits.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import llvmlite.ir
import numba
import numpy as np
import torch
from numba import njit, types
from numba.core import event
from numba.extending import intrinsic, overload

_OPTIONS: dict[str, Any] = {"fastmath": {"contract", "reassoc", "nsz", "arcp"}, "cache": True}
# Only what says prange: to look for more takes minutes to compile.
_ELSEWHERE = ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion")
part = njit(**_OPTIONS)
# Sums and products of whole arrays belong into a part: within prange they compile only after other loops.
loop = njit(**_OPTIONS, parallel={"prange": True, **dict.fromkeys(_ELSEWHERE, False)})


class FirstUse(event.Listener):
    """Says once, on a terminal, that loops are being compiled, before a user wonders what takes so long."""

    told = False

    def on_start(self, event: Any) -> None:
        """Called when something is compiled indeed, not when it comes from the cache."""
        if not self.told and sys.stderr.isatty():
            self.told = True
            what = "compiling loops for this processor; this takes up to half a minute, once"
            logging.getLogger(__name__).warning(what)

    def on_end(self, event: Any) -> None:
        """Nothing."""


event.register("numba:compile", FirstUse())


def as_array(tensor: torch.Tensor) -> Any:
    """A tensor's memory as an array that the compiled loops take: float32, bytes, or the bits of bfloat16 as uint16."""
    return tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def use_torch_threads() -> None:
    """Let compiled loops of this thread use as many threads as torch does."""
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))


def real(value: Any) -> Any:
    """The float32 number that an array's element stands for."""


def stored(value: Any, array: Any) -> Any:
    """A float32 number as an array's elements hold it, rounded to the nearest."""


def coded(value: Any, array: Any, rate: Any, zero: Any) -> Any:
    """The same for arrays that may hold bytes: ``value rate + zero``, rounded and cut off; others hold the value."""


@intrinsic
def _float_of(_context: Any, _bits: Any) -> Any:
    def build(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return builder.bitcast(args[0], llvmlite.ir.FloatType())

    return types.float32(types.uint32), build


@intrinsic
def _bits_of(_context: Any, _number: Any) -> Any:
    def build(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return builder.bitcast(args[0], llvmlite.ir.IntType(32))

    return types.uint32(types.float32), build


@overload(real, strict=False)
def _real(value: Any) -> Any:
    if value == types.uint8:
        return lambda value: np.float32(value)
    if isinstance(value, types.Integer):
        return lambda value: _float_of(np.uint32(np.uint32(value) << np.uint32(16)))
    return lambda value: value


@overload(stored, strict=False)
def _stored(value: Any, array: Any) -> Any:
    if not isinstance(array.dtype, types.Integer):
        return lambda value, array: value

    def half(value: Any, array: Any) -> Any:
        bits = _bits_of(np.float32(value))
        even = (bits >> np.uint32(16)) & np.uint32(1)  # what lies halfway goes to the even neighbour
        return np.uint16((bits + np.uint32(0x7FFF) + even) >> np.uint32(16))

    return half


@overload(coded, strict=False)
def _coded(value: Any, array: Any, rate: Any, zero: Any) -> Any:
    if array.dtype != types.uint8:
        return lambda value, array, rate, zero: stored(value, array)

    def byte(value: Any, array: Any, rate: Any, zero: Any) -> Any:
        place = np.float32(value) * np.float32(rate) + np.float32(zero) + np.float32(0.5)
        place = min(max(place, np.float32(0)), np.float32(255))
        return np.uint8(np.int32(place))

    return byte
