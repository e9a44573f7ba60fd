"""Cameras: the stated convention, round trips, derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omote.geometry import cameras
from omote.performance import Camera

CAMERA = Camera(500.0, (320.0, 240.0), (640, 480))


def test_the_convention() -> None:
    points = np.array([[0, 0, -1.0], [0.1, 0, -1.0], [0, 0.1, -1.0], [0.1, 0.1, -2.0]])
    pixels = [[320, 240], [370, 240], [320, 190], [345, 215]]
    np.testing.assert_allclose(cameras.project(CAMERA, points), pixels)
    np.testing.assert_allclose(cameras.project(CAMERA, torch.tensor(points)), pixels)
    assert cameras.project(CAMERA, points.astype(np.float32)).dtype == np.float32


@given(st.floats(-2000, 2000), st.floats(-2000, 2000), st.floats(0.05, 50))
def test_unproject_is_the_inverse(u: float, v: float, depth: float) -> None:
    pixel = np.array([u, v])
    point = cameras.unproject(CAMERA, pixel, np.array(depth))
    assert point[2] == -depth
    np.testing.assert_allclose(cameras.project(CAMERA, point), pixel, atol=1e-8)
    tensor = cameras.unproject(CAMERA, torch.tensor(pixel), torch.tensor(depth, dtype=torch.float64))
    np.testing.assert_allclose(tensor, point)


def test_unproject_spreads_one_depth_over_an_image() -> None:
    pixels = np.random.default_rng(0).uniform(0, 400, (4, 5, 2))
    assert cameras.unproject(CAMERA, pixels, np.array(2.0)).shape == (4, 5, 3)
    assert cameras.unproject(CAMERA, torch.tensor(pixels), torch.tensor(2.0)).shape == (4, 5, 3)


def test_jacobian_is_the_automatic_one() -> None:
    points = np.random.default_rng(0).normal(0, 0.1, (7, 3)) - [0, 0, 0.6]
    ours = cameras.project_jacobian(CAMERA, points)
    for point, jacobian in zip(points, ours, strict=True):
        auto = torch.autograd.functional.jacobian(lambda p: cameras.project(CAMERA, p), torch.tensor(point))
        np.testing.assert_allclose(jacobian, auto, rtol=1e-9, atol=1e-9)


def test_intrinsics_are_those_of_opencv() -> None:
    point = np.array([0.05, -0.02, -0.7])
    x, y, w = cameras.intrinsics(CAMERA) @ (point * [1, -1, -1])
    np.testing.assert_allclose([x / w, y / w], cameras.project(CAMERA, point))


def test_transform_places_each_head() -> None:
    points = np.random.default_rng(0).normal(size=(6, 3))
    quarter = np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]])
    rotations, shifts = np.stack([np.eye(3), quarter]), np.array([[0, 0, -1.0], [1, 2, 3]])
    moved = cameras.transform(rotations, shifts, points)
    np.testing.assert_allclose(moved[0], points - [0, 0, 1])
    np.testing.assert_allclose(moved[1], points @ quarter.T + [1, 2, 3])
    tensors = (torch.tensor(x) for x in (rotations, shifts, points))
    np.testing.assert_allclose(cameras.transform(*tensors), moved)


def test_field_of_view() -> None:
    assert cameras.field_of_view_to_focal(np.pi / 2, 640) == pytest.approx(320)
    assert cameras.focal_to_field_of_view(320, 640) == pytest.approx(np.pi / 2)
    assert cameras.focal_to_field_of_view(CAMERA.focal, 640) == CAMERA.field_of_view
