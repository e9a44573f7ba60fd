"""The parts of a face that can be moved, kept or scaled on their own; every control is in exactly one."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from omote.controls import FACS102, Control
from omote.errors import InputError

REGIONS = ("eyes", "lips", "expression", "pose")
"""eyes: lids and gaze; lips: lips, jaw and tongue; pose: the head; expression: brows, cheeks, nose and all else."""

# Action units of FACS (Ekman, Friesen, Hager 2002) by region; controls without one go by the first word of their name.
_UNITS = {
    "eyes": "5 7 43 45 61 62 63 64",
    "lips": "10 12 13 14 15 16 17 18 19 20 22 23 24 25 26 27 28 29 30 31 36 37",
    "pose": "51 52 53 54 55 56",
}
_WORDS = {"mouth": "lips", "tongue": "lips"}


def region_of(control: Control) -> str:
    """The region of a FACS102 control, by its first action unit."""
    if control.action_units:
        unit = control.action_units[0].split()[0]
        return next((region for region, units in _UNITS.items() if unit in units.split()), "expression")
    return _WORDS.get(control.name.partition("_")[0], "expression")


@cache
def region_indices(region: str) -> NDArray[np.int64]:
    """(N,) positions in FACS102 of a region's controls."""
    found = [i for i, control in enumerate(FACS102.controls) if region_of(control) == region]
    indices = np.array(found, np.int64)
    indices.setflags(write=False)
    return indices


def checked_regions(regions: Iterable[str], where: str = "regions") -> frozenset[str]:
    """The regions as a set.

    Raises:
        InputError: one that does not exist.
    """
    chosen = frozenset([regions] if isinstance(regions, str) else regions)
    for name in sorted(chosen - set(REGIONS)):
        raise InputError(
            f"there is no region '{name}'", where=where, remedy=f"There are: {', '.join(REGIONS)}."
        )
    return chosen
