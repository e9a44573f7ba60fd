"""The whole way from a photo and a driver to a finished, signed file."""

from __future__ import annotations

import time as clock
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from omote.animation import signing, stamps
from omote.animation.drivers import DriverLike, Driving, Progress, open_driver, script
from omote.animation.limits import rate_of, reduced
from omote.animation.motions import Motions, choose_faces, deal, motions_of, one_thread, resized
from omote.animation.options import AnimateOptions
from omote.animation.plan import Job, plan
from omote.animation.sinks import staged
from omote.animation.unfinished import Unfinished
from omote.animation.writing import Animated, write_frames
from omote.errors import InputError

if TYPE_CHECKING:
    from omote.capture.pipeline import Captured

Picture = NDArray[np.uint8]


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
    place = Path(output)
    if place.name in ("", ".."):  # a folder has to have a name, or nothing can lie beside it
        place = place.resolve()
    job = plan(Path(photo), drivers, place, options or AnimateOptions())
    key = stamps.key_of(job.facts())
    take = job.options.take
    asked = job.options.overwrite or (take is not None and not take.is_file())
    told = None if asked else stamps.recall(job.output, key)
    if told is not None:
        held = tuple((int(first), int(last)) for first, last in told.get("held", ()))
        told = {**told, "size": tuple(told["size"]), "held": held}
        found = Animated(path=job.output, status="complete", **told)
        return replace(found, seconds=round(clock.monotonic() - began, 3))
    stamps.forget(job.output)
    made = replace(_make(job, progress or _silent), seconds=round(clock.monotonic() - began, 3))
    kept = {name: value for name, value in asdict(made).items() if name not in ("path", "status", "resumed")}
    stamps.remember(job.output, key, kept)
    Unfinished(job.output).drop()
    return made


def _silent(what: str, done: int, total: int | None) -> None:
    """Progress that nobody asked for."""


def _make(job: Job, progress: Progress) -> Animated:
    with staged(job.output) as place:
        if job.options.engine == "liveportrait":
            from omote.animation.portrait import animate_portrait as make
        else:
            make = _animate_puppet
        made = make(job, place, progress)
        if job.options.credentials:
            signing.sign(job, place, progress)
    return made


def _animate_puppet(job: Job, place: Path, progress: Progress) -> Animated:
    drivings = [script(job.options)] if not job.drivers else []
    photo, faces = _portrait(job, progress)
    with one_thread():
        drivings += [open_driver(driver, job.options, progress) for driver in job.drivers]
    dealt = deal(drivings, len(faces))
    motions = _motions(job, faces, dealt)
    progress("preparing the photo", 0, None)
    frames = _frames(job, photo, faces, dealt, motions)
    sound = _sound(job, dealt)
    return write_frames(job, place, frames, motions.times, faces=len(faces), sound=sound, progress=progress)


def _portrait(job: Job, progress: Progress) -> tuple[Picture, list[Captured]]:
    """The photo at the result's size, and the faces in it; they are looked for at the photo's own size."""
    from omote.media import read_image

    progress("finding the face", 0, None)
    photo = read_image(job.photo)
    with one_thread():
        faces = choose_faces(photo, job.options, where=job.photo)
    own = photo.shape
    photo = reduced(photo, job)
    if photo.shape != own:
        faces = [resized(face, (photo.shape[1], photo.shape[0])) for face in faces]
    return photo, faces


def _motions(job: Job, faces: Sequence[Captured], drivings: Sequence[Driving]) -> Motions:
    """The motion of each face; for pictures only the frames that are shown."""
    options = replace(job.options, fps=rate_of(job, max(driving.take.fps for driving in drivings)))
    sources = [face.performance for face in faces]
    motions = motions_of(sources, drivings, options, eased=job.moving)
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
