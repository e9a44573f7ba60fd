"""Units and axes: whatever the file has, the rig is in metres, +y up and facing +z."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from tests.rigs.rig_files import little_head, little_shapes

from omote.errors import InputError
from omote.rigs.shapes import Shape, ShapeSet
from omote.rigs.units import looking, to_head_space


def _shapes(matrix: np.ndarray | float = 1.0) -> ShapeSet:
    turn = np.asarray(matrix) * np.eye(3) if np.ndim(matrix) == 0 else np.asarray(matrix)
    vertices, quads = little_head()
    faces = np.array([[q[0], q[1], q[2], q[0], q[2], q[3]] for q in quads]).reshape(-1, 3)
    deltas = little_shapes(vertices)
    return ShapeSet(
        name="head",
        vertices=(vertices @ turn.T).astype(np.float32),
        faces=faces,
        shapes=tuple(Shape.of(name, delta @ turn.T) for name, delta in deltas.items()),
        uv=None,
        weld=np.arange(len(vertices)),
        face_part=np.zeros(len(faces), np.int64),
        part_names=("head",),
    )


@pytest.mark.parametrize(("unit", "size"), [("m", 1.0), ("dm", 10.0), ("cm", 100.0), ("mm", 1000.0)])
def test_unit_is_guessed_from_the_size_of_what_moves(unit: str, size: float) -> None:
    made = to_head_space(_shapes(size))
    np.testing.assert_allclose(made.vertices, little_head()[0], atol=1e-6)
    assert f"taken to be in {unit}" in made.notes
    np.testing.assert_allclose(to_head_space(_shapes(size), unit=unit).vertices, made.vertices, atol=1e-6)


def test_size_of_no_unit_is_scaled_to_a_head() -> None:
    made = to_head_space(_shapes(1e5))
    moved = np.unique(np.concatenate([shape.index for shape in made.shapes]))
    assert np.ptp(made.vertices[moved, 1]) == pytest.approx(0.2, rel=1e-5)
    assert any("no size a head has" in note for note in made.notes)


def test_stated_unit_that_makes_no_face_is_set_right_and_noted() -> None:
    made = to_head_space(replace(_shapes(100.0), metres=1.0))
    np.testing.assert_allclose(made.vertices, little_head()[0], atol=1e-6)
    assert "taken to be in cm, though it says 1 m" in made.notes


def test_axes_given_by_hand_are_followed() -> None:
    z_up = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    made = to_head_space(_shapes(z_up), unit="m", axes="+z-y")
    np.testing.assert_allclose(made.vertices, little_head()[0], atol=1e-6)


def test_head_that_looks_backwards_is_turned() -> None:
    back = np.diag([-1.0, 1.0, -1.0])
    assert looking(_shapes(back))[2] < -0.9
    made = to_head_space(_shapes(back), unit="m")
    np.testing.assert_allclose(made.vertices, little_head()[0], atol=1e-6)
    assert "faced backwards and was turned to face +z" in made.notes


def _closed(height: float = 0.25) -> ShapeSet:
    """A closed ball that is a head of this height; one shape moves its face, another all of it."""
    ball = trimesh.creation.icosphere(3)
    vertices = np.asarray(ball.vertices) * (0.08, height / 2, 0.1)
    near = np.exp(-((vertices - (0, 0, 0.1)) ** 2).sum(1) / 0.06**2)
    jaw = np.where(near > 0.05, near, 0)[:, None] * (0, -0.02, 0.01)
    return ShapeSet(
        "ball",
        vertices.astype(np.float32),
        np.array(ball.faces),
        (Shape.of("jawOpen", jaw), Shape.of("headYaw", np.cross((0, 0.3, 0), vertices) + (0, 0.1, 0))),
        None,
        np.arange(len(vertices)),
        np.zeros(len(ball.faces), np.int64),
        ("ball",),
    )


def test_triangles_that_face_inwards_are_turned_over_not_the_head() -> None:
    own = _closed()
    over = replace(own, faces=np.ascontiguousarray(own.faces[:, ::-1]))
    for shapes, notes in ((own, ()), (over, ("its triangles faced inwards and were turned over",))):
        made = to_head_space(shapes, unit="m")
        np.testing.assert_array_equal(made.faces, own.faces)
        np.testing.assert_allclose(made.vertices, own.vertices, atol=1e-7)
        assert made.notes == notes


def test_what_moves_the_whole_head_does_not_tell_where_the_face_is() -> None:
    whole = replace(_closed(), shapes=_closed().shapes[1:])
    assert np.linalg.norm(looking(whole)) < 1e-6
    assert looking(_closed())[2] > 0.5
    noisy = whole.vertices + np.random.default_rng(0).normal(0, 1e-4, whole.vertices.shape).astype(np.float32)
    assert to_head_space(replace(whole, vertices=noisy), unit="m").notes == ()


def test_a_body_of_a_body_s_height_is_in_the_unit_that_its_file_states() -> None:
    body = replace(_closed(1.75), metres=1.0)
    body = replace(body, shapes=(Shape.of("bodyFat", body.vertices * 0.1),))
    made = to_head_space(body)
    np.testing.assert_allclose(made.vertices, body.vertices, atol=1e-7)
    assert made.notes == ()


def test_head_that_looks_sideways_is_noted() -> None:
    side = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    assert any("seems to face its x axis" in note for note in to_head_space(_shapes(side), unit="m").notes)


def test_left_shapes_on_the_right_are_noticed() -> None:
    own = _shapes()
    left, right = own.shapes[:2]  # browOuterUpLeft and browOuterUpRight
    named = {True: ("Left", "Right"), False: ("Right", "Left")}
    for correct, (first, second) in named.items():
        shapes = [Shape(f"cheek{n}{first}", left.index, left.delta) for n in range(3)]
        shapes += [Shape(f"cheek{n}{second}", right.index, right.delta) for n in range(3)]
        made = to_head_space(replace(own, shapes=tuple(shapes)), unit="m")
        assert any("the viewer's sides" in note for note in made.notes) is not correct


@pytest.mark.parametrize(("unit", "axes"), [("ell", "auto"), ("m", "+y"), ("m", "+y-y"), ("m", "up")])
def test_unknown_units_and_axes_are_refused(unit: str, axes: str) -> None:
    with pytest.raises(InputError, match=unit if unit != "m" else "axes"):
        to_head_space(_shapes(), unit=unit, axes=axes)
