"""Named rig controls: what each is called, its range, its mirror partner, and conversion by name."""

from __future__ import annotations

from omote.controls.arkit52 import MEDIAPIPE_NAMES
from omote.controls.builtin import ARKIT52, FACS102, IMPLICIT21, space_by_name
from omote.controls.conversion import ConversionReport
from omote.controls.space import Control, ControlSpace

__all__ = [
    "ARKIT52",
    "FACS102",
    "IMPLICIT21",
    "MEDIAPIPE_NAMES",
    "Control",
    "ControlSpace",
    "ConversionReport",
    "space_by_name",
]
