"""Alignment: exact recovery, optimality, refusals, thin-plate warps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omote.errors import InputError
from omote.geometry.alignment import Similarity, align, thin_plate_warp
from omote.geometry.rotations import axis_angle_to_matrix


def points(seed: int, count: int = 12, size: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, size))


@given(st.integers(0, 10_000), st.floats(0.01, 100), st.integers(3, 20))
def test_a_similarity_is_recovered(seed: int, scale: float, count: int) -> None:
    random = np.random.default_rng(seed)
    truth = Similarity(scale, axis_angle_to_matrix(random.normal(size=3)), random.normal(size=3) * 10)
    source = points(seed, count)
    found = align(source, truth.apply(source), random.uniform(0.1, 1, count))
    assert found.scale == pytest.approx(scale, rel=1e-7)
    np.testing.assert_allclose(found.rotation, truth.rotation, atol=1e-6)
    np.testing.assert_allclose(found.apply(source), truth.apply(source), atol=1e-6 * scale + 1e-7)
    np.testing.assert_allclose(found.inverse().apply(found.apply(source)), source, atol=1e-8)
    whole = found.matrix() @ [*source[0], 1]
    np.testing.assert_allclose(whole, [*found.apply(source[0]), 1])


def test_two_dimensions_and_flat_points() -> None:
    turn = np.array([[0, -1.0], [1, 0]])
    found = align(points(0, size=2), 2 * points(0, size=2) @ turn.T + [3, 4])
    np.testing.assert_allclose(found.rotation, turn, atol=1e-12)
    assert found.scale == pytest.approx(2)
    np.testing.assert_allclose(found.translation, [3, 4])
    flat = points(1) * [1, 1, 0]
    rotation = axis_angle_to_matrix([0.3, 2.0, -1])
    np.testing.assert_allclose(align(flat, flat @ rotation.T).rotation, rotation, atol=1e-9)


def test_never_a_reflection() -> None:
    found = align(points(0), points(0) * [-1, 1, 1])
    assert np.linalg.det(found.rotation) == pytest.approx(1)


def test_rigid_keeps_the_size_and_weights_choose_points() -> None:
    source = points(0)
    target = 3 * source + 1
    rigid = align(source, target, scale=False)
    assert rigid.scale == 1
    np.testing.assert_allclose(rigid.rotation, np.eye(3), atol=1e-9)
    spoiled = target.copy()
    spoiled[3] += 50
    weights = np.ones(12)
    weights[3] = 0
    assert align(source, spoiled, weights).scale == pytest.approx(3)


@pytest.mark.parametrize("scale", [True, False])
def test_no_motion_nearby_is_better(scale: bool) -> None:
    source, target = points(0), points(1)
    weights = np.random.default_rng(2).uniform(size=12)

    def error(motion: Similarity) -> float:
        return float(weights @ ((motion.apply(source) - target) ** 2).sum(1))

    best = align(source, target, weights, scale=scale)
    random = np.random.default_rng(3)
    for _ in range(200):
        turn = axis_angle_to_matrix(random.normal(0, 0.01, 3)) @ best.rotation
        size = best.scale * (1 + random.normal(0, 0.01) * scale)
        assert (
            error(Similarity(size, turn, best.translation + random.normal(0, 0.01, 3))) >= error(best) - 1e-9
        )


@pytest.mark.parametrize(
    ("source", "target", "weights", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 3)), None, "source: got shape"),
        (np.zeros((5, 4)), np.zeros((5, 4)), None, "source: got shape"),
        (points(0), points(0, 5), None, "target: got shape"),
        (points(0), points(0), np.zeros(12), "weights"),
        (points(0), points(0), -np.ones(12), "weights"),
        (points(0), points(0) * np.nan, None, "finite"),
        (np.ones((5, 3)), points(0, 5), None, "one place"),
        (points(0, 5), np.ones((5, 3)), None, "target: the points are all in one place"),
    ],
)
def test_what_cannot_be_aligned_is_refused(source, target, weights, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        align(source, target, weights)


@pytest.mark.parametrize("size", [2, 3])
def test_thin_plate_interpolates_and_reproduces_affine_maps(size: int) -> None:
    source, other = points(0, 20, size), points(5, 30, size)
    target = source + 0.1 * points(1, 20, size)
    np.testing.assert_allclose(thin_plate_warp(source, target)(source), target, atol=1e-9)
    affine = points(2, size, size)
    warp = thin_plate_warp(source, source @ affine + 1)
    np.testing.assert_allclose(warp(other), other @ affine + 1, atol=1e-9)
    assert warp(other.reshape(5, 6, size)).shape == (5, 6, size)
    smooth = thin_plate_warp(source, target, smoothing=10.0)
    assert 1e-3 < np.abs(smooth(source) - target).max() < 1


def test_thin_plate_refusals() -> None:
    with pytest.raises(InputError, match="expected"):
        thin_plate_warp(points(0), points(0, 5))
    with pytest.raises(InputError, match="no warp follows"):
        thin_plate_warp(np.ones((10, 3)), points(0, 10))
    with pytest.raises(InputError, match="no warp follows"):
        thin_plate_warp(points(0, 2), points(0, 2))
    with pytest.raises(InputError, match="points: got shape"):
        thin_plate_warp(points(0), points(0))(np.zeros((4, 2)))
