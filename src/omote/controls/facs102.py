"""The 102 FACS-derived controls of the embedded head, as data: one row per control or per left/right pair.

Source: Facial Action Coding System (Ekman, Friesen, Hager 2002) for the units (61-64 gaze, 51-56 head).
Order, names and ranges are those of the baked head asset and never change within a version of it.
"""

from __future__ import annotations

# (name, action units, (low, high), unit, doc). A "*" in the name stands for L, then R; "{side}" in its doc
# becomes "left" or "right" (the subject's own).
Row = tuple[str, tuple[str, ...], tuple[float, float], str, str]

_ON = (0.0, 1.0)
_SIGNED = (-1.0, 1.0)
_APART = ("25 inverse",)  # holds together what AU25 parts

ROWS: tuple[Row, ...] = (
    ("brow_inner_up_*", ("1",), _ON, "", "Raises the inner end of the {side} brow, as in worry or sadness."),
    (
        "brow_outer_up_*",
        ("2",),
        _ON,
        "",
        "Raises the outer part of the {side} brow, as in doubt or surprise.",
    ),
    ("brow_lower_*", ("4",), _ON, "", "Lowers the whole {side} brow, as in anger or concentration."),
    (
        "brow_squeeze_*",
        ("4",),
        _ON,
        "",
        "Draws the {side} brow towards the middle (corrugator), for a frown.",
    ),
    ("lid_upper_raise_*", ("5",), _ON, "", "Opens the {side} eye wide by lifting its upper lid."),
    (
        "lid_close_*",
        ("43", "45"),
        _ON,
        "",
        "Closes the {side} eye, for blinks and winks; at 1 the lids just meet.",
    ),
    ("lid_tighten_*", ("7",), _ON, "", "Narrows the {side} eye by tightening both lids, as in a squint."),
    ("cheek_raise_*", ("6",), _ON, "", "Lifts the {side} cheek into the lower lid, as in a felt smile."),
    ("lid_lower_raise_*", ("7",), _ON, "", "Lifts only the lower lid of the {side} eye."),
    (
        "gaze_yaw_L",
        ("61", "62"),
        _SIGNED,
        "±30°",
        "Turns the left eye to the subject's left (+) or right (-).",
    ),
    (
        "gaze_pitch_L",
        ("63", "64"),
        _SIGNED,
        "±25°",
        "Turns the left eye up (+) or down (-); the lids follow.",
    ),
    (
        "gaze_yaw_R",
        ("61", "62"),
        _SIGNED,
        "±30°",
        "Turns the right eye to the subject's left (+) or right (-).",
    ),
    (
        "gaze_pitch_R",
        ("63", "64"),
        _SIGNED,
        "±25°",
        "Turns the right eye up (+) or down (-); the lids follow.",
    ),
    ("nose_wrinkle_*", ("9",), _ON, "", "Wrinkles the {side} side of the nose, as in disgust."),
    ("nostril_dilate_*", ("38",), _ON, "", "Flares the {side} nostril."),
    ("nostril_compress_*", ("39",), _ON, "", "Pinches the {side} nostril."),
    ("nose_tip_down", ("38", "39"), _ON, "", "Draws the tip of the nose down (depressor septi)."),
    ("nasolabial_deepen_*", ("11",), _ON, "", "Deepens the {side} fold between nose and mouth corner."),
    ("cheek_puff_*", ("33", "34"), _ON, "", "Blows up the {side} cheek with air."),
    ("cheek_suck_*", ("35",), _ON, "", "Sucks the {side} cheek in against the teeth."),
    ("jaw_open", ("26", "27"), _ON, "", "Opens the jaw; the lower teeth and the tongue go with it."),
    ("jaw_left", ("30",), _ON, "", "Slides the jaw towards the subject's left."),
    ("jaw_right", ("30",), _ON, "", "Slides the jaw towards the subject's right."),
    ("jaw_forward", ("29",), (-0.3, 1.0), "", "Pushes the jaw forward (+) or draws it back a little (-)."),
    ("jaw_clench_*", ("31",), _ON, "", "Clenches the {side} jaw muscle so that it bulges."),
    ("lips_together_upper_*", _APART, _ON, "", "Keeps the {side} upper lip closed while the jaw opens."),
    ("lips_together_lower_*", _APART, _ON, "", "Keeps the {side} lower lip closed while the jaw opens."),
    ("sticky_corner_*", _APART, _ON, "", "Lets the lips cling at the {side} corner while the jaw opens."),
    ("corner_pull_*", ("12",), _ON, "", "Pulls the {side} mouth corner up and out, for a smile."),
    ("corner_pull_sharp_*", ("13",), _ON, "", "Pulls the {side} mouth corner sharply upwards."),
    ("dimple_*", ("14",), _ON, "", "Tucks the {side} mouth corner inwards, as in a smirk."),
    ("corner_depress_*", ("15",), _ON, "", "Draws the {side} mouth corner down, as in sadness."),
    ("lip_stretch_*", ("20",), _ON, "", "Stretches the {side} mouth corner sideways and back, as in fear."),
    ("upper_lip_raise_*", ("10",), _ON, "", "Raises the {side} half of the upper lip off the teeth."),
    ("lower_lip_depress_*", ("16",), _ON, "", "Lowers the {side} half of the lower lip off the teeth."),
    ("chin_raise_*", ("17",), _ON, "", "Pushes the {side} half of the chin and lower lip up, as in a pout."),
    ("upper_lip_shrug", ("17", "10"), _ON, "", "Pushes the upper lip up and out, as in a mouth shrug."),
    ("lip_press_upper_*", ("24",), _ON, "", "Presses the {side} half of the upper lip against the lower."),
    ("lip_press_lower_*", ("24",), _ON, "", "Presses the {side} half of the lower lip against the upper."),
    ("lip_tighten_upper_*", ("23",), _ON, "", "Thins the {side} half of the upper lip by tightening it."),
    ("lip_tighten_lower_*", ("23",), _ON, "", "Thins the {side} half of the lower lip by tightening it."),
    ("lip_roll_in_upper_*", ("28",), _ON, "", "Rolls the {side} half of the upper lip in over the teeth."),
    ("lip_roll_in_lower_*", ("28",), _ON, "", "Rolls the {side} half of the lower lip in over the teeth."),
    ("lip_funnel_upper_*", ("22",), _ON, "", "Funnels the {side} half of the upper lip, as in 'sh'."),
    ("lip_funnel_lower_*", ("22",), _ON, "", "Funnels the {side} half of the lower lip, as in 'sh'."),
    ("lip_pucker_upper_*", ("18",), _ON, "", "Puckers the {side} half of the upper lip, as in 'oo'."),
    ("lip_pucker_lower_*", ("18",), _ON, "", "Puckers the {side} half of the lower lip, as in 'oo'."),
    ("lip_evert_upper", ("22",), _ON, "", "Rolls the upper lip outwards so that more of its red shows."),
    ("lip_evert_lower", ("22",), _ON, "", "Rolls the lower lip outwards so that more of its red shows."),
    ("mouth_left", (), _ON, "", "Moves the whole mouth towards the subject's left."),
    ("mouth_right", (), _ON, "", "Moves the whole mouth towards the subject's right."),
    ("mouth_shift_vertical", (), _SIGNED, "", "Moves the whole mouth up (+) or down (-)."),
    ("ear_raise_*", (), _ON, "", "Lifts the {side} ear."),
    ("lips_part", ("25",), _ON, "", "Parts the lips without opening the jaw."),
    ("neck_tighten_*", ("21",), _ON, "", "Tenses the {side} cords of the neck (platysma)."),
    ("tongue_out", ("19",), _ON, "", "Puts the tongue out; open the jaw with it."),
    ("tongue_yaw", ("36",), _SIGNED, "±15°", "Turns the tongue towards the subject's left (+) or right (-)."),
    ("tongue_pitch", ("37",), _SIGNED, "±15°", "Turns the tongue up (+) or down (-)."),
    ("tongue_curl", ("37",), _SIGNED, "±50°", "Curls the tip of the tongue up (+) or down (-)."),
    ("tongue_narrow", (), _ON, "", "Narrows the tongue into a trough."),
    ("head_yaw", ("51", "52"), _SIGNED, "±45°", "Turns the head to the subject's left (+) or right (-)."),
    ("head_pitch", ("53", "54"), _SIGNED, "±30°", "Turns the head up (+) or down (-)."),
    ("head_roll", ("55", "56"), _SIGNED, "±30°", "Tilts the head to its left (+) or right (-) shoulder."),
)

# Multiplied by -1 in a mirror: their sign is a direction to the subject's left.
MIRROR_NEGATES = frozenset({"gaze_yaw_L", "gaze_yaw_R", "tongue_yaw", "head_yaw", "head_roll"})
