"""Meshes: analytic normals and volumes, seams, subdivision, Laplacians."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from omote.geometry import meshes

CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
CUBE_FACES = np.array(
    [
        *([0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]),
        *([2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]),
    ]
)


def sphere(levels: int) -> tuple[np.ndarray, np.ndarray]:
    vertices = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    faces = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    for _ in range(levels):
        fine = meshes.subdivide(faces, len(vertices))
        vertices, faces = fine.apply(vertices), fine.faces
        vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
    return vertices, faces


def test_volume_of_a_cube_and_a_sphere() -> None:
    assert meshes.signed_volume(CUBE, CUBE_FACES) == pytest.approx(1)
    assert meshes.signed_volume(CUBE + 7, CUBE_FACES[:, ::-1]) == pytest.approx(-1)
    assert meshes.signed_volume(torch.tensor(CUBE)[None].expand(2, 8, 3), CUBE_FACES).tolist() == [1, 1]
    vertices, faces = sphere(4)
    assert meshes.signed_volume(vertices, faces) == pytest.approx(4 / 3 * np.pi, rel=0.01)


def test_normals_of_a_cube_face_and_of_a_sphere() -> None:
    normals = meshes.face_normals(CUBE, CUBE_FACES)
    np.testing.assert_allclose(normals[:2], [[-1, 0, 0]] * 2)
    np.testing.assert_allclose(meshes.face_normals(torch.tensor(CUBE), CUBE_FACES), normals)
    assert np.linalg.norm(meshes.face_normals(CUBE, CUBE_FACES, unit=False), axis=1) == pytest.approx(1)
    vertices, faces = sphere(3)
    np.testing.assert_allclose(meshes.vertex_normals(vertices, faces), vertices, atol=0.04)


def test_vertex_normals_agree_between_numpy_and_torch_in_batches() -> None:
    vertices = np.random.default_rng(0).normal(size=(2, 3, 8, 3))
    ours = meshes.vertex_normals(vertices, CUBE_FACES)
    assert ours.shape == (2, 3, 8, 3)
    np.testing.assert_allclose(ours[1, 2], meshes.vertex_normals(vertices[1, 2], CUBE_FACES), atol=1e-12)
    np.testing.assert_allclose(
        meshes.vertex_normals(torch.tensor(vertices), torch.tensor(CUBE_FACES)), ours, atol=1e-12
    )
    assert meshes.vertex_normals(vertices.astype(np.float32), CUBE_FACES).dtype == np.float32


def test_seams_have_one_normal() -> None:
    vertices, faces = sphere(2)
    # Split the equator: every face below gets its own copies of the vertices on it.
    below = vertices[faces].mean(1)[:, 2] < 0
    used = np.unique(faces[below])
    copies = {old: len(vertices) + i for i, old in enumerate(used)}
    split = faces.copy()
    split[below] = np.vectorize(copies.get)(faces[below])
    weld = np.concatenate([np.arange(len(vertices)), used])
    apart = np.concatenate([vertices, vertices[used]])
    welded = meshes.vertex_normals(apart, split, weld)
    np.testing.assert_allclose(welded, meshes.vertex_normals(vertices, faces)[weld], atol=1e-12)
    assert np.abs(meshes.vertex_normals(apart, split) - welded).max() > 0.1
    in_torch = meshes.vertex_normals(torch.tensor(apart), torch.tensor(split), torch.tensor(weld))
    np.testing.assert_allclose(in_torch, welded, atol=1e-12)
    fine = meshes.subdivide(split, len(apart), weld)
    positions = fine.apply(apart)
    np.testing.assert_allclose(positions[fine.weld], positions)
    assert (fine.weld[fine.weld] == fine.weld).all()
    assert len(np.unique(fine.weld[fine.faces])) == len(
        np.unique(np.round(positions[fine.faces], 9).reshape(-1, 3), axis=0)
    )


def test_lonely_and_flat_vertices_face_forward_and_keep_gradients_finite() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [5, 5, 5]], float)
    faces = np.array([[0, 1, 2]])
    np.testing.assert_array_equal(meshes.vertex_normals(vertices, faces), [[0, 0, 1]] * 4)
    tensor = torch.tensor(vertices, requires_grad=True)
    normals = meshes.vertex_normals(tensor, torch.tensor(faces))
    np.testing.assert_array_equal(normals.detach(), [[0, 0, 1]] * 4)
    normals.sum().backward()
    assert tensor.grad is not None
    assert torch.isfinite(tensor.grad).all()


def test_normals_are_differentiable() -> None:
    vertices = torch.tensor(CUBE + np.random.default_rng(0).normal(0, 0.1, CUBE.shape), requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: meshes.vertex_normals(v, torch.tensor(CUBE_FACES)), vertices)


def test_edges_and_adjacency() -> None:
    assert meshes.edges(np.array([[2, 1, 0], [2, 3, 1]])).tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]
    vertices, faces = sphere(2)
    pairs = meshes.edges(faces)
    assert len(vertices) - len(pairs) + len(faces) == 2  # Euler
    near = meshes.adjacency(faces, len(vertices))
    assert near.nnz == 2 * len(pairs)
    assert abs(near - near.T).max() == 0
    assert near[pairs[5, 0], pairs[5, 1]] == 1


def test_subdivision_keeps_the_surface() -> None:
    fine = meshes.subdivide(CUBE_FACES, 8)
    vertices = fine.apply(CUBE)
    assert fine.faces.shape == (48, 3)
    assert len(vertices) == 8 + 18
    assert fine.parents.tolist() == np.repeat(np.arange(12), 4).tolist()
    assert meshes.signed_volume(vertices, fine.faces) == pytest.approx(1)
    np.testing.assert_array_equal(vertices[:8], CUBE)
    np.testing.assert_allclose(np.asarray(fine.matrix.sum(1)).ravel(), 1)
    coarse = meshes.face_normals(CUBE, CUBE_FACES)
    np.testing.assert_allclose(meshes.face_normals(vertices, fine.faces), coarse[fine.parents])
    uv = np.random.default_rng(0).uniform(size=(3, 8, 2)).astype(np.float32)
    carried = fine.apply(uv)
    assert carried.dtype == np.float32
    a, b = np.flatnonzero(fine.matrix.toarray()[20])
    np.testing.assert_allclose(carried[1, 20], (uv[1, a] + uv[1, b]) / 2, rtol=1e-6)


def test_uniform_laplacian() -> None:
    vertices, faces = sphere(2)
    matrix = meshes.uniform_laplacian(faces, len(vertices))
    np.testing.assert_allclose(matrix @ np.ones(len(vertices)), 0, atol=1e-12)
    assert matrix[0, 0] == (meshes.edges(faces) == 0).any(1).sum()
    assert np.linalg.eigvalsh(matrix.toarray()).min() > -1e-9


def test_cotangent_laplacian_is_the_dirichlet_energy() -> None:
    # On a flat square with any triangulation, a linear function has energy area * |gradient|^2.
    flat = np.array([[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0], [0.7, 0.4, 0]])
    faces = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
    matrix = meshes.cotangent_laplacian(flat, faces)
    height = flat @ [3.0, -1.0, 0]
    assert height @ matrix @ height == pytest.approx(2 * 10)
    assert (matrix @ height)[4] == pytest.approx(0)
    assert abs(matrix - matrix.T).max() < 1e-12
    # On the unit sphere x is an eigenfunction: energy 8 pi / 3.
    vertices, faces = sphere(4)
    x = vertices[:, 0]
    assert x @ meshes.cotangent_laplacian(vertices, faces) @ x == pytest.approx(8 * np.pi / 3, rel=0.01)
    degenerate = meshes.cotangent_laplacian(np.zeros((3, 3)), np.array([[0, 1, 2]]))
    assert not degenerate.toarray().any()
