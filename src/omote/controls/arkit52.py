"""The 52 ARKit coefficients, MediaPipe's order of them, and their correspondence with the 102 FACS controls.

Source: Apple's ARKit blend-shape locations in the column order of the Live Link Face CSV; MediaPipe
FaceLandmarker's category names. Left and right are the subject's own. Map by name: the products order them in
different ways.
"""

from __future__ import annotations

ARKIT_NAMES: tuple[str, ...] = tuple(
    """
    eyeBlinkLeft eyeLookDownLeft eyeLookInLeft eyeLookOutLeft eyeLookUpLeft eyeSquintLeft eyeWideLeft
    eyeBlinkRight eyeLookDownRight eyeLookInRight eyeLookOutRight eyeLookUpRight eyeSquintRight
    eyeWideRight jawForward jawRight jawLeft jawOpen mouthClose mouthFunnel mouthPucker mouthRight
    mouthLeft mouthSmileLeft mouthSmileRight mouthFrownLeft mouthFrownRight mouthDimpleLeft
    mouthDimpleRight mouthStretchLeft mouthStretchRight mouthRollLower mouthRollUpper mouthShrugLower
    mouthShrugUpper mouthPressLeft mouthPressRight mouthLowerDownLeft mouthLowerDownRight mouthUpperUpLeft
    mouthUpperUpRight browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff
    cheekSquintLeft cheekSquintRight noseSneerLeft noseSneerRight tongueOut
    """.split()
)

# MediaPipe FaceLandmarker's 52 categories: "_neutral", then the ARKit names alphabetically without tongueOut.
MEDIAPIPE_NAMES: tuple[str, ...] = ("_neutral", *sorted(set(ARKIT_NAMES) - {"tongueOut"}))

# Name without its Left/Right -> (action units, doc). "{side}" becomes "left" or "right".
DOCS: dict[str, tuple[tuple[str, ...], str]] = {
    "eyeBlink": (("43", "45"), "Closes the {side} eye."),
    "eyeLookDown": (("64",), "Turns the {side} eye down."),
    "eyeLookIn": (("61", "62"), "Turns the {side} eye towards the nose."),
    "eyeLookOut": (("61", "62"), "Turns the {side} eye away from the nose."),
    "eyeLookUp": (("63",), "Turns the {side} eye up."),
    "eyeSquint": (("7",), "Narrows the {side} eye by tightening its lids."),
    "eyeWide": (("5",), "Opens the {side} eye wide."),
    "jawForward": (("29",), "Pushes the jaw forward."),
    "jaw": (("30",), "Slides the jaw towards the subject's {side}."),
    "jawOpen": (("26", "27"), "Opens the jaw."),
    "mouthClose": (("25 inverse",), "Brings the lips together while jawOpen opens the jaw; at most jawOpen."),
    "mouthFunnel": (("22",), "Funnels both lips outwards, as in 'sh'."),
    "mouthPucker": (("18",), "Puckers both lips, as in 'oo' or a kiss."),
    "mouth": ((), "Moves the whole mouth towards the subject's {side}."),
    "mouthSmile": (("12",), "Pulls the {side} mouth corner up and out."),
    "mouthFrown": (("15",), "Draws the {side} mouth corner down."),
    "mouthDimple": (("14",), "Tucks the {side} mouth corner inwards."),
    "mouthStretch": (("20",), "Stretches the {side} mouth corner sideways."),
    "mouthRollLower": (("28",), "Rolls the lower lip in over the teeth."),
    "mouthRollUpper": (("28",), "Rolls the upper lip in over the teeth."),
    "mouthShrugLower": (("17",), "Pushes chin and lower lip up."),
    "mouthShrugUpper": (("17", "10"), "Pushes the upper lip up and out."),
    "mouthPress": (("24",), "Presses the lips together on the {side} side."),
    "mouthLowerDown": (("16",), "Lowers the {side} half of the lower lip."),
    "mouthUpperUp": (("10",), "Raises the {side} half of the upper lip."),
    "browDown": (("4",), "Lowers the {side} brow."),
    "browInnerUp": (("1",), "Raises the inner ends of both brows."),
    "browOuterUp": (("2",), "Raises the outer part of the {side} brow."),
    "cheekPuff": (("33", "34"), "Blows up both cheeks."),
    "cheekSquint": (("6",), "Lifts the {side} cheek into the lower lid."),
    "noseSneer": (("9",), "Wrinkles the {side} side of the nose."),
    "tongueOut": (("19",), "Puts the tongue out."),
}

# ---- Correspondence. Each group reads (ARKit, FACS); "*" stands for Left/_L and Right/_R. -----------------

_QUARTERS = ("upper_L", "upper_R", "lower_L", "lower_R")

_SAME = (  # one to one, both ways at weight 1
    ("browOuterUp*", "brow_outer_up*"),
    ("browDown*", "brow_lower*"),
    ("eyeWide*", "lid_upper_raise*"),
    ("eyeBlink*", "lid_close*"),
    ("eyeSquint*", "lid_tighten*"),
    ("cheekSquint*", "cheek_raise*"),
    ("noseSneer*", "nose_wrinkle*"),
    ("mouthSmile*", "corner_pull*"),
    ("mouthDimple*", "dimple*"),
    ("mouthFrown*", "corner_depress*"),
    ("mouthStretch*", "lip_stretch*"),
    ("mouthUpperUp*", "upper_lip_raise*"),
    ("mouthLowerDown*", "lower_lip_depress*"),
    ("jawOpen", "jaw_open"),
    ("jawForward", "jaw_forward"),
    ("jawLeft", "jaw_left"),
    ("jawRight", "jaw_right"),
    ("mouthLeft", "mouth_left"),
    ("mouthRight", "mouth_right"),
    ("mouthShrugUpper", "upper_lip_shrug"),
    ("tongueOut", "tongue_out"),
)
_SPLIT = (  # one ARKit value sets every part; back, it is the mean of the parts
    ("browInnerUp", ("brow_inner_up_L", "brow_inner_up_R")),
    ("cheekPuff", ("cheek_puff_L", "cheek_puff_R")),
    ("mouthShrugLower", ("chin_raise_L", "chin_raise_R")),
    ("mouthPressLeft", ("lip_press_upper_L", "lip_press_lower_L")),
    ("mouthPressRight", ("lip_press_upper_R", "lip_press_lower_R")),
    ("mouthRollUpper", ("lip_roll_in_upper_L", "lip_roll_in_upper_R")),
    ("mouthRollLower", ("lip_roll_in_lower_L", "lip_roll_in_lower_R")),
    ("mouthFunnel", tuple(f"lip_funnel_{part}" for part in _QUARTERS)),
    ("mouthPucker", tuple(f"lip_pucker_{part}" for part in _QUARTERS)),
)
_SIGNED = (  # an opposite pair is one signed control; yaw is + to the subject's left for both eyes
    ("eyeLookOutLeft", "gaze_yaw_L", 1.0),
    ("eyeLookInLeft", "gaze_yaw_L", -1.0),
    ("eyeLookInRight", "gaze_yaw_R", 1.0),
    ("eyeLookOutRight", "gaze_yaw_R", -1.0),
    ("eyeLookUp*", "gaze_pitch*", 1.0),
    ("eyeLookDown*", "gaze_pitch*", -1.0),
)
_NEAREST = (  # FACS controls without a counterpart add a share to the ARKit shape of the nearest action unit
    ("browDown*", "brow_squeeze*", 0.5),  # the corrugator is part of AU4
    ("eyeSquint*", "lid_lower_raise*", 0.5),  # lower half of AU7
    ("noseSneer*", "nasolabial_deepen*", 0.5),  # the nearest shape to look at (0.68 of it shared)
    ("mouthSmile*", "corner_pull_sharp*", 0.5),  # AU13 beside AU12
    ("mouthPress*", "lip_tighten_upper*", 0.25),  # AU23 beside AU24
    ("mouthPress*", "lip_tighten_lower*", 0.25),
    ("mouthFunnel", "lip_evert_upper", 0.25),  # both AU22
    ("mouthFunnel", "lip_evert_lower", 0.25),
    ("mouthUpperUpLeft", "lips_part", 0.25),  # AU25: a little of both lips' opening
    ("mouthUpperUpRight", "lips_part", 0.25),
    ("mouthLowerDownLeft", "lips_part", 0.25),
    ("mouthLowerDownRight", "lips_part", 0.25),
)

# mouthClose = jaw_open * mean(these); back, each = mouthClose / jawOpen. Not linear, so not in CONVERSIONS.
LIPS_TOGETHER: tuple[str, ...] = tuple(f"lips_together_{part}" for part in _QUARTERS)


def _sided(arkit: str, facs: str) -> list[tuple[str, str]]:
    if "*" not in arkit:
        return [(arkit, facs)]
    return [(arkit.replace("*", a), facs.replace("*", f)) for a, f in (("Left", "_L"), ("Right", "_R"))]


def _rows() -> list[tuple[str, str, float]]:
    rows: list[tuple[str, str, float]] = []
    for arkit, facs in _SAME:
        for a, f in _sided(arkit, facs):
            rows += [(a, f, 1.0), (f, a, 1.0)]
    for arkit, parts in _SPLIT:
        for part in parts:
            rows += [(arkit, part, 1.0), (part, arkit, 1.0 / len(parts))]
    for arkit, facs, sign in _SIGNED:
        for a, f in _sided(arkit, facs):
            rows += [(a, f, sign), (f, a, sign)]
    for arkit, facs, weight in _NEAREST:
        rows += [(f, a, weight) for a, f in _sided(arkit, facs)]
    return rows


# (source, target, weight), both directions. A target that cannot be negative takes only what is not negative.
CONVERSIONS: tuple[tuple[str, str, float], ...] = tuple(_rows())
