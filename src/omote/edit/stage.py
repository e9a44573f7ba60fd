"""Takes made without a camera: a neutral head before a camera that never was, and the pivot it turns about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.controls import FACS102
from omote.edit.gaze import REACH
from omote.errors import InputError
from omote.geometry.rotations import matrix_to_axis_angle, yaw_pitch_roll_to_matrix
from omote.performance import Camera, Performance
from omote.rigs.asset import load_head_asset

Array = npt.NDArray[Any]

CAMERA = Camera(853.0, (256.0, 256.0), (512, 512))
"""512 px square; at `PLACE` a head fills most of it (33 degrees, a short portrait lens)."""
PLACE = (0.0, 0.025, -0.6)
"""Metres, camera space: where the head's origin, between the eyes, is."""
LONGEST = 3600.0
"""Seconds that a take made here may last."""


@dataclass
class Stage:
    """A take in the making; all zeros at first.

    Attributes:
        times: (T,) seconds from 0.
        controls: (T, 102) of FACS102.
        angles: (T, 3) degrees: yaw to the subject's left, pitch up, roll to its left shoulder.
        shift: (T, 3) metres the head moves from its place.
    """

    times: Array
    controls: Array = field(init=False)
    angles: Array = field(init=False)
    shift: Array = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.times)
        self.controls = np.zeros((count, len(FACS102)))
        self.angles, self.shift = np.zeros((2, count, 3))

    @classmethod
    def lasting(cls, duration: float, fps: float) -> Stage:
        """A stage with frames from 0 to ``duration`` seconds, both ends included.

        Raises:
            InputError: a duration or a rate that is not above 0, or absurd.
        """
        if not 0 < fps <= 1000:
            raise InputError(f"must be above 0, at most 1000, got {fps}", where="fps")
        if not 0 < duration <= LONGEST:
            raise InputError(
                f"must be above 0, at most {LONGEST:.0f} seconds, got {duration}", where="duration"
            )
        return cls(np.arange(max(round(duration * fps), 1) + 1) / fps)

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the last."""
        return float(self.times[-1])

    def add(self, pose: Mapping[str, float], envelope: npt.ArrayLike = 1.0) -> None:
        """Add a pose (FACS102 control -> value) times an envelope (T,) or number."""
        for name, value in pose.items():
            self.controls[:, FACS102.index(name)] += value * np.asarray(envelope)

    def steady_gaze(self, share: float = REACH) -> None:
        """Turn the eyes against the head, as people do who keep looking at something (vestibulo-ocular reflex)."""
        for column, name, degrees in ((0, "yaw", 30.0), (1, "pitch", 25.0)):
            for side in "LR":
                index = FACS102.index(f"gaze_{name}_{side}")
                self.controls[:, index] -= share * self.angles[:, column] / degrees

    def performance(self, source: Mapping[str, Any], strength: float = 1.0) -> Performance:
        """The take: controls within their ranges, the head turned about its joints, mean identity.

        Args:
            source: what the header says about where it comes from.
            strength: factor of everything that moves.

        Raises:
            InputError: a strength below 0.
        """
        if not 0 <= strength < np.inf:
            raise InputError(f"must be 0 or more, got {strength}", where="strength")
        count = len(self.times)
        rotation = yaw_pitch_roll_to_matrix(np.radians(strength * self.angles))
        place = np.array(PLACE) + strength * self.shift + about_neck(rotation)
        from omote import __version__

        return Performance(
            space=FACS102,
            controls=FACS102.clamp(strength * self.controls),
            head_rotation=matrix_to_axis_angle(rotation),
            head_translation=place,
            confidence=np.ones(count),
            times=self.times,
            camera=CAMERA,
            identity={"facs": np.zeros(load_head_asset()["identity"].shape[0], np.float32)},
            source={**source, "omote": __version__},
        )


def about_neck(rotation: Array) -> Array:
    """(..., 3) metres by which a head moves that turns by (..., 3, 3) about its joints, not about its origin."""
    asset = load_head_asset()
    pivot = (np.asarray(asset["neck_joint"], np.float64) + np.asarray(asset["head_joint"], np.float64)) / 2
    return np.asarray(pivot - rotation @ pivot)
