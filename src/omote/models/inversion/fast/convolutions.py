"""The convolutions of pictures, packed: see `omote.models.packed`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from omote.models.inversion.layers import Block
from omote.models.packed import Conv


class PackedConvolutions(nn.Module):
    """Convolutions, each followed by a ReLU, and `Block`s.

    Args:
        layers: those, and what only moves pixels.
        dtype: of weights and activations.
    """

    def __init__(self, layers: Iterable[nn.Module], dtype: torch.dtype) -> None:
        super().__init__()
        self.steps = [_packed(layer, dtype) for layer in layers if not isinstance(layer, nn.ReLU)]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) of the dtype to (B, C', h', w'), channels last."""
        for step in self.steps:
            x = step(x)
        return x


class _FastBlock:
    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        self.first, self.second = (_conv(conv, dtype) for conv in (block.first, block.second))

    def __call__(self, x: Tensor) -> Tensor:
        return self.second(self.first(x), plus=x)


def _packed(layer: nn.Module, dtype: torch.dtype) -> Any:
    if isinstance(layer, Block):
        return _FastBlock(layer, dtype)
    return _conv(layer, dtype) if isinstance(layer, nn.Conv2d) else layer


def _conv(conv: nn.Conv2d, dtype: torch.dtype) -> Conv:
    return Conv(conv.weight, conv.bias, dtype, stride=conv.stride[0], activation="relu")
