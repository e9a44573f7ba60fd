"""Values over a mesh: exactly what the rasteriser's triangles and barycentrics give."""

from __future__ import annotations

import numpy as np
import pytest

from omote.errors import InputError
from omote.render.attributes import draw_attributes
from omote.render.rasterize import rasterize


def triangles(seed: int, count: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Screen vertices (3 count, 3) and faces of triangles that lie over each other."""
    random = np.random.default_rng(seed)
    corners = (random.uniform(-10, 110, (count, 1, 2)) + random.normal(0, 25, (count, 3, 2))).reshape(-1, 2)
    screen = np.concatenate([corners, random.uniform(0.5, 4, (3 * count, 1))], 1)
    return screen.astype(np.float32), np.arange(3 * count).reshape(count, 3)


@pytest.mark.parametrize("cull", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_values_are_those_of_rasterize(channels: int, cull: bool) -> None:
    screen, faces = triangles(channels)
    values = np.random.default_rng(9).normal(0, 50, (len(screen), channels)).astype(np.float32)
    ids, planes = draw_attributes(screen, faces, values, (101, 83), cull=cull)
    wanted_ids, weights = rasterize(screen, faces, (101, 83), cull=cull)
    assert ids.dtype == np.int32
    assert planes.dtype == np.float32
    assert planes.shape == (channels, 83, 101)
    np.testing.assert_array_equal(ids, wanted_ids)
    seen = ids >= 0
    assert 0.3 < seen.mean() < 1
    shares = np.concatenate([1 - weights.sum(-1, keepdims=True), weights], -1)[seen].astype(np.float64)
    wanted = np.einsum("nk,nkc->cn", shares, values[faces[ids[seen]]].astype(np.float64))
    np.testing.assert_allclose(planes[:, seen], wanted, atol=2e-3)
    assert (planes[:, ~seen] == 0).all()


def test_interpolation_is_correct_in_perspective() -> None:
    """A plane seen at a slant: 1 / depth is linear on the screen, depth is not, and depth is what comes out."""
    corners = np.array([[0, 0, 1.0], [100, 0, 0.25], [0, 100, 1.0], [100, 100, 0.25]], np.float32)
    depth = 1 / corners[:, 2:]
    ids, (found,) = draw_attributes(corners, np.array([[0, 2, 1], [1, 2, 3]]), depth, (100, 100))
    assert (ids >= 0).all()
    across = (np.arange(100) + 0.5) / 100
    assert found == pytest.approx(np.tile(1 / (1 - 0.75 * across), (100, 1)), rel=1e-4)


def test_calls_do_not_see_each_other() -> None:
    screen, faces = triangles(1)
    values = np.ones((len(screen), 1), np.float32)
    first = draw_attributes(screen, faces, values, (64, 64))
    empty, plane = draw_attributes(screen + (1000, 0, 0), faces, values, (64, 64))
    assert (empty == -1).all()
    assert (plane == 0).all()
    again = draw_attributes(screen, faces, values, (64, 64))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_values_are_one_row_a_vertex() -> None:
    screen, faces = triangles(2)
    with pytest.raises(InputError, match="values"):
        draw_attributes(screen, faces, np.ones((len(screen) - 1, 2), np.float32), (32, 32))
