"""Videos in: a stream of (time, upright RGB frame) with constant memory, whatever the container does."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omote.errors import InputError
from omote.media.animation import ANIMATION_FORMATS, animation_frames, animation_info
from omote.media.images import MAX_PIXELS, check_size
from omote.media.paths import PathLike, sniff

if TYPE_CHECKING:
    import av.container

logger = logging.getLogger("omote.media")

Frame = tuple[float, NDArray[np.uint8]]
DEFAULT_FPS = 30.0
_CONTAINERS = {
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
class _Info:
    coded_size: tuple[int, int]  # as decoded, pixels made square
    orient: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    turned: bool  # the sides swap
    fps: float
    duration: float | None
    frame_count: int | None
    has_audio: bool
    start: float


class VideoReader:
    """An iterable of ``(time_s, frame)``; made by `open_video`. Each ``for`` starts at the beginning.

    Attributes:
        path: the file.
        size: (width, height) px of the frames it yields: upright, square pixels, after ``max_side``.
        scale: yielded width over the video's own upright width (1.0 unless ``max_side`` made it smaller).
        fps: average frames per second (an estimate where the file does not say).
        frame_count: estimated number of frames, or None where the file does not say. For progress bars only.
        duration: seconds, or None where the file does not say.
        has_audio: whether there is a sound track.
        skipped: damaged frames or packets left out so far by the latest iteration.
        truncated: after an iteration: whether the file ended before its header says it should.
    """

    def __init__(self, path: Path, fmt: str, *, prefetch: bool, max_side: int | None) -> None:
        self.path, self.skipped, self.truncated = path, 0, False
        self._fmt, self._prefetch = fmt, prefetch
        if fmt in ANIMATION_FORMATS:
            size, fps, count, duration = animation_info(path)
            self._info = _Info(size, _as_is, False, fps, duration, count, False, 0.0)
        else:
            self._info = _probe(path, fmt)
        info = self._info
        width, height = info.coded_size
        ratio = 1.0 if max_side is None else min(1.0, max_side / max(width, height))
        self._target = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        self.size: tuple[int, int] = self._target[::-1] if info.turned else self._target
        self.scale: float = self._target[0] / width if ratio < 1 else 1.0
        self.fps, self.duration, self.frame_count = info.fps, info.duration, info.frame_count
        self.has_audio = info.has_audio

    def __iter__(self) -> Iterator[Frame]:
        self.skipped, self.truncated = 0, False
        return _prefetched(self._frames) if self._prefetch else self._frames()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing stays open between iterations; ``with`` is there to match `VideoWriter`."""

    def _frames(self) -> Iterator[Frame]:
        clock = _Clock(self._info.start, self.fps)
        if self._fmt in ANIMATION_FORMATS:
            yield from animation_frames(self, self._target)
            return
        count, last_end = 0, 0.0
        with closing(_open(self.path, self._fmt)) as container:
            decoded = self._decode(container)
            for frame in decoded:
                time = clock(None if frame.pts is None else float(frame.pts * frame.time_base))
                try:
                    pixels = self._info.orient(_rgb(frame, self._target))
                except (_av_error(), ValueError, MemoryError) as error:
                    self.skipped += 1
                    logger.debug("%s: a frame at %.3f s cannot be converted (%s)", self.path, time, error)
                    continue
                count, last_end = count + 1, time + 1 / self.fps
                yield time, pixels
        self._report(count, last_end)

    def _decode(self, container: av.container.InputContainer) -> Iterator[Any]:
        stream = container.streams.video[0]
        errors = _av_error()
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except errors as error:
                logger.debug("%s: reading stops (%s)", self.path, error)
                self.truncated = True
                return
            try:
                frames = packet.decode()
            except errors as error:
                if packet.size:  # the empty packet flushes; what it reports was counted before
                    self.skipped += 1
                    logger.debug("%s: a damaged packet (%s)", self.path, error)
                if isinstance(error, MemoryError | EOFError):
                    return
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.skipped += 1
                else:
                    yield frame

    def _report(self, count: int, last_end: float) -> None:
        expected = self.duration
        if (
            expected is not None
            and last_end < expected - max(0.5, 3 / self.fps)
            and last_end < 0.98 * expected
        ):
            self.truncated = True
        if self.skipped:
            logger.warning("%s: %d damaged frame(s) skipped", self.path, self.skipped)
        if self.truncated:
            whole = f" of {expected:.1f} s" if expected is not None else ""
            logger.warning(
                "%s: the video is cut off: %.1f s%s (%d frames) can be read",
                self.path,
                last_end,
                whole,
                count,
            )


def open_video(path: PathLike, *, prefetch: bool = False, max_side: int | None = None) -> VideoReader:
    """Open a video by its content; decodes the first frame, so that what cannot be read fails here.

    Iteration yields ``(time_s, frame)``: seconds from the start of the file as float, strictly increasing
    (variable frame rates survive), and (H, W, 3) uint8 RGB. The display matrix (rotation and mirroring) and
    non-square pixels are applied. Damaged frames are left out, counted in ``skipped`` and logged; a file
    that is cut off yields what is there, sets ``truncated`` and logs it. Animated GIF, WebP and PNG files
    are read as videos. HDR video is not tone-mapped.

    Args:
        path: mp4, mov, mkv, webm, avi, flv, ts, mpg, wmv, ogv, y4m, or an animated gif, webp or png.
        prefetch: decode up to four frames ahead on a background thread, which ends when the iterator is
            closed or dropped.
        max_side: longest side in px of the yielded frames; larger video is made smaller while it is
            converted.

    Raises:
        InputError: missing, empty, not a video, too large, without pictures, or damaged beyond its first
            frame.
    """
    path = Path(path)
    if max_side is not None and max_side < 1:
        raise InputError(f"max_side is {max_side}, expected at least 1", where=path)
    fmt = sniff(path)
    if fmt not in _CONTAINERS and fmt not in ANIMATION_FORMATS:
        if fmt in ("", "omote"):
            raise InputError("this is not a video that can be read", where=path, remedy="Convert it to .mp4.")
        raise InputError("this is a still image, not a video", where=path)
    return VideoReader(path, fmt, prefetch=prefetch, max_side=max_side)


class _Clock:
    """Presentation times from 0 at the start of the file, made strictly increasing."""

    def __init__(self, start: float, fps: float) -> None:
        self.shift, self.step, self.last = -start, 1 / fps, -1.0

    def __call__(self, pts: float | None) -> float:
        if pts is None:
            time = self.last + self.step if self.last >= 0 else 0.0
        else:
            time = max(pts + self.shift, 0.0)
        if self.last >= 0 and time <= self.last:
            if self.last - time > 1.0:  # the clock was set back (joined recordings): carry on from here
                self.shift += self.last + self.step - time
                time = self.last + self.step
            else:  # a repeated time stamp
                time = self.last + self.step / 100
        self.last = time
        return time


def _av_error() -> type[Exception]:
    import av

    error: type[Exception] = av.FFmpegError
    return error


def _open(path: Path, fmt: str) -> av.container.InputContainer:
    """Open one local file as the container it is, with a pixel limit; it cannot pull in other files."""
    import av

    options = {
        "protocol_whitelist": "file",
        "format_whitelist": _CONTAINERS[fmt],
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


def _probe(path: Path, fmt: str) -> _Info:
    """Header facts and the first frame's size and orientation."""
    with closing(_open(path, fmt)) as container:
        stream = container.streams.video[0]
        first, failure = None, ""
        try:
            for packet in container.demux(stream):
                try:
                    first = next((f for f in packet.decode() if not f.is_corrupt), None)
                except _av_error() as error:
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
        elif container.duration and container.duration > 0:
            duration = container.duration / 1e6
        count = stream.frames or (round(duration * fps) if duration else None)
        start = container.start_time
        if start is None or not -1e12 < start < 1e15:
            start = 0
        orient, turned = _orientation(first)
        return _Info(
            (width, first.height),
            orient,
            turned,
            fps,
            duration,
            count or None,
            bool(container.streams.audio),
            start / 1e6,
        )


def _as_is(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return array


def _orientation(frame: Any) -> tuple[Callable[[NDArray[np.uint8]], NDArray[np.uint8]], bool]:
    """What the display matrix asks for: an array function, and whether the sides swap.

    FFmpeg's matrix [a b u; c d v; x y w] takes a stored pixel (p, q) to (a p + c q + x, b p + d q + y), x
    right, y down.
    """
    from av.sidedata.sidedata import Type

    side = frame.side_data.get(Type.DISPLAYMATRIX)
    if side is None or side.buffer_size < 36:
        return _as_is, False
    a, b, _, c, d = (int(n) for n in np.frombuffer(bytes(side), dtype=np.int32)[:5])
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    flip_x, flip_y = (c < 0, b < 0) if turned else (a < 0, d < 0)
    if not (turned or flip_x or flip_y):
        return _as_is, False

    def orient(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        out = array.transpose(1, 0, 2) if turned else array
        return np.ascontiguousarray(out[:: -1 if flip_y else 1, :: -1 if flip_x else 1])

    return orient, turned


def _rgb(frame: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
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


def _prefetched(source: Callable[[], Iterator[Frame]], depth: int = 4) -> Iterator[Frame]:
    """The frames of ``source()``, produced on a thread that stops when this generator is closed."""
    ready: queue.Queue[Frame | BaseException | None] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Frame | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        frames = source()
        try:
            for item in frames:
                if not put(item):
                    return
            put(None)
        except BaseException as error:  # handed over and raised in the consumer's thread  # noqa: BLE001
            put(error)
        finally:
            frames.close()  # type: ignore[attr-defined]

    thread = threading.Thread(target=work, name="omote-decode", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def _short(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:120]
