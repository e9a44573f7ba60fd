"""Angles and sizes that the embedded rig and the fit share."""

from __future__ import annotations

import math

GAZE_YAW, GAZE_PITCH = math.radians(30), math.radians(25)
HEAD_YAW, HEAD_PITCH, HEAD_ROLL = math.radians(45), math.radians(30), math.radians(30)
TONGUE_TURN, TONGUE_CURL = math.radians(15), math.radians(50)
LID_THICKNESS = 0.0006
"""Metres between an eyeball and the skin that slides over it."""
PUPIL_OUTWARD = math.radians(4.0)
"""The pupil lies temporal of the line of sight (angle kappa, 3-5 degrees in people): at gaze 0 it looks outward by this."""
