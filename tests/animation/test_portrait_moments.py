"""Which frames of a result count as held, where several faces move."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from omote.animation.portrait_moments import choose_moments
from omote.drive.liveportrait.performing import Moved

COUNT = 6


class Driver:
    """As much of a driving take as is looked at."""

    def __init__(self, *lost: int) -> None:
        self.elapsed, self.fps, self.still = np.arange(COUNT) / 25, 25.0, False
        self.found = np.array([frame not in lost for frame in range(COUNT)])

    def __len__(self) -> int:
        return COUNT


@pytest.mark.parametrize(
    ("lost", "held"),
    [([(1, 2)], [1, 2]), ([(1, 2), ()], []), ([(1, 2), (2, 3)], [2]), ([(0,), (0,)], [0])],
)
def test_a_frame_is_held_where_no_face_moves(lost: list[tuple[int, ...]], held: list[int]) -> None:
    points = torch.zeros(COUNT, 21, 3)
    engine: Any = SimpleNamespace(
        options=SimpleNamespace(official=False), perform=lambda *_: Moved(points[:1], points)
    )
    job: Any = SimpleNamespace(options=SimpleNamespace(fps=None), kind="video")
    source: Any = SimpleNamespace(faces=[object() for _ in lost])
    takes: Any = [Driver(*frames) for frames in lost]
    shown = choose_moments(job, engine, source, takes)
    assert np.flatnonzero(shown.held).tolist() == held
