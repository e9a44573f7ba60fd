"""Eyeballs from what a photo shows of them: the iris in rings about the pupil, the white as one colour with veins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from omote.render.paint_parts import IRIS_RADIUS, SCLERA
from omote.render.texture_atlas import AtlasMap
from omote.render.texture_view import smoothstep
from omote.rigs.asset import SIDES, load_head_asset
from omote.rigs.constants import pupil_rotation

Floats = NDArray[np.float32]

_RING = 0.00025
"""Width of a ring on the template, metres."""
_RINGS = 32
_LIMBUS = 0.0011
"""Metres beyond the iris over which rings give way to the white of the eye."""
_ENOUGH = 0.3
"""Confidence, summed over a ring's share of the atlas, from which the ring counts."""
_WHITE = (0.12, 1.08)
"""Bounds of the seen white over the painted one: the light that falls on the eyes."""


def fill_eyes(atlas: AtlasMap, colour: Floats, confidence: Floats, paint: Floats) -> tuple[Floats, Floats]:
    """Complete both eyeballs.

    Args:
        atlas: the atlas.
        colour: (N, 3) sRGB of what is seen.
        confidence: (N,) 0..1.
        paint: (N, 3) sRGB of the procedural paint.

    Returns:
        (n, 3) sRGB of the eyeballs' texels in their order, and (3,) the seen white over the painted one: how teeth
        are to be tinted. Without any visible white it follows from the skin's brightness.
    """
    balls = [atlas.part(f"eye_{side}") for side in SIDES]
    places = [_radius(atlas, ball, side) for ball, side in zip(balls, SIDES, strict=True)]
    rings = [_rings(p, colour[b], confidence[b]) for p, b in zip(places, balls, strict=True)]
    white = _white(balls, places, colour, confidence, paint, atlas)
    eyes = np.flatnonzero(balls[0] | balls[1])
    out = np.zeros((len(atlas.texels.row), 3), np.float32)
    for own in (0, 1):
        means, mass = rings[own]
        other, other_mass = rings[1 - own]
        weak = mass < _ENOUGH * other_mass  # what one lid hides, the other eye may show
        means, mass = np.where(weak[:, None], other, means), np.where(weak, other_mass, mass)
        place, ball = places[own], balls[own]
        painted = paint[ball]
        paint_rings, paint_mass = _rings(place, painted, np.ones(len(painted), np.float32))
        usual = paint_rings * white
        known = np.minimum(mass / np.maximum(0.15 * paint_mass, 1e-6), 1.0)[:, None]
        target = usual + (means - usual) * known
        at = np.clip(place / _RING - 0.5, 0, _RINGS - 1)
        lower = np.minimum(at.astype(int), _RINGS - 2)
        part = (at - lower)[:, None]
        goal = target[lower] * (1 - part) + target[lower + 1] * part
        rest = paint_rings[lower] * (1 - part) + paint_rings[lower + 1] * part
        ring = goal * np.clip(painted / np.maximum(rest, 0.02), 0.6, 1.5)
        outside = smoothstep(place, IRIS_RADIUS + 0.0004, IRIS_RADIUS + 0.0004 + _LIMBUS)[:, None]
        filled = ring * (1 - outside) + painted * white * outside
        share = smoothstep(confidence[ball], 0.15, 0.7)[:, None]
        out[ball] = filled + (colour[ball] - filled) * share
    return out[eyes], white


def _radius(atlas: AtlasMap, ball: np.ndarray, side: str) -> Floats:
    """(n,) metres from the pupil's axis; behind the middle of the eyeball, more than any iris."""
    asset = load_head_asset()
    offset = atlas.texels.position[ball] - asset["template"][asset[f"ball_{side}"]].mean(0)
    x, y, z = (offset @ pupil_rotation(side)).T
    return np.where(z > 0, np.hypot(x, y), 1.0).astype(np.float32)


def _rings(radius: Floats, colour: Floats, amount: Floats) -> tuple[Floats, Floats]:
    """Mean colour (_RINGS, 3) of each ring and its mass; highlights and lash shadows count little."""
    ring = np.minimum((radius / _RING).astype(int), _RINGS)

    def mean(share: Floats) -> tuple[np.ndarray, np.ndarray]:
        mass = np.bincount(ring, share, _RINGS + 1)[:-1]
        sums = [np.bincount(ring, share * colour[:, k], _RINGS + 1)[:-1] for k in range(3)]
        return np.stack(sums, 1) / np.maximum(mass, 1e-6)[:, None], mass

    means, mass = mean(amount)
    for _ in range(2):
        away = np.abs(colour - np.append(means, [[0, 0, 0]], 0)[ring]).max(1)
        means, _ = mean(np.asarray(amount / (1 + (away / 0.08) ** 2), np.float32))
    return means.astype(np.float32), mass.astype(np.float32)


def _white(
    balls: list[np.ndarray],
    places: list[Floats],
    colour: Floats,
    confidence: Floats,
    paint: Floats,
    atlas: AtlasMap,
) -> Floats:
    """(3,) seen white over `SCLERA`."""
    shown = [
        colour[ball][(place > IRIS_RADIUS + 0.001) & (place < 0.5) & (confidence[ball] > 0.5)]
        for ball, place in zip(balls, places, strict=True)
    ]
    whites = np.concatenate(shown)
    enough = max(8, round(40 * (atlas.size / 1024) ** 2))
    if len(whites) >= enough:
        bright = whites.mean(1)
        best = whites[(bright >= np.quantile(bright, 0.55)) & (bright <= np.quantile(bright, 0.95))]
        if len(best):
            return np.asarray(np.clip(np.median(best, axis=0) / SCLERA, *_WHITE), np.float32)
    skin = atlas.part("skin") & (confidence > 0.6)
    if not skin.any():
        return np.ones(3, np.float32)
    light = float(np.median(colour[skin].mean(1)) / np.median(paint[skin].mean(1)))
    return np.full(3, np.clip(light, *_WHITE), np.float32)
