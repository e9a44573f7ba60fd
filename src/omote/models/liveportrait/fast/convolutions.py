"""Convolutions of volumes with few outputs, as products that processors are fast at."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from omote.models.packed import Conv
from omote.models.quantised import ByteConv, ByteProducts, Range, Stage


class DeepConv:
    """A convolution of volumes with few outputs: slice by slice, a kernel's slices as further outputs.

    Processors multiply with 154 outputs several times faster than with 22. Who calls adds up what each slice gives to
    those around it, and the bias: the result of slice d is the sum over k of [d + k - K // 2, ..., k O + o].

    Args:
        weight: (O, in, K, k', k''), odd.
        bias: (O,); kept as ``bias`` in float32.
        dtype: of weights and activations.
        stage: of a network that may multiply bytes, whose results are bfloat16; ``range`` is that of the input.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, stage: Stage | None = None) -> None:
        self.bias, self.range = bias.detach().float(), Range()
        weight = weight.movedim(2, 0).flatten(0, 1)
        self._conv: Conv | ByteConv = Conv(weight, None, dtype)
        if stage is not None:
            self._conv = ByteConv(weight, None, self._conv, stage, dtype=torch.bfloat16, range=self.range)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, D, H, W, K O) of (B, in, D, H, W)."""
        slices = self._conv(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(x), -1))
        return slices.movedim(2, -1)


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
        taps = torch.stack([product(one).float().sum(0) for one in rows])
        padding = (self._size[0] // 2, self._size[1] // 2)
        return F.fold(taps.transpose(1, 2), x.shape[3:], self._size, padding=padding) + self._bias

    def _multiplied(self, rows: Tensor) -> Tensor:
        return torch.bmm(rows, self._weight)


def fold_norm(weight: Tensor, bias: Tensor | None, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the batch normalisation (in evaluation) that follows it."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    before = norm.running_mean if bias is None else norm.running_mean - bias
    return weight * scale.view(-1, *[1] * (weight.ndim - 1)), norm.bias - before * scale
