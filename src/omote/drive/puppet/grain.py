"""The photo's grain and sharpness, for what is painted into it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_SHARPEST, _SOFTEST = 0.35, 2.5
"""Standard deviation of the blur that a photo may have, in its pixels."""
_PAINT = 0.7
_SEED = 5


def grain_of(photo: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    """Standard deviation of the photo's noise, sRGB 0..255, in a region (H, W).

    Immerkaer, "Fast Noise Variance Estimation", 1996: the difference of two Laplacians is blind to gradients; the
    median of its size is blind to edges.
    """
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = np.abs(cv2.filter2D(grey, -1, mask))[where]
    return 0.0 if len(response) < 64 else float(1.4826 * np.median(response) / 6)


def blur_of(photo: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    """Standard deviation of the blur, pixels, that explains the sharpest edges of a region (H, W).

    Across an edge blurred by sigma the steepest slope is its height over sigma sqrt(2 pi).
    """
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slope = np.hypot(cv2.Sobel(grey, -1, 1, 0, scale=1 / 8), cv2.Sobel(grey, -1, 0, 1, scale=1 / 8))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    height = cv2.dilate(grey, disc) - cv2.erode(grey, disc)
    sharp = np.where((height > 25) & where, slope / np.maximum(height, 1), 0)
    values = sharp[sharp > 0]
    if len(values) < 64:
        return 0.8
    steepest = float(np.percentile(values, 98))
    return float(np.clip(1 / (steepest * np.sqrt(2 * np.pi)), _SHARPEST, _SOFTEST))


def match(fill: NDArray[np.uint8], painted: Array, texels: float, blur: float, grain: float) -> None:
    """Give paint in an atlas (S, S, 3) the photo's sharpness and grain, in place.

    The grain lies in the texture: it moves with the surface, and frames do not flicker.

    Args:
        fill: the atlas.
        painted: (S, S) 0..1 which texels are paint.
        texels: texels to a photo pixel.
        blur: standard deviation, photo pixels.
        grain: standard deviation, sRGB 0..255.
    """
    size = len(fill)
    softer = np.sqrt(max(blur**2 - _PAINT**2, 0.01))  # the paint and its sampling are soft themselves
    soft = cv2.GaussianBlur(fill, (0, 0), softer * texels).astype(np.float32)
    coarse = np.random.default_rng(_SEED).standard_normal([max(int(size / max(texels, 1)), 1)] * 2)
    noise = cv2.resize(coarse.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
    noise *= grain / max(float(noise.std()), 1e-6)
    share = painted[..., None]
    mixed = fill * (1 - share) + (soft + noise[..., None]) * share
    fill[:] = np.clip(np.round(mixed), 0, 255).astype(np.uint8)
