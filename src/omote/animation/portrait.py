"""The engine liveportrait: sources and drivers of every kind, to a file with its sound."""

from __future__ import annotations

import time as clock
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from omote.animation import signing
from omote.animation.drivers import Progress, script
from omote.animation.engines import liveportrait_options
from omote.animation.plan import Job
from omote.animation.portrait_drivers import Leader, fit_to_faces, open_leader
from omote.animation.sinks import open_sink, steady_rate
from omote.animation.stills import strip_of
from omote.animation.stream import pump
from omote.errors import InputError

if TYPE_CHECKING:
    from omote.animation.run import Animated
    from omote.drive.liveportrait.performing import Moved
    from omote.drive.liveportrait.pipeline import LivePortrait
    from omote.drive.liveportrait.sources import PhotoSource, VideoSource

Picture = NDArray[np.uint8]
Array = NDArray[np.float64]

_HOLD, _EASED_FPS = 1.0, 25.0
_LARGEST_VIDEO = 8192


@dataclass(frozen=True)
class _Shown:
    """What is to be rendered.

    Attributes:
        moved: keypoints of each face at every moment.
        times: (T,) seconds from the first frame, at which the frames are shown.
        moments: (T,) seconds from the driver's first frame that they show.
        numbers: which of them are shown.
        held: (T,) bool: the driver or the source has no face there.
    """

    moved: list[Moved]
    times: Array
    moments: Array
    numbers: list[int]
    held: NDArray[np.bool_]


def animate_portrait(job: Job, place: Path, progress: Progress) -> Animated:
    """Make what a job asks for.

    Args:
        job: checked by `omote.animation.plan.plan`.
        place: what to write.
        progress: told on the way.

    Raises:
        NoFaceError: no face in the source or a driver, or not the one asked for.
        InputError, FormatError, OutputError, WeightsError: as the message says.
    """
    from omote.drive.liveportrait.networks import load_nets
    from omote.drive.liveportrait.pipeline import LivePortrait

    options = liveportrait_options(job.options)
    progress("loading the networks", 0, None)
    engine = LivePortrait(load_nets(options.weights), options)
    source = _source(job, engine, progress)
    leaders = [open_leader(driver, job, engine, progress) for driver in job.drivers]
    if job.options.scripted is not None:
        take = script(job.options)
        leaders = [Leader(engine.take_driver(take.take, progress), "script", None)]
    dealt = fit_to_faces(leaders, len(source.faces))
    shown = _pick(_performed(job, engine, source, dealt), job)
    return _written(job, place, engine, source, leaders, shown, progress)


def _source(job: Job, engine: LivePortrait, progress: Progress) -> PhotoSource | VideoSource:
    from omote.animation.motions import choose_faces, one_thread
    from omote.media import classify, read_image

    options = job.options
    if classify(job.photo) == "video":
        for name, value in (("--fps", options.fps), ("--size", options.size)):
            if value is not None:
                what = "a source video keeps its own frames and size"
                raise InputError(what, where=name, remedy="Convert the result.")
        choice = options.face
        return engine.video(job.photo, choice, progress)
    progress("finding the face", 0, None)
    photo = read_image(job.photo)
    with one_thread():
        faces = choose_faces(photo, options, where=job.photo)
    photo, scale = _smaller(photo, job)
    return engine.photo(photo, [face.landmarks[0] * scale for face in faces])


def _smaller(photo: Picture, job: Job) -> tuple[Picture, NDArray[np.float32]]:
    """The photo at the size of the result, and its size over the original's, (2,)."""
    import cv2

    from omote.animation.run import LOOP_SIDE, STRIP_SIDE

    height, width = photo.shape[:2]
    longest = job.options.size
    if longest is None and job.kind == "loop":
        longest = LOOP_SIDE
    if longest is None and job.options.strip is not None:
        longest = STRIP_SIDE
    if longest is not None and longest < max(height, width):
        share = longest / max(height, width)
        size = (max(2, round(width * share)), max(2, round(height * share)))
        photo = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
    if job.kind == "video" and max(photo.shape) > _LARGEST_VIDEO:
        what = f"{width} x {height} px is too large for a video"
        raise InputError(what, where=job.photo, remedy=f"Use --size {_LARGEST_VIDEO // 2}.")
    return photo, np.array([photo.shape[1] / width, photo.shape[0] / height], np.float32)


def _performed(
    job: Job, engine: LivePortrait, source: PhotoSource | VideoSource, dealt: Sequence[Leader]
) -> _Shown:
    """The keypoints of every face at every moment of the result."""
    from omote.drive.liveportrait.sources import VideoSource

    official = engine.options.official
    takes = [leader.take for leader in dealt]
    longest = max(takes, key=lambda take: float(take.elapsed[-1])) if takes else None
    video = isinstance(source, VideoSource)
    if isinstance(source, VideoSource):
        moments = source.times - source.times[0]
        if longest is not None and not longest.still:
            if official:
                moments = moments[: len(longest)]
            else:
                end = float(longest.elapsed[-1]) + 0.5 / max(longest.fps, 1.0)
                moments = moments[moments <= end]
    elif longest is None:
        moments = np.zeros(1)
    else:
        moments = _moments(job, longest.elapsed, longest.fps, official=official)
    moved = [
        engine.perform(face, takes[index] if takes else None, moments)
        for index, face in enumerate(source.faces)
    ]
    moved = [_as_long_as(one, len(moments)) for one in moved]
    held = np.zeros(len(moments), bool)
    times = moments
    if official and video and longest is not None and not longest.still:
        moments = longest.elapsed[: len(moments)]  # published: frames are paired by number
    for take in takes:
        at = np.clip(np.searchsorted(take.elapsed, moments - 1e-6), 0, len(take) - 1)
        held |= ~take.found[at]
    if video:
        for face in source.faces:
            held |= ~face.found[: len(held)]
    if official and len(times) > 1:  # published: whole numbers of frames a second
        rate = 1 / np.median(np.diff(times))
        times = np.arange(len(times)) / max(1, int(rate + 1e-6))
    shown = _Shown(moved, times, moments, list(range(len(moments))), held)
    return _eased(shown, job) if len(moments) == 1 and job.kind != "still" else shown


def _moments(job: Job, elapsed: Array, fps: float, *, official: bool) -> Array:
    from omote.animation.run import LOOP_FPS

    wanted = job.options.fps
    if official:
        if wanted is not None:
            what = "the official mode keeps the driver's frames"
            raise InputError(what, where="--fps", remedy="Leave one of the two out.")
        return elapsed
    if wanted is None and job.kind == "loop" and fps > LOOP_FPS * 1.01:
        wanted = LOOP_FPS
    if wanted is None or len(elapsed) == 1:
        return elapsed
    return np.arange(int(np.floor(elapsed[-1] * wanted + 1e-6)) + 1) / wanted


def _as_long_as(one: Moved, count: int) -> Moved:
    """The keypoints for that many frames; the last ones of a shorter driver, or those of a still one, stay."""
    if len(one) == count:
        return one
    shown = np.minimum(np.arange(count), len(one) - 1)
    source = one.source if len(one.source) == 1 else one.source[np.minimum(shown, len(one.source) - 1)]
    return replace(one, source=source, driving=one.driving[shown])


def _eased(shown: _Shown, job: Job) -> _Shown:
    """From the photo's face to an expression, which stays a while, and back."""
    import torch

    ease = job.options.ease
    fps = job.options.fps or _EASED_FPS
    length = 2 * ease + _HOLD
    times = np.arange(max(2, round(length * fps) + 1)) / fps
    into = np.clip(np.minimum(times, times[-1] - times) / max(ease, 1e-6), 0, 1)
    share = torch.from_numpy(into * into * (3 - 2 * into)).float()[:, None, None]
    moved = [replace(one, driving=one.source + share * (one.driving - one.source)) for one in shown.moved]
    held = np.zeros(len(times), bool)
    return _Shown(moved, times, np.zeros(len(times)), list(range(len(times))), held)


def _pick(shown: _Shown, job: Job) -> _Shown:
    """The frames that are shown: all of them, unless a picture is made."""
    options, count = job.options, len(shown.times)
    if job.kind != "still":
        return shown
    if options.strip is not None:
        numbers = np.unique(np.linspace(0, count - 1, options.strip).round().astype(int)).tolist()
    elif options.time is not None:
        if options.time > shown.times[-1] + 1 / _EASED_FPS:
            what = f"{options.time:g} s is after the end at {shown.times[-1]:.2f} s"
            raise InputError(what, where="--time")
        numbers = [int(np.argmin(np.abs(shown.times - options.time)))]
    elif options.frame is not None:
        if options.frame >= count:
            remedy = f"There are {count}, counted from 0."
            raise InputError(f"there is no frame {options.frame}", where="--frame", remedy=remedy)
        numbers = [options.frame]
    else:  # where the faces move most
        apart = sum(((one.driving - one.source) ** 2).sum((1, 2)) for one in shown.moved)
        numbers = [int(np.argmax(np.asarray(apart)))]
    return replace(shown, numbers=numbers)


def _written(
    job: Job,
    place: Path,
    engine: LivePortrait,
    source: PhotoSource | VideoSource,
    leaders: Sequence[Leader],
    shown: _Shown,
    progress: Progress,
) -> Animated:
    from omote.animation.run import Animated
    from omote.media import write_image

    times = shown.times
    step = float(np.median(np.diff(times))) if len(times) > 1 and job.kind != "still" else 0.0
    with ExitStack() as stack:
        frames = stack.enter_context(closing(_frames(job, engine, source, leaders, shown)))
        began = clock.monotonic()
        if job.kind == "still":
            pictures = []
            for item in frames:
                pictures.append(item)
                progress("animating", len(pictures), len(shown.numbers))
            picture = strip_of(pictures) if job.options.strip is not None else pictures[0][0]
            write_image(place, picture)
            size, count = picture.shape[1::-1], 1
        else:
            total = len(times)
            progress("animating", 0, total)
            first = next(frames)
            size = first[0].shape[1::-1]
            shift, sound = _sound(job, leaders, source)
            sink = open_sink(place, (size[0], size[1]), total, steady_rate(times + shift), sound)
            with sink:
                count = pump(
                    _again(first, frames),
                    lambda picture, time: sink.write(picture, time + shift),
                    lambda done: progress("animating", done, total),
                )
        seconds = clock.monotonic() - began
    return Animated(
        path=job.output,
        status="animated",
        frames=count,
        fps=round(1 / step, 3) if step else 0.0,
        duration=round(float(times[-1]) + step, 3) if step else 0.0,
        size=(size[0], size[1]),
        faces=len(source.faces),
        signed=job.options.credentials,
        seconds=0.0,
        rate=round(count / max(seconds, 1e-9), 3),
        held=stretches(shown.held),
    )


def stretches(held: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """The runs of True in (T,), as (first, last)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], held, [False]]).astype(int)))
    return tuple((int(first), int(end) - 1) for first, end in edges.reshape(-1, 2))


def _frames(
    job: Job,
    engine: LivePortrait,
    source: PhotoSource | VideoSource,
    leaders: Sequence[Leader],
    shown: _Shown,
) -> Generator[tuple[Picture, float], None, None]:
    """(frame as it is shown, seconds from the first one), streamed."""
    from omote.animation.portrait_compare import Panels
    from omote.drive.liveportrait.sources import PhotoSource

    with ExitStack() as stack:
        panels = None
        if job.options.compare:
            photo = source.picture if isinstance(source, PhotoSource) else None
            panels = stack.enter_context(Panels(photo, leaders[0] if leaders else None))
        mark = signing.visible_mark() if job.options.visible_mark else None
        for number, frame in zip(
            shown.numbers, engine.frames(source, shown.moved, shown.numbers), strict=True
        ):
            if panels is not None:
                frame = panels.join(frame, float(shown.moments[number]))
            yield (frame if mark is None else mark(frame)), float(shown.times[number])


def _again(
    first: tuple[Picture, float], rest: Iterator[tuple[Picture, float]]
) -> Iterator[tuple[Picture, float]]:
    yield first
    yield from rest


def _sound(
    job: Job, leaders: Sequence[Leader], source: PhotoSource | VideoSource
) -> tuple[float, Path | None]:
    """(seconds that the first frame comes after the start of the sound, its file): the driver's, else the source's."""
    from omote.drive.liveportrait.sources import VideoSource
    from omote.media import open_video

    if job.kind != "video":
        return 0.0, None
    if job.options.sound_from is not None:
        return 0.0, job.options.sound_from
    if not job.options.audio:
        return 0.0, None
    videos = [
        (leader.path, leader.take.times) for leader in leaders if leader.kind == "video" and leader.path
    ]
    if isinstance(source, VideoSource):
        videos.append((source.path, source.times))
    for path, times in videos:
        if open_video(path).has_audio:
            return max(0.0, float(times[0])), path
    return 0.0, None
