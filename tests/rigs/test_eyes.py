"""Eyes: true rotation, lids that close exactly and stay outside the eyeball, on every head."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from omote.rigs.asset import SIDES
from omote.rigs.facs import FacsRig

from .conftest import Pose, identities


def _rim_gap(rig: FacsRig, vertices: torch.Tensor, side: str) -> float:
    """Largest distance of paired lid-rim vertices, metres; vertices (B, U, 3)."""
    upper, lower = getattr(rig, f"_rim_{side}").reshape(-1, 2).T
    return float((vertices[:, upper] - vertices[:, lower]).norm(dim=2).max())


@pytest.mark.parametrize(
    "others",
    [
        {},
        {"gaze_pitch": 1.0, "gaze_yaw": -1.0},
        {"gaze_pitch": -1.0, "gaze_yaw": 1.0},
        {"lid_tighten": 1.0, "cheek_raise": 1.0},
        {"lid_upper_raise": 1.0},
        {"lid_lower_raise": 1.0, "brow_lower": 1.0, "nose_wrinkle": 1.0},
    ],
    ids=lambda o: "+".join(o) or "alone",
)
def test_lids_meet_exactly(rig: FacsRig, pose: Pose, welded: np.ndarray, others: dict[str, float]) -> None:
    people = identities(rig, 100, seed=11)
    vertices = rig(pose(100, lid_close=1.0, **others), people)[:, welded]
    for side in SIDES:
        assert _rim_gap(rig, vertices, side) < 1e-5


def test_lids_meet_on_strong_identities(rig: FacsRig, pose: Pose, welded: np.ndarray) -> None:
    vertices = rig(pose(100, lid_close=1.0), identities(rig, 100, seed=12, sigma=1.6))[:, welded]
    assert max(_rim_gap(rig, vertices, side) for side in SIDES) < 1e-5


def test_closing_is_gradual(rig: FacsRig, pose: Pose, welded: np.ndarray) -> None:
    people = torch.zeros(1, 90)
    gaps = [
        _rim_gap(rig, rig(pose(lid_close=v), people)[:, welded], "L") for v in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert gaps[0] > 0.007
    assert np.allclose(np.array(gaps) / gaps[0], [1, 0.75, 0.5, 0.25, 0], atol=0.02)


@pytest.mark.parametrize("yaw", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("pitch", [-1.0, 0.0, 1.0])
def test_lids_stay_outside_the_eyeball(
    rig: FacsRig, pose: Pose, welded: np.ndarray, yaw: float, pitch: float
) -> None:
    """No lid vertex comes nearer to the centre of the ball than on the neutral head, or than its surface."""
    people = identities(rig, 40, seed=13)
    neutral, radius = rig.neutral(people), rig.eye_radius(people)
    for close in (0.0, 0.6, 1.0):
        vertices = rig(pose(40, lid_close=close, gaze_yaw=yaw, gaze_pitch=pitch), people)[:, welded]
        for i, side in enumerate(SIDES):
            centre = rig.eye_centres(people)[:, i, None]
            lid, partner = getattr(rig, f"_lid_{side}"), getattr(rig, f"_lid_partner_{side}")
            allowed = torch.minimum((neutral[:, lid] - centre).norm(dim=2), radius[:, i, None])
            allowed = torch.minimum(allowed, allowed[:, partner])
            distance = (vertices[:, lid] - centre).norm(dim=2)
            assert float((allowed - distance).max()) < 1e-6


@pytest.mark.parametrize("side", SIDES)
def test_the_eyeball_turns_rigidly(rig: FacsRig, pose: Pose, welded: np.ndarray, side: str) -> None:
    people = identities(rig, 3, seed=14)
    ball = getattr(rig, f"_ball_{side}")
    rest = rig(pose(3), people)[:, welded][:, ball]
    centre = rest.mean(1, keepdim=True)
    for name, angle, axis, sense in (("yaw", 30.0, 1, 1.0), ("pitch", 25.0, 0, -1.0)):
        for sign in (1.0, -1.0):
            turned = rig(pose(3, **{f"gaze_{name}_{side}": sign}), people)[:, welded][:, ball]
            matrix = torch.linalg.lstsq(rest - centre, turned - centre).solution.transpose(1, 2)
            assert torch.allclose(matrix @ matrix.transpose(1, 2), torch.eye(3).expand(3, 3, 3), atol=1e-4)
            trace = matrix.diagonal(dim1=1, dim2=2).sum(1)
            measured = torch.rad2deg(torch.arccos((trace - 1) / 2))
            assert torch.allclose(measured, torch.full((3,), angle), atol=0.02)
            ahead = matrix[:, :, 2]  # where +z goes
            expected = sense * sign * math.sin(math.radians(angle))
            component = ahead[:, 0] if axis == 1 else -ahead[:, 1]
            assert torch.allclose(component, torch.full((3,), expected), atol=1e-3)
            assert torch.allclose((turned - centre).norm(dim=2), (rest - centre).norm(dim=2), atol=1e-6)


def test_a_wink_leaves_the_other_eye_alone(rig: FacsRig, pose: Pose) -> None:
    zero = torch.zeros(1, 90)
    moved = (rig(pose(lid_close_L=1.0), zero) - rig(pose(), zero))[0].norm(dim=1)
    assert float(moved[rig.template[rig.expand][:, 0] < -0.005].max()) == 0.0
