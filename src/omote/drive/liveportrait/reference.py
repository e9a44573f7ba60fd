"""Which moment of the driver counts as rest: relative motion is measured from there."""

from __future__ import annotations

import numpy as np
import torch

from omote.drive.liveportrait.composition import neutral_expression
from omote.drive.liveportrait.driving import DrivingTake, pick
from omote.drive.liveportrait.settings import Reference
from omote.errors import InputError, NoFaceError
from omote.geometry.rotations import geodesic_angle
from omote.models.liveportrait.keypoints import Motion

_TURN, _OFFSET, _RATIO = np.radians(10.0), 0.01, 0.1
"""What counts as equally far from rest: a turn of the head, a mean change of the expression, of an openness."""


def choose_reference(
    take: DrivingTake, source: Motion, eyes: torch.Tensor, lip: torch.Tensor, choice: Reference
) -> int | None:
    """The driver's frame that relative motion starts from; None for one at rest that is in no frame.

    "auto" is the frame which is nearest to a neutral expression, to the pose of the source (whose first frame is
    meant where it is a video) and to the openness of its eyes and lips.

    Args:
        take: the driver.
        source: of the source, the first frame is used.
        eyes: (S, 2) the source's close ratios.
        lip: (S, 1).
        choice: as in `LivePortraitOptions`.

    Raises:
        InputError: a frame that the driver does not have.
        NoFaceError: the frame asked for has no face.
    """
    if choice == "neutral" or take.rest is not None:
        return None
    if choice == "first":
        return int(np.argmax(take.found))
    if isinstance(choice, int):
        if not 0 <= choice < len(take):
            what = f"the driver has no frame {choice}"
            raise InputError(what, where="--reference", remedy=f"It has {len(take)}, counted from 0.")
        require_face(take, choice)
        return choice
    motion = take.motion
    turn = np.asarray(geodesic_angle(motion.rotation.double().numpy(), source.rotation[:1].double().numpy()))
    apart = turn / _TURN
    offset = (motion.exp - neutral_expression(motion.exp)).abs().mean((1, 2)).double().numpy()
    apart = apart + offset / _OFFSET
    for ours, theirs in ((take.eyes, eyes), (take.lip, lip)):
        if ours is not None:
            apart = apart + (ours - theirs[:1]).abs().mean(1).double().numpy() / _RATIO
    return int(np.argmin(np.where(take.found, apart, np.inf)))


def require_face(take: DrivingTake, frame: int) -> None:
    """Refuse a frame to start from that has no face.

    Raises:
        NoFaceError: it has none.
    """
    if not take.found[frame]:
        what = f"there is no face in frame {frame} of the driver"
        raise NoFaceError(what, where="--reference", remedy="Choose another, or leave it to Omote.")


def reference_motion(take: DrivingTake, frame: int | None) -> Motion:
    """The motion parameters (1 frame) that relative motion starts from.

    Args:
        take: the driver.
        frame: from `choose_reference`; None: the take's own frame at rest, else a neutral face that looks ahead, where
            the driver's is on the whole.
    """
    if frame is not None:
        return pick(take.motion, np.array([frame]))
    if take.rest is not None:
        return take.rest.motion
    motion = pick(take.motion, np.flatnonzero(take.found))
    return Motion(
        kp=motion.kp[:1],
        rotation=torch.eye(3).to(motion.rotation)[None],
        t=motion.t.median(0, keepdim=True).values,
        scale=motion.scale.median(0, keepdim=True).values,
        exp=neutral_expression(motion.exp),
    )
