"""Two edits of a whole video, as published: lips of one openness, and lips that do not move."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from omote.drive.liveportrait.composition import neutral_expression
from omote.drive.liveportrait.kalman import smooth
from omote.drive.liveportrait.offsets import Mlps, lip_offsets, stitch
from omote.drive.liveportrait.regions import EYE_POINTS
from omote.models.liveportrait.keypoints import Motion

_OFFSET_VARIANCE = 3e-6
"""Observation variance of the lip offsets' smoothing."""


def set_lips(
    source: Tensor,
    lip: Tensor,
    wanted: float,
    mlps: Mlps,
    *,
    observation_variance: float = _OFFSET_VARIANCE,
    stitching: bool = True,
) -> Tensor:
    """(T, 21, 3) keypoints of a video whose lips all have one openness; needs all frames at once.

    Args:
        source: (T, 21, 3) its keypoints.
        lip: (T, 1) its close ratios.
        wanted: the ratio, 0..0.8.
        mlps: the small networks.
        observation_variance: of the smoothing of the offsets over time.
        stitching: keep neck and shoulders in place.
    """
    offsets = lip_offsets(source, lip, torch.full_like(lip, wanted), mlps.lip)
    driving = source + smooth(offsets, observation_variance)
    return stitch(source, driving, mlps.stitching) if stitching else driving


def silence_lips(source: Motion, mlps: Mlps, *, stitching: bool = True) -> Tensor:
    """(T, 21, 3) keypoints of a video with a neutral face in which only the eyes still move.

    Nothing is smoothed, as published; users report that the head shakes.

    Args:
        source: of the video's frames.
        mlps: the small networks.
        stitching: keep neck and shoulders in place.
    """
    exp = neutral_expression(source.exp).repeat(len(source), 1, 1)
    exp[:, list(EYE_POINTS)] = source.exp[:, list(EYE_POINTS)]
    driving = replace(source, exp=exp).points()
    return stitch(source.points(), driving, mlps.stitching) if stitching else driving
