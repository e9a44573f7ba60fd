"""Where the eyes look: gaze controls that aim at the camera, or in a direction, whatever the head does."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from omote.controls import FACS102
from omote.errors import InputError
from omote.geometry.rotations import axis_angle_to_matrix, yaw_pitch_roll_to_matrix
from omote.rigs.asset import SIDES, load_head_asset
from omote.rigs.constants import GAZE_PITCH, GAZE_YAW, HEAD_PITCH, HEAD_ROLL, HEAD_YAW

Array = NDArray[Any]
Gaze = Literal["camera"] | tuple[float, float]

SIGHT_UPWARD = math.radians(2.5)
"""How far above the head's z axis an eye looks at gaze 0: the median over fits of about 15 faces in photos, paintings
and videos that seem to look into the lens. Pupils also lie temporal of the line of sight, by angle kappa, but that is
no part of where someone looks."""
REACH = 0.82
"""The sine of a turn of the rig's eye over that of a person's who looks the same way. A person's pupil is about 10 mm
from the centre that the eye turns about, the rig's 12.2 mm; fits put pupils where they are seen."""

_HEAD = np.array([FACS102.index(f"head_{n}") for n in ("yaw", "pitch", "roll")])
_HEAD_RANGE = np.array([HEAD_YAW, HEAD_PITCH, HEAD_ROLL])
_COLUMNS = {side: [FACS102.index(f"gaze_{n}_{side}") for n in ("yaw", "pitch")] for side in SIDES}


def checked_gaze(gaze: Gaze | None) -> Gaze | None:
    """The gaze, with floats.

    Raises:
        InputError: neither "camera" nor two angles of less than 90 degrees.
    """
    if gaze is None or gaze == "camera":
        return gaze
    try:
        yaw, pitch = (float(angle) for angle in gaze)
    except (TypeError, ValueError):
        yaw = pitch = math.nan
    if not (abs(yaw) < 90 and abs(pitch) < 90):
        raise InputError(f"expected 'camera' or yaw,pitch below 90 degrees, got {gaze}", where="gaze")
    return yaw, pitch


def aim_eyes(
    controls: Array, rotation: Array, translation: Array, identity: Array | None, gaze: Gaze
) -> Array:
    """Controls whose gaze is aimed; each eye for itself, so that near targets are converged on.

    At gaze 0 an eye looks ``SIGHT_UPWARD`` above the head's z axis, and the rig's eye turns ``REACH`` of a person's.
    One that cannot turn far enough turns as far as it can.

    Args:
        controls: (T, 102) of FACS102; ``head_*`` are followed.
        rotation: (T, 3) axis-angle radians, head in camera space.
        translation: (T, 3) metres, camera space.
        identity: (I,) coefficients of the embedded rig, for where the eyes are; None is its mean head.
        gaze: "camera" looks into the lens; (yaw, pitch) degrees of a direction in camera space, both eyes parallel:
            (0, 0) is straight at the camera's plane, + yaw the camera's right (the subject's left), + pitch up.

    Returns:
        (T, 102), a copy.
    """
    result = np.array(controls)
    turned, centres = _turned_eyes(result, identity)
    facing = axis_angle_to_matrix(rotation)
    whole = facing @ turned
    if gaze == "camera":
        eyes = np.einsum("trc,tec->ter", facing, centres) + np.asarray(translation)[:, None]
        wanted = -eyes
    else:
        yaw, pitch = (math.radians(angle) for angle in gaze)
        wanted = np.array([math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)])
        wanted = np.broadcast_to(wanted, (*centres.shape[:1], len(SIDES), 3))
    local = np.einsum("trc,ter->tec", whole, wanted)  # into the head as it is turned
    local /= np.maximum(np.linalg.norm(local, axis=-1, keepdims=True), 1e-12)
    level = np.hypot(local[..., 0], local[..., 2])
    sideways = np.where(local[..., 2] > 0, local[..., 0] / np.maximum(level, 1e-12), np.sign(local[..., 0]))
    yaw_of = np.arcsin(REACH * sideways)
    pitch_of = np.arcsin(REACH * np.clip(local[..., 1], -1, 1)) - SIGHT_UPWARD
    for i, side in enumerate(SIDES):
        result[:, _COLUMNS[side][0]] = np.clip(yaw_of[:, i] / GAZE_YAW, -1, 1)
        result[:, _COLUMNS[side][1]] = np.clip(pitch_of[:, i] / GAZE_PITCH, -1, 1)
    return result


def _turned_eyes(controls: Array, identity: Array | None) -> tuple[Array, Array]:
    """(T, 3, 3) rotation by the head_* controls, and (T, 2, 3) metres of the eyes' centres, both in head space.

    As `omote.rigs.facs.FacsRig` turns the head: half of the angle at the neck, half at the head joint.
    """
    angles = controls[:, _HEAD].astype(np.float64) * _HEAD_RANGE
    centres = np.broadcast_to(_eye_centres(identity), (len(controls), 2, 3))
    if not angles.any():
        return np.broadcast_to(np.eye(3), (len(controls), 3, 3)), centres
    half = yaw_pitch_roll_to_matrix(angles / 2)
    asset = load_head_asset()
    at_neck, at_head = (
        np.asarray(asset["neck_joint"], np.float64),
        np.asarray(asset["head_joint"], np.float64),
    )
    joint = at_neck + half @ (at_head - at_neck)
    moved = at_neck + np.einsum("trc,tec->ter", half, centres - at_neck)
    moved = joint[:, None] + np.einsum("trc,tec->ter", half, moved - joint[:, None])
    return half @ half, moved


def _eye_centres(identity: Array | None) -> Array:
    import torch

    from omote.rigs.facs import load_rig

    rig = load_rig()
    values = (
        np.zeros(len(rig.identity_space), np.float32)
        if identity is None
        else np.asarray(identity, np.float32)
    )
    with torch.no_grad():
        return np.asarray(rig.eye_centres(torch.tensor(values)[None])[0].numpy(), np.float64)
