"""Motion of the source's face as we compose it: the published rule with its flaws mended, see docs/liveportrait.md."""

from __future__ import annotations

import torch
from torch import Tensor

from omote.drive.liveportrait.offsets import Mlp, eye_offsets
from omote.drive.liveportrait.regions import EYE_POINTS, LIP_POINTS, expression_mask
from omote.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, project_to_so3
from omote.models.liveportrait.keypoints import POINTS, Motion, hull_volume, in_plane

REACH = 0.35
"""How far a head may be moved in its crop (which is 2 wide): further, it would leave it."""
GROWTH = 0.3
"""How far it may grow or shrink, as a logarithm."""
_GAIN = 0.5, 2.0
_EYE_PAIRS = (11, 13), (15, 16)
"""Keypoints of the one eye and of the other; which is on the left is seen from where they are."""


def region_mask(regions: frozenset[str], *, partial: bool) -> Tensor:
    """(21, 3) bool: which expression offsets the regions take.

    Args:
        regions: of `omote.edit.regions.REGIONS`; "expression" is all that belongs to neither eyes nor lips.
        partial: leave out what the published code treats as the shape of the source's face.
    """
    points = torch.zeros(POINTS, dtype=torch.bool)
    eyes, lips = list(EYE_POINTS), list(LIP_POINTS)
    if "expression" in regions:
        points[:] = True
        points[eyes + lips] = False
    if "eyes" in regions:
        points[eyes] = True
    if "lips" in regions:
        points[lips] = True
    return points[:, None] & expression_mask("all", partial=partial)


def expression_gain(source: Motion, reference: Motion) -> float:
    """By how much larger the source's face is than the driver's: the cube root of the ratio of their volumes.

    Of the canonical keypoints, which do not depend on pose and expression.
    """
    ratio = float(hull_volume(source.kp[:1]) / hull_volume(reference.kp[:1])) ** (1 / 3)
    return min(max(ratio, _GAIN[0]), _GAIN[1])


def compose(
    source: Motion,
    driving: Motion,
    reference: Motion,
    *,
    regions: frozenset[str],
    relative: bool = True,
    strength: float = 1.0,
    gain: float = 1.0,
) -> Motion:
    """The motion parameters of T frames.

    Args:
        source: of a photo (1 frame), or of the T frames of a video.
        driving: T frames.
        reference: 1 frame of the driver, from which relative motion is measured.
        regions: what moves.
        relative: take the driver's change; otherwise its values.
        strength: how far towards the target; beyond 1 exaggerates. Heads stay rigid, unlike with the published factor
            on keypoints.
        gain: factor on the change of the expression (relative only).
    """
    count = len(driving)
    source = Motion(
        *(
            x.expand(count, *x.shape[1:])
            for x in (source.kp, source.rotation, source.t, source.scale, source.exp)
        )
    )
    mask = region_mask(regions, partial=not relative).to(source.exp.device)
    if relative:
        change = gain * (driving.exp - reference.exp)
        turn = driving.rotation @ reference.rotation.mT
        shift = driving.t - reference.t
        # Only networks that learned nothing give sizes that are not above 0.
        growth = (driving.scale / reference.scale).clamp(min=1e-2).log()
    else:
        change = driving.exp - source.exp
        turn = driving.rotation @ source.rotation.mT
        shift = driving.t - source.t
        growth = torch.zeros_like(source.scale)
    rotation, t, scale = source.rotation, source.t, source.scale
    if "pose" in regions:
        rotation = _part_of(turn, strength) @ source.rotation
        t = source.t + _limited(strength * shift, REACH)
        scale = source.scale * _limited(strength * growth, GROWTH).exp()
    exp = source.exp + strength * torch.where(mask, change, 0.0)
    return Motion(source.kp, rotation, in_plane(t), scale, exp)


def _limited(change: Tensor, limit: float) -> Tensor:
    """Changes that stay below the limit; small ones are left as they are."""
    return change / (1 + (change / limit) ** 4) ** 0.25


def _part_of(turn: Tensor, share: float) -> Tensor:
    """(T, 3, 3) rotations by a share of the angle."""
    if share == 1.0:
        return turn
    vector = matrix_to_axis_angle(project_to_so3(turn.double().numpy()))
    return torch.from_numpy(axis_angle_to_matrix(share * vector)).to(turn)


def eyes_apart(source: Motion, points: Tensor, ratios: Tensor, wanted: Tensor, eye: Mlp) -> Tensor:
    """(T, 21, 3) offsets that give each eye an openness of its own.

    The network opens both eyes alike; it is asked twice, and each eye's keypoints take their own answer. What belongs
    to neither takes the mean. With one wanted ratio for both this is the published answer.

    Args:
        source: its canonical keypoints say which eye is on the left of the image.
        points: (S, 21, 3) keypoints of the source, S is 1 or T.
        ratios: (S, 2) its close ratios.
        wanted: (T, 2) left and right in the image.
        eye: the network.
    """
    left, right = (eye_offsets(points, ratios, wanted[:, side : side + 1], eye) for side in (0, 1))
    first, second = (source.kp[:, list(pair), 0].mean(1) for pair in _EYE_PAIRS)
    first_is_left = (first <= second).float()[:, None]
    share = torch.full((len(source.kp), POINTS), 0.5, device=points.device)
    share[:, list(_EYE_PAIRS[0])] = first_is_left
    share[:, list(_EYE_PAIRS[1])] = 1 - first_is_left
    return right + share[..., None] * (left - right)
