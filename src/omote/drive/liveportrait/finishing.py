"""What the published code does to composed keypoints: retargeting, stitching and the multiplier, in its order."""

from __future__ import annotations

import torch
from torch import Tensor

from omote.drive.liveportrait.offsets import Mlps, eye_offsets, lip_offsets, stitch
from omote.drive.liveportrait.options import Composition, Ratios

_OPEN_EYES = 0.39
"""Wanted eye ratio where the source video starts with closed eyes."""


def finish(
    source: Tensor,
    driving: Tensor,
    options: Composition,
    mlps: Mlps,
    ratios: Ratios,
    *,
    video_source: bool = False,
) -> Tensor:
    """(N, 21, 3) keypoints for the warping network: retargeted, stitched and multiplied, in the published order.

    Args:
        source: (N, 21, 3) keypoints of the source, or (1, 21, 3) of a photo.
        driving: (N, 21, 3) composed keypoints.
        options: what is done.
        mlps: the small networks.
        ratios: openness of eyes and lips; only those that the options need.
        video_source: the source is a video.

    Raises:
        InputError: ratios that the options need are None.
    """
    if options.eye_retargeting or options.lip_retargeting:
        base = source if options.relative else driving
        driving = (base + _retargeted(source, options, mlps, ratios)).expand_as(driving)
        driving = stitch(source, driving, mlps.stitching) if options.stitching else driving
    else:  # what opens or closes the source's own eyes and lips is added after stitching
        driving = stitch(source, driving, mlps.stitching) if options.stitching else driving
        if options.normalize_lip and options.relative:
            driving = driving + lip_normalizing(source, options, mlps, ratios)
        if options.source_video_eye_retargeting and video_source:
            driving = driving + eye_holding(source, options, mlps, ratios)
    return source + (driving - source) * options.multiplier


def _retargeted(source: Tensor, options: Composition, mlps: Mlps, ratios: Ratios) -> Tensor:
    offsets = torch.zeros_like(source)
    if options.eye_retargeting:
        wanted = ratios.need("driving_eyes")[:, :1]
        offsets = offsets + eye_offsets(source, ratios.need("source_eyes"), wanted, mlps.eye)
    if options.lip_retargeting:
        wanted = ratios.need("driving_lip")
        offsets = offsets + lip_offsets(source, ratios.need("source_lip"), wanted, mlps.lip)
    return offsets


def lip_normalizing(source: Tensor, options: Composition, mlps: Mlps, ratios: Ratios) -> Tensor:
    """(S, 21, 3) offsets that close the source's lips; 0 for frames whose lips are closed already."""
    ratio = ratios.need("source_lip")
    offsets = lip_offsets(source, ratio, torch.zeros_like(ratio), mlps.lip)
    return torch.where(ratio[..., None] >= options.lip_threshold, offsets, 0.0)


def eye_holding(source: Tensor, options: Composition, mlps: Mlps, ratios: Ratios) -> Tensor:
    """(S, 21, 3) offsets that hold a video's eyes as open as in its first frame, or open if they are shut there."""
    return eye_offsets(source, ratios.need("source_eyes"), held_openness(options, ratios), mlps.eye)


def held_openness(options: Composition, ratios: Ratios) -> Tensor:
    """(1, 1) the openness that `eye_holding` gives all frames."""
    own = ratios.need("source_eyes")
    first = own[:1] if ratios.first_source_eyes is None else ratios.first_source_eyes
    wanted = first.mean(1, keepdim=True)
    return torch.where(wanted < options.eye_threshold, _OPEN_EYES, wanted)
