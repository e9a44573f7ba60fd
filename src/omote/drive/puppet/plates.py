"""Plates: pieces of the photo completed beyond what hides them, in the photo's own view."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_ORDINARY = 0.15
"""Range of the channels over their mean from which on skin is in colour."""


@dataclass(frozen=True)
class Plate:
    """What the photo would show of a part if nothing hid it.

    Attributes:
        picture: (h, w, 3) uint8.
        corner: (x, y) px of its upper left corner in the photo.
        white: (3,) sRGB 0..255 of an eye's white as the photo shows it, or None where it does not.
    """

    picture: NDArray[np.uint8]
    corner: tuple[int, int]
    white: Array | None


def opening_mask(contour: Array, corner: tuple[int, int], size: tuple[int, int], rim: float = 0.0) -> Array:
    """(h, w) 0..1: 1 well inside a contour (K, 2) px; ``rim``: of its width, what is left out along it."""
    scale = 4
    mask = np.zeros((size[1] * scale, size[0] * scale), np.uint8)
    cv2.fillPoly(mask, [np.round((contour - corner) * scale).astype(np.int32)], 255)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 3) / scale
    inside = cv2.resize(inside, size, interpolation=cv2.INTER_AREA)
    edge = rim * float(np.ptp(contour[:, 0]))
    out: Array = np.clip((inside - edge) / max(0.5 * edge, 0.75), 0, 1).astype(np.float32)
    return out


def crop(photo: NDArray[np.uint8], corner: tuple[int, int], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The part of a photo at a corner; what lies outside repeats the border."""
    rows = np.clip(np.arange(corner[1], corner[1] + size[1]), 0, len(photo) - 1)
    columns = np.clip(np.arange(corner[0], corner[0] + size[0]), 0, photo.shape[1] - 1)
    return photo[np.ix_(rows, columns)]


def diffuse(picture: Array, weight: Array) -> Array:
    """(h, w, 3) the weighted mean of what is known, from near first: a pyramid of ever wider averages."""
    total = np.zeros_like(picture)
    left = np.ones(weight.shape, np.float32)
    sigma = 1.0
    while sigma < 2 * max(weight.shape):
        mass = cv2.GaussianBlur(weight, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
        mean = cv2.GaussianBlur(picture * weight[..., None], (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
        trust = left * np.clip(mass / 0.15, 0, 1)
        total += mean / np.maximum(mass, 1e-6)[..., None] * trust[..., None]
        left = left - trust
        sigma *= 2
    mean = (picture * weight[..., None]).sum((0, 1)) / max(float(weight.sum()), 1e-6)
    out: Array = (total + left[..., None] * mean).astype(np.float32)
    return out


def colourfulness(skin: Array) -> float:
    """0 for a photo in black and white, 1 for an ordinary one, by its skin (3,) sRGB 0..255."""
    return float(np.clip(np.ptp(skin) / max(float(skin.mean()), 1.0) / _ORDINARY, 0, 1))
