"""LivePortrait with networks small enough for tests, and a renderer that shows the source as it is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from omote.models.liveportrait import (
    AppearanceConfig,
    DenseMotionConfig,
    GeneratorConfig,
    LivePortraitConfig,
    LivePortraitNets,
    MotionConfig,
    WarpingConfig,
)
from omote.models.seeded import fill_seeded

SMALL = LivePortraitConfig(
    appearance=AppearanceConfig(
        block_expansion=4, max_features=8, reshape_channel=4, reshape_depth=2, num_resblocks=1
    ),
    motion=MotionConfig(depths=(1, 1, 1, 1), dims=(4, 4, 8, 8)),
    warping=WarpingConfig(
        block_expansion=4,
        max_features=8,
        reshape_channel=4,
        dense_motion_params=DenseMotionConfig(
            block_expansion=2, max_features=8, num_blocks=2, reshape_depth=2, compress=1
        ),
    ),
    generator=GeneratorConfig(
        block_expansion=4, max_features=16, out_channels=4, num_middle_blocks=1, spade_hidden=4
    ),
)


def small_nets(seed: int = 0) -> LivePortraitNets:
    """Small networks with seeded weights: 21 keypoints, 256 px in, 512 px out."""
    nets = LivePortraitNets(SMALL)
    for network in nets.children():
        fill_seeded(network, seed)
    return nets.requires_grad_(False)


class SourceRenderer:
    """Gives the source's crop back, whatever moves, and remembers what it was asked for."""

    def __init__(self, level: float | None = None) -> None:
        self.batches: list[int] = []
        self.prepared = 0
        self._level = level

    def prepare(self, images: Tensor) -> Tensor:
        self.prepared += len(images)
        return images

    def render(self, features: Tensor, source: Tensor, driving: Tensor) -> Tensor:
        assert len(source) in (1, len(driving))
        self.batches.append(len(driving))
        shown = interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        shown = shown.expand(len(driving), -1, -1, -1)
        return shown if self._level is None else torch.full_like(shown, self._level)
