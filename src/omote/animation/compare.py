"""The photo, what drives it, and the result side by side: the faces, with room around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.animation.drivers import Driving
from omote.performance import Performance
from omote.render.overlay_panels import NEUTRAL, Crop, HeadPainter, caption

Picture = NDArray[np.uint8]

PANEL = 512
"""Longer side of a panel, pixels."""
_LOOKED_AT = 9
"""Frames, evenly spread, in which a face is looked for when its panel is cut."""
_DECODED_SIDE = 1280
_PAPER = np.round(np.array(NEUTRAL) * 255).astype(np.uint8)


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
        self._painter = HeadPainter()
        self._driving, self._motion = driving, motion
        size = (photo.shape[1], photo.shape[0])
        seen = np.concatenate([np.asarray(landmarks)[None], self._points(motion)])
        self._crop = Crop.around([seen], size, PANEL)
        self._other = self._crop
        if driving.kind in ("video", "photo"):
            self._other = Crop.around([self._points(driving.take)], driving.take.camera.size, PANEL)
        self._height = max(self._crop.size[1], self._other.size[1])
        self._photo = self._panel(self._crop.cut(photo, size[0]), "photo")
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
        if self._driving.kind == "video":
            driver = self._video(time + float(self._driving.take.times[0]))
        elif self._driving.kind == "photo":
            driver = self._still()
        else:
            driver = self._rig(frame)
        animated = self._panel(self._crop.cut(result, result.shape[1]), "animated")
        return np.concatenate([self._photo, driver, animated], axis=1)

    def _points(self, take: Performance) -> NDArray[np.float64]:
        """(N, 478, 2) pixels: where the head's landmarks are in some frames of a take."""
        seen = np.flatnonzero(take.confidence > 0)
        chosen = seen[np.linspace(0, len(seen) - 1, min(_LOOKED_AT, len(seen))).round().astype(int)]
        found = []
        for vertices in self._painter.vertices(take, chosen.tolist()):
            points = self._painter.landmarks.apply(vertices).astype(np.float64)
            flat = points[:, :2] * (1.0, -1.0) * take.camera.focal / np.maximum(-points[:, 2:], 1e-3)
            found.append(flat + take.camera.principal)
        return np.stack(found)

    def _still(self) -> Picture:
        from omote.media import read_image

        if self._shown is None:
            picture = read_image(self._driving.path or "")
            self._shown = self._panel(self._other.cut(picture, picture.shape[1]), "driver")
        return self._shown

    def _video(self, time: float) -> Picture:
        """The driver's frame that is on at a moment of its file."""
        from omote.media import open_video

        if self._frames is None:
            reader = open_video(self._driving.path or "", prefetch=True, max_side=_DECODED_SIDE)
            self._frames = iter(reader)
            self._next = next(self._frames, None)
        latest = None
        while self._next is not None and (self._next[0] <= time + 1e-4 or self._shown is latest is None):
            latest = self._next[1]
            self._next = next(self._frames, None)
        if latest is not None:
            width = self._driving.take.camera.size[0]
            self._shown = self._panel(self._other.cut(latest, width), "driver")
        if self._shown is None:  # a file that has changed meanwhile
            return np.zeros((self._height, self._other.size[0], 3), np.uint8)
        return self._shown

    def _rig(self, frame: int) -> Picture:
        """The moving head alone, from where the camera of the photo is."""
        vertices = self._painter.vertices(self._motion, [frame])[0]
        drawn = self._painter.render(vertices, self._crop.camera(self._motion.camera), supersample=1)
        ground = np.full((*drawn.alpha.shape, 3), NEUTRAL, np.float32)
        ground += (drawn.rgb - ground) * drawn.alpha[..., None]
        return self._panel(np.round(ground.clip(0, 1) * 255).astype(np.uint8), "driver")

    def _panel(self, picture: Picture, text: str) -> Picture:
        """A picture in the middle of a panel of the common height, with its name in the corner."""
        paper = np.broadcast_to(_PAPER, (self._height, picture.shape[1], 3)).copy()
        top = (self._height - picture.shape[0]) // 2
        paper[top : top + picture.shape[0]] = picture
        return caption(paper, text)
