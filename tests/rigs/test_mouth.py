"""The mouth: lips that stay closed over an open jaw and on every head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from omote.rigs.facs import FacsRig

from .conftest import Pose, identities

INNER_LIPS = ((13, 14), (82, 87), (312, 317))
"""MediaPipe landmarks, upper and lower inner lip, around the middle of the mouth."""


def _openings(rig: FacsRig, vertices: torch.Tensor) -> np.ndarray:
    """(B, 3) metres, upper above lower."""
    points = rig.landmarks.apply(vertices.numpy())
    return np.stack([points[:, upper, 1] - points[:, lower, 1] for upper, lower in INNER_LIPS], axis=1)


@pytest.mark.parametrize("jaw", [0.5, 1.0])
def test_lips_together_hold_over_an_open_jaw(rig: FacsRig, pose: Pose, jaw: float) -> None:
    people = identities(rig, 20, seed=21)
    closed = _openings(rig, rig(pose(20), people))
    opened = _openings(rig, rig(pose(20, jaw_open=jaw), people))
    together = pose(20, jaw_open=jaw, lips_together_upper=1.0, lips_together_lower=1.0)
    held = _openings(rig, rig(together, people))
    assert (opened - closed).min() > 0.02 * jaw
    assert np.abs(held - closed).max() < 0.0012  # of some 36 mm at 1


def test_lips_together_do_nothing_while_the_jaw_is_shut(rig: FacsRig, pose: Pose) -> None:
    zero = torch.zeros(1, 90)
    assert torch.equal(rig(pose(lips_together_upper=1.0, sticky_corner=1.0), zero), rig(pose(), zero))


def test_sticky_corners_close_the_corners_only(rig: FacsRig, pose: Pose) -> None:
    zero = torch.zeros(1, 90)
    points = [
        rig.landmarks.apply(rig(pose(jaw_open=1.0, sticky_corner=v), zero).numpy())[0] for v in (0.0, 1.0)
    ]
    open_, stuck = (
        np.array([p[u, 1] - p[d, 1] for u, d in ((13, 14), (310, 318), (80, 88))]) for p in points
    )
    assert stuck[0] == pytest.approx(open_[0], rel=0.05)
    assert (stuck[1:] < 0.8 * open_[1:]).all()


def test_identity_does_not_open_the_lips(rig: FacsRig, pose: Pose) -> None:
    zero = _openings(rig, rig(pose(), torch.zeros(1, 90)))
    people = _openings(rig, rig(pose(100), identities(rig, 100, seed=22)))
    assert np.abs(people - zero).max() < 0.0015


def test_the_lower_teeth_and_tongue_follow_the_jaw(rig: FacsRig, pose: Pose) -> None:
    moved = rig(pose(jaw_open=1.0), torch.zeros(1, 90))[0] - rig.template[rig.expand]
    drop = {}
    for name in ("teeth_upper", "teeth_lower", "tongue"):
        inside = rig.faces[rig.face_part == rig.part_names.index(name)].unique()
        drop[name] = -float(moved[inside, 1].min())
    assert drop["teeth_upper"] < 0.001
    assert drop["teeth_lower"] > 0.025
    assert drop["tongue"] > 0.015
