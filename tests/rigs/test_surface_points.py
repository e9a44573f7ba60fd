"""A rig at a few points of its surface: which points, how well sums of single movements place them, foreign rigs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from tests.rigs.rig_files import little_head

from omote.controls import FACS102, Control, ControlSpace
from omote.geometry.meshes import vertex_normals
from omote.rigs.facs import FacsRig
from omote.rigs.surface_points import (
    CENTRE,
    SPAN,
    LinearPoints,
    average_head,
    face_grid,
    face_points,
    linear_points,
    points_inside,
    spread_out,
)
from omote.training.datasets.expressions import sample_expression

Array = np.ndarray


@pytest.fixture(scope="module")
def chosen(rig: FacsRig) -> Array:
    return face_points(rig)


@pytest.fixture(scope="module")
def linear(rig: FacsRig, chosen: Array) -> LinearPoints:
    return linear_points(rig, lambda vertices: vertices[chosen])


@pytest.fixture(scope="module")
def neutral(rig: FacsRig) -> Array:
    """(V, 3) the average head."""
    return np.asarray(rig(torch.zeros(1, 102), torch.zeros(1, 90))[0])


def posed(rig: FacsRig, controls: Array, identity: Array, chosen: Array) -> Array:
    return np.asarray(rig(torch.from_numpy(controls), torch.from_numpy(identity)))[:, chosen]


# ---- which points ----------------------------------------------------------------------------------------------------


def test_points_are_on_the_front_of_the_face(rig: FacsRig, chosen: Array, neutral: Array) -> None:
    assert chosen.shape == (1060,)
    assert chosen.dtype == np.int64
    assert len(np.unique(chosen)) == 1060
    assert (face_points(rig) == chosen).all()
    face = chosen[:1000]
    x, y = neutral[face].T[:2]
    assert np.abs(x).max() < 0.085
    assert -0.135 < y.min() < -0.12
    assert 0.04 < y.max() < 0.055
    normals = vertex_normals(neutral, rig.faces.numpy(), rig.weld.numpy())
    assert normals[face, 2].min() > 0.15
    part_of = {
        name: set(rig.weld.numpy()[rig.faces.numpy()[rig.face_part.numpy() == k]].ravel().tolist())
        for k, name in enumerate(rig.part_names)
    }
    for name in ("eye_socket", "mouth", "lashes", "eye_L", "eye_R", "tongue", "teeth_upper", "teeth_lower"):
        assert not part_of[name] & set(face.tolist()), name
    assert set(chosen[1000:1030].tolist()) <= part_of["tongue"]
    assert set(chosen[1030:1045].tolist()) <= part_of["teeth_upper"]
    assert set(chosen[1045:].tolist()) <= part_of["teeth_lower"]


def test_both_sides_are_covered_alike(chosen: Array, neutral: Array) -> None:
    even = neutral[chosen[:500]]
    assert 0.45 < (even[:, 0] > 0).mean() < 0.55
    assert 0.45 < (neutral[chosen[500:1000], 0] > 0).mean() < 0.55
    apart, _ = cKDTree(even).query(even * (-1, 1, 1))
    assert np.median(apart) < 0.003
    assert apart.max() < 0.01
    # The first half leaves no hole, the second lies where the rig's vertices are dense.
    all_of_them, _ = cKDTree(even).query(neutral[chosen[500:1000]])
    assert all_of_them.max() < 0.012


def test_fewer_points_where_fewer_are_wanted_or_there(rig: FacsRig, chosen: Array) -> None:
    few = face_points(rig, 41)
    assert len(few) == len(np.unique(few)) == 41 + 60
    assert (few[:20] == chosen[:20]).all()
    most = face_points(rig, 10**6)
    assert 1060 < len(most) == len(np.unique(most)) < len(rig.weld)


def test_points_spread_as_far_as_they_can() -> None:
    line = np.zeros((11, 3), np.float32)
    line[:, 0] = np.arange(11)
    assert spread_out(line, np.arange(11), 4).tolist() in ([0, 10, 5, 2], [0, 10, 5, 7])
    assert spread_out(line, np.array([3, 7]), 5).tolist() == [3, 7]
    assert spread_out(line, np.array([], np.int64), 5).tolist() == []


# ---- how they move ---------------------------------------------------------------------------------------------------


def test_alone_a_control_moves_them_as_it_does_the_rig(
    rig: FacsRig, linear: LinearPoints, chosen: Array
) -> None:
    assert linear.rest.shape == (1060, 3)
    assert linear.up.shape == linear.down.shape == (102, 1060, 3)
    nobody = np.zeros((1, 90), np.float32)
    assert linear.at(np.zeros((1, 102), np.float32), nobody)[0] == pytest.approx(linear.rest)
    for name, value in (("jaw_open", 1.0), ("corner_pull_L", 1.0), ("head_yaw", -1.0), ("gaze_yaw_L", 1.0)):
        controls = np.zeros((1, 102), np.float32)
        controls[0, FACS102.index(name)] = value
        found = linear.at(controls, nobody)
        assert found == pytest.approx(posed(rig, controls, nobody, chosen), abs=2e-6), name
    one_sided = FACS102.index("jaw_open")
    assert not linear.down[one_sided].any()
    assert linear.up[one_sided].any()


def test_alone_a_coefficient_moves_them_as_it_does_the_rig(
    rig: FacsRig, linear: LinearPoints, chosen: Array
) -> None:
    assert linear.identity.shape == (90, 1060, 3)
    still = np.zeros((1, 102), np.float32)
    for index, value in ((0, 1.0), (7, -2.0), (89, 3.0)):
        identity = np.zeros((1, 90), np.float32)
        identity[0, index] = value
        found = linear.at(still, identity)
        assert found == pytest.approx(posed(rig, still, identity, chosen), abs=5e-6), index


def test_expressions_are_right_to_a_millimetre_or_so(
    rig: FacsRig, linear: LinearPoints, chosen: Array
) -> None:
    """Measured: 0.15 mm on average, 0.7 mm for 95 in 100 points, 14 mm at most (tongues)."""
    controls = np.stack(
        [sample_expression(FACS102, "paper", k, np.random.default_rng([1, k])).controls for k in range(24)]
    )
    controls[:, FACS102.match("head_*")] = 0
    identity = np.random.default_rng(0).normal(0, 0.8, (24, 90)).astype(np.float32)
    true = posed(rig, controls, identity, chosen)
    error = 1000 * np.linalg.norm(linear.at(controls, identity) - true, axis=2)
    assert error.mean() < 0.25
    assert np.median(error) < 0.1
    assert np.percentile(error, 95) < 1.2
    assert error.max() < 20
    unmoved = posed(rig, np.zeros_like(controls), identity, chosen)
    moved = 1000 * np.linalg.norm(true - unmoved, axis=2)
    assert error.mean() < 0.25 * moved.mean()


# ---- foreign rigs ----------------------------------------------------------------------------------------------------


class Foreign:
    """A rig of one control; its vertices are scaled and moved."""

    name = "foreign"
    space = ControlSpace("foreign", (Control("up", 0.5, 1.0, 0.5),))
    identity_space = ()

    def __init__(self, vertices: Array, rig: Any = None) -> None:
        self.vertices = torch.from_numpy(vertices.astype(np.float32))
        self.landmarks = None if rig is None else rig.landmarks
        self.faces, self.weld = (rig.faces, rig.weld) if rig is not None else _grid()

    def __call__(self, controls: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
        moved = torch.tensor([0.0, 1.0, 0.0]) * (controls[:, :, None] - 0.5)
        return self.vertices + moved.expand(len(controls), 1, 3)


def _grid() -> tuple[torch.Tensor, torch.Tensor]:
    _, quads = little_head()
    corners = [[q[0], q[1], q[2]] for q in quads] + [[q[0], q[2], q[3]] for q in quads]
    return torch.tensor(corners), torch.arange(25)


def test_the_embedded_rig_stays_where_it_is(rig: FacsRig, neutral: Array) -> None:
    assert (average_head(rig).apply(neutral) == neutral).all()


def test_a_foreign_head_is_brought_back_by_its_landmarks(rig: FacsRig, neutral: Array) -> None:
    turn = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    foreign = Foreign(100 * neutral @ turn.T + (7, -20, 3), rig)
    place = average_head(foreign)  # type: ignore[arg-type]
    assert place.scale == pytest.approx(0.01, rel=1e-4)
    assert place.apply(foreign.vertices.numpy()) == pytest.approx(neutral, abs=2e-5)
    found = face_points(foreign)  # type: ignore[arg-type]
    # Its parts have no names: what is in its mouth is skin as any other.
    assert len(found) == len(np.unique(found)) == 1000
    assert np.abs(neutral[found, 0]).max() < 0.086
    made = linear_points(foreign, lambda vertices: vertices[found])  # type: ignore[arg-type]
    assert made.rest == pytest.approx(neutral[found], abs=2e-5)
    assert made.identity.shape == (0, 1000, 3)
    assert made.up[0] == pytest.approx(
        np.tile((0, 0.01, 0), (1000, 1)), abs=2e-5
    )  # a unit, of which half is there
    assert not made.down.any()  # its lowest value is its neutral one
    assert made.neutral.tolist() == [0.5]
    nobody = np.zeros((1, 0), np.float32)
    for value, up in ((0.5, 0.0), (0.75, 0.0025), (1.0, 0.005)):  # measured from its neutral value
        at = made.at(np.array([[value]], np.float32), nobody)[0]
        assert at == pytest.approx(neutral[found] + (0, up, 0), abs=2e-5), value
        posed = foreign(torch.tensor([[value]]), torch.zeros(1, 0))[0].numpy()
        assert at == pytest.approx(place.apply(posed)[found], abs=2e-5), value


def test_a_head_without_landmarks_fills_a_cube() -> None:
    vertices, _ = little_head(size=40.0)
    place = average_head(Foreign(vertices + (5, 6, 7)))  # type: ignore[arg-type]
    made = place.apply(vertices + (5, 6, 7))
    low, high = made.min(0), made.max(0)
    assert (high - low).max() == pytest.approx(SPAN, abs=1e-6)
    assert (low + high) / 2 == pytest.approx(CENTRE, abs=1e-6)
    found = face_points(Foreign(vertices))  # type: ignore[arg-type]
    assert 0 < len(found) == len(np.unique(found)) <= 25


# ---- the map of the skin ---------------------------------------------------------------------------------------------


def test_the_map_of_the_skin_is_even(rig: FacsRig, chosen: Array, neutral: Array) -> None:
    inside = points_inside(rig)
    assert inside == 60
    points = neutral[chosen[:-inside]]
    index, weight = face_grid(points, (28, 24))
    assert index.shape == weight.shape == (28 * 24, 3)
    assert weight.min() > -1e-5
    assert weight.sum(1) == pytest.approx(1, abs=1e-5)
    places = (points[index] * weight[:, :, None]).sum(1).reshape(28, 24, 3)
    # Rows go down from above the brows to below the chin, columns from the subject's right to the left.
    middle = places[4:24, 4:20]
    assert np.diff(middle[..., 1], axis=0).max() < 0
    assert np.diff(middle[..., 0], axis=1).min() > 0
    assert np.diff(middle[..., 1].mean(1)) == pytest.approx(-0.173 / 27, rel=0.02)
    # The head is symmetric, but for which of its vertices were chosen.
    assert middle[..., 0] == pytest.approx(-middle[:, ::-1, 0], abs=2e-3)
    assert middle[..., 2] == pytest.approx(middle[:, ::-1, 2], abs=6e-3)


def test_outside_of_the_points_the_map_shows_the_nearest() -> None:
    corners = np.array([[0, 0.05, 0.08], [0.03, 0, 0.08], [-0.03, 0, 0.08], [0, -0.05, 0.08]], np.float32)
    index, weight = face_grid(corners, (8, 8))
    assert index[3, 0] == 0  # the middle of the uppermost row
    assert index[-4, 0] == 3
    for corner in (0, 7, -8, -1):
        assert weight[corner].tolist() == [1, 0, 0]
    assert (weight.max(1) < 1).sum() >= 4  # within the triangles
