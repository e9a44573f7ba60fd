"""Words for poses of the face, as data: everyday names and visemes, each a set of FACS102 controls.

Visemes: the fifteen of the Oculus/Meta lip-sync set, which most speech tools speak. Their shapes follow the
articulation: PP closes the lips over an opening jaw, FF lays the lower lip under the upper teeth, U puckers, ...
"""

from __future__ import annotations

from collections.abc import Mapping

Pose = Mapping[str, float]


def _expanded(pose: Pose, sides: str = "LR") -> dict[str, float]:
    """Names that end in "_*" become those of the sides asked for."""
    full: dict[str, float] = {}
    for name, value in pose.items():
        full.update({name[:-1] + side: value for side in sides} if name.endswith("_*") else {name: value})
    return full


# One row for a word; with a side it is also smileLeft, smileRight.
_SIDED: dict[str, Pose] = {
    "smile": {"corner_pull_*": 1.0, "cheek_raise_*": 0.45},
    "frown": {"corner_depress_*": 1.0, "chin_raise_*": 0.25},
    "smirk": {"corner_pull_*": 0.35, "dimple_*": 0.8},
    "blink": {"lid_close_*": 1.0},
    "wink": {"lid_close_*": 1.0, "cheek_raise_*": 0.5, "corner_pull_*": 0.15},
    "squint": {"lid_tighten_*": 1.0, "cheek_raise_*": 0.3},
    "wide": {"lid_upper_raise_*": 1.0},
    "browUp": {"brow_inner_up_*": 1.0, "brow_outer_up_*": 1.0},
    "browDown": {"brow_lower_*": 1.0, "brow_squeeze_*": 0.6},
    "worry": {"brow_inner_up_*": 1.0, "brow_squeeze_*": 0.5},
    "sneer": {"nose_wrinkle_*": 0.8, "upper_lip_raise_*": 0.5},
    "puff": {"cheek_puff_*": 1.0},
    "suck": {"cheek_suck_*": 1.0},
    "stretch": {"lip_stretch_*": 1.0},
}
# As it is said of both sides.
_PLURAL = {
    "browUp": "browsUp",
    "browDown": "browsDown",
    "wide": "eyesWide",
    "puff": "cheeksPuff",
    "suck": "cheeksSuck",
}
_LIPS = ("upper_L", "upper_R", "lower_L", "lower_R")
_CENTRE: dict[str, Pose] = {
    "open": {"jaw_open": 1.0},
    "eyesClosed": {"lid_close_*": 1.0},
    "pucker": {f"lip_pucker_{part}": 1.0 for part in _LIPS},
    "kiss": {**{f"lip_pucker_{part}": 1.0 for part in _LIPS}, "lip_evert_upper": 0.3, "lip_evert_lower": 0.3},
    "funnel": {f"lip_funnel_{part}": 1.0 for part in _LIPS},
    "press": {f"lip_press_{part}": 1.0 for part in _LIPS},
    "bite": {"lip_roll_in_lower_*": 0.9, "jaw_open": 0.06},
    "pout": {"chin_raise_*": 0.8, "lip_evert_lower": 0.7, "corner_depress_*": 0.3},
    "teeth": {"upper_lip_raise_*": 0.6, "lower_lip_depress_*": 0.7, "lip_stretch_*": 0.3},
    "tongue": {"tongue_out": 1.0, "jaw_open": 0.45},
}

VISEMES: dict[str, dict[str, float]] = {
    name: _expanded(pose)
    for name, pose in {
        "sil": {},
        "PP": {
            "jaw_open": 0.06,
            **{f"lips_together_{part}": 1.0 for part in _LIPS},
            **{f"lip_press_{part}": 0.35 for part in _LIPS},
        },
        "FF": {"jaw_open": 0.06, "lip_roll_in_lower_*": 0.55, "upper_lip_raise_*": 0.22},
        "TH": {"jaw_open": 0.15, "tongue_out": 0.18, "lower_lip_depress_*": 0.15},
        "DD": {"jaw_open": 0.14, "lower_lip_depress_*": 0.22, "tongue_pitch": 0.5},
        "kk": {"jaw_open": 0.18, "lower_lip_depress_*": 0.1, "lip_stretch_*": 0.08},
        "CH": {"jaw_open": 0.08, **{f"lip_funnel_{part}": 0.6 for part in _LIPS}},
        "SS": {"jaw_open": 0.04, "lip_stretch_*": 0.25, "lower_lip_depress_*": 0.3, "upper_lip_raise_*": 0.1},
        "nn": {"jaw_open": 0.12, "lower_lip_depress_*": 0.15, "tongue_pitch": 0.5},
        "RR": {"jaw_open": 0.12, **{f"lip_funnel_{part}": 0.35 for part in _LIPS}},
        "aa": {"jaw_open": 0.6, "lower_lip_depress_*": 0.12, "upper_lip_raise_*": 0.08},
        "E": {"jaw_open": 0.3, "lip_stretch_*": 0.3, "lower_lip_depress_*": 0.15, "upper_lip_raise_*": 0.1},
        "I": {"jaw_open": 0.14, "lip_stretch_*": 0.4, "corner_pull_*": 0.15, "lower_lip_depress_*": 0.12},
        "O": {"jaw_open": 0.4, **{f"lip_funnel_{part}": 0.45 for part in _LIPS}},
        "U": {"jaw_open": 0.14, **{f"lip_pucker_{part}": 0.75 for part in _LIPS}},
    }.items()
}
"""Viseme name -> FACS102 control -> value."""


def _words() -> dict[str, dict[str, float]]:
    words = {name: _expanded(pose) for name, pose in _CENTRE.items()}
    for name, pose in _SIDED.items():
        words[_PLURAL.get(name, name)] = words[name] = _expanded(pose)
        words[f"{name}Left"], words[f"{name}Right"] = _expanded(pose, "L"), _expanded(pose, "R")
    words["wink"] = words["winkLeft"]  # with both eyes it is a blink
    return words | {name: pose for name, pose in VISEMES.items() if pose}


WORDS: dict[str, dict[str, float]] = _words()
"""Friendly word (visemes among them) -> FACS102 control -> value."""
