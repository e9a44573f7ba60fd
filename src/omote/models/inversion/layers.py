"""What the inversion network's convolutional parts are built of."""

from __future__ import annotations

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
