"""Reading a whole picture, where there are no normals: how the head is turned, who it is, what it does.

Normals say at each point how the surface lies, so that a few steps on the mesh find it (`omote.models.inversion.mesh`).
Colours do not: they are those of skin, light and shade together, and steps that look at them alone hardly learn where
the head is. A small convolutional network that sees edges, as landmark detectors do, then corrects what the steps
believe.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from omote.models.inversion.layers import TILE, trunk

SIDE = 128
"""Pixels of the side that pictures are brought to."""
_WIDTHS = (64, 96, 128)
_PLACE_FEATURES = 32
_DARKEST = 0.1  # ImageNet units: added to the spread of a picture's colours


class PictureReader(nn.Module):
    """An RGB crop and what is believed, to a change of the belief; at first nothing changes.

    Args:
        state: N, numbers of a belief.
        features: numbers that describe a picture.
    """

    def __init__(self, state: int, features: int) -> None:
        super().__init__()
        self.convolutions: nn.Module = trunk(3, _WIDTHS, _PLACE_FEATURES)
        self.first = nn.Linear(_PLACE_FEATURES * (SIDE // (4 * TILE)) ** 2 + state, features)
        self.last = nn.Linear(features, state)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, rgb: Tensor, state: Tensor) -> Tensor:
        """(B, N) of pictures (B, 3, S, S), ImageNet-normalised, and beliefs (B, N), units of usual spreads."""
        if rgb.shape[-1] != SIDE:
            smaller = rgb.shape[-1] > SIDE
            rgb = functional.interpolate(rgb, (SIDE, SIDE), mode="bilinear", antialias=smaller)
        mean, spread = rgb.mean((1, 2, 3), keepdim=True), rgb.std((1, 2, 3), keepdim=True)
        relative = ((rgb - mean) / (spread + _DARKEST)).to(self.first.weight.dtype)
        maps = self.convolutions(relative.contiguous(memory_format=torch.channels_last))
        known = torch.cat([maps.flatten(1), state.to(maps.dtype)], 1)
        change: Tensor = self.last(functional.gelu(self.first(known)))
        return change
