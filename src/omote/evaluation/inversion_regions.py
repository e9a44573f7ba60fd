"""The regions of a face by which inversion is measured; every control of a space is in exactly one."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from omote.controls import ControlSpace

REGIONS = ("brow", "eyelid", "gaze", "nose", "cheek", "lips", "jaw", "tongue", "other")
"""Other: head, ears, neck, and names that are neither FACS nor ARKit."""

# How names begin, in lower case: those of FACS102, then ARKit's.
_STARTS = {
    "brow": ("brow",),
    "eyelid": ("lid_", "eyeblink", "eyesquint", "eyewide"),
    "gaze": ("gaze_", "eyelook"),
    "nose": ("nose", "nostril_", "nasolabial_"),
    "cheek": ("cheek",),
    "lips": ("lip", "sticky_", "corner_", "dimple_", "upper_lip_", "lower_lip_", "chin_", "mouth"),
    "jaw": ("jaw",),
    "tongue": ("tongue",),
}
_LIP_ROLL = ("lip_roll_", "mouthroll")
_HARD = ("cheek", "nose", "tongue", "gaze")


def region_of(name: str) -> str:
    """The region of a control, by its FACS102 or ARKit name."""
    lowered = name.lower()
    return next((region for region, starts in _STARTS.items() if lowered.startswith(starts)), "other")


@cache
def region_indices(space: ControlSpace, region: str) -> NDArray[np.int64]:
    """(N,) positions of a region's controls in a space; may be empty."""
    return _frozen([i for i, name in enumerate(space.names) if region_of(name) == region])


@cache
def hard_indices(space: ControlSpace) -> NDArray[np.int64]:
    """(N,) positions of the controls that landmarks see badly: cheeks, nose, lip roll, tongue and gaze."""
    found = [
        i
        for i, name in enumerate(space.names)
        if region_of(name) in _HARD or name.lower().startswith(_LIP_ROLL)
    ]
    return _frozen(found)


def _frozen(values: list[int]) -> NDArray[np.int64]:
    indices = np.array(values, np.int64)
    indices.setflags(write=False)
    return indices
