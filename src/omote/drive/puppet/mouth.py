"""Inside the mouth: teeth, tongue and cavity in the colours and the light of the photo."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from omote.drive.puppet.binding import INTERIOR, layout, ramp
from omote.drive.puppet.plates import Plate, colourfulness, crop, diffuse, opening_mask
from omote.render.albedo import paint_albedo
from omote.render.texels import atlas_texels
from omote.rigs.contours import LIPS_INNER, LIPS_OUTER
from omote.rigs.facs import load_rig

Array = NDArray[np.float32]

_TEETH, _GUMS = 0.93, 0.62
"""sRGB brightness of teeth relative to white in the face's light, and of the cavity's wall relative to the lips."""
_TONGUE = 1.0
_WHITE_OVER_SKIN = 1.28
"""White over skin of average reflectance, sRGB brightness, in the same light."""
_BEHIND_LIPS = 0.005
"""Metres behind the inner lips where the light begins to fall off."""
_GAMMA = 0.6
"""Share of the sky to sRGB brightness; above 1 / 2.2, because the walls that reflect the rest are dark."""
_AMBIENT = 0.3
"""Brightness inside that does not come straight through the gap."""
_LIP_RIM = 0.03
"""Of the mouth's width: what lies nearer to the lips has their colour in it."""
_GUM = (0.4, 0.7)
"""Brightness of the paint relative to the brightest teeth at which it is gum, and tooth."""
_SHADE, _AJAR = 0.45, (0.001, 0.007)
"""How much darker it is between lips that are the first, and not yet the second, of these metres apart."""
_RELIEF = {"teeth_upper": (0.85, 0.6), "teeth_lower": (0.85, 0.6), "tongue": (0.3, 0.8), "mouth": (0.3, 0.8)}
"""Contrast of the paint that is kept, and the darkest it may be: gaps between the teeth, the folds of the tongue."""
_UPPER, _LOWER, _CORNER = 13, 14, (78, 308)


@dataclass(frozen=True)
class Opening:
    """The gap between the lips: what light enters by.

    Attributes:
        centre: (3,) metres, camera space.
        height: metres between the middles of the lips.
        width: metres between the corners.
    """

    centre: Array
    height: float
    width: float

    @classmethod
    def of(cls, points: Array) -> Opening:
        """Of a posed head (V, 3)."""
        marks = load_rig().landmarks
        lips = np.einsum(
            "kjc,kj->kc", points[marks.vertices[list(LIPS_INNER)]], marks.barycentric[list(LIPS_INNER)]
        )
        place = {number: lips[k] for k, number in enumerate(LIPS_INNER)}
        height = float(np.linalg.norm(place[_UPPER] - place[_LOWER]))
        width = float(np.linalg.norm(place[_CORNER[0]] - place[_CORNER[1]]))
        return cls(lips.mean(0), height, width)


def interior_light(points: Array, forward: Array, opening: Opening) -> Array:
    """(V,) factor of sRGB brightness: 1 outside the mouth; inside, what the gap between the lips lets in.

    At depth d behind the middle of a slit of half height b, the share b / sqrt(b^2 + d^2) of the sky is seen; the
    slit's ends cut it down in the same way.

    Args:
        points: (V, 3) metres, camera space.
        forward: (3,) unit, where the face looks, camera space.
        opening: of the same head.
    """
    depth = np.maximum((opening.centre - points) @ forward - _BEHIND_LIPS, 0)
    sky = np.ones(len(points))
    for half in (opening.height / 2, opening.width / 2):
        sky *= half / np.sqrt(half**2 + depth**2 + 1e-9)
    shade = 1 - _SHADE * (
        1 - ramp(opening.height, *_AJAR)
    )  # lips that hardly part shade even the foremost teeth
    light = np.where(layout().inside_mouth, shade * (_AMBIENT + (1 - _AMBIENT) * sky**_GAMMA), 1)
    return light.astype(np.float32)


def mouth_plate(landmarks: Array, photo: NDArray[np.uint8]) -> Plate:
    """The inside of an open mouth, drawn out under the lips; landmarks (478, 2) px."""
    contour, around = landmarks[list(LIPS_INNER)], landmarks[list(LIPS_OUTER)]
    room = 0.25 * np.ptp(around[:, 0])
    low, high = np.floor(around.min(0) - room).astype(int), np.ceil(around.max(0) + room).astype(int)
    corner, size = (int(low[0]), int(low[1])), (int(high[0] - low[0]), int(high[1] - low[1]))
    picture = crop(photo, corner, size).astype(np.float32)
    drawn_out = diffuse(picture, opening_mask(contour, corner, size, rim=_LIP_RIM))
    shown = opening_mask(contour, corner, size)[..., None]
    mixed = np.clip(shown * picture + (1 - shown) * drawn_out, 0, 255)
    return Plate(mixed.astype(np.uint8), corner, None)


def tint_interior(fill: NDArray[np.uint8], skin: Array, lips: Array, white: Array | None) -> Array:
    """Paint the inside of the mouth into an atlas (S, S, 3), in place.

    Args:
        fill: the completed atlas.
        skin: (3,) sRGB 0..255, median of the face.
        lips: (3,) sRGB 0..255.
        white: (3,) sRGB 0..255 of the eyes' white as the photo shows it, or None.

    Returns:
        (S, S) 0..1, which texels are paint now.
    """
    size = len(fill)
    texels = atlas_texels(size)
    names = load_rig().part_names
    paint = _paint(size)[texels.covered].astype(np.float32)
    target = {
        "teeth_upper": _tooth(skin, white),
        "teeth_lower": _tooth(skin, white) * 0.85,
        "tongue": lips * _TONGUE,
        "mouth": lips * _GUMS,
    }
    colours = fill[texels.covered]
    for name in INTERIOR:
        inside = texels.part == names.index(name)
        contrast, darkest = _RELIEF[name]
        relief = paint[inside] / np.maximum(np.percentile(paint[inside], 95, axis=0), 1)
        colour = np.clip(1 + contrast * (relief - 1), darkest, 1.1) * target[name]
        if name.startswith("teeth"):  # most of these meshes is gum and the teeth's backs
            tooth = ramp(relief.min(1), *_GUM)[:, None]
            colour = tooth * colour + (1 - tooth) * lips * _GUMS
        colours[inside] = np.clip(colour, 0, 255)
    fill[texels.covered] = colours
    painted = np.zeros((size, size), np.float32)
    painted[texels.covered] = np.isin(texels.part, [names.index(name) for name in INTERIOR])
    return painted


@lru_cache(maxsize=2)
def _paint(size: int) -> NDArray[np.uint8]:
    return paint_albedo(size=size)


def _tooth(skin: Array, white: Array | None) -> Array:
    """(3,) sRGB of teeth in the light that falls on this face."""
    level = float(skin.mean()) * _WHITE_OVER_SKIN
    tint = 1 + colourfulness(skin) * (np.array((1.05, 1.0, 0.89), np.float32) - 1)
    if white is not None:
        level = max(level, float(white.mean()))
        chroma = white / max(float(white.mean()), 1.0)
        tint = tint * (0.5 + 0.5 * chroma)
    return np.clip(level * _TEETH * tint / tint.mean(), 0, 240).astype(np.float32)


def lip_colour(photo: NDArray[np.uint8], landmarks: Array) -> Array:
    """(3,) sRGB 0..255, median of the photo between the outer and the inner contour of the lips."""
    import cv2

    mask = np.zeros(photo.shape[:2], np.uint8)
    for contour, value in ((LIPS_OUTER, 1), (LIPS_INNER, 0)):
        cv2.fillPoly(mask, [np.round(landmarks[list(contour)]).astype(np.int32)], value)
    inside = photo[mask > 0]
    colour = np.median(inside, axis=0) if len(inside) else np.array((150, 90, 85))
    return colour.astype(np.float32)
