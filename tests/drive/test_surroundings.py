"""The warp around a head: where it is the identity, what it moves, and that it neither folds nor pulls in borders."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from omote.drive.puppet.binding import Bound, layout
from omote.drive.puppet.stage import Stage
from omote.drive.puppet.surroundings import Grid

from .conftest import SIZE, draw, take_of

Array = NDArray[np.float32]

MOVES: list[dict[str, Any]] = [
    {"place": (0.12, 0.03, -0.62)},
    {"place": (-0.12, 0.03, -0.62)},
    {"place": (0.0, 0.09, -0.62)},
    {"place": (0.0, -0.06, -0.62)},
    {"place": (0.0, 0.03, -0.5)},
    {"place": (0.0, 0.03, -0.85)},
    {"turn": (0.0, 0.0, 0.5)},
    {"turn": (0.0, 0.5, 0.0)},
    {"turn": (0.3, 0.0, 0.0)},
    {"place": (0.05, 0.06, -0.7), "turn": (0.3, 0.5, 0.4)},
]
"""As large as heads move."""


@pytest.fixture(scope="module")
def head(stage: Stage) -> Bound:
    return stage.heads[0].bound


@pytest.fixture(scope="module")
def grid(head: Bound) -> Grid:
    return Grid.around([head], (SIZE, SIZE))


def moved(head: Bound, pose: dict[str, Any]) -> Array:
    """(V, 2) px."""
    return head.to_screen(head.poses(take_of(**pose))[0])[:, :2]


def read(maps: Array, pixels: Array) -> Array:
    """(N, 2) px of the photo that frame positions (N, 2) come from."""
    at = np.ascontiguousarray(pixels[None] - 0.5, np.float32)
    across, down = (cv2.remap(plane, at, None, cv2.INTER_LINEAR)[0] for plane in maps)
    return np.stack([across, down], 1) + np.float32(0.5)


def test_no_move_is_the_identity(grid: Grid, head: Bound) -> None:
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    maps = grid.backward([head.screen], [head.screen])
    assert maps.shape == (2, SIZE, SIZE)
    assert np.abs(maps - np.stack([x, y])).max() < 1e-3


@pytest.mark.parametrize("pose", MOVES)
def test_nothing_is_pulled_in_over_the_borders(grid: Grid, head: Bound, pose: dict[str, Any]) -> None:
    maps = grid.backward([head.screen], [moved(head, pose)])
    assert maps.min() > -0.8
    assert maps.max() < SIZE - 1 + 0.8


def test_the_border_that_a_head_leaves_stays(grid: Grid, head: Bound) -> None:
    right, up = (
        grid.backward([head.screen], [moved(head, pose)])
        for pose in ({"place": (0.12, 0.03, -0.62)}, {"place": (0.0, 0.09, -0.62)})
    )
    assert np.abs(right[0][:, 0]).max() < 0.8
    assert np.abs(up[1][-1] - (SIZE - 1)).max() < 0.8


@pytest.mark.parametrize("pose", MOVES)
def test_nothing_folds_beside_the_head(grid: Grid, head: Bound, pose: dict[str, Any]) -> None:
    across, down = grid.backward([head.screen], [moved(head, pose)])
    area = np.diff(across, axis=1)[:-1] * np.diff(down, axis=0)[:, :-1]
    area = area - np.diff(across, axis=0)[:, :-1] * np.diff(down, axis=1)[:-1]
    covered = cv2.dilate(draw(take_of(**pose)).mask.astype(np.uint8), np.ones((5, 5), np.uint8))[1:, 1:] > 0
    assert area[~covered].min() > 0.05
    assert (area > 0).mean() > 0.995


@pytest.mark.parametrize("pose", [m for m in MOVES if "place" in m and "turn" not in m])
def test_the_map_leads_back_to_where_the_skin_came_from(
    grid: Grid, head: Bound, pose: dict[str, Any]
) -> None:
    screen = moved(head, pose)
    shown = (head.seen > 0.9) & (layout().interior > 0.5)
    shown &= np.all((screen > 2.5) & (screen < SIZE - 2.5), axis=1)
    back = read(grid.backward([head.screen], [screen]), screen[shown])
    error = np.linalg.norm(back - head.screen[shown], axis=1)
    assert error.mean() < 0.9  # up to 0.6 px measured, of moves up to 100
    assert error.mean() < 0.08 * np.linalg.norm(screen[shown] - head.screen[shown], axis=1).mean()


def test_it_fades_with_distance(grid: Grid, head: Bound) -> None:
    """A step of a few pixels leaves the corners where they are, and moves what touches the head along."""
    pose = moved(head, {"place": (0.01, 0.03, -0.62)})
    maps = grid.backward([head.screen], [pose])
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    far = np.hypot(*(maps - np.stack([x, y])))
    assert far[:20, :20].max() < 0.6
    assert far[-20:, -20:].max() < 0.6
    step = np.linalg.norm(pose - head.screen, axis=1).mean()
    centre = head.screen.mean(0).astype(int)
    assert far[centre[1], centre[0]] == pytest.approx(step, rel=0.2)
