"""LivePortrait with networks small enough for tests, and a renderer that shows the source as it is."""

from __future__ import annotations

from dataclasses import replace

import torch
from tests.models.small_liveportrait import TINY
from torch import Tensor
from torch.nn.functional import interpolate

from omote.models.liveportrait import LivePortraitNets
from omote.models.seeded import fill_seeded

SMALL = replace(TINY, input_size=256)


def small_nets(seed: int = 0, input_size: int = 256) -> LivePortraitNets:
    """Small networks with seeded weights: 21 keypoints, the result twice as large as what is seen."""
    nets = LivePortraitNets(replace(SMALL, input_size=input_size))
    for network in nets.children():
        fill_seeded(network, seed)
    return nets.requires_grad_(False)


class SourceRenderer:
    """Gives the source's crop back, whatever moves, and remembers what it was asked for."""

    def __init__(self, level: float | None = None) -> None:
        self.batches: list[int] = []
        self.prepared = 0
        self.sides: set[int] = set()
        self.driving: list[Tensor] = []
        self._level = level

    def prepare(self, images: Tensor) -> Tensor:
        self.prepared += len(images)
        self.sides |= set(images.shape[2:])
        return images

    def study(self, examples: object, told: object = None) -> None:
        """Nothing to choose."""

    def render(self, features: Tensor, source: Tensor, driving: Tensor) -> Tensor:
        assert len(source) in (1, len(driving))
        self.batches.append(len(driving))
        self.driving.append(driving.clone())
        shown = interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        shown = shown.expand(len(driving), -1, -1, -1)
        return shown if self._level is None else torch.full_like(shown, self._level)
