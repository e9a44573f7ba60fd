"""Clips rendered with our own rig: heads that turn, speak and make faces before a background, for trying a training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from omote.errors import InputError
from omote.geometry.cameras import project
from omote.geometry.rotations import axis_angle_to_matrix
from omote.performance import Camera
from omote.rigs.facs import FacsRig
from omote.rigs.surface_points import CENTRE
from omote.training.datasets import looks
from omote.training.datasets.clips import ClipFrame, head_angles
from omote.training.datasets.expressions import sample_expression
from omote.training.datasets.shapes import seen_faces

if TYPE_CHECKING:
    from omote.rigs.protocol import Rig

Array = np.ndarray
Chance = np.random.Generator

_KEYS_APART = 3
"""Frames between two expressions; what lies between them is blended."""
_TURN = np.radians((10.0, 22.0, 9.0))
"""Standard deviations of pitch, yaw and roll."""
_MOST_TURN = 2.2
_SHIFT = (0.020, 0.016, 0.06)  # metres


@dataclass(frozen=True)
class ClipOptions:
    """What to render.

    Attributes:
        frames: of a clip.
        size: side of the pictures, px.
        seed: of everything random.

    Raises:
        InputError: numbers that make no clip.
    """

    frames: int = 16
    size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        checks = {
            "--frames": (2 <= self.frames <= 1000, "2 to 1000"),
            "--size": (32 <= self.size <= 1024, "32 to 1024"),
            "--seed": (0 <= self.seed < 2**31, "0 to 2147483647"),
        }
        for name, (good, wanted) in checks.items():
            if not good:
                value = getattr(self, name[2:])
                raise InputError(f"must be {wanted}, got {value}", where=name)


def render_clip(rig: Rig, options: ClipOptions, index: int) -> Iterator[ClipFrame]:
    """The frames of one clip: one head, one skin, one light, one background; expression, pose and place change.

    Args:
        rig: the embedded one, or any with landmarks.
        options: what to render.
        index: of the clip; it depends on this and the seed alone.

    Raises:
        InputError: a rig without landmarks.
    """
    import torch

    from omote.render import render_mesh

    if rig.landmarks is None:
        raise InputError("clips need a rig whose landmarks are known", where=rig.name)
    rng = np.random.default_rng([options.seed, index, 77])
    who = torch.from_numpy(rng.normal(0, 0.8, (1, len(rig.identity_space))).astype(np.float32))
    size, distance = options.size, float(rng.uniform(0.7, 1.5))
    camera = Camera(size * distance / rng.uniform(0.27, 0.32), (size / 2, size / 2), (size, size))
    scene: dict[str, Any] = {
        "uv": None if rig.uv is None else rig.uv.numpy(),
        "albedo": looks.painted_skin(int(rng.integers(looks.SKINS))) if isinstance(rig, FacsRig) else None,
        "weld": None if rig.weld is None else rig.weld.numpy(),
        "lights": looks.random_lights(rng),
        "background": looks.random_background(rng, size),
        "supersample": 2,
    }
    faces = seen_faces(rig, None)
    controls, turns, shifts = _motion(rig, options, index, rng)
    with torch.no_grad():
        heads = rig(torch.from_numpy(controls), who.expand(len(controls), -1)).numpy()
    for head, turn, shift in zip(heads, turns, shifts, strict=True):
        rotation = axis_angle_to_matrix(turn)
        place = shift - np.array([0, 0, distance])
        vertices = ((head - CENTRE) @ rotation.T + place).astype(np.float32)
        picture = render_mesh(vertices, faces, camera, **scene).rgb
        marks = np.asarray(project(camera, rig.landmarks.apply(vertices)), np.float32)
        yield ClipFrame(
            np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8),
            (2 * marks / size - 1).astype(np.float32),
            head_angles(rotation),
        )


def _motion(rig: Rig, options: ClipOptions, index: int, rng: Chance) -> tuple[Array, Array, Array]:
    """(T, C) controls, (T, 3) rotation vectors and (T, 3) shifts in metres, blended between random key frames."""
    keys = (options.frames - 1) // _KEYS_APART + 2
    expressions = [sample_expression(rig.space, "wild", index * keys + k, rng).controls for k in range(keys)]
    turns = np.clip(rng.normal(0, 1, (keys, 3)), -_MOST_TURN, _MOST_TURN) * _TURN
    shifts = np.clip(rng.normal(0, 1, (keys, 3)), -_MOST_TURN, _MOST_TURN) * _SHIFT
    at = np.arange(options.frames) / _KEYS_APART
    before = at.astype(int)
    share = (at - before)[:, None]
    share = share * share * (3 - 2 * share)
    blended = [
        values[before] * (1 - share) + values[before + 1] * share
        for values in (np.stack(expressions), turns, shifts)
    ]
    return blended[0].astype(np.float32), blended[1], blended[2]
