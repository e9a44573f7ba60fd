"""Source, driver and result of the engine liveportrait side by side, whole pictures of one height."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.animation.portrait_drivers import Leader
from omote.render.overlay_panels import caption

Picture = NDArray[np.uint8]

HEIGHT = 512
"""Of a panel, pixels."""
_DECODED_SIDE = 1280


class Panels:
    """Joins panels for each frame: photo | driver | result. A context manager: it holds a video open.

    Args:
        photo: (H, W, 3) uint8 RGB; None for a source video, which is seen in the result.
        leader: a video or a photo is shown; motion without pictures is not.
    """

    def __init__(self, photo: Picture | None, leader: Leader | None) -> None:
        from omote.media import open_video, read_image

        self._photo = None if photo is None else panel(photo, "source")
        self._driver: Picture | None = None
        self._frames: Any = None
        self._next: tuple[float, Picture] | None = None
        self._start = 0.0
        if leader is not None and leader.path is not None and leader.kind == "photo":
            self._driver = panel(read_image(leader.path), "driver")
        elif leader is not None and leader.path is not None and leader.kind == "video":
            self._frames = iter(open_video(leader.path, prefetch=True, max_side=_DECODED_SIDE))
            self._start = float(leader.take.times[0])
            self._next = next(self._frames, None)

    def __enter__(self) -> Panels:
        return self

    def __exit__(self, *_: object) -> None:
        if self._frames is not None:
            self._frames.close()

    def join(self, result: Picture, moment: float) -> Picture:
        """The panels (512, W, 3) uint8.

        Args:
            result: (H, W, 3) uint8 RGB.
            moment: seconds from the driver's first frame.
        """
        latest = None
        for picture in self._until(moment + self._start):
            latest = picture
        if latest is not None:
            self._driver = panel(latest, "driver")
        shown = [part for part in (self._photo, self._driver) if part is not None]
        return np.concatenate([*shown, panel(result, "animated")], axis=1)

    def _until(self, time: float) -> Iterator[Picture]:
        """The driver's frames up to a moment of its file, and its first one in any case."""
        while self._next is not None and (self._next[0] <= time + 1e-4 or self._driver is None):
            picture = self._next[1]
            self._next = next(self._frames, None)
            yield picture
            if self._driver is None and self._next is not None and self._next[0] > time + 1e-4:
                return


def panel(picture: Picture, text: str) -> Picture:
    """A picture at the panels' height, its name in the corner; its width is even."""
    import cv2

    share = HEIGHT / picture.shape[0]
    width = max(2, 2 * round(picture.shape[1] * share / 2))
    how = cv2.INTER_AREA if share < 1 else cv2.INTER_CUBIC
    return caption(np.asarray(cv2.resize(picture, (width, HEIGHT), interpolation=how), np.uint8), text)
