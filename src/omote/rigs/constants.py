"""The embedded rig's name, and angles and sizes that it and the fit share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

EMBEDDED = "facs"
"""What the embedded rig is called."""
GAZE_YAW, GAZE_PITCH = math.radians(30), math.radians(25)
HEAD_YAW, HEAD_PITCH, HEAD_ROLL = math.radians(45), math.radians(30), math.radians(30)
TONGUE_TURN, TONGUE_CURL = math.radians(15), math.radians(50)
LID_THICKNESS = 0.0006
"""Metres between an eyeball and the skin that slides over it."""
PUPIL_OUTWARD, PUPIL_DOWNWARD = math.radians(4.0), math.radians(4.4)
"""Where the pupil is at gaze 0. People's pupils lie temporal of the line of sight (angle kappa, 3-5 degrees);
MakeHuman's adult looks 4.4 degrees down of the head's z axis at rest, where the
middle of the lids' opening is."""


def pupil_rotation(side: str) -> NDArray[np.float64]:
    """(3, 3) from the head's z axis to the resting pupil of the "L" or "R" eyeball."""
    outward = PUPIL_OUTWARD if side == "L" else -PUPIL_OUTWARD
    co, so, cd, sd = math.cos(outward), math.sin(outward), math.cos(PUPIL_DOWNWARD), math.sin(PUPIL_DOWNWARD)
    return np.array([[co, 0, so], [0, 1, 0], [-so, 0, co]]) @ np.array([[1, 0, 0], [0, cd, -sd], [0, sd, cd]])
