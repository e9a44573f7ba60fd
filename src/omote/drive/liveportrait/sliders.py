"""Editing by sliders: expression, gaze, pose and openness of a photo, or of each frame of a video."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from omote.checks import check_shape
from omote.drive.liveportrait.offsets import Mlp, Mlps, eye_offsets, lip_offsets, stitch
from omote.errors import InputError
from omote.models.liveportrait.keypoints import POINTS, Motion, pose_angles, rotation_matrix

_SHOWN_DECIMALS = 2
"""To which the published page shows, and compares, the source's own ratios."""
_SAME = 1e-6
_X, _Y, _Z = 0, 1, 2
_Step = tuple[int, int, float]
"""Keypoint, axis, and the change of its offset for each unit of the slider."""


def _slider(low: float, high: float, rest: float | None = 0.0) -> Any:
    return field(default=rest, metadata={"low": low, "high": high})


@dataclass(frozen=True)
class Sliders:
    """Values of all sliders, in the published units; the defaults change nothing.

    Raises:
        InputError: a value outside its slider's range; names the slider, the value and the range.

    Attributes:
        pitch: degrees added to the head's, -15..15.
        yaw: -25..25.
        roll: -15..15.
        gaze_x: eyes to the image's sides, -30..30.
        gaze_y: eyes up and down, -63..63.
        smile: -0.3..1.3.
        wink: of one eye, 0..39.
        eyebrow: -30..30.
        pouting: mouth to the side, -0.09..0.09.
        pursing: -20..15.
        grin: 0..15.
        lip_open: close to open, -90..120.
        move_x: of the head in the image, -0.19..0.19.
        move_y: -0.19..0.19.
        move_z: factor on the head's size, 0.9..1.2.
        eye_ratio: openness of both eyes, 0..0.8; None leaves the photo's.
        lip_ratio: openness of the lips, 0..0.8; None leaves the photo's.
    """

    pitch: float = _slider(-15, 15)
    yaw: float = _slider(-25, 25)
    roll: float = _slider(-15, 15)
    gaze_x: float = _slider(-30, 30)
    gaze_y: float = _slider(-63, 63)
    smile: float = _slider(-0.3, 1.3)
    wink: float = _slider(0, 39)
    eyebrow: float = _slider(-30, 30)
    pouting: float = _slider(-0.09, 0.09)
    pursing: float = _slider(-20, 15)
    grin: float = _slider(0, 15)
    lip_open: float = _slider(-90, 120)
    move_x: float = _slider(-0.19, 0.19)
    move_y: float = _slider(-0.19, 0.19)
    move_z: float = _slider(0.9, 1.2, 1.0)
    eye_ratio: float | None = _slider(0, 0.8, None)
    lip_ratio: float | None = _slider(0, 0.8, None)

    def __post_init__(self) -> None:
        for one in fields(self):
            value, low, high = getattr(self, one.name), one.metadata["low"], one.metadata["high"]
            if value is None and one.default is None:
                continue
            if not (isinstance(value, int | float) and low <= value <= high):
                raise InputError(f"got {value!r}", where=f"slider {one.name}", remedy=f"Give {low}..{high}.")


_LINEAR: dict[str, tuple[_Step, ...]] = {
    "gaze_y": ((11, _Y, -0.0005), (13, _Y, -0.00015), (15, _Y, -0.0005), (16, _Y, -0.00015)),
    "smile": (
        (20, _Y, -0.01),
        (14, _Y, -0.02),
        (17, _Y, 0.0065),
        (17, _Z, 0.003),
        (13, _Y, -0.00275),
        (16, _Y, -0.00275),
        (3, _Y, -0.0035),
        (7, _Y, -0.0035),
    ),
    "wink": ((11, _Y, 0.001), (13, _Y, -0.0003), (17, _X, 0.0003), (17, _Y, 0.0003), (3, _Y, -0.0003)),
    "pouting": ((19, _X, 1.0),),
    "pursing": ((14, _Y, 0.001), (3, _Y, -0.0005), (7, _Y, -0.0005), (17, _Z, -0.0005)),
    "grin": ((20, _Z, -0.001), (20, _Y, -0.001), (14, _Y, -0.001)),
    "lip_open": ((19, _Y, 0.001), (19, _Z, 0.0001), (17, _Y, -0.0001)),
    "move_x": ((5, _X, -1.0),),
    "move_y": ((5, _Y, 1.0),),
}
"""Gaze up and down moves lids and eyeballs at once: -0.001 and half of 0.001 back, and the lower lids."""
_BY_SIGN: dict[str, tuple[tuple[_Step, ...], tuple[_Step, ...]]] = {
    "gaze_x": (((11, _X, 0.0007), (15, _X, 0.001)), ((11, _X, 0.001), (15, _X, 0.0007))),
    "eyebrow": (
        ((1, _Y, 0.001), (2, _Y, -0.001)),
        ((1, _X, -0.001), (2, _X, 0.001), (1, _Y, 0.0003), (2, _Y, -0.0003)),
    ),
}
"""Steps for values above 0, and below."""


def _offsets_of(steps: tuple[_Step, ...]) -> Tensor:
    offsets = torch.zeros(POINTS, 3, dtype=torch.float64)
    for point, axis, step in steps:
        offsets[point, axis] += step
    return offsets


def expression_offsets(sliders: Sliders | Sequence[Sliders]) -> Tensor:
    """(B, 21, 3) float64 change of the expression offsets.

    Args:
        sliders: one for all frames (B = 1), or one a frame.
    """
    total = torch.zeros(1, POINTS, 3, dtype=torch.float64)
    for name, steps in _LINEAR.items():
        total = total + _values(sliders, name)[..., None] * _offsets_of(steps)
    for name, (above, below) in _BY_SIGN.items():
        value = _values(sliders, name)[..., None]
        total = total + value * torch.where(value > 0, _offsets_of(above), _offsets_of(below))
    return total


def _values(sliders: Sliders | Sequence[Sliders], name: str) -> Tensor:
    """(B, 1) float64; not a number where the slider is None."""
    frames = [sliders] if isinstance(sliders, Sliders) else sliders
    if not frames:
        raise InputError("got none, expected one a frame", where="sliders")
    values = [getattr(one, name) for one in frames]
    return torch.tensor([[math.nan if v is None else float(v)] for v in values], dtype=torch.float64)


def edit_motion(motion: Motion, sliders: Sliders | Sequence[Sliders]) -> Motion:
    """The motion with expression, pose and size changed by the sliders; openness needs `edit_keypoints`.

    Args:
        motion: 1 frame or B, with rotations of |yaw| < 90 degrees.
        sliders: one for all frames, or one a frame.
    """
    exp = motion.exp + expression_offsets(sliders).to(motion.exp)
    turns = [_values(sliders, name).to(exp)[:, 0] for name in ("pitch", "yaw", "roll")]
    rotation = motion.rotation
    if any(bool(turn.any()) for turn in turns):
        angles = pose_angles(rotation)
        rotation = rotation_matrix(*(angle + turn for angle, turn in zip(angles, turns, strict=True)))
    scale = motion.scale * _values(sliders, "move_z").to(exp)
    return replace(motion, exp=exp, rotation=rotation, scale=scale)


def edit_keypoints(
    motion: Motion,
    sliders: Sliders | Sequence[Sliders],
    mlps: Mlps,
    eyes: Tensor,
    lip: Tensor,
    *,
    stitching: bool = True,
) -> Tensor:
    """(B, 21, 3) driving keypoints of an edited photo, or of the frames of a video.

    As published, an eye or lip ratio equal to the photo's own, rounded to two decimals, is left alone; and here, unlike
    anywhere else, tz moves the driving points (published templates have tz 0).

    Args:
        motion: of the photo (1 frame) or the frames.
        sliders: one for all frames, or one a frame.
        mlps: the small networks.
        eyes: (B, 2) the source's close ratios.
        lip: (B, 1) the source's close ratio.
        stitching: keep neck and shoulders in place.
    """
    check_shape("eye ratios", eyes, "B", 2)
    check_shape("lip ratio", lip, "B", 1)
    source, edited = motion.points(), edit_motion(motion, sliders)
    depth = torch.zeros_like(motion.t)
    depth[:, 2] = motion.t[:, 2]
    driving = edited.points() + depth[:, None]
    opened = _opened(_values(sliders, "eye_ratio").to(lip), eyes, source, eye_offsets, mlps.eye)
    driving = (
        driving + opened + _opened(_values(sliders, "lip_ratio").to(lip), lip, source, lip_offsets, mlps.lip)
    )
    return stitch(source, driving, mlps.stitching) if stitching else driving


def _opened(
    wanted: Tensor,
    own: Tensor,
    source: Tensor,
    offsets: Callable[[Tensor, Tensor, Tensor, Mlp], Tensor],
    network: Mlp,
) -> Tensor:
    """Offsets to the wanted ratio where one is wanted (a number) that is not the source's own."""
    shown = own.mean(1, keepdim=True).round(decimals=_SHOWN_DECIMALS)
    asked = ~wanted.isnan() & ((wanted - shown).abs() > _SAME)
    if not bool(asked.any()):
        return torch.zeros_like(source)
    return torch.where(asked[..., None], offsets(source, own, wanted.nan_to_num(), network), 0.0)
