"""What the three small networks add to keypoints: stitching to the body, eyes and lips of a wanted openness."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from omote.checks import check_shape
from omote.models.liveportrait.keypoints import POINTS

Mlp = Callable[[Tensor], Tensor]
_FLAT = 3 * POINTS


class Mlps(NamedTuple):
    """The small networks, (B, n) float32 to (B, m).

    Attributes:
        stitching: 126 -> 65, keypoints of source and driver to 63 offsets and one shift (x, y) of all.
        eye: 66 -> 63, keypoints of the source, its two eye ratios and the wanted one to offsets.
        lip: 65 -> 63, keypoints of the source, its lip ratio and the wanted one to offsets.
    """

    stitching: Mlp
    eye: Mlp
    lip: Mlp


def stitch(source: Tensor, driving: Tensor, stitching: Mlp) -> Tensor:
    """(B, 21, 3) driving keypoints that leave neck and shoulders where the source has them.

    Args:
        source: (B, 21, 3), or (1, 21, 3) for all.
        driving: (B, 21, 3).
        stitching: the network.
    """
    check_shape("driving keypoints", driving, "B", POINTS, 3)
    count = len(driving)
    pair = torch.cat([source.reshape(-1, _FLAT).expand(count, _FLAT), driving.reshape(count, _FLAT)], 1)
    change = stitching(pair)
    shift = torch.nn.functional.pad(change[:, None, _FLAT:], (0, 1))
    return driving + change[:, :_FLAT].reshape(count, POINTS, 3) + shift


def eye_offsets(source: Tensor, ratios: Tensor, wanted: Tensor, eye: Mlp) -> Tensor:
    """(B, 21, 3) offsets that open or close the source's eyes; arguments with a batch of 1 broadcast.

    Args:
        source: (B, 21, 3) its keypoints.
        ratios: (B, 2) its close ratios, see `omote.models.liveportrait.keypoints.eye_close_ratio`.
        wanted: (B, 1) the ratio that both are to have, 0..0.8.
        eye: the network.
    """
    check_shape("eye ratios", ratios, "B", 2)
    return _offsets(source, ratios, wanted, eye)


def lip_offsets(source: Tensor, ratio: Tensor, wanted: Tensor, lip: Mlp) -> Tensor:
    """(B, 21, 3) offsets that open or close the source's lips; arguments as those of `eye_offsets`, ratio (B, 1)."""
    check_shape("lip ratio", ratio, "B", 1)
    return _offsets(source, ratio, wanted, lip)


def _offsets(source: Tensor, ratios: Tensor, wanted: Tensor, network: Mlp) -> Tensor:
    check_shape("wanted ratio", wanted, "B", 1)
    check_shape("source keypoints", source, "B", POINTS, 3)
    count = max(len(source), len(ratios), len(wanted))
    parts = (source.reshape(-1, _FLAT), ratios, wanted)
    return network(torch.cat([part.expand(count, -1) for part in parts], 1)).reshape(count, POINTS, 3)
