"""The whole way from a photo and a driver to a finished, signed file."""

from __future__ import annotations

import time as clock
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omote.animation import signing, stamps
from omote.animation.drivers import DriverLike, Driving, Progress, open_driver, script
from omote.animation.motions import Motions, choose_faces, deal, motions_of, one_thread, resized
from omote.animation.options import AnimateOptions
from omote.animation.plan import Job, plan
from omote.animation.sinks import open_sink, staged, steady_rate
from omote.animation.stills import strip_of
from omote.animation.stream import pump
from omote.errors import InputError

if TYPE_CHECKING:
    from omote.capture.pipeline import Captured

Picture = NDArray[np.uint8]

LOOP_SIDE, STRIP_SIDE = 480, 384
"""Longest side of a looping image, and of each picture of a strip, unless another is asked for; pixels."""
LOOP_FPS = 25.0
"""Frames a second of looping images at most, unless others are asked for."""
_LARGEST_VIDEO = 8192
"""Longest side of a video, pixels: beyond it hardly any player follows."""


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


def animate(
    photo: str | Path,
    drivers: Sequence[DriverLike],
    output: str | Path,
    options: AnimateOptions | None = None,
    progress: Progress | None = None,
) -> Animated:
    """Animate a photo; see `omote.api.animate`.

    Args:
        photo: an image file.
        drivers: none where the options hold a preset, a score, an emotion or a text; else one, or one for each face.
        output: what to make; the suffix says which kind. Without one: a folder of PNG frames.
        options: default `AnimateOptions()`.
        progress: called as work goes on.

    Raises:
        NoFaceError: no face in the photo or in a driver, or not the one asked for.
        InputError, FormatError, OutputError, WeightsError: as the message says.
    """
    began = clock.monotonic()
    job = plan(Path(photo), drivers, Path(output), options or AnimateOptions())
    key = stamps.key_of(job.facts())
    told = None if job.options.overwrite else stamps.recall(job.output, key)
    if told is not None:
        held = tuple((int(first), int(last)) for first, last in told.get("held", ()))
        told = {**told, "size": tuple(told["size"]), "held": held}
        found = Animated(path=job.output, status="complete", **told)
        return replace(found, seconds=round(clock.monotonic() - began, 3))
    stamps.forget(job.output)
    made = replace(_make(job, progress or _silent), seconds=round(clock.monotonic() - began, 3))
    kept = {name: value for name, value in asdict(made).items() if name not in ("path", "status")}
    stamps.remember(job.output, key, kept)
    return made


def _silent(what: str, done: int, total: int | None) -> None:
    """Progress that nobody asked for."""


def _make(job: Job, progress: Progress) -> Animated:
    with staged(job.output) as place:
        if job.options.engine == "liveportrait":
            from omote.animation.portrait import animate_portrait

            made = animate_portrait(job, place, progress)
            if job.options.credentials:
                signing.sign(job, place, progress)
            return made
        drivings = [script(job.options)] if not job.drivers else []
        photo, faces = _portrait(job, progress)
        with one_thread():
            drivings += [open_driver(driver, job.options, progress) for driver in job.drivers]
        dealt = deal(drivings, len(faces))
        motions = _motions(job, faces, dealt)
        made = _written(job, place, photo, faces, dealt, motions, progress)
        if job.options.credentials:
            signing.sign(job, place, progress)
    return made


def _portrait(job: Job, progress: Progress) -> tuple[Picture, list[Captured]]:
    """The photo at the result's size, and the faces in it; they are looked for at the photo's own size."""
    import cv2

    from omote.media import read_image

    progress("finding the face", 0, None)
    photo = read_image(job.photo)
    with one_thread():
        faces = choose_faces(photo, job.options, where=job.photo)
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
        faces = [resized(face, size) for face in faces]
    if job.kind == "video" and max(photo.shape) > _LARGEST_VIDEO:
        raise InputError(
            f"{width} x {height} px is too large for a video",
            where=job.photo,
            remedy=f"Use --size {_LARGEST_VIDEO // 2}, or write a folder of frames.",
        )
    return photo, faces


def _motions(job: Job, faces: Sequence[Captured], drivings: Sequence[Driving]) -> Motions:
    """The motion of each face; for pictures only the frames that are shown."""
    options = job.options
    fastest = max(driving.take.fps for driving in drivings)
    if job.kind == "loop" and options.fps is None and fastest > LOOP_FPS * 1.01:
        options = replace(options, fps=LOOP_FPS)
    sources = [face.performance for face in faces]
    moving = job.kind != "still" or options.strip is not None or options.time is not None
    motions = motions_of(sources, drivings, options, eased=moving)
    if job.kind != "still":
        return motions
    if options.strip is not None:
        shown = np.unique(np.linspace(0, len(motions) - 1, options.strip).round().astype(int)).tolist()
    elif options.time is not None:
        shown = [motions.nearest(options.time)]
    elif options.frame is not None:
        if options.frame >= len(motions):
            raise InputError(
                f"there is no frame {options.frame}",
                where="--frame",
                remedy=f"The driver has {len(motions)}, counted from 0.",
            )
        shown = [options.frame]
    else:
        shown = [motions.peak(sources)]
    return motions.at(shown)


def _written(
    job: Job,
    place: Path,
    photo: Picture,
    faces: Sequence[Captured],
    drivings: Sequence[Driving],
    motions: Motions,
    progress: Progress,
) -> Animated:
    from omote.media import write_image

    step = float(np.median(np.diff(motions.times))) if len(motions) > 1 else 0.0
    with ExitStack() as stack:
        progress("preparing the photo", 0, None)
        frames = stack.enter_context(closing(_frames(job, photo, faces, drivings, motions)))
        began = clock.monotonic()
        if job.kind == "still":
            pictures = list(frames)
            picture = strip_of(pictures) if job.options.strip is not None else pictures[0][0]
            write_image(place, picture)
            size, count, step = picture.shape[1::-1], 1, 0.0
        else:
            first = next(frames)
            size = first[0].shape[1::-1]
            began = clock.monotonic()
            shift, sound = _sound(job, drivings)
            rate = steady_rate(motions.times + shift)
            sink = open_sink(place, (size[0], size[1]), len(motions), rate, sound)
            total = len(motions)
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
        duration=round(float(motions.times[-1]) + step, 3) if step else 0.0,
        size=(size[0], size[1]),
        faces=len(faces),
        signed=job.options.credentials,
        seconds=0.0,
        rate=round(count / max(seconds, 1e-9), 2),
    )


def _frames(
    job: Job,
    photo: Picture,
    faces: Sequence[Captured],
    drivings: Sequence[Driving],
    motions: Motions,
) -> Generator[tuple[Picture, float], None, None]:
    """(frame as it is shown, seconds from the driver's start), streamed."""
    from omote import drive

    options = job.options
    engine = drive.engine_by_name(options.engine)
    state = engine.prepare(drive.Portrait(photo, tuple(faces)))
    with ExitStack() as stack:
        panels = None
        if options.compare:
            from omote.animation.compare import SideBySide

            side = SideBySide(photo, drivings[0], motions.takes[0], faces[0].landmarks[0])
            panels = stack.enter_context(side)
        mark = signing.visible_mark() if options.visible_mark else None
        moments = motions.times
        for number, frame in enumerate(engine.drive(state, motions.takes)):
            time = float(moments[number])
            shown = frame if panels is None else panels.join(frame, number, time)
            yield (shown if mark is None else mark(shown)), time


def _again(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _sound(job: Job, drivings: Sequence[Driving]) -> tuple[float, Path | None]:
    """(seconds that the first frame comes after the start of the sound, its file)."""
    if job.kind != "video":
        return 0.0, None
    if job.options.sound_from is not None:
        return 0.0, job.options.sound_from
    for driving in drivings:
        if driving.kind == "video" and job.options.audio:
            return max(0.0, float(driving.take.times[0])), driving.path
    return 0.0, None
