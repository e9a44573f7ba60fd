"""What moves a source of the engine liveportrait: videos, pictures, motion templates and rig performances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omote.animation.drivers import CAPTURE_MARK, DriverLike, Progress, digest_of, kept_take, script
from omote.animation.plan import Job
from omote.animation.portrait_edits import edited
from omote.controls import IMPLICIT21
from omote.errors import InputError, NoFaceError
from omote.performance import Performance

if TYPE_CHECKING:
    from omote.drive.liveportrait.driving import DrivingTake
    from omote.drive.liveportrait.pipeline import LivePortrait


@dataclass(frozen=True)
class Leader:
    """A driver whose motion is known.

    Attributes:
        take: its motion.
        kind: what it came from.
        path: the file, if it is one.
    """

    take: DrivingTake
    kind: Literal["video", "photo", "take", "script"]
    path: Path | None


def open_leaders(job: Job, engine: LivePortrait, progress: Progress) -> list[Leader]:
    """The motion of all drivers of a job; none where edits alone are asked for.

    Raises:
        NoFaceError: no face in a driver, or not the one asked for.
        InputError, FormatError: one cannot be read, or holds no motion.
        OutputError: the motion is to be kept, and cannot be written.
    """
    if job.options.scripted is not None:
        return [_rig_leader(script(job.options).take, "script", None, job, engine, progress)]
    return [_open_leader(driver, job, engine, progress) for driver in job.drivers]


def _open_leader(driver: DriverLike, job: Job, engine: LivePortrait, progress: Progress) -> Leader:
    from omote import export
    from omote.media import classify

    if isinstance(driver, Performance):
        return _rig_leader(driver, "take", None, job, engine, progress)
    path, choice = Path(driver), job.options.driver_face
    kind = classify(path)
    if kind not in ("image", "video"):
        return _rig_leader(export.read(path), "take", path, job, engine, progress)

    def look() -> DrivingTake:
        if kind == "video":
            return engine.video_driver(path, choice, progress)
        return _look_at_picture(path, choice, engine)

    take = _kept(look, path, {"file": path.name}, {"face": choice}, job, engine)
    return Leader(take, "video" if kind == "video" else "photo", path)


def _look_at_picture(path: Path, choice: Literal["largest"] | int, engine: LivePortrait) -> DrivingTake:
    from omote.animation.motions import one_thread
    from omote.capture.pipeline import capture_image
    from omote.media import read_image

    picture = read_image(path)
    try:
        with one_thread():
            face = capture_image(picture, face=choice)[0]
    except NoFaceError as error:
        raise NoFaceError(error.what, where=path, remedy=error.remedy) from error
    return engine.picture_driver(picture, face.landmarks[0])


def _rig_leader(
    take: Performance,
    kind: Literal["take", "script"],
    path: Path | None,
    job: Job,
    engine: LivePortrait,
    progress: Progress,
) -> Leader:
    """A driver in controls: of a rig, changed as asked and then performed, or a motion template as it is."""
    from omote.drive.liveportrait.performer import before_the_camera

    if not (take.confidence > 0).any():
        raise NoFaceError("no frame of this take has a face", where=path or kind)
    rest = None
    if take.space != IMPLICIT21:
        take, rest = edited(before_the_camera(take), job.options)
    mark = {"rest": None if rest is None else digest_of(rest)}
    motion = _kept(lambda: engine.take_driver(take, progress, rest), take, take.source, mark, job, engine)
    return Leader(motion, kind, path)


def _kept(
    look: Callable[[], DrivingTake],
    driver: DriverLike,
    source: Mapping[str, Any],
    mark: Mapping[str, Any],
    job: Job,
    engine: LivePortrait,
) -> DrivingTake:
    """The motion of a driver, from the take in which it is to be kept if it is there already.

    Args:
        look: finds the motion.
        driver: whose motion it is.
        source: the account of its origin.
        mark: what else decides the motion, beside the engine.
        job: says where it is kept, if at all.
        engine: reads it.
    """
    from omote import __version__
    from omote.drive.liveportrait.driving import template_of_take
    from omote.drive.liveportrait.template import performance_of

    place = job.options.take
    if place is None:
        return look()
    digest, mark = digest_of(driver), {**mark, **engine.marks}
    take = kept_take(place, digest, mark)
    if take is None:
        about = {"method": "liveportrait", "sha256": digest, "omote": __version__, CAPTURE_MARK: mark}
        take = performance_of(template_of_take(look()), {**source, **about})
        take.save(place)
    return engine.take_driver(take)  # the first run goes on with what a later one will find


def fit_to_faces(leaders: Sequence[Leader], faces: int) -> list[Leader]:
    """One driver for each face: the same for all, or each its own in order; none where there is none.

    Raises:
        InputError: other numbers.
    """
    if len(leaders) <= 1:
        return list(leaders) * faces
    if len(leaders) != faces:
        what = f"{len(leaders)} drivers for {faces} {'face' if faces == 1 else 'faces'}"
        remedy = "Use one driver, or one for each face with --face all (left to right) or --face 0,1,..."
        raise InputError(what, where="--face", remedy=remedy)
    return list(leaders)
