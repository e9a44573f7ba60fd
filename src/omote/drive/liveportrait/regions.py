"""Which of the 21 implicit keypoints' offsets belong to what, as the published code lists them."""

from __future__ import annotations

import torch
from torch import Tensor

from omote.errors import InputError
from omote.models.liveportrait.keypoints import POINTS

REGIONS = ("all", "exp", "pose", "lip", "eyes")
"""What of the driver is taken: everything, expression, head pose, or the expression of the lips or eyes alone."""
HEAD_REGIONS = ("all", "pose")
"""Regions that take the driver's rotation and translation; its scale is taken by "all" only."""
LIP_POINTS = (6, 12, 14, 17, 19, 20)
EYE_POINTS = (11, 13, 15, 16, 18)

_X, _Y, _Z = 0, 1, 2
_TAKEN_AXES = {3: (_Y,), 4: (_Y,), 5: (_Z,), 8: (_Z,), 9: (_Y, _Z)}
_TAKEN_POINTS = (1, 2, 6, *range(11, POINTS))
"""Where offsets are overwritten by the driver's absolute ones; the others (0, 7, 10 and the axes left out above)
stay the source's, as the shape of its face."""


def expression_mask(region: str, *, partial: bool) -> Tensor:
    """(21, 3) bool: which expression offsets a region takes from the driver.

    Args:
        region: one of REGIONS.
        partial: for "all" and "exp", leave out what the published code treats as the shape of the source's face: with
            absolute motion, and wherever the source is a video.

    Raises:
        InputError: there is no such region.
    """
    check_region(region)
    mask = torch.zeros(POINTS, 3, dtype=torch.bool)
    if region in ("lip", "eyes"):
        mask[list(LIP_POINTS if region == "lip" else EYE_POINTS)] = True
    elif region != "pose" and not partial:
        mask[:] = True
    elif region != "pose":
        mask[list(_TAKEN_POINTS)] = True
        for point, axes in _TAKEN_AXES.items():
            mask[point, list(axes)] = True
    return mask


def check_region(region: str) -> None:
    """Raise `InputError` unless ``region`` is one of REGIONS."""
    if region not in REGIONS:
        raise InputError(f"there is no region '{region}'", remedy=f"Regions: {', '.join(REGIONS)}.")
