"""A take to look at: the embedded head performing it, as a contact sheet or a video. No photo is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.errors import InputError
from omote.media import VideoWriter
from omote.performance import Camera, Performance
from omote.render.overlay_panels import NEUTRAL, HeadPainter, Picture
from omote.render.sheets import tile

_ROOM = 1.3
"""Half of the picture's side, as a multiple of half the face's height."""
_FRAMED = 12
"""Frames looked at to find where the face is."""
_AHEAD = 16
"""Frames whose heads are posed at once."""


def take_sheet(take: Performance, *, count: int = 12, columns: int = 6, size: int = 200) -> Picture:
    """Pictures of a take in order, evenly spread from its first frame to its last.

    Args:
        take: in any space that converts to FACS102.
        count: how many; fewer where the take has fewer frames.
        columns: pictures in a row.
        size: side of a picture, 48 to 1024 px.

    Returns:
        (H, W, 3) uint8 sRGB, each picture over its time.

    Raises:
        InputError: a count below 1, or a size out of range.
    """
    if count < 1 or columns < 1:
        raise InputError(f"{count} pictures in {columns} columns", where="count", remedy="Use 1 or more.")
    frames = np.unique(np.linspace(0, len(take) - 1, min(count, len(take))).round().astype(int)).tolist()
    pictures = take_pictures(take, frames, size=size, supersample=2)
    cells = [
        (f"{take.times[frame]:.2f} s", "", picture) for frame, picture in zip(frames, pictures, strict=True)
    ]
    return tile(cells, columns, size)


def take_video(
    take: Performance,
    path: str | Path,
    *,
    size: int = 384,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a video of a take; memory does not grow with its length.

    Args:
        take: in any space that converts to FACS102.
        path: ``.mp4``, ``.mov``, ``.mkv``, ``.webm`` or ``.gif``; appears when it is whole.
        size: side of the picture, 48 to 1024 px.
        progress: told frames done and frames in all.

    Returns:
        ``path``.

    Raises:
        InputError: a size out of range.
        OutputError: it cannot be written.
    """
    frames = range(len(take))
    with VideoWriter(path, (size, size), times=take.times) as writer:
        for number, picture in enumerate(take_pictures(take, frames, size=size), 1):
            writer.write(picture)
            if progress is not None:
                progress(number, len(take))
    return Path(path)


def take_pictures(
    take: Performance, frames: Sequence[int], *, size: int = 384, supersample: int = 1
) -> Iterator[Picture]:
    """Yield (size, size, 3) uint8 sRGB for each of the frames; all show the same piece of the camera's view."""
    if not 48 <= size <= 1024:
        raise InputError(f"pictures of {size} px", where="size", remedy="Use 48 to 1024.")
    painter = _painter()
    camera = _framed(painter, take, size)
    for start in range(0, len(frames), _AHEAD):
        for head in painter.vertices(take, frames[start : start + _AHEAD]):
            yield _on_ground(painter.render(head, camera, supersample), size)


@cache
def _painter() -> HeadPainter:
    return HeadPainter()


def _framed(painter: HeadPainter, take: Performance, size: int) -> Camera:
    """A square piece of the take's camera that holds the face in all of the take."""
    some = np.unique(np.linspace(0, len(take) - 1, min(_FRAMED, len(take))).round().astype(int)).tolist()
    points: NDArray[Any] = painter.landmarks.apply(painter.vertices(take, some)).reshape(-1, 3)
    spots = points[:, :2] * (1.0, -1.0) * take.camera.focal / np.maximum(-points[:, 2:], 1e-3)
    spots += take.camera.principal
    low, high = spots.min(0), spots.max(0)
    half = _ROOM * max(float((high - low).max()) / 2, 1.0)
    corner = (low + high) / 2 - half - (0.0, 0.1 * half)  # the crown is above the landmarks
    scale = size / (2 * half)
    cx, cy = (np.array(take.camera.principal) - corner) * scale
    return Camera(take.camera.focal * scale, (float(cx), float(cy)), (size, size))


def _on_ground(drawn: Any, size: int) -> Picture:
    ground = np.full((size, size, 3), NEUTRAL, np.float32)
    ground += (drawn.rgb - ground) * drawn.alpha[..., None]
    return np.asarray(np.round(ground.clip(0, 1) * 255), np.uint8)
