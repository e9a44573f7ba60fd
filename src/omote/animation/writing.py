"""How every animation ends: its frames become a picture, a video with sound, a looping image or a folder."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omote.animation.drivers import Progress
from omote.animation.plan import Job
from omote.animation.sinks import open_sink, steady_rate
from omote.animation.stills import strip_of
from omote.animation.stream import pump

Picture = NDArray[np.uint8]
Frame = tuple[Picture, float]
"""A picture (H, W, 3) uint8 RGB, and the seconds from the first one."""


@dataclass(frozen=True)
class Animated:
    """What was made.

    Attributes:
        path: the file, or the folder of frames.
        status: "animated", or "complete" where it was there from an earlier run.
        frames: frames in it.
        fps: frames a second (median); 0 for a single picture.
        duration: seconds from the first frame to the end of the last one; 0 for a single picture.
        size: (width, height) px.
        faces: how many moved.
        signed: whether it carries Content Credentials.
        seconds: that it took.
        rate: frames rendered and encoded a second, without capture and preparation.
        held: stretches (first, last) of its frames in which driver or source shows no face: they hold the motion
            before. Told by the engine liveportrait.
        resumed: pictures of faces that an interrupted run had drawn. Told by the engine liveportrait.
    """

    path: Path
    status: str
    frames: int
    fps: float
    duration: float
    size: tuple[int, int]
    faces: int
    signed: bool
    seconds: float
    rate: float
    held: tuple[tuple[int, int], ...] = ()
    resumed: int = 0


def write_frames(
    job: Job,
    place: Path,
    frames: Generator[Frame, None, None],
    times: NDArray[np.float64],
    *,
    faces: int,
    sound: tuple[float, Path | None],
    progress: Progress,
    held: tuple[tuple[int, int], ...] = (),
) -> Animated:
    """Write what a job makes.

    Args:
        job: says of which kind it is.
        place: what to write.
        frames: streamed, and closed in the end.
        times: (T,) seconds of all of them.
        faces: how many move.
        sound: seconds that the first frame comes after the start of the sound, and its file.
        progress: told on the way.
        held: told in the result.

    Raises:
        InputError, OutputError: it cannot be written.
    """
    still = job.kind == "still"
    step = 0.0 if still or len(times) < 2 else float(np.median(np.diff(times)))
    began = clock.monotonic()
    with closing(frames):
        if still:
            size, count = _picture(job, place, frames, lambda done: progress("animating", done, len(times)))
        else:
            size, count = _stream(place, frames, times, sound, progress)
    seconds = clock.monotonic() - began
    return Animated(
        path=job.output,
        status="animated",
        frames=count,
        fps=round(1 / step, 3) if step else 0.0,
        duration=round(float(times[-1]) + step, 3) if step else 0.0,
        size=size,
        faces=faces,
        signed=job.options.credentials,
        seconds=0.0,
        rate=round(count / max(seconds, 1e-9), 3),
        held=held,
    )


def _picture(
    job: Job, place: Path, frames: Iterator[Frame], made: Callable[[int], None]
) -> tuple[tuple[int, int], int]:
    from omote.media import write_image

    pictures = []
    for item in frames:
        pictures.append(item)
        made(len(pictures))
    picture = strip_of(pictures) if job.options.strip is not None else pictures[0][0]
    write_image(place, picture)
    return (picture.shape[1], picture.shape[0]), 1


def _stream(
    place: Path,
    frames: Iterator[Frame],
    times: NDArray[np.float64],
    sound: tuple[float, Path | None],
    progress: Progress,
) -> tuple[tuple[int, int], int]:
    total, (shift, file) = len(times), sound
    from omote.media import VideoWriter

    progress("animating", 0, total)
    first = next(frames)
    size = (first[0].shape[1], first[0].shape[0])
    with open_sink(place, size, total, steady_rate(times + shift), file) as sink:
        count = pump(
            _again(first, frames),
            lambda picture, time: sink.write(picture, time + shift),
            lambda done: progress("animating", done, total),
        )
    if isinstance(sink, VideoWriter):
        size = sink.shown_size
    return size, count


def _again(first: Frame, rest: Iterator[Frame]) -> Iterator[Frame]:
    yield first
    yield from rest
