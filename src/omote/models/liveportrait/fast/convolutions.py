"""Convolutions of volumes with few outputs, as products that processors are fast at."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from omote.models.compiled import as_array
from omote.models.liveportrait.fast.volumes import PARITIES, split_parities
from omote.models.packed import Conv
from omote.models.quantised import ByteConv, ByteProducts, Range, Stage, room_for


class DeepConv:
    """A convolution of volumes with few outputs: slice by slice, a kernel's slices as further outputs.

    Processors multiply with 154 outputs several times faster than with 22. Who calls adds up what each slice gives to
    those around it, and the bias: the result of slice d is the sum over k of [d + k - K // 2, ..., k O + o].

    Within a slice, even and odd rows are convolved apart: a fast FIR algorithm (Parker and Parhi, "Low-area/power
    parallel FIR digital filter implementations", 1997). With E, O the even and odd rows, P the kernel's first, third,
    ... taps and Q those between,

        even results: P O + Q E = (P - Q)(O - E) + Q O + P E        odd results: Q O + P E, a row later

    so that with 7 taps 3 + 4 + 4 products give what 14 did: along both axes 121 instead of 196. With sums in
    place of the differences, bytes lost 9 dB more: neighbouring rows are alike.

    Args:
        weight: (O, in, K, k', k''), K odd and the others 4 n + 3.
        bias: (O,); kept as ``bias`` in float32.
        dtype: of weights and activations.
        stage: of a network that may multiply bytes, whose results are bfloat16; ``range`` is that of the input, whose
            numbers are positive.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, stage: Stage | None = None) -> None:
        self.bias, self.range = bias.detach().float(), Range()
        weight = weight.detach().movedim(2, 0).flatten(0, 1)
        self._convs: list[Conv | ByteConv] = []
        for row in PARITIES:
            for column in PARITIES:
                taps = _taps_of(_taps_of(weight, 2, row), 3, column)
                conv: Conv | ByteConv = Conv(taps, None, dtype)
                if stage is not None:
                    # What is not a difference stays the byte that it is.
                    range = None if "change" in (row, column) else self.range
                    conv = ByteConv(taps, None, conv, stage, dtype=torch.bfloat16, range=range)
                self._convs.append(conv)

    def __call__(self, x: Tensor) -> list[Tensor]:
        """3 x 3 times (B, D, rows, columns, K O) of (B, in, D, H, W), for `sample_deformed`."""
        slices = x.movedim(1, -1).flatten(0, 1)
        size = (len(slices), *((side + 1) // 2 for side in slices.shape[1:3]), slices.shape[3])
        unit = self.range.step if x.dtype == torch.uint8 else 1.0
        room = [room_for(conv, size, x.dtype) for conv in self._convs]
        parts = [part for part, _ in room]
        rates = np.stack([code for _, code in room]) * np.array([unit, 1], np.float32)
        split_parities(as_array(slices), rates, tuple(map(as_array, parts)))
        del room, slices
        made = (conv(parts.pop(0).movedim(-1, 1)) for conv in self._convs)  # each is freed when it was used
        return [part.movedim(1, -1).unflatten(0, (len(x), -1)) for part in made]


def _taps_of(weight: Tensor, axis: int, rows: str) -> Tensor:
    """What looks at odd rows, even rows or the change from one to the other."""
    parts = torch.arange(weight.shape[axis], device=weight.device)
    first, between = weight.index_select(axis, parts[::2]), weight.index_select(axis, parts[1::2])
    if rows == "odd":
        return between
    if rows == "even":
        return first
    # A row of zeros more, before.
    none = torch.zeros_like(between.narrow(axis, 0, 1))
    return first - torch.cat([none, between], axis)


class SingleConv:
    """A convolution with one output, over volumes and as deep as they are: its taps as outputs, then their sum.

    Args:
        weight: (1, in, D, k, k).
        bias: (1,).
        dtype: of weights and activations; sums are float32.
        range: of volumes that come as bytes.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, range: Range | None = None) -> None:
        self._size = weight.shape[3:]
        # (D, in, k k): what a place gives to its neighbours rather than what it takes from them, so turned round
        turned = weight.detach()[0].flip(2, 3).permute(1, 0, 2, 3).flatten(2)
        self._weight = turned.to(dtype)
        if range is not None:
            self._products = ByteProducts(turned, torch.float32, [range] * len(turned))
        self._bias = bias.detach().float()

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) float32 of (B, in, D, H, W)."""
        rows = x.movedim(1, -1).flatten(2, 3)  # (B, D, H W, in)
        product = self._products if x.dtype == torch.uint8 else self._multiplied
        taps = torch.stack([sum(product(one)[1:], product(one)[0]) for one in rows])
        padding = (self._size[0] // 2, self._size[1] // 2)
        return F.fold(taps.transpose(1, 2), x.shape[3:], self._size, padding=padding) + self._bias

    def _multiplied(self, rows: Tensor) -> Tensor:
        return torch.bmm(rows, self._weight)


def fold_norm(weight: Tensor, bias: Tensor | None, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the batch normalisation (in evaluation) that follows it."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    before = norm.running_mean if bias is None else norm.running_mean - bias
    return weight * scale.view(-1, *[1] * (weight.ndim - 1)), norm.bias - before * scale
