"""The engine liveportrait: sources and drivers of every kind, to a file with its sound."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from omote import __version__
from omote.animation import signing
from omote.animation.drivers import Progress
from omote.animation.engines import liveportrait_options
from omote.animation.limits import check_size, longest_side, reduced
from omote.animation.plan import Job
from omote.animation.portrait_drivers import Leader, fit_to_faces, open_leaders
from omote.animation.portrait_moments import Shown, choose_moments
from omote.animation.unfinished import Unfinished
from omote.animation.writing import Animated, write_frames

if TYPE_CHECKING:
    from omote.drive.liveportrait.drawing import Keep
    from omote.drive.liveportrait.pipeline import LivePortrait
    from omote.drive.liveportrait.sources import PhotoSource, VideoSource

Picture = NDArray[np.uint8]


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
    from omote.drive.liveportrait.networks import choose_processor, load_nets
    from omote.drive.liveportrait.pipeline import LivePortrait

    options = liveportrait_options(job.options)
    progress("loading the networks", 0, None)
    engine = LivePortrait(load_nets(options.weights), options)
    source = _source(job, engine, progress)
    leaders = open_leaders(job, engine, progress)
    dealt = fit_to_faces(leaders, len(source.faces))
    shown = choose_moments(job, engine, source, [leader.take for leader in dealt])
    drawn = f"{choose_processor(exact=options.exact)} {options.approximate}"
    unfinished = Unfinished(job.output, f"{__version__} {job.weights} {drawn}")
    made = write_frames(
        job,
        place,
        _frames(job, engine, source, leaders, shown, unfinished, progress),
        shown.times,
        faces=len(source.faces),
        sound=_sound(job, leaders, source),
        progress=progress,
        held=shown.held_stretches,
    )
    return replace(made, resumed=unfinished.found)


def _source(job: Job, engine: LivePortrait, progress: Progress) -> PhotoSource | VideoSource:
    from omote.animation.motions import choose_faces, one_thread
    from omote.media import classify, open_video, read_image

    if classify(job.photo) == "video":
        longest = longest_side(job) if engine.options.pastes else None
        check_size(open_video(job.photo, max_side=longest).size, job)
        return engine.video(job.photo, job.options.face, progress, longest)
    progress("finding the face", 0, None)
    photo = read_image(job.photo)
    with one_thread():
        faces = choose_faces(photo, job.options, where=job.photo)
    height, width = photo.shape[:2]
    published = engine.options.official and job.options.size is not None  # then the engine reduces it
    photo = reduced(photo, job) if engine.options.pastes and not published else photo
    scale = np.array([photo.shape[1] / width, photo.shape[0] / height], np.float32)
    return engine.photo(photo, [face.landmarks[0] * scale for face in faces])


def _frames(
    job: Job,
    engine: LivePortrait,
    source: PhotoSource | VideoSource,
    leaders: Sequence[Leader],
    shown: Shown,
    keep: Keep,
    progress: Progress,
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
        pictures = engine.frames(source, shown.moved, shown.numbers, keep, progress)
        for number, time, frame in zip(shown.numbers, shown.times, pictures, strict=True):
            if panels is not None:
                frame = panels.join(frame, float(shown.moments[number]))
            yield (frame if mark is None else mark(frame)), float(time)


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
