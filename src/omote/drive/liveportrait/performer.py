"""Rig performances as drivers: the embedded head performs them before a camera, and the motion extractor watches.

A head of no identity, seen from the front in plain light; so a preset, a score or a recorded take in FACS or ARKit
controls drives a source as a video of a person would, and no mapping from controls to implicit keypoints is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.drive.liveportrait.crops import NETWORK_SIZE
from omote.drive.liveportrait.framing import Faces, place
from omote.drive.liveportrait.settings import LivePortraitOptions
from omote.performance import Camera, Performance
from omote.render.overlay_panels import NEUTRAL, HeadPainter

_AT_ONCE = 16
_DISTANCE = 0.9  # metres: far enough that a face looks like one in a portrait


def before_the_camera(take: Performance) -> Performance:
    """The take as it is performed: by a head of no identity in one place, which only turns."""
    identity = {name: np.zeros_like(values) for name, values in take.identity.items()}
    placed = np.tile([0.0, 0.0, -_DISTANCE], (len(take), 1))
    return take.with_(head_translation=placed, identity=identity)


@cache
def _painter() -> HeadPainter:
    return HeadPainter()  # paints its skin, which takes a second


class Performer:
    """Performs takes: pictures of the head and where its landmarks are.

    Args:
        take: controls that can be converted to FACS102; its own camera, place and identity are not used.
        options: the driver's crop.
    """

    def __init__(self, take: Performance, options: LivePortraitOptions) -> None:
        self._painter = _painter()
        self._take = before_the_camera(take)
        self._camera = self._framed(options)

    def _framed(self, options: LivePortraitOptions) -> Camera:
        """The camera whose picture is the driver's crop of the head at rest."""
        wide = Camera(1000.0, (500.0, 500.0), (1000, 1000))
        still = self._take[:1]
        rest = still.with_(
            controls=np.tile(still.space.neutral, (1, 1)), head_rotation=np.zeros((1, 3)), camera=wide
        )
        marks = self._marks(self._painter.vertices(rest, [0])[0], wide)
        square = place(Faces.of(marks[None]).square, options.driver_placement).upright()
        zoom = NETWORK_SIZE / float(square.side[0])
        corner = square.box()[0, :2]
        principal = ((500.0 - corner[0]) * zoom, (500.0 - corner[1]) * zoom)
        return Camera(1000.0 * zoom, principal, (NETWORK_SIZE, NETWORK_SIZE))

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[Any]]]:
        """(picture (256, 256, 3) uint8 sRGB, landmarks (478, 2) px) of each frame."""
        count = len(self._take)
        for start in range(0, count, _AT_ONCE):
            frames = list(range(start, min(start + _AT_ONCE, count)))
            for vertices in self._painter.vertices(self._take, frames):
                yield self.draw(vertices), self._marks(vertices, self._camera)

    def draw(self, vertices: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(256, 256, 3) uint8 sRGB of a head (V, 3) metres in camera space, on a plain ground."""
        drawn = self._painter.render(vertices, self._camera, supersample=2)
        ground = np.full((*drawn.alpha.shape, 3), NEUTRAL, np.float32)
        ground += (drawn.rgb - ground) * drawn.alpha[..., None]
        return np.asarray(np.round(ground.clip(0, 1) * 255), np.uint8)

    def _marks(self, vertices: NDArray[np.float32], camera: Camera) -> NDArray[Any]:
        points = self._painter.landmarks.apply(vertices).astype(np.float64)
        flat = points[:, :2] * (1.0, -1.0) * camera.focal / np.maximum(-points[:, 2:], 1e-3)
        marks: NDArray[Any] = flat + camera.principal
        return marks
