"""Motion of the source's face exactly as the published code composes it, quirks included (``--compat official``).

Image source, video source and animals; `omote.drive.liveportrait.finishing` has what follows. The published "driving
option" (expression-friendly, pose-friendly) is not here because it has no effect there: its factor compares the source
with itself and is always 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from omote.drive.liveportrait.kalman import smooth
from omote.drive.liveportrait.neutral import NEUTRAL_EXPRESSION
from omote.drive.liveportrait.options import Composition
from omote.drive.liveportrait.regions import expression_mask
from omote.models.liveportrait.keypoints import Motion, in_plane, motion_multiplier, transform


def relative_rotation(driving: Tensor, reference: Tensor, source: Tensor) -> Tensor:
    """(N, 3, 3) the source's rotation changed as the driver's since the reference: ``R_d R_ref^T R_s``.

    Args:
        driving: (N, 3, 3).
        reference: (1, 3, 3) of the driver.
        source: (N, 3, 3) or (1, 3, 3).
    """
    return driving @ reference.mT @ source


def neutral_expression(like: Tensor) -> Tensor:
    """(1, 21, 3) the neutral expression offsets, of the type and on the device of ``like``."""
    return torch.tensor(NEUTRAL_EXPRESSION, dtype=torch.float64).to(like)[None]


def compose_image(
    source: Motion,
    driving: Motion,
    options: Composition,
    *,
    reference: Motion | None = None,
    still: bool = False,
    neutral: Tensor | None = None,
) -> Motion:
    """The motion parameters of N frames of an animated photo.

    Each frame depends on no other but the reference, so long drivers can be composed in pieces.

    Args:
        source: of the photo, 1 frame.
        driving: N frames; its canonical keypoints are not used.
        options: region and relative or absolute motion.
        reference: the frame that relative motion starts from; the first of ``driving`` if None.
        still: the driver is a still image, which with relative motion gives its expression and never its pose.
        neutral: (1, 21, 3) expression that a still driver's is compared with, instead of `neutral_expression`.
    """
    first = driving[:1] if reference is None else reference
    if options.relative:
        if not still:
            base = first.exp
        elif options.region == "eyes":  # with a photo as the source only: see `compose_video`
            base = torch.zeros_like(first.exp)
        else:
            base = neutral_expression(source.exp) if neutral is None else neutral
        exp = source.exp + driving.exp - base
        rotation = relative_rotation(driving.rotation, first.rotation, source.rotation)
        t = source.t + driving.t - first.t
        scale = source.scale * driving.scale / first.scale
    else:
        exp, rotation, t = driving.exp, driving.rotation, driving.t
        scale = source.scale.expand(len(driving), 1)
    return _taken(source, options, Motion(source.kp, rotation, t, scale, exp), partial=not options.relative)


def compose_video(
    source: Motion,
    driving: Motion,
    options: Composition,
    *,
    still: bool = False,
    neutral: Tensor | None = None,
) -> Motion:
    """The motion parameters of an animated video: as many frames as the shorter of the two has.

    Scale is always the source's; with relative motion the translation too, and the result is smoothed over time unless
    the driver is a still image. All frames are needed at once.

    Args:
        source: of the video's frames.
        driving: N frames, or the 1 of a still driver; relative motion starts from its first.
        options: region, relative or absolute motion, smoothing.
        still: the driver is a still image, repeated as long as the source lasts.
        neutral: as in `compose_image`; here also where only the eyes are taken.
    """
    driving = driving[:1] if still else driving
    count = len(source) if still else min(len(source), len(driving))
    source, driving = source[:count], driving[:count]
    if options.relative:
        base = driving.exp[:1]
        if still:
            base = neutral_expression(source.exp) if neutral is None else neutral
        exp = source.exp + driving.exp - base
        rotation = relative_rotation(driving.rotation, driving.rotation[:1], source.rotation)
        t = source.t
    else:
        exp, rotation, t = (x.expand(count, *x.shape[1:]) for x in (driving.exp, driving.rotation, driving.t))
    if not still:
        exp, rotation = (smooth(sequence, options.observation_variance) for sequence in (exp, rotation))
    return _taken(source, options, Motion(source.kp, rotation, t, source.scale, exp), partial=True)


def _taken(source: Motion, options: Composition, target: Motion, *, partial: bool) -> Motion:
    """The source with what the region takes of the target; tz is 0."""
    mask = expression_mask(options.region, partial=partial).to(source.exp.device)
    count = len(target)

    def chosen(taken: bool, ours: Tensor, theirs: Tensor) -> Tensor:
        return (theirs if taken else ours).expand(count, *ours.shape[1:])

    return Motion(
        kp=source.kp.expand(count, -1, -1),
        rotation=chosen(options.moves_head, source.rotation, target.rotation),
        t=in_plane(chosen(options.moves_head, source.t, target.t)),
        scale=chosen(options.region == "all", source.scale, target.scale),
        exp=torch.where(mask, target.exp, source.exp),
    )


def compose_animal(source: Motion, driving: Motion, *, reference: Motion | None = None) -> Tensor:
    """(N, 21, 3) keypoints of an animated animal photo, before stitching and the multiplier.

    The driver's absolute motion on the source's shape, its change since the reference enlarged or reduced to the size
    of the source's face.

    Args:
        source: of the photo, 1 frame.
        driving: N frames.
        reference: the frame that the motion starts from; the first of ``driving`` if None.
    """
    first = driving[:1] if reference is None else reference
    moved = _on_shape(source, driving)
    start, rest = _on_shape(source, first), source.points()
    return (moved - start) * motion_multiplier(rest, start)[:, None, None] + rest


def _on_shape(source: Motion, driving: Motion) -> Tensor:
    return transform(source.kp, driving.rotation, driving.exp, source.scale, driving.t)
