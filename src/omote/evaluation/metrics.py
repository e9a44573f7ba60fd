"""Pixel metrics of images against their truth, over the whole image or a region: L1, PSNR, SSIM."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from omote.checks import check_shape

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Image = NDArray[np.uint8]

PSNR_CAP = 60.0
"""dB. Equal regions would have an infinite PSNR; above this, 8-bit images are equal to the eye."""

INNER_LIPS = (
    *(78, 191, 80, 81, 82, 13, 312, 311, 310, 415),
    *(308, 324, 318, 402, 317, 14, 87, 178, 88, 95),
)
"""MediaPipe's inner lip contour, in order around it."""
_RIGHT_EYE = (130, 247, 30, 29, 27, 28, 56, 190, 243, 112, 26, 22, 23, 24, 110, 25)
_LEFT_EYE = (359, 467, 260, 259, 257, 258, 286, 414, 463, 341, 256, 252, 253, 254, 339, 255)
EYE_RINGS = (_RIGHT_EYE, _LEFT_EYE)
"""The first ring of landmarks outside of each eye's lids."""

_SSIM_SIGMA, _SSIM_RADIUS = 1.5, 5
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2


def squared_error(output: Image, truth: Image) -> Floats:
    """(H, W) mean over the channels of the squared difference of two (H, W, 3) uint8 images taken as 0..1.

    Raises:
        InputError: the images differ in size.
    """
    check_shape("output", output, *truth.shape)
    away = (output.astype(np.float32) - truth.astype(np.float32)) / np.float32(255)
    return np.asarray((away * away).mean(2), np.float32)


def absolute_error(output: Image, truth: Image) -> Floats:
    """(H, W) mean over the channels of the absolute difference of two (H, W, 3) uint8 images taken as 0..1.

    Raises:
        InputError: the images differ in size.
    """
    check_shape("output", output, *truth.shape)
    away = np.abs(output.astype(np.float32) - truth.astype(np.float32)) / np.float32(255)
    return np.asarray(away.mean(2), np.float32)


def psnr(squared: Floats, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in dB, at most `PSNR_CAP`; NaN for an empty region.

    Args:
        squared: (H, W) squared error of images whose peak is 1.
        mask: (H, W) the pixels that count; default all.
    """
    values = squared if mask is None else squared[mask]
    if values.size == 0:
        return float("nan")
    mean = float(values.mean(dtype=np.float64))
    return min(PSNR_CAP, -10.0 * np.log10(mean)) if mean > 0 else PSNR_CAP


def mean_over(values: Floats, mask: Mask | None = None) -> float:
    """Mean of (H, W) values over a mask; NaN for an empty region."""
    chosen = values if mask is None else values[mask]
    return float(chosen.mean(dtype=np.float64)) if chosen.size else float("nan")


def ssim_map(output: Image, truth: Image) -> Floats:
    """(H, W) structural similarity of two (H, W, 3) uint8 images, mean over the channels.

    Wang et al. 2004: a Gaussian window of sigma 1.5 (11 pixels), C1 = 0.01^2, C2 = 0.03^2, peak 1; as
    ``skimage.metrics.structural_similarity(gaussian_weights=True, use_sample_covariance=False)``.

    Raises:
        InputError: the images differ in size.
    """
    import cv2

    check_shape("output", output, *truth.shape)
    x, y = output.astype(np.float32) / np.float32(255), truth.astype(np.float32) / np.float32(255)
    window = 2 * _SSIM_RADIUS + 1

    def blur(values: Floats) -> Floats:
        return np.asarray(
            cv2.GaussianBlur(values, (window, window), _SSIM_SIGMA, borderType=cv2.BORDER_REFLECT), np.float32
        )

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    shared = blur(x * y) - mean_x * mean_y
    top = (2 * mean_x * mean_y + _SSIM_C1) * (2 * shared + _SSIM_C2)
    bottom = (mean_x**2 + mean_y**2 + _SSIM_C1) * (var_x + var_y + _SSIM_C2)
    return np.asarray((top / bottom).mean(2), np.float32)


def ssim(similarity: Floats, mask: Mask | None = None) -> float:
    """Mean of a `ssim_map` over a region; over the whole image without the border that the window cannot fill."""
    if mask is not None:
        return mean_over(similarity, mask)
    r = _SSIM_RADIUS
    inside = similarity[r:-r, r:-r] if min(similarity.shape) > 2 * r else similarity
    return mean_over(inside)


def hull_mask(points: NDArray[np.floating], size: tuple[int, int]) -> Mask:
    """(H, W) pixels within the convex hull of points (N, 2) px (pixel centres at +0.5); ``size`` is (w, h)."""
    import cv2

    return polygon_mask(cv2.convexHull(np.asarray(points, np.float32)[:, None])[:, 0], size)


def polygon_mask(points: NDArray[np.floating], size: tuple[int, int]) -> Mask:
    """(H, W) pixels within a polygon (N, 2) px (pixel centres at +0.5), edges to 1/16 px; ``size`` is (w, h)."""
    import cv2

    mask = np.zeros((size[1], size[0]), np.uint8)
    corners = np.round((np.asarray(points, np.float64) - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(mask, [corners[:, None]], 1, shift=4)
    return mask.astype(bool)


def face_mask(landmarks: NDArray[np.floating], size: tuple[int, int]) -> Mask:
    """(H, W) the face: convex hull of landmarks (478, 2) px."""
    return hull_mask(landmarks[:, :2], size)


def eyes_mask(landmarks: NDArray[np.floating], size: tuple[int, int]) -> Mask:
    """(H, W) both eyes with their lids: hulls of `EYE_RINGS` of landmarks (478, 2) px."""
    right, left = (hull_mask(landmarks[list(ring), :2], size) for ring in EYE_RINGS)
    return np.asarray(right | left)


def mouth_mask(landmarks: NDArray[np.floating], size: tuple[int, int]) -> Mask:
    """(H, W) the inside of the mouth: polygon of the inner lips of landmarks (478, 2) px."""
    return polygon_mask(landmarks[list(INNER_LIPS), :2], size)


def mouth_opening(landmarks: NDArray[np.floating]) -> float:
    """Pixels between the middles of the inner lips of landmarks (478, 2) px."""
    return float(np.linalg.norm(landmarks[13, :2] - landmarks[14, :2]))
