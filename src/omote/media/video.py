"""Videos in: a stream of (time, upright RGB frame) with constant memory, whatever the container does."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omote.errors import InputError
from omote.media.animation import ANIMATION_FORMATS, animation_frames, animation_info
from omote.media.decode import CONTAINERS, VideoInfo, as_is, av_error, open_container, probe, to_rgb
from omote.media.paths import PathLike, sniff

if TYPE_CHECKING:
    import av.container

logger = logging.getLogger("omote.media")

Frame = tuple[float, NDArray[np.uint8]]


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
            self._info = VideoInfo(size, as_is, False, fps, duration, count, False, 0.0)
        else:
            self._info = probe(path, fmt)
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
        with closing(open_container(self.path, self._fmt)) as container:
            decoded = self._decode(container)
            for frame in decoded:
                time = clock(None if frame.pts is None else float(frame.pts * frame.time_base))
                try:
                    pixels = self._info.orient(to_rgb(frame, self._target))
                except (av_error(), ValueError, MemoryError) as error:
                    self.skipped += 1
                    logger.debug("%s: a frame at %.3f s cannot be converted (%s)", self.path, time, error)
                    continue
                count, last_end = count + 1, time + 1 / self.fps
                yield time, pixels
        self._report(count, last_end)

    def _decode(self, container: av.container.InputContainer) -> Iterator[Any]:
        stream = container.streams.video[0]
        errors = av_error()
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
    if fmt not in CONTAINERS and fmt not in ANIMATION_FORMATS:
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
            time = pts + self.shift if self.last >= 0 else max(pts + self.shift, 0.0)
        if self.last >= 0 and time <= self.last:
            if self.last - time > 1.0:  # the clock was set back (joined recordings): carry on from here
                self.shift += self.last + self.step - time
                time = self.last + self.step
            else:  # a repeated time stamp
                time = self.last + self.step / 100
        self.last = time
        return time


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
