"""Random motion and small networks for the tests of LivePortrait's mathematics."""

from __future__ import annotations

import torch
from torch import Tensor

from omote.drive.liveportrait.offsets import Mlp, Mlps
from omote.models.liveportrait.keypoints import Motion, rotation_matrix


def random_motion(count: int, seed: int = 0) -> Motion:
    """Motion of published ranges, with a different shape of the face in every frame."""
    draw = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=draw) * (high - low) + low

    return Motion(
        kp=uniform(-0.5, 0.5, 21, 3),
        rotation=rotation_matrix(*(uniform(-25, 25) for _ in range(3))),
        t=uniform(-0.1, 0.1, 3),
        scale=uniform(1.1, 1.7, 1),
        exp=uniform(-0.03, 0.03, 21, 3),
    )


def linear_mlps(size: float = 0.01) -> Mlps:
    """Linear maps with random weights, so that every input counts."""
    draw = torch.Generator().manual_seed(7)

    def linear(inputs: int, outputs: int) -> Mlp:
        weight = size * torch.randn(inputs, outputs, generator=draw)
        return lambda x: x @ weight

    return Mlps(linear(126, 65), linear(66, 63), linear(65, 63))


def silent_mlps() -> Mlps:
    """Networks that change nothing, as a fresh one of the published start."""
    return linear_mlps(0.0)
