"""Rotations: analytic values, agreement of numpy with scipy and torch, derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from omote.geometry import rotations as r

VECTORS = hnp.arrays(np.float64, (3,), elements=st.floats(-1.8, 1.8))
RANDOM = np.random.default_rng(0).normal(size=(200, 3))


def test_a_quarter_turn_about_y_faces_the_subjects_left() -> None:
    turn = r.axis_angle_to_matrix([0, np.pi / 2, 0])
    np.testing.assert_allclose(turn @ [0, 0, 1], [1, 0, 0], atol=1e-15)
    np.testing.assert_allclose(r.axis_angle_to_quaternion([0, np.pi / 2, 0]), [0, 0.5**0.5, 0, 0.5**0.5])


@given(VECTORS)
def test_notations_agree_with_scipy_and_come_back(w: np.ndarray) -> None:
    reference = Rotation.from_rotvec(w)
    matrix, quaternion = r.axis_angle_to_matrix(w), r.axis_angle_to_quaternion(w)
    np.testing.assert_allclose(matrix, reference.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(quaternion, reference.as_quat(canonical=True), atol=1e-12)
    np.testing.assert_allclose(r.quaternion_to_matrix(quaternion), matrix, atol=1e-12)
    np.testing.assert_allclose(r.matrix_to_quaternion(matrix), quaternion, atol=1e-12)
    for back in (r.matrix_to_axis_angle(matrix), r.quaternion_to_axis_angle(quaternion)):
        np.testing.assert_allclose(back, reference.as_rotvec(), atol=1e-7)


@pytest.mark.parametrize("axis", [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0, 0.8], [-0.6, 0.64, 0.48]])
def test_half_turns_and_tiny_turns_survive(axis: list[float]) -> None:
    for angle in (np.pi, np.pi - 1e-9, 1e-9, 1e-200, 0.0):
        w = np.array(axis) * angle
        back = r.matrix_to_axis_angle(r.axis_angle_to_matrix(w))
        np.testing.assert_allclose(r.axis_angle_to_matrix(back), r.axis_angle_to_matrix(w), atol=1e-12)
        if angle < 1:
            np.testing.assert_allclose(back, w, atol=1e-15)


def test_torch_gives_the_same_as_numpy() -> None:
    w = RANDOM[:, :3]
    tensor = torch.tensor(w)
    matrix, quaternion = r.axis_angle_to_matrix(w), r.axis_angle_to_quaternion(w)
    np.testing.assert_allclose(r.axis_angle_to_matrix(tensor), matrix, atol=1e-12)
    for mine, theirs in (
        (r.matrix_to_axis_angle(matrix), r.matrix_to_axis_angle(torch.tensor(matrix))),
        (r.quaternion_to_axis_angle(quaternion), r.quaternion_to_axis_angle(torch.tensor(quaternion))),
        (r.quaternion_to_matrix(quaternion), r.quaternion_to_matrix(torch.tensor(quaternion))),
        (
            r.geodesic_angle(matrix, matrix[::-1]),
            r.geodesic_angle(torch.tensor(matrix), torch.tensor(matrix).flip(0)),
        ),
        (r.project_to_so3(matrix * 1.7), r.project_to_so3(torch.tensor(matrix) * 1.7)),
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-7)
    for theirs in (r.axis_angle_to_quaternion(tensor), r.matrix_to_quaternion(torch.tensor(matrix))):
        np.testing.assert_allclose(np.abs((quaternion * theirs.numpy()).sum(-1)), 1, atol=1e-12)


def test_slerp_moves_at_a_steady_angle_the_short_way() -> None:
    first, second = r.axis_angle_to_quaternion(RANDOM[:50]), r.axis_angle_to_quaternion(RANDOM[50:100])
    whole = r.geodesic_angle(r.quaternion_to_matrix(first), r.quaternion_to_matrix(second))
    for share in (0.0, 0.3, 1.0):
        for q in (
            r.slerp(first, second, np.full(50, share)),
            r.slerp(torch.tensor(first), torch.tensor(second), torch.full((50,), share)).numpy(),
        ):
            angle = r.geodesic_angle(r.quaternion_to_matrix(first), r.quaternion_to_matrix(q))
            np.testing.assert_allclose(angle, share * whole, atol=1e-6)
    np.testing.assert_allclose(r.slerp(first, -second, 0.3), r.slerp(first, second, 0.3), atol=1e-12)


def test_geodesic_angle_of_tiny_and_half_turns() -> None:
    eye = np.eye(3)
    for angle in (1e-8, 0.5, 3.0):
        assert r.geodesic_angle(eye, r.axis_angle_to_matrix([0, 0, angle])) == pytest.approx(angle, rel=1e-6)
    assert r.geodesic_angle(eye, np.diag([1.0, -1, -1])) == pytest.approx(np.pi)


def test_projection_is_the_nearest_rotation() -> None:
    for matrix in (np.diag([1.0, 1, -1]), RANDOM[:3], np.zeros((3, 3)), -np.eye(3)):
        near = r.project_to_so3(matrix)
        np.testing.assert_allclose(near @ near.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(near) == pytest.approx(1)
        others = r.axis_angle_to_matrix(RANDOM)
        assert ((others - matrix) ** 2).sum((1, 2)).min() >= ((near - matrix) ** 2).sum() - 1e-12


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-5, 0.009, 0.011, 1.0, 3.0])
def test_rodrigues_derivative_is_the_automatic_one(scale: float) -> None:
    for direction in RANDOM[:20]:
        w = direction / np.linalg.norm(direction) * scale
        step = 1e-6
        moves = np.eye(3) * step
        numeric = (r.axis_angle_to_matrix(w + moves) - r.axis_angle_to_matrix(w - moves)) / (2 * step)
        np.testing.assert_allclose(r.rodrigues_derivative(w), numeric, atol=1e-9)
    auto = torch.autograd.functional.jacobian(r.axis_angle_to_matrix, torch.tensor(w + 1e-12))
    np.testing.assert_allclose(r.rodrigues_derivative(w), auto.permute(2, 0, 1).numpy(), atol=1e-7)


def test_yaw_pitch_roll_have_the_stated_signs() -> None:
    forward, up = np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
    assert (r.yaw_pitch_roll_to_matrix([0.3, 0, 0]) @ forward)[0] > 0
    assert (r.yaw_pitch_roll_to_matrix([0, 0.3, 0]) @ forward)[1] > 0
    assert (r.yaw_pitch_roll_to_matrix([0, 0, 0.3]) @ up)[0] > 0


@given(st.floats(-3, 3), st.floats(-1.5, 1.5), st.floats(-3, 3))
def test_yaw_pitch_roll_come_back(yaw: float, pitch: float, roll: float) -> None:
    angles = np.array([yaw, pitch, roll])
    np.testing.assert_allclose(
        r.matrix_to_yaw_pitch_roll(r.yaw_pitch_roll_to_matrix(angles)), angles, atol=1e-9
    )
