"""Which of MediaPipe's 478 landmarks lie along the contours of a face, in order around each."""

from __future__ import annotations

OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176),
    *(149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""The outline of the face; it slides over the surface as the head turns."""
LIPS_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
LIPS_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
EYE = {
    "L": (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
    "R": (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
}
"""The lid margins, by the subject's own side."""
BROW = {
    "L": (276, 283, 282, 295, 285, 336, 296, 334, 293, 300),
    "R": (46, 53, 52, 65, 55, 107, 66, 105, 63, 70),
}
"""Lower then upper edge of the brows."""
NOSE_BRIDGE = (168, 6, 197, 195, 5, 4, 1)
NOSE_BASE = (98, 97, 2, 326, 327)
