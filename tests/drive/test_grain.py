"""Noise and blur of a photo: found again where they were put in."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from omote.drive.puppet.grain import blur_of, grain_of

from .conftest import backdrop

EVERYWHERE = np.ones((200, 200), bool)


@pytest.mark.parametrize("sigma", [2.0, 5.0, 10.0])
def test_noise_is_measured_on_a_smooth_picture(sigma: float) -> None:
    noise = np.random.default_rng(1).normal(0, sigma, (200, 200, 1))
    photo = np.clip(backdrop((200, 200)) + noise, 0, 255).astype(np.uint8)
    assert grain_of(photo, EVERYWHERE) == pytest.approx(sigma, rel=0.15)


def test_a_smooth_picture_has_next_to_none() -> None:
    assert grain_of(backdrop((200, 200)), EVERYWHERE) < 0.8


@pytest.mark.parametrize("sigma", [1.2, 1.6, 2.2])
def test_blur_is_measured_at_edges(sigma: float) -> None:
    squares = np.kron(np.indices((10, 10)).sum(0) % 2, np.ones((20, 20))) * 150 + 50
    photo = np.repeat(squares[..., None], 3, 2).astype(np.float32)
    soft = np.round(cv2.GaussianBlur(photo, (0, 0), sigma)).astype(np.uint8)
    assert blur_of(soft, EVERYWHERE) == pytest.approx(sigma, rel=0.35)
