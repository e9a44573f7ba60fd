"""Videos out: H.264, VP9 or GIF, with the source's sound, whole or not at all."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from omote.errors import InputError, OutputError
from omote.media.paths import PathLike, check_readable, commit, discard, output_error, prepare_target

logger = logging.getLogger("omote.media")

_CLOCK = Fraction(1, 90_000)
_SOUND = {
    "mp4": frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}),
    "webm": frozenset({"opus", "vorbis"}),
}
_SOURCES = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,asf,ogg,wav,mp3,aac,flac,aiff,caf,w64,"
    "yuv4mpegpipe,gif"
)
_CODECS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mp4", ".mkv": "mp4", ".webm": "webm", ".gif": "gif"}


class VideoWriter:
    """Write frames to a video; a context manager. The file appears only when the block ends well.

    On an exception or Ctrl-C inside the block nothing is left behind and an existing file stays as it was.

    Args:
        path: ``.mp4``, ``.m4v``, ``.mov`` or ``.mkv`` (H.264, yuv420p, BT.709), ``.webm`` (VP9) or ``.gif``
            (up to 50 frames a second; all frames are held in memory as 8-bit palettes).
        size: (width, height) px of the frames. An odd side is made even by repeating the last row or column
            (not in GIF).
        fps: constant frame rate. Leave out for variable times.
        times: seconds of each frame to come, strictly increasing; or give each time to `write`.
        audio_from: a file whose first sound track is copied without loss (encoded anew where the container
            cannot hold its codec), cut at the end of the pictures. A file without sound is no error.
        crf: quality, 0 (lossless) to 51 (worst); for VP9 and H.264.

    Raises:
        OutputError: unknown suffix or a place that cannot be written to (at once), a full disk, no frames
            written.
        InputError: wrong sizes, times or an ``audio_from`` that is missing or cannot be read.
    """

    def __init__(
        self,
        path: PathLike,
        size: tuple[int, int],
        fps: float | Fraction | None = None,
        *,
        times: Sequence[float] | NDArray[np.floating[Any]] | None = None,
        audio_from: PathLike | None = None,
        crf: int = 18,
    ) -> None:
        self.path, self.size = Path(path), (int(size[0]), int(size[1]))
        codec = _CODECS.get(self.path.suffix.lower())
        if codec is None:
            raise OutputError(
                f"cannot write videos as {self.path.suffix or 'a file without a suffix'}",
                where=path,
                remedy="Use .mp4, .mov, .mkv, .webm or .gif.",
            )
        if min(self.size) < 1 or max(self.size) > 16_384:
            raise InputError(f"frames of {size[0]} x {size[1]} px cannot be written as a video", where=path)
        if fps is not None and (times is not None or not 0 < fps < 1000):
            raise InputError("give either times or one frame rate between 0 and 1000", where=path)
        if not 0 <= crf <= 51:
            raise InputError(f"crf is {crf}, expected 0 to 51", where=path)
        self.frames_written = 0
        self._rate = None if fps is None else Fraction(fps).limit_denominator(100_000)
        self._times = None if times is None else np.asarray(times, dtype=np.float64)
        self._last: float | None = None
        sound = None if audio_from is None else check_readable(audio_from)
        self._target, self._temporary = prepare_target(path)
        self._sink: _Gif | _Encoder | None = None
        try:
            if codec == "gif":
                self._sink = _Gif(self._temporary)
            else:
                self._sink = _Encoder(self._temporary, codec, self.size, self._rate, crf, sound)
        except BaseException as error:  # noqa: BLE001
            self.abort()
            self._raise(error)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    @property
    def shown_size(self) -> tuple[int, int]:
        """(width, height) px of the file's frames."""
        return self.size if self.path.suffix.lower() == ".gif" else _even(self.size)

    def write(self, frame: NDArray[np.uint8], time_s: float | None = None) -> None:
        """Append a frame, (H, W, 3) uint8 RGB of ``size``.

        Args:
            frame: the pixels.
            time_s: its time in seconds, needed where neither ``fps`` nor ``times`` was given.

        Raises:
            InputError: another shape or type, or a time that does not increase.
            OutputError: the disk is full or the writer is closed.
        """
        if self._sink is None:
            raise OutputError("the video is closed already", where=self.path)
        if frame.shape != (self.size[1], self.size[0], 3) or frame.dtype != np.uint8:
            raise InputError(
                f"got a {frame.dtype} frame of shape {frame.shape}, "
                f"expected uint8 ({self.size[1]}, {self.size[0]}, 3)",
                where=self.path,
            )
        time = self._time(time_s)
        try:
            self._sink.add(frame, time, time - self._last if self._last is not None else None)
        except BaseException as error:  # noqa: BLE001
            self.abort()
            self._raise(error)
        self._last = time
        self.frames_written += 1

    def close(self) -> None:
        """Finish the file and move it to its place.

        Raises:
            OutputError: no frames were written, or the disk is full.
        """
        if self._sink is None:
            return
        try:
            if self.frames_written == 0:
                raise OutputError("no frames were written, so there is no video", where=self.path)
            self._sink.finish()
            commit(self._temporary, self._target)
        except BaseException as error:  # noqa: BLE001
            self._raise(error)
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop everything written so far. Does nothing after `close`."""
        sink, self._sink = self._sink, None
        try:
            if sink is not None:
                sink.drop()
        finally:
            discard(self._temporary)

    def _time(self, given: float | None) -> float:
        if self._rate is not None and given is None:
            return float(self.frames_written / self._rate)
        if self._times is not None and given is None:
            if self.frames_written >= len(self._times):
                raise InputError(f"more frames than the {len(self._times)} times given", where=self.path)
            given = float(self._times[self.frames_written])
        if given is None:
            raise InputError("a frame needs a time: give fps, times or time_s", where=self.path)
        if not math.isfinite(given) or given < 0 or (self._last is not None and given <= self._last):
            raise InputError(
                f"frame times must increase from 0 on; got {given} after {self._last}", where=self.path
            )
        return float(given)

    def _raise(self, error: BaseException) -> NoReturn:
        """FFmpeg's and the system's errors as `OutputError`; all others as they are."""
        import av

        if isinstance(error, OSError):
            raise output_error(self.path, error) from error
        if isinstance(error, av.FFmpegError):
            raise OutputError(f"cannot be encoded ({error.strerror or error})", where=self.path) from error
        raise error


def _even(size: tuple[int, int]) -> tuple[int, int]:
    return size[0] + size[0] % 2, size[1] + size[1] % 2


class _Encoder:
    """H.264 or VP9 through FFmpeg, sound interleaved as the pictures advance."""

    def __init__(
        self,
        path: Path,
        codec: str,
        size: tuple[int, int],
        rate: Fraction | None,
        crf: int,
        sound: Path | None,
    ) -> None:
        import av
        from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

        self.sound: _Sound | None = None
        matroska = path.suffix.lower() in (".mkv", ".webm")
        self.container = av.open(
            os.path.abspath(path), "w", options={} if matroska else {"movflags": "+faststart"}
        )
        options = {"crf": str(crf), "preset": "veryfast"}
        if codec == "webm":
            options = {
                "crf": str(min(63, round(crf * 63 / 51))),
                "b": "0",
                "deadline": "realtime",
                "cpu-used": "5",
            }
        name = "libvpx-vp9" if codec == "webm" else "libx264"
        stream: Any = self.container.add_stream(name, rate=rate or 30, options=options)
        stream.width, stream.height = _even(size)
        stream.pix_fmt = "yuv420p"
        self.time_base = 1 / rate if rate is not None else _CLOCK
        stream.codec_context.time_base = stream.time_base = self.time_base
        context = stream.codec_context
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        context.thread_count = min(4, os.cpu_count() or 1)
        self.stream, self.padding = stream, (size[1] % 2, size[0] % 2)
        self.last_pts, self.end = -1, 0.0
        if sound is not None:
            try:
                self.sound = _Sound(self.container, sound, codec)
            except BaseException:
                self.container.close()
                raise

    def add(self, frame: NDArray[np.uint8], time: float, step: float | None) -> None:
        import av

        if any(self.padding):
            frame = np.pad(frame, ((0, self.padding[0]), (0, self.padding[1]), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", threads=1
        )
        picture.pts = self.last_pts = max(round(time / self.time_base), self.last_pts + 1)
        picture.time_base = self.time_base
        step = step if step is not None else float(1 / self.stream.codec_context.framerate)
        picture.duration = max(1, round(step / self.time_base))
        self.end = time + step
        self.container.mux(self.stream.encode(picture))
        if self.sound is not None:
            self.sound.copy_until(time)

    def finish(self) -> None:
        self.container.mux(self.stream.encode(None))
        if self.sound is not None:
            self.sound.copy_until(self.end)
            self.sound.finish()
        self.container.close()

    def drop(self) -> None:
        import av

        if self.sound is not None:
            self.sound.source.close()
        try:
            self.container.close()
        except (av.FFmpegError, OSError) as error:  # such as a header never written; the file goes anyway
            logger.debug("while dropping %s: %s", self.container.name, error)


class _Sound:
    """The first sound track of a file: its packets copied, or encoded anew where they cannot be held."""

    def __init__(self, target: Any, path: Path, codec: str) -> None:
        import av

        try:
            options = {"protocol_whitelist": "file", "format_whitelist": _SOURCES}
            self.source = av.open(os.path.abspath(path), options=options, metadata_errors="replace")
        except Exception as error:
            raise InputError("its sound cannot be read", where=path) from error
        self.target, self.path = target, path
        self.stream: Any = None
        self.pending: Any = None
        self.last_dts: int | None = None
        self.packets: Iterator[Any] = iter(())
        if not self.source.streams.audio:
            logger.info("%s: has no sound track", path)
            return
        track = self.source.streams.audio[0]
        self.start = (self.source.start_time or 0) / 1e6
        self.copying = track.codec_context.codec.canonical_name in _SOUND[codec]
        if self.copying:
            self.stream = target.add_stream_from_template(track)
            self.packets = self.source.demux(track)
        else:
            self.stream = target.add_stream("libopus" if codec == "webm" else "aac", rate=48_000)
            self.packets = self.source.decode(track)

    def copy_until(self, time: float) -> None:
        """Hand on what starts before ``time`` seconds; damaged sound ends the track with a warning."""
        import av

        while self.stream is not None:
            if self.pending is None:
                try:
                    self.pending = next(self.packets, None)
                except (av.FFmpegError, ValueError) as error:
                    logger.warning("%s: the sound is damaged and ends here (%s)", self.path, error)
                if self.pending is None:
                    self.packets = iter(())
                    return
            item = self.pending
            stamp = item.pts if item.pts is not None else getattr(item, "dts", None)
            if stamp is not None and float(stamp * item.time_base) - self.start >= time:
                return
            self.pending = None
            if stamp is not None:
                self._hand_on(item)

    def _hand_on(self, item: Any) -> None:
        shift = round(self.start / item.time_base)
        if self.copying:
            if item.dts is None or (self.last_dts is not None and item.dts <= self.last_dts):
                return  # a damaged time stamp; the container would refuse it
            self.last_dts = item.dts
            item.pts, item.dts = item.pts - shift if item.pts is not None else None, item.dts - shift
            item.stream = self.stream
            self.target.mux(item)
        else:
            item.pts -= shift
            self.target.mux(self.stream.encode(item))

    def finish(self) -> None:
        if self.stream is not None and not self.copying:
            self.target.mux(self.stream.encode(None))
        self.source.close()


class _Gif:
    """Palette frames collected, then written by Pillow."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frames: list[Any] = []
        self.times: list[float] = []
        self.step = 0.1

    def add(self, frame: NDArray[np.uint8], time: float, step: float | None) -> None:
        from PIL import Image

        self.frames.append(Image.fromarray(frame).quantize(256, method=Image.Quantize.MEDIANCUT))
        self.times.append(time)
        self.step = step if step is not None else self.step

    def finish(self) -> None:
        edges = np.round(
            np.array([*self.times, self.times[-1] + self.step]) * 100
        )  # hundredths, without drift
        durations = [int(10 * n) for n in np.maximum(np.diff(edges), 2)]
        first, *rest = self.frames
        first.save(
            self.path, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0, disposal=1
        )

    def drop(self) -> None:
        self.frames.clear()
