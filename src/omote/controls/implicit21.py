"""IMPLICIT21: the motion of LivePortrait's 21 implicit keypoints, as a motion template holds it.

A network found these points by itself; people gave them no names, and which of them are mirror partners was
never published. So the space is ``learned``: nothing converts it to named controls and nothing mirrors it.

Per frame: the expression offset of each keypoint in x, y and z (it is added to the turned canonical keypoint
before the scale), the scale, the translation, and how far eyes and lips are open. Everything is in the
network's own frame and unit: x right, y down, z into the image, the 256 px crop from -1 to 1. The head's rotation is
the Performance's own. Ratios that a template lacks have a control confidence of 0.

Source: LivePortrait (arXiv 2407.03168) section 3.1 and its published code; ranges are those of 1151 frames of
published templates (offsets within 0.082, scale 1.10..1.69, translation within 0.23, ratios up to 0.67) with room.
"""

from __future__ import annotations

KEYPOINTS = 21
EYE_KEYPOINTS: tuple[int, ...] = (11, 13, 15, 16, 18)
LIP_KEYPOINTS: tuple[int, ...] = (6, 12, 14, 17, 19, 20)

_PLACES = {
    **dict.fromkeys(EYE_KEYPOINTS, " (about the eyes)"),
    **dict.fromkeys(LIP_KEYPOINTS, " (about the lips)"),
    1: " (a brow)",
    2: " (a brow)",
    5: " (shifts the whole head)",
}


def offset_names(keypoint: int) -> tuple[str, str, str]:
    """The control names of a keypoint's offset in x, y and z."""
    return f"kp{keypoint:02d}_x", f"kp{keypoint:02d}_y", f"kp{keypoint:02d}_z"


OFFSETS: tuple[str, ...] = tuple(name for k in range(KEYPOINTS) for name in offset_names(k))
TRANSLATION: tuple[str, ...] = ("t_x", "t_y", "t_z")
EYE_RATIOS: tuple[str, ...] = ("eye_ratio_R", "eye_ratio_L")  # image-left eye first, as in the templates
LIP_RATIO = "lip_ratio"
RATIOS: tuple[str, ...] = (*EYE_RATIOS, LIP_RATIO)

# name, low, high, neutral, doc
Row = tuple[str, float, float, float, str]
ROWS: tuple[Row, ...] = (
    *(
        (name, -0.5, 0.5, 0.0, f"Moves implicit keypoint {k}{_PLACES.get(k, '')} along {name[-1]}.")
        for k in range(KEYPOINTS)
        for name in offset_names(k)
    ),
    ("scale", 0.05, 10.0, 1.0, "Size of the face in the crop."),
    ("t_x", -2.0, 2.0, 0.0, "Moves the face to the right of the crop (half a crop is 1)."),
    ("t_y", -2.0, 2.0, 0.0, "Moves the face down the crop (half a crop is 1)."),
    ("t_z", -2.0, 2.0, 0.0, "Written by the network, used by nothing: 0 in every published template."),
    ("eye_ratio_R", 0.0, 2.0, 0.28, "Opening of the right eye, lid distance over eye width; 0 is closed."),
    ("eye_ratio_L", 0.0, 2.0, 0.28, "Opening of the left eye, lid distance over eye width; 0 is closed."),
    ("lip_ratio", 0.0, 5.0, 0.0, "Opening of the mouth, lip distance over mouth width; 0 is closed."),
)
