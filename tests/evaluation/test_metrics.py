"""Pixel metrics: known values, the published reference, and regions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from omote.errors import InputError
from omote.evaluation import metrics
from omote.evaluation.metrics import PSNR_CAP, psnr, squared_error, ssim, ssim_map

Image = NDArray[np.uint8]


def noise(seed: int = 0, size: tuple[int, int] = (60, 80)) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def flat(value: int) -> Image:
    return np.full((40, 50, 3), value, np.uint8)


def test_psnr_of_a_tenth_is_20_db() -> None:
    truth, off = np.zeros((8, 8), np.float32), np.full((8, 8), 0.01, np.float32)
    assert psnr(off) == pytest.approx(20, abs=1e-5)
    assert psnr(truth) == PSNR_CAP


def test_psnr_of_images() -> None:
    """51 of 255 is a fifth: MSE 0.04, 13.98 dB; a tenth of the error is 20 dB more."""
    assert psnr(squared_error(flat(151), flat(100))) == pytest.approx(13.979, abs=1e-3)
    assert metrics.mean_over(metrics.absolute_error(flat(151), flat(100))) == pytest.approx(0.2, abs=1e-6)
    one = psnr(squared_error(flat(101), flat(100)))
    ten = psnr(squared_error(flat(110), flat(100)))
    assert one - ten == pytest.approx(20, abs=1e-3)


def test_psnr_is_the_same_both_ways_and_sees_only_the_region() -> None:
    a, b = noise(0), noise(1)
    assert psnr(squared_error(a, b)) == psnr(squared_error(b, a))
    mask = np.zeros(a.shape[:2], bool)
    mask[:30] = True
    half = b.copy()
    half[:30] = a[:30]
    assert psnr(squared_error(a, half), mask) == PSNR_CAP
    assert psnr(squared_error(a, half), ~mask) == pytest.approx(psnr(squared_error(a, b), ~mask))
    assert np.isnan(psnr(squared_error(a, b), np.zeros_like(mask)))


def test_ssim_is_the_published_one() -> None:
    reference = pytest.importorskip("skimage.metrics").structural_similarity
    a = noise(0)
    b = np.clip(a + np.random.default_rng(2).normal(0, 40, a.shape), 0, 255).astype(np.uint8)
    theirs = reference(
        a / 255.0, b / 255.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2,
        data_range=1.0,
    )  # fmt: skip
    assert ssim(ssim_map(a, b)) == pytest.approx(theirs, abs=1e-4)
    assert 0.3 < theirs < 0.95


def test_ssim_of_flat_images() -> None:
    """Without structure only the luminance term is left: (2xy + C1) / (x^2 + y^2 + C1)."""
    x, y = 100 / 255, 151 / 255
    expected = (2 * x * y + 1e-4) / (x * x + y * y + 1e-4)
    assert ssim(ssim_map(flat(100), flat(151))) == pytest.approx(expected, abs=1e-3)
    assert ssim(ssim_map(noise(), noise())) == pytest.approx(1, abs=1e-5)
    assert ssim(ssim_map(noise(), noise()), np.ones((60, 80), bool)) == pytest.approx(1, abs=1e-5)


def test_images_of_different_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="got shape"):
        squared_error(noise(), noise(size=(60, 81)))


def test_a_square_covers_its_pixels() -> None:
    corners = np.array([[10, 20], [30, 20], [30, 50], [10, 50]], np.float64)
    mask = metrics.polygon_mask(corners, (64, 64))
    assert mask.shape == (64, 64)
    assert mask[25, 15]
    assert not mask[15, 25]
    assert abs(int(mask.sum()) - 600) <= 60  # cv2 fills pixels that the outline touches
    assert (metrics.hull_mask(corners[[0, 2, 1, 3]], (64, 64)) == mask).all()


def test_regions_of_the_neutral_head() -> None:
    from omote.capture.landmark_model import landmark_model

    points = landmark_model().rest[:, :2] * (1200.0, -1200.0) + (128, 128)
    face, eyes, mouth = (
        region(points, (256, 256)) for region in (metrics.face_mask, metrics.eyes_mask, metrics.mouth_mask)
    )
    assert 0.03 < eyes.sum() / face.sum() < 0.3
    assert (eyes & face).sum() > 0.99 * eyes.sum()
    assert not (eyes & mouth).any()
    rows = np.flatnonzero(eyes.any(1)).mean(), np.flatnonzero(mouth.any(1)).mean()
    assert rows[0] < rows[1]  # eyes above the mouth
    opened = points.copy()
    opened[14] += (0, 20)
    assert metrics.mouth_opening(opened) > metrics.mouth_opening(points) + 15
    assert metrics.mouth_mask(opened, (256, 256)).sum() > mouth.sum()
