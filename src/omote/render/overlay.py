"""How a capture sits on the face, for people to look at: pictures, videos and frame strips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from omote.errors import InputError
from omote.media import VideoWriter, open_video
from omote.performance import Camera, Performance
from omote.render.overlay_panels import (
    NEUTRAL,
    Crop,
    HeadPainter,
    Picture,
    Points,
    caption,
    draw_contours,
    draw_dots,
)

if TYPE_CHECKING:
    from omote.rigs.protocol import Rig

__all__ = ["CAPTIONS", "frame_strip", "photo_panel", "video_overlay"]

CAPTIONS = ("photo", "landmarks", "fitted head", "overlay")
_DIMMED = 0.62
_AHEAD = 16
"""Frames whose heads are posed at once."""
_DECODED_SIDE = 1280


def photo_panel(
    image: Picture,
    performances: Sequence[Performance],
    landmarks: Sequence[Points] | None = None,
    *,
    frame: int = 0,
    max_side: int = 768,
    rig: Rig | None = None,
) -> Picture:
    """Four panels side by side: photo | landmarks | fitted head | overlay.

    Args:
        image: (H, W, 3) uint8 RGB, the photo, or the video frame in question.
        performances: one for each face.
        landmarks: for each face (478, 2) detected landmarks, pixels of the photo; default: the fitted ones.
        frame: which frame of the performances.
        max_side: longer side of each panel, pixels.
        rig: of performances in the controls of a rig of one's own, with landmarks; None is the embedded one.

    Returns:
        (h, 4 w, 3) uint8 RGB; each panel shows the faces with room around them.

    Raises:
        InputError: no performance, another number of landmark sets, or no such frame.
    """
    marks = None if landmarks is None else [np.asarray(points)[None] for points in landmarks]
    _check(performances, marks)
    if not all(0 <= frame < len(take) for take in performances):
        raise InputError(f"frame {frame} is not in the performance", remedy=f"It has {len(performances[0])}.")
    painter, width = _painter(rig), performances[0].camera.size[0]
    posed = [painter.vertices(take, [frame])[0] for take in performances]
    fitted = [_fitted(painter, take, points)[None] for take, points in zip(performances, posed, strict=True)]
    shown = fitted if marks is None else marks
    crop = Crop.around(shown, performances[0].camera.size, max_side)
    photo = crop.cut(image, width)
    dots = _landmark_panel(photo, [points[0] for points in shown], crop)
    head, overlay = _head_panels(painter, photo, performances, posed, frame, crop, supersample=2)
    panels = (photo, dots, head, overlay)
    return np.concatenate([caption(p, text) for p, text in zip(panels, CAPTIONS, strict=True)], axis=1)


def video_overlay(
    video: str | Path,
    performances: Sequence[Performance],
    landmarks: Sequence[Points] | None,
    out_path: str | Path,
    *,
    progress: Callable[[int], None] | None = None,
    max_side: int = 512,
    rig: Rig | None = None,
) -> Path:
    """Write a video: left the frames with the landmarks' contours, right the fitted head over them. The sound is kept.

    Frames are streamed; memory does not grow with the length of the video.

    Args:
        video: the file that was captured.
        performances: one for each face, a row for each frame of the video.
        landmarks: for each face (T, 478, 2) detected landmarks, pixels, NaN where there are none; default: fitted ones.
        out_path: ``.mp4``, ``.mov``, ``.mkv``, ``.webm`` or ``.gif``; it appears when it is whole.
        progress: called with the number of frames written.
        max_side: longer side of each of the two panels, pixels.
        rig: see `photo_panel`.

    Returns:
        ``out_path``.

    Raises:
        InputError: the video cannot be read, or the performances do not fit to each other or the landmarks.
        OutputError: the result cannot be written.
    """
    _check(performances, landmarks)
    take = performances[0]
    painter, width = _painter(rig), take.camera.size[0]
    marks = _marks(painter, performances, landmarks)
    crop = Crop.around(marks, take.camera.size, max_side)
    reader = open_video(video, prefetch=True, max_side=_DECODED_SIDE)
    size = (2 * crop.size[0], crop.size[1])
    posed = _posed(painter, performances)
    frames = iter(reader)
    try:
        with VideoWriter(out_path, size, times=take.times, audio_from=video) as writer:
            for number, ((_, picture), heads) in enumerate(zip(frames, posed, strict=False)):
                photo = crop.cut(picture, width)
                seen = [crop.place(m[number]) for m in marks if np.isfinite(m[number]).all()]
                left = photo
                for points in seen:
                    left = draw_contours(left, points)
                _, right = _head_panels(
                    painter, photo, performances, heads, number, crop, supersample=1, alone=False
                )
                if not any(t.confidence[number] > 0 for t in performances):
                    left = caption(left, "no face")
                writer.write(np.concatenate([left, right], axis=1))
                if progress is not None:
                    progress(number + 1)
    finally:
        frames.close()  # type: ignore[attr-defined]
    return Path(out_path)


def frame_strip(
    video: str | Path,
    performance: Performance,
    landmarks: Points | None = None,
    *,
    count: int = 8,
    side: int = 256,
) -> Picture:
    """A picture of a whole take: a column for each of ``count`` frames, below each other the frame, overlay and head.

    Args:
        video: the file that was captured.
        performance: a face of it.
        landmarks: (T, 478, 2) detected landmarks, pixels, or None.
        count: how many frames, evenly spread from the first to the last.
        side: longer side of each cell, pixels.

    Returns:
        (3 h, count w, 3) uint8 RGB.

    Raises:
        InputError: the video cannot be read or has fewer frames, or ``count`` is below 1.
    """
    if count < 1:
        raise InputError(f"count is {count}, expected at least 1")
    _check([performance], None if landmarks is None else [landmarks])
    wanted = np.unique(np.linspace(0, len(performance) - 1, count).round().astype(int)).tolist()
    painter = _painter()
    marks = _marks(painter, [performance], None if landmarks is None else [landmarks])
    crop = Crop.around(marks, performance.camera.size, side)
    posed = dict(zip(wanted, painter.vertices(performance, wanted), strict=True))
    columns = []
    with open_video(video, max_side=_DECODED_SIDE) as reader:
        for number, (time, picture) in enumerate(reader):
            if number not in posed:
                continue
            photo = crop.cut(picture, performance.camera.size[0])
            head, overlay = _head_panels(
                painter, photo, [performance], [posed[number]], number, crop, supersample=2
            )
            lost = performance.confidence[number] <= 0
            photo = caption(photo, f"{time:.2f} s" + (", no face" if lost else ""))
            columns.append(np.concatenate([photo, overlay, head]))
            if len(columns) == len(wanted):
                break
    if len(columns) < len(wanted):
        raise InputError(f"has fewer than the performance's {len(performance)} frames", where=str(video))
    return np.concatenate(columns, axis=1)


def _painter(rig: Rig | None = None) -> HeadPainter:
    return _embedded() if rig is None else HeadPainter(rig)


@cache
def _embedded() -> HeadPainter:
    return HeadPainter()  # paints its skin, which takes a second


def _check(performances: Sequence[Performance], landmarks: Sequence[Points] | None) -> None:
    if not performances:
        raise InputError("there is no performance to show")
    if len({len(take) for take in performances}) > 1:
        raise InputError("the performances have different numbers of frames")
    if landmarks is not None and len(landmarks) != len(performances):
        raise InputError(f"{len(landmarks)} sets of landmarks for {len(performances)} performances")


def _fitted(painter: HeadPainter, take: Performance, vertices: NDArray[np.float32]) -> NDArray[np.float64]:
    """(478, 2) pixels: where the fitted head (V, 3) has its landmarks."""
    points = painter.landmarks.apply(vertices).astype(np.float64)
    return points[:, :2] * (1.0, -1.0) * take.camera.focal / -points[:, 2:] + take.camera.principal


def _marks(
    painter: HeadPainter, performances: Sequence[Performance], landmarks: Sequence[Points] | None
) -> list[Points]:
    """For each face (T, 478, 2); the fitted ones if none were given."""
    if landmarks is not None:
        return [np.asarray(points) for points in landmarks]
    found = []
    for take in performances:
        rows = np.full((len(take), 478, 2), np.nan, np.float32)
        for number, (points,) in enumerate(_posed(painter, [take])):
            if take.confidence[number] > 0:
                rows[number] = _fitted(painter, take, points)
        found.append(rows)
    return found


def _posed(painter: HeadPainter, performances: Sequence[Performance]) -> Iterator[list[NDArray[np.float32]]]:
    """The heads (V, 3) of all faces, frame by frame."""
    numbers = iter(range(len(performances[0])))
    while chunk := list(islice(numbers, _AHEAD)):
        yield from map(list, zip(*(painter.vertices(take, chunk) for take in performances), strict=True))


def _landmark_panel(photo: Picture, points: Sequence[Points], crop: Crop) -> Picture:
    panel = np.asarray(photo * _DIMMED, np.uint8)
    for one in points:
        if np.isfinite(one).all():
            panel = draw_dots(draw_contours(panel, crop.place(one), opacity=0.55), crop.place(one))
    return panel


def _head_panels(
    painter: HeadPainter,
    photo: Picture,
    performances: Sequence[Performance],
    posed: Sequence[NDArray[np.float32]],
    frame: int,
    crop: Crop,
    *,
    supersample: int,
    alone: bool = True,
) -> tuple[Picture, Picture]:
    """The heads on a neutral ground (empty unless ``alone``), and over the photo; the nearest one last."""
    overlay = photo.copy()
    ground = np.full(photo.shape if alone else (1, 1, 3), NEUTRAL, np.float32)
    for number in sorted(range(len(posed)), key=lambda k: float(performances[k].head_translation[frame, 2])):
        if performances[number].confidence[frame] <= 0:
            continue
        vertices, camera = posed[number], crop.camera(performances[number].camera)
        x0, y0, x1, y1 = 0, 0, *crop.size
        if not alone:  # only what the overlay shows
            window = painter.window(vertices, camera)
            if window is None:
                continue
            x0, y0, x1, y1 = window
            principal = (camera.principal[0] - x0, camera.principal[1] - y0)
            camera = Camera(camera.focal, principal, (x1 - x0, y1 - y0))
        drawn = painter.render(vertices, camera, supersample)
        overlay[y0:y1, x0:x1] = painter.over_picture(overlay[y0:y1, x0:x1], drawn, vertices, camera)
        if alone:
            ground += (drawn.rgb - ground) * drawn.alpha[..., None]
    return np.round(ground.clip(0, 1) * 255).astype(np.uint8), overlay
