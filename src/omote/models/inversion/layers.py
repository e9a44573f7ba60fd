"""What the inversion network's convolutional parts are built of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

TILE = 4
"""Side of the squares of pixels that become channels, and over which a coarse picture is the mean."""


class Block(nn.Module):
    """Two convolutions beside a shortcut; at first the shortcut is most of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        with torch.no_grad():
            self.second.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        """As its input."""
        made: Tensor = functional.relu(x + self.second(functional.relu(self.first(x))))
        return made


def trunk(channels: int, widths: Sequence[int], places: int, last: int = 1) -> nn.Sequential:
    """Pictures (B, C, h, w) to maps (B, P, h', w'): of tiles, then of half as many places a side for each more width.

    Args:
        channels: C.
        widths: of each size of maps.
        places: P, numbers that describe a place in the end.
        last: `Block`s at the last size; the others have one.
    """
    layers: list[nn.Module] = [nn.PixelUnshuffle(TILE)]
    before = channels * TILE**2
    for number, width in enumerate(widths):
        layers += [nn.Conv2d(before, width, 3, stride=1 if number == 0 else 2, padding=1), nn.ReLU()]
        layers += [Block(width) for _ in range(last if number == len(widths) - 1 else 1)]
        before = width
    return nn.Sequential(*layers, nn.Conv2d(before, places, 1), nn.ReLU())
