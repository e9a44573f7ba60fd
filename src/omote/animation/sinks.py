"""Where frames go: a video, a looping image, or a folder of pictures. Each streams, and appears whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from omote.errors import InputError, OmoteError, OutputError
from omote.media.paths import commit, output_error, prepare_target, sweep, unfinished_name

Picture = NDArray[np.uint8]

GIF_PIXELS = 500_000_000
"""A GIF is held in memory until it is written: a byte a pixel of each frame."""
_CLOCK = Fraction(1, 1000)
_RATES = (*map(Fraction, (24, 25, 30, 48, 50, 60)), *(Fraction(n, 1001) for n in (24_000, 30_000, 60_000)))


class Sink(Protocol):
    """Takes frames in order; a context manager that leaves nothing behind when its block fails."""

    def __enter__(self) -> Sink: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def write(self, frame: Picture, time_s: float | None = None) -> None:
        """Append a frame (H, W, 3) uint8 RGB at its time in seconds."""


def steady_rate(times: NDArray[np.float64]) -> Fraction | None:
    """The frame rate of which all times (T,) seconds are multiples, to the millisecond; None if there is none."""
    if len(times) < 2:
        return None
    mean = (len(times) - 1) / (times[-1] - times[0])
    near = [rate for rate in _RATES if abs(mean / float(rate) - 1) < 1e-3]
    for rate in (*near, Fraction(float(mean)).limit_denominator(1001)):
        counted = times * float(rate)
        if 0 < rate < 1000 and np.abs(counted - np.round(counted)).max() / float(rate) < 6e-4:
            return rate
    return None


def open_sink(
    path: Path, size: tuple[int, int], frames: int, fps: Fraction | None, sound: Path | None
) -> Sink:
    """The writer for a path by its suffix; a folder where it has none.

    Args:
        path: what is to be made.
        size: (width, height) px.
        frames: how many will come.
        fps: constant frame rate, or None: each frame comes with its time.
        sound: a file whose sound goes along, in videos.

    Raises:
        InputError: too many frames for a GIF, or a size that cannot be written.
        OutputError: the place cannot be written to.
    """
    from omote.media import VideoWriter

    suffix = path.suffix.lower()
    if not suffix:
        return FolderWriter(path)
    if suffix in (".webp", ".apng"):
        return LoopWriter(path, size)
    if suffix == ".gif" and frames * size[0] * size[1] > GIF_PIXELS:
        raise InputError(
            f"{frames} frames of {size[0]} x {size[1]} px are too much for a GIF",
            where=path,
            remedy="Write .mp4 or .webp, or use a smaller --size or --fps.",
        )
    return VideoWriter(path, size, fps=fps, audio_from=sound)


class LoopWriter:
    """An animated WebP or PNG that repeats for ever; frames are compressed as they come.

    Args:
        path: ``.webp`` (lossy) or ``.apng`` (lossless).
        size: (width, height) px.

    Raises:
        OutputError: the place cannot be written to.
    """

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        import av

        from omote.media.paths import prepare_target

        self._target, self._temporary = prepare_target(path)
        self._count, self._last = 0, -1
        webp = path.suffix.lower() == ".webp"
        options = {"loop": "0"} if webp else {"plays": "0"}
        try:
            name = os.path.abspath(self._temporary)
            self._container: Any = av.open(name, "w", format="webp" if webp else "apng", options=options)
            codec = ("libwebp_anim", {"quality": "88"}) if webp else ("apng", {"pred": "mixed"})
            self._stream = self._container.add_stream(codec[0], rate=30, options=codec[1])
        except (av.FFmpegError, OSError, ValueError) as error:
            raise OutputError(f"cannot be encoded ({error})", where=path) from error
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p" if webp else "rgb24"
        self._stream.codec_context.time_base = self._stream.time_base = _CLOCK

    def __enter__(self) -> LoopWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import av

        from omote.media.paths import commit, discard

        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            if kind is None:
                commit(self._temporary, self._target)
        except (av.FFmpegError, OSError) as failure:
            if kind is None:
                raise OutputError(f"cannot be encoded ({failure})", where=self._target) from failure
        finally:
            discard(self._temporary)

    def write(self, frame: Picture, time_s: float | None = None) -> None:
        """Append a frame (H, W, 3) uint8 RGB at its time in seconds."""
        import av

        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        if self._stream.pix_fmt != "rgb24":
            picture = picture.reformat(format=self._stream.pix_fmt)
        time = self._count / 30 if time_s is None else time_s
        picture.pts = max(round(time / _CLOCK), self._last + 1)
        picture.time_base, picture.duration = _CLOCK, max(1, picture.pts - self._last)
        self._last, self._count = picture.pts, self._count + 1
        try:
            self._container.mux(self._stream.encode(picture))
        except (av.FFmpegError, OSError) as error:
            raise OutputError(f"cannot be encoded ({error})", where=self._target) from error


class FolderWriter:
    """A folder of PNG files, ``frame_000001.png`` and on.

    Args:
        path: the folder, made if it is missing.

    Raises:
        OutputError: it cannot be made.
    """

    NAME = re.compile(r"frame_\d{6,}\.png")

    def __init__(self, path: Path) -> None:
        self.path, self._count = path, 0
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(path, error) from error

    def __enter__(self) -> FolderWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing stays open; whether the frames are kept is decided by `staged`."""

    def write(self, frame: Picture, time_s: float | None = None) -> None:
        """Append a frame (H, W, 3) uint8 RGB; pictures have no times."""
        from omote.media import write_image

        self._count += 1
        write_image(self.path / f"frame_{self._count:06d}.png", frame)


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A place to make a file or a folder of frames in, which becomes ``output`` when the block ends well.

    It has the name of ``output``, in a hidden folder beside it. Frames of an earlier run in a folder are replaced;
    other files in it stay. On an exception nothing is left behind, and what was there stays as it was.

    Raises:
        OutputError: the place cannot be written to.
    """
    folder = output.is_dir() or not output.suffix
    target = output.resolve() if folder else prepare_target(output)[0]
    stage = unfinished_name(target)
    sweep(target.parent)
    try:
        stage.mkdir(parents=True)
        made = stage / output.name
        yield made
        if folder:
            target.mkdir(exist_ok=True)
            for old in frames_in(target):
                old.unlink()
            for frame in frames_in(made):
                frame.replace(target / frame.name)
        else:
            commit(made, target)
        sweep(target.parent)
    except OmoteError as error:
        if error.where is None or stage not in (place := Path(error.where)).parents:
            raise
        where = output / place.name if folder and place.suffix else output  # not the hidden name
        raise type(error)(error.what, where=where, remedy=error.remedy) from error
    except OSError as error:
        raise output_error(output, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def frames_in(folder: Path) -> list[Path]:
    """The frames that a `FolderWriter` left in a folder, in order."""
    return sorted(file for file in folder.iterdir() if FolderWriter.NAME.fullmatch(file.name))
