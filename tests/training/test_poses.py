"""Where a head lies in its crop: found from landmarks, and followed when the crop is mirrored or strays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tests.models.small_networks import small_mesh

from omote.models.inversion.mesh import Belief, MeshReader
from omote.rigs.surface_points import LinearPoints
from omote.training.datasets.poses import CropPoses, mirrored_pose, strayed_pose

COUNT = 20
MIRROR = np.array([1.0, -1.0, -1.0])  # of a rotation vector, with x to -x
Array = np.ndarray


def head(seed: int = 0) -> LinearPoints:
    """Pairs of points that mirror each other, of a head's size; 102 controls and 2 coefficients move them likewise."""
    rng = np.random.default_rng(seed)

    def symmetric(spread: Any, *shape: int) -> Array:
        half = rng.normal(0, 1, (*shape, COUNT, 3)) * spread
        return np.concatenate([half, half * (-1, 1, 1)], -2).astype(np.float32)

    rest = symmetric((0.05, 0.06, 0.03))
    up, down, identity = symmetric(0.001, 102), symmetric(0.001, 102), symmetric(0.002, 2)
    return LinearPoints(rest, up, down, identity, np.zeros(102, np.float32))


POINTS = head()
NOBODY = (np.zeros(102, np.float32), np.zeros(2, np.float32))


def project(pose: Array, controls: Array = NOBODY[0], identity: Array = NOBODY[1]) -> Array:
    """(2 COUNT, 2) crop coordinates, as the network projects them."""
    mesh = MeshReader(small_mesh(points=2 * COUNT), 0)
    mesh.place(POINTS)
    believed = Belief(*(torch.tensor(part, dtype=torch.float32)[None] for part in (controls, identity, pose)))
    return mesh.project(believed)[0].double().numpy()


def drawn(seed: int, near: float | None = None) -> Array:
    """A pose as they occur."""
    rng = np.random.default_rng(seed)
    near = float(rng.uniform(0, 1.2)) if near is None else near
    place = rng.normal((0, -0.24), 0.04)
    return np.array([*rng.normal(0, 0.25, 3), np.log(5) + rng.normal(0, 0.1), *place, near])


@pytest.mark.parametrize("seed", range(6))
def test_a_pose_is_found_again(seed: int) -> None:
    rng = np.random.default_rng([1, seed])
    pose = drawn(seed)
    controls = np.clip(rng.normal(0, 0.4, 102), -1, 1).astype(np.float32)
    identity = rng.normal(0, 1, 2).astype(np.float32)
    before = Rotation.from_rotvec([0, 0, rng.normal(0, 0.4)])  # the picture was turned to make the crop
    turn = (before * Rotation.from_rotvec(pose[:3])).as_rotvec()
    seen = project(pose, controls, identity)
    found = CropPoses(POINTS).fit(seen, turn, controls, identity)
    assert found.dtype == np.float32
    assert found == pytest.approx(pose, abs=2e-4)
    assert project(found, controls, identity) == pytest.approx(seen, abs=2e-5)


def test_uncertain_landmarks_change_it_little() -> None:
    pose = drawn(3)
    noise = np.random.default_rng(0).normal(0, 0.002, (2 * COUNT, 2))  # a quarter of a pixel of 128
    found = CropPoses(POINTS).fit(project(pose) + noise, pose[:3], *NOBODY)
    assert found[:3] == pytest.approx(pose[:3], abs=0.02)
    assert found[3:6] == pytest.approx(pose[3:6], abs=0.005)


@pytest.mark.parametrize("near", [0.0, 1.2])
def test_the_mirrored_pose_is_that_of_the_mirrored_face(near: float) -> None:
    for seed in range(4):
        pose = drawn(seed, near)
        made = mirrored_pose(pose)
        assert mirrored_pose(made) == pytest.approx(pose)
        assert made[:3] == pytest.approx(pose[:3] * MIRROR)
        assert (made[3], made[5], made[6]) == (pose[3], pose[5], pose[6])
        assert made[4] == pytest.approx(-pose[4])
        seen = project(pose) * (-1, 1) + (1, 0)
        swapped = np.concatenate([seen[COUNT:], seen[:COUNT]])
        found = CropPoses(POINTS).fit(swapped, made[:3], *NOBODY)
        assert found == pytest.approx(made, abs=2e-4)
        assert project(made) == pytest.approx(swapped, abs=2e-6)


@pytest.mark.parametrize(("near", "limit"), [(0.0, 2e-4), (1.2, 4e-3)])
def test_the_strayed_pose_is_that_of_the_moved_landmarks(near: float, limit: float) -> None:
    for seed in range(4):
        rng = np.random.default_rng([2, seed])
        pose, scale, turn = drawn(seed, near), float(rng.uniform(0.96, 1.04)), float(rng.normal(0, 0.03))
        shift = rng.normal(0, 0.01, 2)
        made = strayed_pose(pose, scale, turn, shift)
        matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        moved = (project(pose) - 0.5) @ matrix.T + 0.5 + shift
        found = CropPoses(POINTS).fit(moved, pose[:3], *NOBODY)
        assert project(made) == pytest.approx(moved, abs=limit)
        assert found[3:6] == pytest.approx(made[3:6], abs=2 * limit)
        apart = Rotation.from_rotvec(found[:3]) * Rotation.from_rotvec(made[:3]).inv()
        assert apart.magnitude() < 2 * limit
        assert made[6] == pytest.approx(pose[6])


def test_turned_and_scaled_about_the_middle_it_is_exact_however_near() -> None:
    for seed, near in enumerate((0.0, 1.2, 3.0)):
        pose = drawn(seed, near)
        made = strayed_pose(pose, 1.3, 0.4, np.zeros(2))
        matrix = 1.3 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
        assert project(made) == pytest.approx((project(pose) - 0.5) @ matrix.T + 0.5, abs=2e-6)


@pytest.mark.parametrize("at_rest", [0.0, 0.4])
def test_controls_are_measured_from_the_rig_s_neutral(at_rest: float) -> None:
    neutral = np.full(102, at_rest, np.float32)
    points = replace(POINTS, neutral=neutral)
    pose = drawn(7)
    # What moves nothing is at rest, whatever its value.
    found = CropPoses(points).fit(project(pose), pose[:3], neutral, NOBODY[1])
    assert found == pytest.approx(pose, abs=2e-4)
    moved = np.random.default_rng(7).uniform(-0.5, 0.5, 102).astype(np.float32)
    seen = project(pose, moved)
    found = CropPoses(points).fit(seen, pose[:3], neutral + moved, NOBODY[1])
    assert found == pytest.approx(pose, abs=2e-4)


def test_standing_still_is_no_straying() -> None:
    pose = drawn(5)
    assert strayed_pose(pose, 1.0, 0.0, np.zeros(2)) == pytest.approx(pose, abs=1e-6)


def test_an_unknown_pose_stays_unknown() -> None:
    """Of rigs without landmarks, whose crops stray all the same."""
    unknown = np.full(7, np.nan, np.float32)
    assert np.isnan(mirrored_pose(unknown)).all()
    strayed = strayed_pose(unknown, 1.01, 0.01, np.zeros(2))
    assert np.isnan(strayed).all()
    assert (strayed.shape, strayed.dtype) == ((7,), np.float32)
