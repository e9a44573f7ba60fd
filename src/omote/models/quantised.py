"""Convolutions whose products are of bytes, where the processor multiplies bytes several times faster than numbers.

Inputs are coded in steps of one size for the whole tensor, with a zero of its own (asymmetric), weights in steps of one
size for each output (symmetric), as of arXiv 1806.08342, section 2. The sizes of inputs are those of the pictures that
were watched before. A network of such layers, and of those that stay as they are, shares a `Stage`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numba import prange
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from omote.models.compiled import as_array, coded, loop, real
from omote.models.packed import Padding, trimmed

_STEPS = 255  # between the least and the greatest byte
_TINY = 1e-12
_EXAMPLES = 2**15  # of each tensor that is watched
_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)  # of the bounds seen, that are tried


@dataclass
class Stage:
    """What the layers that share it do.

    Attributes:
        now: "full": multiply as they did before; "watch": and note how large their inputs are; "bytes".
        first: the first place in the network whose layers may multiply bytes.
    """

    now: Literal["full", "watch", "bytes"] = "full"
    first: int = 0


class Layer(Protocol):
    """A convolution as it was before."""

    def __call__(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        """See `omote.models.packed.Conv`."""


class Range:
    """How a tensor's numbers are coded: ``byte = number / step + zero``, rounded and cut off at 0 and 255.

    Args:
        low: 0 or less.
        high: 0 or more.
    """

    def __init__(self, low: float = 0.0, high: float = 0.0) -> None:
        self._low, self._high = low, high
        self._seen: list[Tensor] = []

    def see(self, x: Tensor) -> None:
        """Note the numbers of a tensor as an example, or some of them."""
        flat = x.detach().float().flatten()
        few = flat[:: max(1, len(flat) // _EXAMPLES)]
        # With the extremes, which the others may leave out.
        self._seen.append(torch.cat([few, *(value.view(1) for value in torch.aminmax(flat))]))

    @property
    def bounds(self) -> tuple[float, float]:
        """The numbers that the least and the greatest byte stand for.

        Of the examples' bounds and some closer ones those with the least mean square error.
        """
        if self._seen:
            seen, best = torch.cat(self._seen), float("inf")
            low, high = min(0.0, float(seen.min())), max(0.0, float(seen.max()))
            for share in _SHARES:
                tried = Range(low * share, high * share)
                error = float((tried.rounded(seen) - seen).square().mean())
                if error < best:
                    best, self._low, self._high = error, low * share, high * share
            self._seen = []
        return self._low, self._high

    def rounded(self, x: Tensor) -> Tensor:
        """What a tensor's numbers are once they have been coded."""
        return ((x / self.step + self.zero).round().clamp(0, _STEPS) - self.zero) * self.step

    @property
    def step(self) -> float:
        """The difference between neighbouring bytes."""
        low, high = self.bounds
        return max(high - low, _TINY) / _STEPS

    @property
    def zero(self) -> int:
        """The byte that stands for zero."""
        return round(-self.bounds[0] / self.step)

    @property
    def code(self) -> NDArray[np.float32]:
        """(2,) bytes for each unit, and the byte of zero, for `omote.models.compiled.coded`."""
        return np.array([1 / self.step, self.zero], np.float32)


PLAIN = np.array([1, 0], np.float32)
"""A code for what is not coded."""


class ByteConv:
    """A convolution that multiplies bytes in that stage, and otherwise is the one it stands for.

    Args:
        weight: (out, in, ...) float32.
        bias: (out,).
        full: what does the work in other stages.
        stage: of the network.
        padding: zeros before and after, for each dimension; default: half the kernel.
        relu: whether negative results are zero.
        dtype: of the results of bytes: float32 or bfloat16.
        range: of the input, where several convolutions look at one.
        place: in the network, see `Stage.first`; None: always late enough.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        full: Layer,
        stage: Stage,
        *,
        dtype: torch.dtype,
        padding: Padding | None = None,
        relu: bool = False,
        range: Range | None = None,
        place: int | None = None,
    ) -> None:
        self.full, self.range, self._stage, self._place = full, range or Range(), stage, place
        self._relu, self._dtype = relu, dtype
        self._coded, self._steps = coded_weight(weight)
        self._bias = None if bias is None else bias.detach().float()
        self._padding = list(padding or [(n // 2, n // 2) for n in weight.shape[2:]])
        self._around, self._ones = [max(both) for both in self._padding], [1] * (weight.ndim - 2)
        self._layout = torch.channels_last if weight.ndim == 4 else torch.channels_last_3d
        self._followed: Sequence[Range] = ()
        self._packed: dict[tuple[int, ...], Tensor] = {}

    def give_to(self, ranges: Sequence[Range]) -> None:
        """Let results be bytes already, in the codes of those that take them: equal shares of the channels each.

        Their numbers have to be positive, which `relu` makes them.
        """
        self._followed = ranges

    @property
    def takes_bytes(self) -> bool:
        """Whether inputs are to be coded in `range`."""
        early = self._place is not None and self._place < self._stage.first
        return self._stage.now == "bytes" and not early

    def __call__(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        """See `Layer`; ``x`` may be coded already."""
        if self.takes_bytes:
            return self._multiplied(x, plus)
        if self._stage.now == "watch":
            self.range.see(x)
        return self.full(x, plus)

    def _multiplied(self, x: Tensor, plus: Tensor | None) -> Tensor:
        x = coded_tensor(x, self.range).contiguous(memory_format=self._layout)
        steps, bias, dtype = self._steps, self._bias, self._dtype
        if self._followed:
            unit = torch.tensor([range.step for range in self._followed])
            unit = unit.repeat_interleave(len(steps) // len(unit))
            steps, bias, dtype = steps / unit, None if bias is None else bias / unit, torch.uint8
        packed = self._packed.get(tuple(x.shape))
        where = (self._ones, self._around, self._ones, 1)
        if packed is None:
            packed = _ops().qconv_prepack(
                self._coded, self._steps, self.range.step, self.range.zero, *where, list(x.shape)
            )
            self._packed = {tuple(x.shape): packed}
        fused = "relu" if self._relu and x.ndim == 4 and not self._followed else "none"
        made: Tensor = _ops().qconv_pointwise(
            x,
            self.range.step,
            self.range.zero,
            packed,
            steps,
            torch.zeros(len(steps), dtype=torch.int64),
            bias,
            *where,
            1.0,
            0,
            dtype,
            fused,
            [],
            "",
        )
        made = trimmed(made, self._padding)
        if plus is not None:
            made = made.add_(plus)
        # Bytes whose zero is 0 have no negative numbers.
        return made.relu_() if self._relu and fused == "none" and not self._followed else made


class ByteProducts:
    """Products with several matrices, each of bytes.

    Args:
        weight: (n, in, out) float32.
        dtype: of the results.
        ranges: of the n inputs.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype, ranges: Sequence[Range]) -> None:
        self.ranges = ranges
        self._parts = [coded_weight(one.T) for one in weight]
        self._dtype = dtype
        self._packed: list[Tensor] = []

    def __call__(self, x: Tensor) -> list[Tensor]:
        """N times (rows, out) of (n, rows, in), coded in `ranges`."""
        if not self._packed:
            self._packed = [_ops().qlinear_prepack(weight, list(x.shape[1:])) for weight, _ in self._parts]
        made = []
        for one, range, packed, (weight, steps) in zip(
            x, self.ranges, self._packed, self._parts, strict=True
        ):
            zeros = torch.zeros(len(weight), dtype=torch.int64)
            made.append(
                _ops().qlinear_pointwise(
                    one,
                    range.step,
                    range.zero,
                    packed,
                    steps,
                    zeros,
                    None,
                    1.0,
                    0,
                    self._dtype,
                    "none",
                    [],
                    "",
                )
            )
        return made


def room_for(layer: Layer, size: Sequence[int], dtype: torch.dtype) -> tuple[Tensor, NDArray[np.float32]]:
    """Memory for a layer's input, and the code in which it is to be written there.

    Args:
        layer: that takes it.
        size: with the channels last.
        dtype: of numbers that are not coded.
    """
    if isinstance(layer, ByteConv) and layer.takes_bytes:
        return torch.empty(*size, dtype=torch.uint8), layer.range.code
    return torch.empty(*size, dtype=dtype), PLAIN


def coded_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 (out, ...) and the size of their steps (out,), float32."""
    weight = weight.detach().float().contiguous()
    steps = weight.flatten(1).abs().amax(1).clamp_min(_TINY) / 127
    return (weight / steps.view(-1, *[1] * (weight.ndim - 1))).round().to(torch.int8), steps


def coded_tensor(x: Tensor, range: Range) -> Tensor:
    """Bytes (B, C, ...) of numbers, channels last; bytes are left as they are."""
    if x.dtype == torch.uint8:
        return x
    last = x.movedim(1, -1).contiguous()
    made = torch.empty(last.shape, dtype=torch.uint8)
    encode(as_array(last.flatten(0, -2)), range.code, as_array(made.flatten(0, -2)))
    return made.movedim(-1, 1)


@loop
def encode(x: Any, code: Any, made: Any) -> None:
    """Numbers as bytes.

    Args:
        x: (N, C).
        code: of `Range`.
        made: (N, C) bytes.
    """
    count, channels = x.shape
    rate, zero = code[0], code[1]
    for n in prange(count):
        i = np.int64(n)
        one, out = x[i], made[i]
        for c in range(channels):
            out[c] = coded(real(one[c]), out, rate, zero)


def _ops() -> Any:
    return torch.ops.onednn


@cache
def multiplies_bytes() -> bool:
    """Whether the processor multiplies bytes in one instruction (VNNI, AMX), and torch can have it do so."""
    if not bool(getattr(torch.cpu, "_is_vnni_supported", bool)()):
        return False
    x = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4)
    conv = torch.ones(1, 1, 3, 3)
    product = torch.eye(4).view(1, 4, 4)
    try:
        made = ByteConv(conv, None, _nothing, Stage("bytes"), dtype=torch.float32, range=Range(0, 255))(x)
        same = ByteProducts(product, torch.float32, [Range(0, 255)])(x.view(1, 4, 4))
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    wanted = F.conv2d(x.float(), conv, padding=1)
    return torch.allclose(made, wanted, atol=0.01) and torch.allclose(
        same[0], x.view(4, 4).float(), atol=0.01
    )


def _nothing(x: Tensor, plus: Tensor | None = None) -> Tensor:
    return x
