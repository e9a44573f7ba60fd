"""How large a result is and how many frames a second it has, unless others are asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from omote.animation.plan import Job
from omote.errors import InputError

Picture = NDArray[np.uint8]

LOOP_SIDE, STRIP_SIDE = 480, 384
"""Longest side of a looping image, and of each picture of a strip, pixels."""
LOOP_FPS = 25.0
"""Frames a second of looping images at most."""
_LARGEST_VIDEO = 8192
"""Longest side of a video, pixels: beyond it hardly any player follows."""


def rate_of(job: Job, fps: float) -> float | None:
    """Frames a second that motion is resampled to; None: it keeps its own times.

    Args:
        job: what is made.
        fps: of the motion.
    """
    if job.options.fps is None and job.kind == "loop" and fps > LOOP_FPS * 1.01:
        return LOOP_FPS
    return job.options.fps


def longest_side(job: Job) -> int | None:
    """The longest side of what is shown, pixels; None: the source's own."""
    if job.options.size is not None:
        return job.options.size
    if job.kind == "loop":
        return LOOP_SIDE
    return STRIP_SIDE if job.options.strip is not None else None


def reduced(photo: Picture, job: Job) -> Picture:
    """The photo (H, W, 3) uint8 at the size of the result: never enlarged.

    Raises:
        InputError: it is too large for a video.
    """
    import cv2

    height, width = photo.shape[:2]
    longest = longest_side(job)
    if longest is not None and longest < max(height, width):
        share = longest / max(height, width)
        size = (max(2, round(width * share)), max(2, round(height * share)))
        photo = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
    check_size((photo.shape[1], photo.shape[0]), job)
    return photo


def check_size(size: tuple[int, int], job: Job) -> None:
    """Refuse (width, height) pixels that are too large for a video.

    Raises:
        InputError: they are, and a video is to be made.
    """
    if job.kind == "video" and max(size) > _LARGEST_VIDEO:
        raise InputError(
            f"{size[0]} x {size[1]} px is too large for a video",
            where=job.photo,
            remedy=f"Use --size {_LARGEST_VIDEO // 2}, or write a folder of frames.",
        )
