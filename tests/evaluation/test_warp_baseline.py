"""The oracle warp, on motions whose result is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from omote.errors import InputError
from omote.evaluation.metrics import hull_mask, psnr, squared_error
from omote.evaluation.warp_baseline import LandmarkWarp, border_ring

Points = NDArray[np.float64]
SIZE = 128


def pattern(points: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A smooth colour at (..., 2) px."""
    x, y = points[..., 0], points[..., 1]
    waves = [np.sin(x / 9) + np.cos(y / 11), np.sin((x + y) / 13), np.cos(x / 17) * np.sin(y / 7)]
    return np.round(127 + 60 * np.stack(waves, axis=-1)).astype(np.uint8)


def grid() -> Points:
    x, y = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    return np.stack([x, y], axis=-1)


@pytest.fixture(scope="module")
def marks() -> Points:
    """Landmarks about the middle of the picture."""
    return np.random.default_rng(0).normal(64, 14, (60, 2)).clip(30, 98)


@pytest.fixture(scope="module")
def warp(marks: Points) -> LandmarkWarp:
    return LandmarkWarp(pattern(grid()), marks)


def test_no_motion_is_no_change(warp: LandmarkWarp, marks: Points) -> None:
    assert np.abs(warp.warp(marks).astype(int) - warp.image).max() <= 1


def test_an_affine_motion_is_reproduced(warp: LandmarkWarp, marks: Points) -> None:
    turn = np.array([[1.08, -0.15], [0.12, 0.95]])
    moved = (marks - 64) @ turn.T + 64 + (5.3, -3.7)
    expected = pattern((grid() - 64 - (5.3, -3.7)) @ np.linalg.inv(turn).T + 64)
    # Along the hull, triangles that reach to the fixed border begin.
    inside = hull_mask((moved - moved.mean(0)) * 0.75 + moved.mean(0), (SIZE, SIZE))
    assert psnr(squared_error(warp.warp(moved), expected), inside) > 45
    assert psnr(squared_error(warp.image, expected), inside) < 25
    back = warp.inverse_map(moved)[inside]
    true = ((grid() - 64 - (5.3, -3.7)) @ np.linalg.inv(turn).T + 64)[inside]
    assert np.abs(back - true).max() < 1e-2


def test_the_border_stays(warp: LandmarkWarp, marks: Points) -> None:
    made = warp.warp(marks + (8, 4)).astype(int)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        assert np.abs(made[edge] - warp.image[edge]).max() <= 10
    assert np.isfinite(warp.inverse_map(marks + (8, 4))).all()


def test_a_mirrored_picture_gives_the_mirrored_result(warp: LandmarkWarp, marks: Points) -> None:
    moved = marks * (1.1, 0.9) + (-4, 9)
    other = LandmarkWarp(warp.image[:, ::-1].copy(), (SIZE, 0) + marks * (-1, 1))
    mirrored = other.warp((SIZE, 0) + moved * (-1, 1))[:, ::-1]
    inside = hull_mask(moved, (SIZE, SIZE))
    assert psnr(squared_error(mirrored, warp.warp(moved)), inside) > 40


def test_landmarks_beyond_the_border_and_folds_leave_no_hole(warp: LandmarkWarp, marks: Points) -> None:
    for moved in (marks + (70, 0), marks - (0, 90), (marks - 64) * (-1, 1) + 64, (marks - 64) * 4 + 64):
        assert np.isfinite(warp.inverse_map(moved)).all()
        assert warp.warp(moved).shape == warp.image.shape


def test_landmarks_that_fall_together_are_no_trouble(warp: LandmarkWarp, marks: Points) -> None:
    moved = marks.copy()
    moved[1:10] = moved[0]
    assert np.isfinite(warp.inverse_map(moved)).all()


def test_the_ring_goes_round_once() -> None:
    ring = border_ring(30, 20, 4)
    assert len(np.unique(ring, axis=0)) == 16
    assert ((ring[:, 0] % 30 == 0) | (ring[:, 1] % 20 == 0)).all()
    assert {(0, 0), (30, 0), (30, 20), (0, 20)} <= {tuple(p) for p in ring.tolist()}


def test_another_number_of_landmarks_is_refused(warp: LandmarkWarp, marks: Points) -> None:
    with pytest.raises(InputError, match="expected"):
        warp.warp(marks[:-1])
