"""Registration: one head laid onto another topology, what then corresponds, and shapes transferred through it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from trimesh.triangles import points_to_barycentric

from omote.errors import InputError
from omote.geometry.closest import Surface
from omote.geometry.deformation_transfer import DeformationTransfer
from omote.geometry.parts import parts_of_mesh
from omote.geometry.registration import HeadMesh, Registration, register, triangle_correspondence
from omote.geometry.rotations import axis_angle_to_matrix
from omote.rigs.facs import FacsRig, load_rig

from .remesh import flip_edges, slide


def ball(kind: str, stretch: tuple[float, float, float] = (1, 1, 1)) -> HeadMesh:
    """An egg with a nose; landmarks at the same directions whatever the topology."""
    mesh = trimesh.creation.icosphere(3) if kind == "ico" else trimesh.creation.uv_sphere(count=[40, 40])
    points = np.asarray(mesh.vertices)
    points = points * (1 + 0.25 * np.exp(-8 * ((points - [0, 0, 1]) ** 2).sum(1)))[:, None]
    faces = np.asarray(mesh.faces, np.int64)
    directions = np.array(
        [[0, 0, 1], [0.5, 0.3, 0.8], [-0.5, 0.3, 0.8], [0.3, -0.5, 0.8], [-0.3, -0.5, 0.8], [0, 0.6, 0.8]]
    )
    found = Surface(points, faces).nearest(directions)
    share = points_to_barycentric(points[faces[found.face]], found.point)
    return HeadMesh(points * stretch, faces, (faces[found.face], share))


def test_a_ball_is_laid_onto_an_egg_of_another_topology() -> None:
    source, egg = ball("ico"), ball("uv", (1.1, 1.4, 0.9))
    turn = axis_angle_to_matrix([0.3, 1.0, -0.4])
    target = replace(egg, vertices=20 * egg.vertices @ turn.T + [1, 2, 3])
    rounds: list[tuple[int, int]] = []
    found = register(source, target, progress=lambda done, every: rounds.append((done, every)))
    assert found.vertices.shape == source.vertices.shape
    assert np.median(found.distance) < 0.02, "of a ball of radius 20"
    assert np.median(found.landmark_distance) < 0.6
    exact = 20 * (source.vertices * (1.1, 1.4, 0.9)) @ turn.T + [1, 2, 3]
    front = source.vertices[:, 2] > 0
    assert np.median(np.linalg.norm(found.vertices - exact, axis=1)[front]) < 2.5, "along it, by 6 landmarks"
    assert rounds[-1][0] == rounds[-1][1] == len(rounds)
    np.testing.assert_allclose(found.start.rotation, turn, atol=0.3)


def test_a_mesh_is_laid_onto_itself() -> None:
    source = ball("ico")
    found = register(source, source)
    np.testing.assert_allclose(found.vertices, source.vertices, atol=1e-6)
    follow = triangle_correspondence(found.vertices, source, source, size=found.size)
    np.testing.assert_array_equal(follow.argmax(axis=1), np.arange(len(source.faces)))


@pytest.fixture(scope="module")
def rig() -> FacsRig:
    return load_rig()


def head(rig: FacsRig, identity: torch.Tensor, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The neutral (V, 3) and the displacements (C, V, 3) at the controls' high ends."""
    values = torch.as_tensor(np.array(rig.space.neutral, np.float32)).repeat(len(names) + 1, 1)
    for row, name in enumerate(names, 1):
        values[row, rig.space.index(name)] = float(rig.space.high[rig.space.index(name)])
    vertices = rig(values, identity[None]).numpy().astype(np.float64)
    return vertices[0], vertices[1:] - vertices[0]


NAMES = ["jaw_open", "corner_pull_L", "brow_outer_up_L", "lid_close_R", "cheek_puff_L", "lip_funnel_lower_L"]


@pytest.fixture(scope="module")
def remeshed(rig: FacsRig) -> tuple[HeadMesh, HeadMesh, np.ndarray, np.ndarray, Registration]:
    """Average head to another identity whose triangles were turned, slid and shaken; landmarks 1.5 mm off."""
    random = np.random.default_rng(0)
    other = torch.as_tensor(random.normal(0, 0.8, len(rig.identity_space)), dtype=torch.float32)
    (a, shapes), (b, wanted) = (head(rig, i, NAMES) for i in (torch.zeros_like(other), other))
    weld, embedding = rig.weld.numpy(), rig.landmarks
    joined = weld[rig.faces.numpy()]
    faces = flip_edges(joined, 0.5, random)
    places, on = slide(b, faces, Surface(b, joined), 0.25, random)
    share = points_to_barycentric(b[joined[on]], places)
    truth = np.einsum("svjc,vj->svc", wanted[:, joined[on]], share)
    vertices = places + random.normal(0, 1e-4, places.shape)
    marks = embedding.apply(b) + random.normal(0, 1.5e-3, (478, 3))
    found = Surface(vertices, faces).nearest(marks)
    corners = faces[found.face]
    target = HeadMesh(1.3 * vertices, faces, (corners, points_to_barycentric(vertices[corners], found.point)))
    source = HeadMesh(
        a, rig.faces.numpy(), (embedding.vertices, embedding.barycentric.astype(np.float64)), weld
    )
    laid = register(source, target, embedding.weight)
    return source, target, shapes, 1.3 * truth, laid


def test_a_head_is_laid_onto_another_topology(remeshed) -> None:  # type: ignore[no-untyped-def]
    _, _, _, _, laid = remeshed
    assert np.median(laid.distance) < 2e-4
    assert np.percentile(laid.distance[np.isfinite(laid.distance)], 95) < 1e-3
    assert laid.start.scale == pytest.approx(1.3, rel=0.1)


def test_shapes_go_to_another_topology(remeshed) -> None:  # type: ignore[no-untyped-def]
    source, target, shapes, truth, laid = remeshed
    follow = triangle_correspondence(laid.vertices, source, target, size=laid.size)
    assert (np.diff(follow.indptr) == 0).mean() < 0.01, "target triangles without counterpart"
    eyes = [p for p in range(10) if (parts_of_mesh(target.faces, len(target.vertices)) == p).sum() == 72]
    assert len(eyes) == 2, "eyeballs follow eyeballs"
    transfer = DeformationTransfer(
        source.vertices,
        source.faces,
        target.vertices,
        target.faces,
        correspondence=follow,
        fitted=laid.vertices,
        source_weld=source.weld,
    )
    used = np.unique(target.faces)
    error = np.linalg.norm(transfer(shapes) - truth, axis=2)[:, used] * 1e3
    moved = np.linalg.norm(truth, axis=2)[:, used] * 1e3
    assert np.median(error) < 0.05
    assert np.median(error[moved > 0.1]) < 0.4, "mm, of vertices that move"
    assert np.percentile(error, 95) < 2.0
    alone = np.isin(transfer.parts, [p for p in eyes])
    assert np.linalg.norm(transfer(shapes)[NAMES.index("lid_close_R")][alone], axis=1).max() < 3e-4


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (
            replace(ball("ico"), vertices=ball("ico").vertices * np.nan),
            ball("uv"),
            "source: 642 of 642 vertices",
        ),
        (ball("ico"), replace(ball("uv"), faces=ball("uv").faces + 9999), "target: faces must be indices"),
        (
            replace(ball("ico"), landmarks=tuple(a[:3] for a in ball("ico").landmarks)),
            ball("uv"),
            "source: 3 landmarks, at least 4",
        ),
        (
            replace(ball("ico"), landmarks=tuple(a[:5] for a in ball("ico").landmarks)),
            ball("uv"),
            "landmarks: 5 in the source, 6 in the target",
        ),
        (replace(ball("ico"), weld=np.arange(3)), ball("uv"), "source weld: got shape"),
        (ball("ico"), replace(ball("uv"), faces=ball("uv").faces[:, ::-1]), "do not come near each other"),
    ],
)
def test_what_cannot_be_registered_is_refused(source: HeadMesh, target: HeadMesh, message: str) -> None:
    with pytest.raises(InputError, match=message):
        register(source, target)


def test_meshes_apart_do_not_correspond() -> None:
    source = ball("ico")
    with pytest.raises(InputError, match="no triangles of the two meshes lie near"):
        triangle_correspondence(source.vertices + 50, source, source, size=1.0)


def test_nearest_keeps_to_the_side_and_tells_open_edges() -> None:
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]])
    surface = Surface(square, np.array([[0, 1, 2], [0, 2, 3]]))
    points = np.array([[0.5, 0.3, 0.2], [2, 0.5, 0], [0.5, 0.5, -1]])
    up = np.tile([0, 0, 1.0], (3, 1))
    found = surface.nearest(points, up * [[1], [1], [-1]])
    np.testing.assert_array_equal(found.face, [0, 0, -1])
    np.testing.assert_allclose(found.point[:2], [[0.5, 0.3, 0], [1, 0.5, 0]])
    np.testing.assert_allclose(found.distance, [0.2, 1, np.inf])
    np.testing.assert_array_equal(found.at_edge, [False, True, False])
    assert surface.nearest(points).face.min() >= 0
