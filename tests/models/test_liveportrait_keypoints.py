"""LivePortrait's keypoints: angles, rotations, points, openness and sizes have the values that geometry gives them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omote.errors import InputError
from omote.models.liveportrait.keypoints import (
    Motion,
    degrees,
    eye_close_ratio,
    hull_volume,
    lip_close_ratio,
    motion_multiplier,
    pose_angles,
    rotation_matrix,
    transform,
)


def random_motion(count: int, seed: int = 0) -> Motion:
    draw = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(count, *shape, generator=draw) * (high - low) + low

    return Motion(
        kp=uniform(-0.5, 0.5, 21, 3),
        rotation=rotation_matrix(*(uniform(-25, 25) for _ in range(3))),
        t=uniform(-0.1, 0.1, 3),
        scale=uniform(1.1, 1.7, 1),
        exp=uniform(-0.03, 0.03, 21, 3),
    )


@pytest.mark.parametrize(("peak", "angle"), [(0, -97.5), (33, 1.5), (65, 97.5)])
def test_a_certain_head_says_the_angle_of_its_class(peak: int, angle: float) -> None:
    logits = torch.full((1, 66), -50.0)
    logits[0, peak] = 50
    assert degrees(logits).item() == pytest.approx(angle, abs=1e-4)


def test_an_undecided_head_looks_ahead_and_degrees_pass_through() -> None:
    assert degrees(torch.zeros(2, 66)).tolist() == pytest.approx([0, 0], abs=1e-4)
    assert degrees(torch.tensor([[12.5], [-3.0]])).tolist() == [12.5, -3.0]
    assert degrees(torch.tensor([4.0])).tolist() == [4.0]
    with pytest.raises(InputError, match="angle"):
        degrees(torch.zeros(2, 65))


def test_rotation_is_the_transpose_of_roll_yaw_pitch() -> None:
    pitch, yaw, roll = (np.deg2rad(a) for a in (10.0, -20.0, 5.0))
    c, s = np.cos, np.sin
    about_x = np.array([[1, 0, 0], [0, c(pitch), -s(pitch)], [0, s(pitch), c(pitch)]])
    about_y = np.array([[c(yaw), 0, s(yaw)], [0, 1, 0], [-s(yaw), 0, c(yaw)]])
    about_z = np.array([[c(roll), -s(roll), 0], [s(roll), c(roll), 0], [0, 0, 1]])
    ours = rotation_matrix(torch.tensor([10.0]), torch.tensor([-20.0]), torch.tensor([5.0]))[0]
    np.testing.assert_allclose(ours, (about_z @ about_y @ about_x).T, atol=1e-6)


@given(st.tuples(st.floats(-80, 80), st.floats(-80, 80), st.floats(-80, 80)))
def test_angles_come_back_from_their_rotation(angles: tuple[float, float, float]) -> None:
    tensors = [torch.tensor([angle], dtype=torch.float64) for angle in angles]
    rotation = rotation_matrix(*tensors)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64)[None])
    assert [a.item() for a in pose_angles(rotation)] == pytest.approx(list(angles), abs=1e-8)


def test_expression_is_scaled_but_not_rotated_and_depth_is_dropped() -> None:
    kp, exp = torch.zeros(1, 21, 3), torch.zeros(1, 21, 3)
    kp[0, 0, 0] = 1.0  # a point at x, turned by 90 degrees of roll onto y
    exp[0, 0, 0] = 0.25
    quarter = rotation_matrix(torch.zeros(1), torch.zeros(1), torch.tensor([90.0]))
    x = transform(kp, quarter, exp, torch.tensor([[2.0]]), torch.tensor([[0.1, 0.2, 5.0]]))
    assert x[0, 0].tolist() == pytest.approx([0.6, 2.2, 0.0], abs=1e-6)


def test_motion_reads_the_extractor_and_slices_and_joins() -> None:
    motion = random_motion(5)
    outputs = {
        "pitch": torch.tensor([[1.0], [2.0]]),
        "yaw": torch.zeros(2, 66),
        "roll": torch.zeros(2, 1),
        "t": motion.t[:2],
        "scale": motion.scale[:2],
        "exp": motion.exp[:2].reshape(2, 63),
        "kp": motion.kp[:2].reshape(2, 63),
    }
    read = Motion.from_outputs(outputs)
    assert torch.equal(read.exp, motion.exp[:2])
    assert pose_angles(read.rotation)[0].tolist() == pytest.approx([1, 2], abs=1e-4)
    joined = Motion.join([motion[:2], motion[2:]])
    assert len(joined) == 5
    assert torch.equal(joined.points(), motion.points())
    one_shape = Motion(motion.kp[:1], motion.rotation, motion.t, motion.scale, motion.exp)
    assert len(one_shape[1:3]) == 2
    torch.testing.assert_close(one_shape[1:3].points(), one_shape.points()[1:3])
    with pytest.raises(InputError, match="exp"):
        Motion(motion.kp, motion.rotation, motion.t, motion.scale, motion.exp[:, :20])


@pytest.mark.parametrize("count", [203, 478])
def test_openness_is_height_over_width_whatever_the_frame(count: int) -> None:
    pairs = {
        203: ([(6, 18, 0, 12), (30, 42, 24, 36)], (90, 102, 48, 66)),
        478: ([(159, 145, 33, 133), (386, 374, 362, 263)], (13, 14, 61, 291)),
    }
    eyes, lip = pairs[count]
    points = torch.zeros(1, count, 2)
    for (up, down, left, right), opening in zip([*eyes, lip], (0.3, 0.1, 0.5), strict=True):
        points[0, left], points[0, right] = torch.tensor([0.0, 0.0]), torch.tensor([40.0, 0.0])
        points[0, up], points[0, down] = (
            torch.tensor([20.0, -20 * opening]),
            torch.tensor([20.0, 20 * opening]),
        )
    assert eye_close_ratio(points)[0].tolist() == pytest.approx([0.3, 0.1], abs=1e-6)
    assert lip_close_ratio(points).tolist() == [[pytest.approx(0.5, abs=1e-6)]]
    turn = rotation_matrix(torch.zeros(1), torch.zeros(1), torch.tensor([30.0]))[0, :2, :2]
    moved = 3 * points @ turn + torch.tensor([7.0, -9.0])
    torch.testing.assert_close(eye_close_ratio(moved), eye_close_ratio(points))


@pytest.mark.parametrize("shape", [(1, 68, 2), (203, 2), (1, 203, 3)])
def test_other_landmarks_have_no_openness(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"\(B, 203, 2\) or \(B, 478, 2\)"):
        eye_close_ratio(torch.zeros(shape))


def test_hulls_have_the_volume_of_boxes_and_the_multiplier_their_size() -> None:
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)[None]
    box = corners * torch.tensor([2.0, 3.0, 4.0])
    assert hull_volume(box).item() == pytest.approx(24)
    points = random_motion(2).points()
    torch.testing.assert_close(motion_multiplier(points, points), torch.ones(2))
    torch.testing.assert_close(motion_multiplier(1.5 * points, points), torch.full((2,), 1.5**1.5))
    with pytest.raises(InputError, match="no volume"):
        hull_volume(points * torch.tensor([1.0, 1.0, 0.0]))
    with pytest.raises(InputError, match="not finite"):
        hull_volume(points * torch.nan)
