"""Several photos' textures of one person as one: colours matched, the clearest view of each place preferred."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from omote.render.texture_atlas import AtlasMap
from omote.render.texture_fill import match

Floats = NDArray[np.float32]

_PREFER = 4
"""Power of the confidence in the weights: the best view wins, and its borders are soft."""
_USUAL_AWAY = 0.06
"""Distance from the median colour, sRGB, at which a view counts half where three or more agree."""
_SOFT = 5.0
"""Blur of the weights, texels at 1024."""


def blend(atlas: AtlasMap, colours: Sequence[Floats], confidences: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Merge textures.

    Args:
        atlas: of all of them.
        colours: (N, 3) sRGB each.
        confidences: (N,) 0..1 each.

    Returns:
        (N, 3) sRGB and (N,) the largest confidence. All are brought to the low-frequency colours of the one that
        shows most, sharply. A blurred photo counts less by the detail that it lacks against the others.
    """
    import cv2

    quality = _sharpness(atlas, colours, confidences)
    first = int(np.argmax([q * float(c.sum()) for q, c in zip(quality, confidences, strict=True)]))
    skin = atlas.part("skin")
    matched = []
    for k, (colour, confidence) in enumerate(zip(colours, confidences, strict=True)):
        common = np.minimum(confidence, confidences[first]) * skin
        moved = match(atlas, colour, colours[first], common) if k != first and common.any() else colour
        matched.append(np.where(skin[:, None], moved, colour))
    weights = [q * c**_PREFER for q, c in zip(quality, confidences, strict=True)]
    if len(matched) > 2:
        middle = _median(matched, confidences)
        for colour, weight in zip(matched, weights, strict=True):
            away = np.abs(colour - middle).max(1) / _USUAL_AWAY
            weight /= 1 + away**4
    total = np.zeros(len(skin), np.float32)
    out = np.zeros((len(skin), 3), np.float32)
    for colour, weight, confidence in zip(matched, weights, confidences, strict=True):
        blurred = atlas.values(cv2.GaussianBlur(atlas.image(weight), (0, 0), _SOFT * atlas.size / 1024))
        share = np.where(confidence > 0, blurred + 1e-6, 0).astype(np.float32)
        out += colour * share[:, None]
        total += share
    merged = np.asarray(out / np.maximum(total, 1e-9)[:, None], np.float32)
    return merged, np.asarray(np.max(confidences, axis=0), np.float32)


def _sharpness(atlas: AtlasMap, colours: Sequence[Floats], confidences: Sequence[Floats]) -> list[float]:
    """How much fine detail each has on what all show, against the sharpest, 0.05..1."""
    import cv2

    common = np.min(confidences, axis=0) * atlas.part("skin")
    if (common > 0.3).sum() < 100:
        return [1.0] * len(colours)
    energy = []
    for colour in colours:
        grey = atlas.image(colour.mean(1))
        fine = np.abs(atlas.values(grey - cv2.GaussianBlur(grey, (0, 0), 3.0 * atlas.size / 1024)))
        energy.append(float(np.minimum(fine, 0.1)[common > 0.3].mean()))
    best = max(max(energy), 1e-6)
    return [float(np.clip((e / best) ** 2, 0.05, 1.0)) for e in energy]


def _median(colours: Sequence[Floats], confidences: Sequence[Floats]) -> Floats:
    """(N, 3) median over the views that show a texel."""
    shown = np.where(np.stack(confidences)[..., None] > 0.05, np.stack(colours), np.nan)
    empty = np.isnan(shown).all(axis=0)
    shown[:, empty] = 0
    return np.asarray(np.nanmedian(shown, axis=0), np.float32)
