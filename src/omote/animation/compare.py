"""The photo, what drives it, and the result side by side."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omote.animation.drivers import Driving
from omote.performance import Performance

if TYPE_CHECKING:
    from omote.render.overlay_panels import Crop, HeadPainter

Picture = NDArray[np.uint8]

PANEL = 512
"""Height of the panels at most, pixels."""
_WIDEST = 16 / 9


class SideBySide:
    """Joins three panels for each frame: photo | driver | result. A context manager: it holds a video open.

    Args:
        photo: (H, W, 3) uint8 RGB.
        driving: what drives the (first) face. A video or a photo is shown itself, anything else as the moving rig.
        motion: that face's own motion, which the rig shows.
        landmarks: (478, 2) pixels of that face in the photo.
    """

    def __init__(
        self, photo: Picture, driving: Driving, motion: Performance, landmarks: NDArray[np.floating[Any]]
    ) -> None:
        height, width = photo.shape[:2]
        scale = min(1.0, PANEL / height)
        self._size = (max(2, round(width * scale)), max(2, round(height * scale)))
        self._driving, self._motion, self._landmarks = driving, motion, landmarks
        self._photo_width = width
        self._photo = self._labelled(self._fitted(photo, self._size), "photo")
        self._frames: Iterator[tuple[float, Picture]] | None = None
        self._shown: Picture | None = None
        self._next: tuple[float, Picture] | None = None

    def __enter__(self) -> SideBySide:
        return self

    def __exit__(self, *_: object) -> None:
        if self._frames is not None:
            self._frames.close()  # type: ignore[attr-defined]

    def join(self, result: Picture, frame: int, time: float) -> Picture:
        """The three panels.

        Args:
            result: (H, W, 3) uint8 RGB of the photo's size.
            frame: which frame of the motion it is.
            time: seconds from the start of the driver.

        Returns:
            (h, w, 3) uint8 RGB; all of one size for one comparison.
        """
        animated = self._labelled(self._fitted(result, self._size), "animated")
        middle = self._labelled(self._driver(frame, time), "driver")
        return np.concatenate([self._photo, middle, animated], axis=1)

    def _driver(self, frame: int, time: float) -> Picture:
        if self._driving.kind == "video":
            return self._video(time + float(self._driving.take.times[0]))
        if self._driving.kind == "photo":
            return self._still
        return self._rig(frame)

    @cached_property
    def _still(self) -> Picture:
        from omote.media import read_image

        return self._same_height(read_image(self._driving.path or ""))

    def _video(self, time: float) -> Picture:
        """The driver's frame that is on at a moment of its file."""
        from omote.media import open_video

        if self._frames is None:
            reader = open_video(self._driving.path or "", prefetch=True, max_side=2 * PANEL)
            self._frames = iter(reader)
            self._next = next(self._frames, None)
        while self._next is not None and (self._shown is None or self._next[0] <= time + 1e-4):
            self._shown = self._same_height(self._next[1])
            self._next = next(self._frames, None)
        if self._shown is None:  # a file that has changed meanwhile
            return np.zeros_like(self._photo)
        return self._shown

    @cached_property
    def _view(self) -> tuple[HeadPainter, Crop]:
        from omote.render.overlay_panels import Crop, HeadPainter

        height = self._size[1]
        crop = Crop.around([np.asarray(self._landmarks)[None]], self._motion.camera.size, height)
        return HeadPainter(), crop

    def _rig(self, frame: int) -> Picture:
        """The moving head alone, from where the camera of the photo is."""
        from omote.render.overlay_panels import NEUTRAL

        painter, crop = self._view
        vertices = painter.vertices(self._motion, [frame])[0]
        drawn = painter.render(vertices, crop.camera(self._motion.camera), supersample=1)
        ground = np.full((*drawn.alpha.shape, 3), NEUTRAL, np.float32)
        ground += (drawn.rgb - ground) * drawn.alpha[..., None]
        picture = np.round(ground.clip(0, 1) * 255).astype(np.uint8)
        paper = np.full((self._size[1], crop.size[0], 3), np.round(np.array(NEUTRAL) * 255), np.uint8)
        top = max(0, (paper.shape[0] - picture.shape[0]) // 2)
        kept = picture[: paper.shape[0]]
        paper[top : top + len(kept)] = kept
        return paper

    def _same_height(self, picture: Picture) -> Picture:
        height, width = picture.shape[:2]
        wide = round(self._size[1] * min(width / height, _WIDEST))
        share = wide / (self._size[1] * width / height)
        cut = round(width * (1 - share) / 2)
        return self._fitted(picture[:, cut : width - cut], (max(2, wide), self._size[1]))

    @staticmethod
    def _fitted(picture: Picture, size: tuple[int, int]) -> Picture:
        import cv2

        if picture.shape[1::-1] == size:
            return picture
        smaller = size[0] * size[1] < picture.shape[0] * picture.shape[1]
        how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)

    @staticmethod
    def _labelled(picture: Picture, text: str) -> Picture:
        from omote.render.overlay_panels import caption

        return caption(np.ascontiguousarray(picture), text)
