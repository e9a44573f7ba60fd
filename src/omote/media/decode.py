"""Opening video containers safely, what their headers say, and one decoded frame as upright RGB."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omote.errors import InputError
from omote.media.images import MAX_PIXELS, check_size

if TYPE_CHECKING:
    import av.container

DEFAULT_FPS = 30.0
CONTAINERS = {
    "mp4": "mov,mp4,m4a,3gp,3g2,mj2",
    "matroska": "matroska,webm",
    "avi": "avi",
    "flv": "flv",
    "mpegts": "mpegts",
    "mpegps": "mpeg,mpegvideo",
    "asf": "asf",
    "ogg": "ogg",
    "y4m": "yuv4mpegpipe",
}
_REMEDY = "Copy or export it again, as an .mp4 file."


@dataclass
class VideoInfo:
    """What the header and the first frame say; fields as in `omote.media.VideoReader`."""

    coded_size: tuple[int, int]  # as decoded, pixels made square
    orient: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    turned: bool  # the sides swap
    fps: float
    duration: float | None
    frame_count: int | None
    has_audio: bool
    start: float


def av_error() -> type[Exception]:
    """The base class of PyAV's errors, which is loaded only when video is."""
    import av

    error: type[Exception] = av.FFmpegError
    return error


def open_container(path: Path, fmt: str) -> av.container.InputContainer:
    """Open one local file as the container it is, with a pixel limit; it cannot pull in other files."""
    import av

    options = {
        "protocol_whitelist": "file",
        "format_whitelist": CONTAINERS[fmt],
        "max_pixels": str(MAX_PIXELS),
    }
    try:
        container = av.open(os.path.abspath(path), options=options, metadata_errors="replace")
    except Exception as error:  # FFmpegError and whatever a hostile header brings about
        raise InputError(
            f"the video is damaged or cut off ({_short(error)})", where=path, remedy=_REMEDY
        ) from error
    try:
        if not container.streams.video:
            raise InputError("there are no pictures in this file (sound only?)", where=path)
        stream = container.streams.video[0]
        check_size(stream.width or 1, stream.height or 1, path)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min(4, os.cpu_count() or 1)
    except InputError:
        container.close()
        raise
    except Exception as error:  # no decoder for the codec
        container.close()
        raise InputError(
            f"its video codec cannot be decoded ({_short(error)})", where=path, remedy=_REMEDY
        ) from error
    return container


def probe(path: Path, fmt: str) -> VideoInfo:
    """Header facts and the first frame's size and orientation."""
    with closing(open_container(path, fmt)) as container:
        stream = container.streams.video[0]
        first, failure = None, ""
        try:
            for packet in container.demux(stream):
                try:
                    first = next((f for f in packet.decode() if not f.is_corrupt), None)
                except av_error() as error:
                    failure = _short(error)
                if first is not None:
                    break
        except Exception as error:  # noqa: BLE001
            failure = _short(error)
        if first is None:
            why = f" ({failure})" if failure else ""
            raise InputError(f"no frame of this video can be decoded{why}", where=path, remedy=_REMEDY)
        check_size(first.width, first.height, path)
        sar = stream.sample_aspect_ratio
        ratio = float(sar) if sar and 0.1 < sar < 10 else 1.0
        width = max(1, round(first.width * ratio))
        check_size(width, first.height, path)
        rate = stream.average_rate or stream.guessed_rate
        fps = float(rate) if rate and 0.01 < rate < 1000 else DEFAULT_FPS
        duration: float | None = None
        if stream.duration and stream.time_base and stream.duration > 0:
            duration = float(stream.duration * stream.time_base)
        else:
            duration = _tagged_duration(stream.metadata) or max(0, container.duration or 0) / 1e6 or None
        count = stream.frames or (round(duration * fps) if duration else None)
        start = container.start_time
        if start is None or not -1e12 < start < 1e15:
            start = 0
        orient, turned = _orientation(first)
        return VideoInfo(
            (width, first.height),
            orient,
            turned,
            fps,
            duration,
            count or None,
            bool(container.streams.audio),
            start / 1e6,
        )


def _tagged_duration(metadata: Mapping[str, str]) -> float | None:
    """Seconds of one track of a Matroska file, from its tag ("00:01:02.500000000")."""
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", metadata.get("DURATION", ""), re.ASCII)
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else None


def as_is(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The orientation of a video without a display matrix."""
    return array


def _orientation(frame: Any) -> tuple[Callable[[NDArray[np.uint8]], NDArray[np.uint8]], bool]:
    """What the display matrix asks for: an array function, and whether the sides swap.

    FFmpeg's matrix [a b u; c d v; x y w] takes a stored pixel (p, q) to (a p + c q + x, b p + d q + y), x
    right, y down.
    """
    from av.sidedata.sidedata import Type

    side = frame.side_data.get(Type.DISPLAYMATRIX)
    if side is None or side.buffer_size < 36:
        return as_is, False
    a, b, _, c, d = (int(n) for n in np.frombuffer(bytes(side), dtype=np.int32)[:5])
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    flip_x, flip_y = (c < 0, b < 0) if turned else (a < 0, d < 0)
    if not (turned or flip_x or flip_y):
        return as_is, False

    def orient(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        out = array.transpose(1, 0, 2) if turned else array
        return np.ascontiguousarray(out[:: -1 if flip_y else 1, :: -1 if flip_x else 1])

    return orient, turned


def to_rgb(frame: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    """One decoded frame as (H, W, 3) uint8 RGB of ``size`` (width, height)."""
    # An untagged HD stream is BT.709 by convention; swscale would take BT.601.
    untagged = frame.colorspace == 2 and (frame.width >= 1280 or frame.height > 576)
    smaller = size[0] * size[1] < frame.width * frame.height
    array: NDArray[np.uint8] = frame.to_ndarray(
        format="rgb24",
        width=size[0],
        height=size[1],
        src_colorspace="ITU709" if untagged else None,
        interpolation="AREA" if smaller else "BILINEAR",
        threads=1,
    )
    return array


def _short(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:120]
