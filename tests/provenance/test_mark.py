"""The visible mark."""

from __future__ import annotations

import time

import numpy as np
import pytest

from omote.errors import InputError
from omote.provenance import draw_visible_mark


def luminance(value: np.ndarray) -> np.ndarray:
    """Relative luminance of WCAG 2 of (..., 3) uint8."""
    c = value / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_the_letters_stand_out_on_any_ground(shade: int) -> None:
    frame = np.full((360, 640, 3), shade, np.uint8)
    marked = draw_visible_mark(frame)
    rows, columns = np.nonzero((marked != shade).any(-1))
    assert rows.min() > 0.85 * 360, "in the lower right"
    assert columns.min() > 0.75 * 640
    assert 3 < 360 - rows.max() < 20, "off the border"
    box = luminance(marked[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    ink, ground = box.max(), np.median(box)
    assert (ink + 0.05) / (ground + 0.05) > 4.5, "WCAG AA"
    assert 0.05 < (box > (ink + ground) / 2).mean() < 0.4, "letters, not a block"


def test_only_the_mark_differs_and_the_frame_is_not_written_to() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    before = frame.copy()
    marked = draw_visible_mark(frame)
    np.testing.assert_array_equal(frame, before)
    assert marked.shape == frame.shape
    assert marked.dtype == np.uint8
    np.testing.assert_array_equal(marked[:270], frame[:270])
    np.testing.assert_array_equal(marked[:, :280], frame[:, :280])
    assert 0.005 < (marked != frame).any(-1).mean() < 0.03
    np.testing.assert_array_equal(draw_visible_mark(frame), marked)


def test_the_size_follows_the_picture() -> None:
    def width(side: int) -> int:
        marked = draw_visible_mark(np.zeros((side, side, 3), np.uint8))
        return int(np.ptp(np.nonzero(marked.any(-1))[1])) + 1

    assert width(1024) == pytest.approx(2 * width(512), rel=0.04)
    assert width(512) == pytest.approx(0.17 * 512, rel=0.1)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (16, 16), (40, 60)])
def test_small_pictures_get_what_fits(size: tuple[int, int]) -> None:
    marked = draw_visible_mark(np.full((*size, 3), 255, np.uint8))
    assert marked.shape == (*size, 3)
    assert (marked < 255).any() or size == (1, 1)  # a rounded corner


def test_wrong_frames_are_refused() -> None:
    for frame in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(InputError, match="expected uint8"):
            draw_visible_mark(frame)


def test_it_is_fast_enough_for_video() -> None:
    """1.1 ms a frame of 1080p measured, of which 0.8 is the copy."""
    frame = np.zeros((1080, 1920, 3), np.uint8)
    draw_visible_mark(frame)
    began = time.process_time()
    for _ in range(10):
        draw_visible_mark(frame)
    assert (time.process_time() - began) / 10 < 0.02
