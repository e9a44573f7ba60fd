"""LivePortrait's networks as a training calls them: all passes of one step in one `forward`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omote.models.liveportrait import LivePortraitConfig, LivePortraitNets
from omote.models.liveportrait.keypoints import Motion, degrees, transform

_DEVIATION = 0.02
_RADIUS = 0.45
"""Of the sphere over which canonical keypoints are spread at first."""


@dataclass(frozen=True)
class Reenacted:
    """What the first stage makes of a pair.

    Attributes:
        image: (B, 3, S, S) RGB in 0..1.
        source, driver: (B, 21, 3) keypoints, both with the source's canonical ones.
        warped: (B, 21, 3) of the warped driver; None where there was none.
        source_angles, driver_angles: (B, 3) pitch, yaw and roll, degrees.
        expression: (2 B, 21, 3) offsets of both.
    """

    image: Tensor
    source: Tensor
    driver: Tensor
    warped: Tensor | None
    source_angles: Tensor
    driver_angles: Tensor
    expression: Tensor


class BaseNet(nn.Module):
    """F, M, W and G, trained together; the small networks rest.

    Args:
        nets: with their first weights (`start`).
    """

    def __init__(self, nets: LivePortraitNets) -> None:
        super().__init__()
        self.nets = nets
        for resting in (nets.stitching, nets.lip, nets.eye):
            resting.requires_grad_(False)

    def forward(self, source: Tensor, driver: Tensor, warped: Tensor | None = None) -> Reenacted:
        """Drive a source.

        Args:
            source: (B, 3, H, W) RGB in 0..1.
            driver: alike.
            warped: the driver, warped; only its keypoints are found.
        """
        nets, count = self.nets, len(source)
        shown = [source, driver] if warped is None else [source, driver, warped]
        motion = motion_of(nets, torch.cat(shown))
        with exactly(source.device):
            parts = {n: getattr(motion.state, n).split(count) for n in ("rotation", "exp", "scale", "t")}
            kp = motion.state.kp[:count]
            points = [
                transform(kp, *(parts[name][k] for name in ("rotation", "exp", "scale", "t")))
                for k in range(len(shown))
            ]
        image = paint(nets, nets.appearance_feature_extractor(source), points[1], points[0])
        angles = motion.angles.split(count)
        expression = motion.state.exp[: 2 * count]
        return Reenacted(
            image,
            points[0],
            points[1],
            points[2] if warped is not None else None,
            angles[0],
            angles[1],
            expression,
        )


@dataclass(frozen=True)
class Read:
    """What M says of B pictures: their motion, and the angles (B, 3) in degrees that it is made of."""

    state: Motion
    angles: Tensor


def motion_of(nets: LivePortraitNets, pictures: Tensor) -> Read:
    """M on (B, 3, H, W), in float32 from its heads on."""
    found = nets.motion_extractor(pictures)
    with exactly(pictures.device):
        found = {name: value.float() for name, value in found.items()}
        turned = {name: degrees(found[name]) for name in ("pitch", "yaw", "roll")}
        state = Motion.from_outputs(found | turned)
    return Read(state, torch.stack(list(turned.values()), 1))


def paint(nets: LivePortraitNets, feature: Tensor, driver: Tensor, source: Tensor) -> Tensor:
    """G of W: the picture (B, 3, S, S) of features (B, C, D, h, w) moved from one set of keypoints to the other."""
    image: Tensor = nets.spade_generator(nets.warping_module(feature, driver, source).out)
    return image.float()


@contextmanager
def exactly(device: torch.device) -> Iterator[None]:
    """Within the block nothing is computed in a shorter number format."""
    with torch.autocast(device.type, enabled=False):
        yield


def shrink(picture: Tensor, size: int) -> Tensor:
    """(B, C, size, size), means over areas."""
    return picture if picture.shape[-1] == size else F.interpolate(picture, size=(size, size), mode="area")


def start(config: LivePortraitConfig, seed: int) -> LivePortraitNets:
    """Networks with their first weights.

    M: truncated normal of 0.02, as its published code intends; ours are its heads: a scale of 1, no expression, and
    canonical keypoints spread over a sphere, since keypoints that start in one place hardly find apart.

    Args:
        config: their sizes.
        seed: of all weights.
    """
    torch.manual_seed(seed)
    nets = LivePortraitNets(config)
    detector = nets.motion_extractor.detector
    for module in detector.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=_DEVIATION)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():
        nn.init.ones_(detector.fc_scale.bias)
        nn.init.zeros_(detector.fc_exp.weight)
        detector.fc_kp.bias.copy_(_sphere(nets.config.motion.num_kp).flatten())
    for small in (nets.stitching, nets.lip, nets.eye):  # at first they change nothing
        last = small.mlp[-1]
        if isinstance(last, nn.Linear):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
    return nets


def _sphere(count: int) -> Tensor:
    """(K, 3) points about evenly over a sphere."""
    index = torch.arange(count) + 0.5
    height, turn = 1 - 2 * index / count, index * math.pi * (3 - math.sqrt(5))
    ring = (1 - height**2).sqrt()
    return _RADIUS * torch.stack([ring * turn.cos(), height, ring * turn.sin()], 1)
