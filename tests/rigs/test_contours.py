"""The contours: rings of landmarks, on the rig where their names say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from omote.capture.landmarker import mirror_permutation
from omote.rigs import contours
from omote.rigs.facs import FacsRig

from .conftest import Pose

RINGS = {
    "oval": contours.OVAL,
    "lips_outer": contours.LIPS_OUTER,
    "lips_inner": contours.LIPS_INNER,
    "eye_L": contours.EYE["L"],
    "eye_R": contours.EYE["R"],
}


@pytest.fixture(scope="module")
def marks(rig: FacsRig, pose: Pose) -> np.ndarray:
    """(478, 3) metres, head space, with the mouth open: no ring has height 0."""
    return np.asarray(rig.landmarks.apply(rig(pose(jaw_open=0.5), torch.zeros(1, 90)).numpy())[0])


def area(ring: np.ndarray) -> float:
    """Signed, of a polygon (N, 2)."""
    x, y = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


@pytest.mark.parametrize("name", RINGS)
def test_rings_are_in_order(marks: np.ndarray, name: str) -> None:
    """Each landmark once, no edge crosses another: the polygon is most of its convex hull."""
    import cv2

    ring = RINGS[name]
    assert len(set(ring)) == len(ring)
    assert max(ring) < 468
    points = marks[list(ring), :2].astype(np.float32) * 1000
    hull = cv2.contourArea(cv2.convexHull(points))
    assert abs(area(points)) > 0.8 * hull
    steps = np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1)
    assert steps.max() < 0.35 * np.ptp(points, axis=0).max()


def test_one_lies_inside_the_other(marks: np.ndarray) -> None:
    outer, inner = (np.abs(area(marks[list(RINGS[n]), :2])) for n in ("lips_outer", "lips_inner"))
    assert 0.1 * outer < inner < outer
    assert abs(area(marks[list(contours.OVAL), :2])) > 8 * outer


def test_sides_are_the_subjects_own_and_mirror_each_other(marks: np.ndarray) -> None:
    swap = mirror_permutation()
    for pair in (contours.EYE, contours.BROW):
        assert marks[list(pair["L"]), 0].min() > 0 > marks[list(pair["R"]), 0].max()
        assert {int(swap[k]) for k in pair["L"]} == set(pair["R"])
    for ring in (contours.OVAL, contours.LIPS_OUTER, contours.LIPS_INNER):
        assert {int(swap[k]) for k in ring} == set(ring)
    brow, eye = (marks[list(group["L"]), 1].mean() for group in (contours.BROW, contours.EYE))
    assert brow > eye + 0.008
    assert np.abs(marks[list(contours.NOSE_BRIDGE), 0]).max() < 0.002
    assert (np.diff(marks[list(contours.NOSE_BRIDGE), 1]) < 0).all()
