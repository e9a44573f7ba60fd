"""Emotions as combinations of action units, and any FACS code as controls.

Source: the prototypes of EMFACS (Friesen and Ekman 1983, "EMFACS-7: Emotional Facial Action Coding System") and of
the FACS Investigator's Guide (Ekman, Friesen, Hager 2002, table 10-1). Intensities are ours, chosen by eye on the rig.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from omote.controls import FACS102
from omote.errors import InputError

INTENSITY = {"A": 0.2, "B": 0.4, "C": 0.6, "D": 0.8, "E": 1.0}
"""FACS' letters, trace to maximum, as shares of a control. FACS itself gives no numbers."""

EMOTIONS: Mapping[str, str] = {
    "happy": "6D+12D+25E+26A",
    "sad": "1E+4C+15D+17C",
    "surprise": "1D+2D+5C+26D",
    "fear": "1D+2C+4C+5E+7A+20E+25C+26A",
    "anger": "4E+5C+7D+17D+23A+24C",
    "disgust": "4B+7B+9E+10C+15B+16B+17B",
    "contempt": "R12B+R14E+L14A",
}
"""Emotion -> FACS code at full strength."""
SPELLINGS = {
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
    "afraid": "fear",
    "fearful": "fear",
    "angry": "anger",
    "disgusted": "disgust",
    "contemptuous": "contempt",
}

# Where a unit moves a control less than in full: a dropped jaw (26) is relaxed, only a stretched mouth (27) is not.
_SHARES: Mapping[str, Mapping[str, float]] = {
    "4": {"brow_squeeze_L": 0.8, "brow_squeeze_R": 0.8},
    "7": {"lid_lower_raise_L": 0.6, "lid_lower_raise_R": 0.6},
    "26": {"jaw_open": 0.55},
}
_CODE = re.compile(r"([LR]?)(\d{1,2})([A-E]?)(?::([0-9.]+))?")


@cache
def _controls_of(unit: str) -> tuple[tuple[str, float], ...]:
    """(control, share) of an action unit: those whose first unit it is, or else those that name it at all."""
    chosen = [c for c in FACS102.controls if c.action_units[:1] == (unit,)]
    chosen = chosen or [c for c in FACS102.controls if unit in c.action_units]
    return tuple((c.name, _SHARES.get(unit, {}).get(c.name, 1.0)) for c in chosen if c.low >= 0)


def facs_pose(code: str) -> dict[str, float]:
    """The controls of a FACS code such as ``"1+2+5B+26"`` or ``"R12A+R14:0.5"``.

    Args:
        code: action units joined by +, each with L or R before it for one side, and A to E or ``:0..1`` after it for
            its intensity; without, it is D. Units with a direction (gaze, head) are not among them.

    Returns:
        FACS102 control -> value.

    Raises:
        InputError: no such unit or intensity; names the part that is wrong.
    """
    pose: dict[str, float] = {}
    for part in code.replace(" ", "").upper().split("+"):
        match = _CODE.fullmatch(part)
        controls = _controls_of(match[2]) if match else ()
        if match is None or not controls:
            raise InputError(f"no action unit '{part}'", where="FACS code", remedy="An example: 1+2+5B+R12.")
        value = INTENSITY[match[3] or "D"]
        if match[4]:
            try:
                value = float(match[4])
            except ValueError:
                value = -1.0
            if not 0 <= value <= 1:
                raise InputError(f"intensity {match[4]} is not 0..1", where=f"FACS code {part}")
        for name, share in controls:
            if not match[1] or FACS102[name].side in (match[1], "C"):
                pose[name] = max(pose.get(name, 0.0), value * share)
    return pose


def is_emotion(name: str) -> bool:
    """Whether `emotion_pose` knows the name."""
    return name.lower() in EMOTIONS or name.lower() in SPELLINGS


def emotion_pose(name: str, strength: float = 1.0) -> dict[str, float]:
    """The controls of an emotion, FACS102 control -> value.

    Args:
        name: a key of `EMOTIONS` or `SPELLINGS`, in any case.
        strength: 0..1.

    Raises:
        InputError: unknown emotion (names the nearest), or another strength.
    """
    key = name.lower()
    key = SPELLINGS.get(key, key)
    if key not in EMOTIONS:
        raise InputError(f"no emotion is called '{name}'", remedy=f"There are: {', '.join(EMOTIONS)}.")
    if not 0 <= strength <= 1:
        raise InputError(f"must be 0..1, got {strength:g}", where=f"strength of {key}")
    return {control: strength * value for control, value in facs_pose(EMOTIONS[key]).items()}


def mixed_emotions(text: str) -> dict[str, float]:
    """The controls of emotions such as ``"happy:0.8"`` or ``"happy:0.5,surprise:0.4"``; the larger value counts.

    Raises:
        InputError: unknown emotion, or a strength that is not 0..1.
    """
    pose: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition(":")
        try:
            strength = float(value) if value else 1.0
        except ValueError:
            raise InputError(f"'{value}' is not a number", where=f"emotion {name}") from None
        for control, amount in emotion_pose(name, strength).items():
            pose[control] = max(pose.get(control, 0.0), amount)
    return pose
