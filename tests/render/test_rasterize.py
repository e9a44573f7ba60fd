"""The rasteriser against its plain reference, and the promises it makes by itself."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import trimesh

from omote.errors import InputError
from omote.render.rasterize import rasterize
from omote.render.reference import rasterize_reference


def compare(screen: np.ndarray, faces: np.ndarray, size: tuple[int, int], cull: bool = False) -> np.ndarray:
    ids, weights = rasterize(screen, faces, size, cull=cull)
    wanted_ids, wanted_weights = rasterize_reference(screen, faces, size, cull=cull)
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(ids, wanted_ids)
    np.testing.assert_allclose(weights, wanted_weights, atol=1e-5)
    return ids


def sphere_on_screen(size: int, subdivisions: int = 3) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=0.1)
    x, y, z = (np.asarray(mesh.vertices) - (0.0, 0.0, 0.5)).T
    focal = 1.8 * size
    screen = np.stack([size / 2 - focal * x / z, size / 2 + focal * y / z, -1 / z], -1).astype(np.float32)
    return screen, np.asarray(mesh.faces)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scale", [3.0, 30.0, 300.0])
def test_random_triangles_equal_the_reference(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    centres = random.uniform(-20, 120, (200, 1, 2))
    corners = (centres + random.normal(0, scale, (200, 3, 2))).reshape(-1, 2)
    screen = np.concatenate([corners, random.uniform(0.5, 4, (600, 1))], 1).astype(np.float32)
    screen[random.integers(0, 600, 5), 2] *= -1
    compare(screen, np.arange(600).reshape(200, 3), (101, 83), cull=bool(seed % 2))


@pytest.mark.parametrize("quarter_pixels", [0, 1, 2, 3])
def test_structured_grid_is_covered_once_and_equals_the_reference(quarter_pixels: int) -> None:
    # vertices and edges lie exactly on pixel centres (quarter_pixels = 2), corners and between
    step = np.arange(9) * 8.0 + quarter_pixels / 4
    x, y = np.meshgrid(step, step)
    screen = np.stack([x.ravel(), y.ravel(), np.ones(81)], -1).astype(np.float32)
    corner = (np.arange(8)[:, None] * 9 + np.arange(8)).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 9, corner + 1], -1), np.stack([corner + 1, corner + 9, corner + 10], -1)]
    )
    ids = compare(screen, faces, (80, 80))
    assert (ids >= 0).sum() == 64 * 64  # a 64 × 64 px square: watertight
    counts = np.zeros((80, 80), int)
    for face in faces:  # drawn one by one, no pixel is claimed twice
        counts += rasterize(screen, face[None], (80, 80))[0] >= 0
    assert counts.max() == 1
    assert counts.sum() == 64 * 64


@pytest.mark.parametrize("cull", [False, True])
def test_sphere_equals_the_reference(cull: bool) -> None:
    screen, faces = sphere_on_screen(96)
    ids = compare(screen, faces, (96, 96), cull=cull)
    normals_towards_us = ids >= 0
    radius = 1.8 * 96 * 0.1 / np.sqrt(0.5**2 - 0.1**2)
    assert normals_towards_us.sum() == pytest.approx(np.pi * radius**2, rel=0.01)


def test_culling_keeps_fronts_only() -> None:
    screen = np.array([[10, 10, 1], [10, 30, 1], [30, 10, 1]], np.float32)  # counter-clockwise seen with y up
    front, back = np.array([[0, 1, 2]]), np.array([[0, 2, 1]])
    assert (rasterize(screen, front, (40, 40), cull=True)[0] >= 0).sum() == 190
    assert (rasterize(screen, back, (40, 40), cull=True)[0] >= 0).sum() == 0
    assert (rasterize(screen, back, (40, 40))[0] >= 0).sum() == 190


def test_perspective_interpolation_matches_the_ray() -> None:
    vertices = np.array([[-0.1, -0.1, -0.3], [0.12, -0.08, -0.9], [0.0, 0.15, -0.5]])
    focal, size = 200.0, 128
    screen = np.stack(
        [
            64 - focal * vertices[:, 0] / vertices[:, 2],
            64 + focal * vertices[:, 1] / vertices[:, 2],
            -1 / vertices[:, 2],
        ],
        -1,
    )
    ids, weights = rasterize(screen.astype(np.float32), np.array([[0, 1, 2]]), (size, size))
    row, column = np.argwhere(ids == 0)[60]
    one, two = weights[row, column]
    point = (1 - one - two) * vertices[0] + one * vertices[1] + two * vertices[2]
    assert 64 - focal * point[0] / point[2] == pytest.approx(column + 0.5, abs=2e-3)
    assert 64 + focal * point[1] / point[2] == pytest.approx(row + 0.5, abs=2e-3)


def test_equal_depths_go_to_the_lower_index_and_nearer_wins() -> None:
    screen = np.array([[0, 0, 1], [0, 16, 1], [16, 0, 1], [0, 0, 2], [0, 16, 2], [16, 0, 2]], np.float32)
    same = np.array([[0, 1, 2], [0, 1, 2]])
    assert set(np.unique(rasterize(screen, same, (16, 16))[0])) == {-1, 0}
    assert set(np.unique(rasterize(screen, np.array([[0, 1, 2], [3, 4, 5]]), (16, 16))[0])) == {-1, 1}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e9])
def test_unusable_vertices_drop_their_triangles_only(bad: float) -> None:
    screen, faces = sphere_on_screen(48, 2)
    screen[5, 0] = bad
    ids = compare(screen, faces, (48, 48))
    assert not np.isin(ids, np.flatnonzero((faces == 5).any(1))).any()
    assert (ids >= 0).sum() > 500


def test_nothing_to_draw() -> None:
    ids, weights = rasterize(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64), (5, 4))
    assert ids.shape == (4, 5)
    assert (ids == -1).all()
    assert (weights == 0).all()


def test_tensors_in_tensors_out_and_frames_do_not_leak_into_each_other() -> None:
    screen, faces = sphere_on_screen(64, 2)
    first = rasterize(torch.from_numpy(screen), torch.from_numpy(faces), (64, 64))
    kept = first[0].clone()
    moved = torch.from_numpy(screen) + torch.tensor([9.0, 0, 0])
    rasterize(moved, torch.from_numpy(faces), (64, 64))
    again = rasterize(torch.from_numpy(screen), torch.from_numpy(faces), (64, 64))
    assert isinstance(again[0], torch.Tensor)
    assert torch.equal(first[0], kept)
    assert torch.equal(again[0], kept)
    assert torch.equal(again[1], first[1])


def test_bad_input_is_refused() -> None:
    screen = np.zeros((3, 3), np.float32)
    with pytest.raises(InputError, match="indices run from 0 to 3"):
        rasterize(screen, np.array([[0, 1, 3]]), (8, 8))
    with pytest.raises(InputError, match="render size"):
        rasterize(screen, np.array([[0, 1, 2]]), (8, 9000))
    with pytest.raises(InputError, match="screen"):
        rasterize(screen[:, :2], np.array([[0, 1, 2]]), (8, 8))


def test_first_use_is_silent() -> None:
    script = (
        "import numpy as np; from omote.render.rasterize import rasterize;"
        "print(rasterize(np.array([[0, 0, 1], [0, 9, 1], [9, 0, 1]], 'f4'), np.array([[0, 1, 2]]), (4, 4))[0].sum())"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    assert run.stdout == "0\n"
    assert run.stderr == ""
