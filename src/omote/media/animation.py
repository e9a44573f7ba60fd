"""Animated GIF, WebP and PNG files as videos, frame by frame through Pillow."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from omote.errors import InputError
from omote.media.images import check_size, open_pillow, to_rgb8

if TYPE_CHECKING:
    from omote.media.video import VideoReader

logger = logging.getLogger("omote.media")

ANIMATION_FORMATS = frozenset({"gif", "webp", "png"})


def animation_info(path: Path) -> tuple[tuple[int, int], float, int, float]:
    """((width, height), average fps, frames, duration in s) of an animated image.

    The frame rate is that of the first frame: the others are not decoded here.

    Raises:
        InputError: damaged, too large, or a still image.
    """
    try:
        with open_pillow(path) as image:
            check_size(*image.size, path)
            count = int(getattr(image, "n_frames", 1))
            image.seek(0)
            image.load()
            step, size = _milliseconds(image.info) / 1000, image.size
    except InputError:
        raise
    except Exception as error:  # decoders of hostile files raise anything
        raise InputError(
            f"the animation is damaged or cut off ({' '.join(str(error).split())[:120]})",
            where=path,
            remedy="Copy or export it again.",
        ) from error
    if count < 2:
        raise InputError("this is a still image, not a video", where=path)
    return size, 1 / step, count, count * step


def animation_frames(reader: VideoReader, size: tuple[int, int]) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """(time_s, (H, W, 3) uint8 RGB) of each frame; stops, and tells the reader, at the first damaged one."""
    from PIL import Image

    time = 0.0
    with open_pillow(reader.path) as image:
        index = 0
        while True:
            try:
                image.seek(index)
                image.load()
                step = _milliseconds(image.info) / 1000  # WebP knows it only now
                pixels = to_rgb8(image.copy())
            except EOFError:
                break
            except Exception as error:  # as above  # noqa: BLE001
                reader.truncated = True
                logger.warning("%s: damaged after %d frame(s) (%s)", reader.path, index, error)
                return
            if pixels.shape[1::-1] != size:
                pixels = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
            yield time, pixels
            time, index = time + step, index + 1
    if reader.frame_count is not None and index < reader.frame_count:
        reader.truncated = True
        logger.warning(
            "%s: the animation is cut off: %d of %d frames", reader.path, index, reader.frame_count
        )


def _milliseconds(info: dict[str | tuple[int, int], object]) -> float:
    """How long a frame stays. As in browsers, 10 ms or less means 100 ms."""
    duration = info.get("duration", 0)
    value = float(duration) if isinstance(duration, int | float) else 0.0
    return value if 10 < value < 3_600_000 else 100.0
