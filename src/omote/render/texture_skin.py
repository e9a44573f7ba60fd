"""Which seen texels look like this person's skin, and where on the head only skin should be: neck and ears."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from omote.render.paint_skin import rim_curves
from omote.render.texture_atlas import AtlasMap, atlas_map
from omote.render.texture_view import smoothstep

Floats = NDArray[np.float32]

_ENOUGH = 200
"""Seen texels of the middle face (at 1024) without which nothing is said about skin."""
_FRONT_OF_NECK = (0.77, 0.30)
"""Where the front of the neck lies in the atlas: below this v, left of this u; down the atlas is down the neck."""
_UPPER_RIM, _LOWER_RIM = (0.0012, 0.0042), (0.0008, 0.0026)
"""Metres from a lid's rim within which its skin is painted, and beyond which it is the photo's."""
_SPREAD = 5.0
"""Least usual distance in CIELAB's a and b within a face; more where the light is coloured."""


def skin_likeness(atlas: AtlasMap, colour: Floats, amount: Floats) -> Floats:
    """(N,) 0..1: how much texels look like the skin of the middle of this face; 1 where that is not seen.

    The middle of the face gives a robust mean of CIELAB's a and b and of lightness. Chroma decides; lightness only at
    extremes, since shadow is no other material.

    Args:
        atlas: the atlas.
        colour: (N, 3) sRGB 0..1.
        amount: (N,) 0..1 how well each is seen.
    """
    found = _usual_skin(atlas, colour, amount)
    if found is None:
        return np.ones(len(colour), np.float32)
    lab, usual, spread = found
    away = np.hypot(*(lab[:, 1:] - usual[1:]).T)
    dark = smoothstep(lab[:, 0] / max(float(usual[0]), 1.0), 0.25, 0.45)
    return np.asarray((1 - smoothstep(away / spread, 2.0, 3.2)) * dark, np.float32)


def keep_bare(atlas: AtlasMap, colour: Floats, confidence: Floats) -> Floats:
    """Confidence (N,) without clothes on the neck and hair before neck and ears.

    Stricter than `skin_likeness`, and away from edges, where pixels are mixed. Below a collar all is clothes.
    """
    import cv2

    found = _usual_skin(atlas, colour, confidence)
    if found is None:
        return confidence
    lab, usual, spread = found
    away = np.hypot(*(lab[:, 1:] - usual[1:]).T)
    light = lab[:, 0] / max(float(usual[0]), 1.0)
    like = (1 - smoothstep(away / spread, 1.6, 2.6)) * smoothstep(light, 0.40, 0.60)
    like *= 1 - _regions(atlas.size)[3] * smoothstep(
        light, 1.12, 1.25
    )  # a white collar; but light on a temple
    like[confidence <= 0] = 1
    picture = atlas.image(like - 1) + 1
    scale = atlas.size / 1024
    width = max(1, round(4 * scale)) * 2 + 1
    picture = cv2.erode(picture, np.ones((width, width), np.uint8))
    picture = cv2.GaussianBlur(picture, (0, 0), 4 * scale)
    row, column = (round(share * atlas.size) for share in _FRONT_OF_NECK)
    neck = picture[row:, :column]
    np.minimum.accumulate(neck, axis=0, out=neck)
    region = _regions(atlas.size)[1]
    return np.asarray(confidence * (1 - region * (1 - atlas.values(picture))), np.float32)


def _usual_skin(atlas: AtlasMap, colour: Floats, amount: Floats) -> tuple[Floats, Floats, float] | None:
    """CIELAB of all texels (N, 3), its median over the middle of the face (3,), and the usual distance in a and b."""
    import cv2

    middle = _regions(atlas.size)[0] & (amount > 0.6)
    if middle.sum() < _ENOUGH * (atlas.size / 1024) ** 2:
        return None
    lab = cv2.cvtColor(np.ascontiguousarray(colour)[None], cv2.COLOR_RGB2LAB)[0]
    usual = np.median(lab[middle], axis=0)
    away = np.hypot(*(lab[middle, 1:] - usual[1:]).T)
    return lab, usual, max(float(np.median(away)) * 1.5, _SPREAD)


def haired(size: int) -> Floats:
    """(N,) 0..1: where the procedural paint shows hair on the scalp."""
    return _regions(size)[2]


@lru_cache(maxsize=3)
def _regions(size: int) -> tuple[NDArray[np.bool_], Floats, Floats, Floats]:
    """Middle of the face (brows, lids and lips left out); neck, ears and temples; scalp; neck."""
    atlas = atlas_map(size)
    skin = atlas.part("skin")
    x, y, z = atlas.texels.position.T
    side = np.abs(x)
    middle = skin & (side < 0.048) & (z > -0.02) & (y < -0.016) & (y > -0.060)
    middle |= skin & (side < 0.035) & (y > 0.028) & (y < 0.042) & (z > 0)
    neck = smoothstep(-z, 0.005, 0.030) * smoothstep(-y, 0.080, 0.095)
    by_ear = 1 - smoothstep(np.hypot((y + 0.022) / 0.036, (z + 0.062) / 0.032), 0.85, 1.1)
    ears = np.maximum(smoothstep(side, 0.070, 0.076) * by_ear, smoothstep(side, 0.077, 0.080))
    line = 0.062 - 0.55 * np.maximum(0, side - 0.035)
    back = 0.046 - 1.9 * np.maximum(0, -z - 0.012)
    lowest = np.where(z > -0.012, line, np.maximum(np.minimum(line, back), -0.085))
    scalp = smoothstep(y - lowest, -0.004, 0.010) * (1 - ears) * skin
    temples = smoothstep(side, 0.055, 0.063) * smoothstep(y, -0.045, -0.030) * (1 - scalp) * (z > -0.07)
    bare = np.maximum(np.maximum(neck, ears), temples) * skin
    return middle, np.asarray(bare, np.float32), np.asarray(scalp, np.float32), neck


@lru_cache(maxsize=6)
def near_lids(size: int, reach: float = 1.0) -> Floats:
    """(N,) 0..1: skin at the rims of the lids, where a photo shows lashes and, if a lid is a little off, the eye.

    Args:
        size: of the atlas.
        reach: factor of the distances from the rims.
    """
    from scipy.spatial import cKDTree

    atlas = atlas_map(size)
    position = atlas.texels.position
    close = atlas.part("skin") & (np.abs(position[:, 1]) < 0.015) & (position[:, 2] > -0.02)
    share = np.zeros(len(position), np.float32)
    curves = rim_curves()
    for lines, (least, most) in ((curves[::2], _UPPER_RIM), (curves[1::2], _LOWER_RIM)):
        rim, limit = cKDTree(np.concatenate(lines)), most * reach
        distance = rim.query(position[close], distance_upper_bound=limit)[0]
        share[close] = np.maximum(share[close], 1 - smoothstep(distance, least * reach, limit))
    return share
