"""What the processor can do, and how memory is handed out to it."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

import torch
from llvmlite.binding import get_host_cpu_name

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGE = 2**31 - 1
_USUAL = 32 * 2**20  # as far as glibc raises its threshold by itself


def multiplies_bfloat16() -> bool:
    """Whether the processor multiplies matrices faster in bfloat16 than in float32.

    With AMX, and AMD's with AVX512-BF16 (Zen 4 and later), which do twice as many products a second. With the same
    instructions Intel's (a Xeon whose host hides AMX) did half as many.
    """
    return has_amx() or (_has("_is_avx512_bf16_supported") and get_host_cpu_name().startswith("znver"))


def has_amx() -> bool:
    """Whether the processor has AMX, which multiplies bfloat16 many times as fast as float32."""
    return _has("_is_amx_tile_supported")


def _has(feature: str) -> bool:
    return bool(getattr(torch.cpu, feature, bool)())


@contextlib.contextmanager
def without_denormals() -> Iterator[None]:
    """Within the block this thread, and those that it starts, take numbers below 1e-38 for zero.

    Gradients and masks are full of them, and processors multiply them many times more slowly: a quarter of a training
    step of LivePortrait.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def keep_memory(*, keep: bool = True) -> bool:
    """Tell glibc to keep freed memory for the next allocation; whether it did (elsewhere than on glibc, no).

    By default each activation above 32 MiB is mapped afresh and its pages are zeroed one fault at a time. In bfloat16
    that was up to 40 % of a training step.

    Args:
        keep: False goes back to about the default.
    """
    if not sys.platform.startswith("linux"):
        return False
    mapped, trimmed = (_LARGE, _LARGE) if keep else (_USUAL, 2 * _USUAL)
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(_M_MMAP_THRESHOLD, mapped) and libc.mallopt(_M_TRIM_THRESHOLD, trimmed))
    return False
