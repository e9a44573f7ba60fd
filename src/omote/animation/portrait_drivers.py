"""What moves a source of the engine liveportrait: videos, pictures, motion templates and rig performances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from omote.animation.drivers import DriverLike, Progress
from omote.animation.plan import Job
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


def open_leader(driver: DriverLike, job: Job, engine: LivePortrait, progress: Progress) -> Leader:
    """The motion of a driver.

    Raises:
        NoFaceError: no face in it, or not the one asked for.
        InputError, FormatError: it cannot be read, or holds no motion.
    """
    from omote.media import classify, read_image

    if isinstance(driver, Performance):
        return Leader(engine.take_driver(_with_faces(driver, "take"), progress), "take", None)
    path, choice = Path(driver), job.options.driver_face
    kind = classify(path)
    if kind == "video":
        return Leader(engine.video_driver(path, choice, progress), "video", path)
    if kind == "image":
        from omote.animation.motions import one_thread
        from omote.capture.pipeline import capture_image

        picture = read_image(path)
        try:
            with one_thread():
                face = capture_image(picture, face=choice)[0]
        except NoFaceError as error:
            raise NoFaceError(error.what, where=path, remedy=error.remedy) from error
        return Leader(engine.picture_driver(picture, face.landmarks[0]), "photo", path)
    from omote import export

    return Leader(engine.take_driver(_with_faces(export.read(path), path), progress), "take", path)


def _with_faces(take: Performance, where: str | Path) -> Performance:
    if not (take.confidence > 0).any():
        raise NoFaceError("no frame of this take has a face", where=where)
    return take


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
