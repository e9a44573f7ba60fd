"""What moves the photo: a video or a photo captured here, a file that holds a take, a take, or a script."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from omote.animation.options import AnimateOptions
from omote.errors import NoFaceError, OmoteError
from omote.performance import Performance

Progress = Callable[[str, int, int | None], None]
"""Called with (what is being done, steps done, steps in all or None where that is not known)."""
DriverLike = str | Path | Performance

CAPTURE_MARK = "capture"
"""The key of a take's ``source`` under which `omote capture` keeps its options too: either finds the other's takes."""
_SCRIPT_FPS = 30.0


@dataclass(frozen=True)
class Driving:
    """A take that drives, and where it is from.

    Attributes:
        take: the motion, in any control space.
        kind: "video" and "photo" were captured here, "take" was given, "script" is a preset, score or emotion.
        name: for file names and labels.
        path: the file, if it is one.
        digest: sha256 of the file, or of the take.
    """

    take: Performance
    kind: Literal["video", "photo", "take", "script"]
    name: str
    path: Path | None
    digest: str

    @property
    def single(self) -> bool:
        """Whether it is one expression instead of a motion."""
        return len(self.take) == 1


def name_of(driver: DriverLike) -> str:
    """A driver's short name: the file's without its suffixes."""
    if isinstance(driver, Performance):
        return Path(str(driver.source.get("file", "take"))).stem
    return Path(driver).name.split(".")[0] or Path(driver).name


def digest_of(driver: DriverLike) -> str:
    """sha256 of a driver's file, or of a take's numbers.

    Raises:
        InputError: the file is missing, empty or cannot be read.
    """
    from omote.media.paths import check_readable, sha256_of

    if not isinstance(driver, Performance):
        return sha256_of(check_readable(driver))
    made = hashlib.sha256(driver.space.name.encode())
    for array in (driver.times, driver.controls, driver.head_rotation, driver.head_translation):
        made.update(np.ascontiguousarray(array).tobytes())
    return made.hexdigest()


def open_driver(driver: DriverLike, options: AnimateOptions, progress: Progress | None = None) -> Driving:
    """The take that a driver stands for; videos and photos are captured.

    Args:
        driver: a file, or a take.
        options: the face, smoothing and the place to keep the capture are used.
        progress: called while a video is captured.

    Raises:
        NoFaceError: no face in it, or no such face.
        InputError, FormatError: it cannot be read, or holds no performance.
    """
    from omote.media import classify

    name, digest = name_of(driver), digest_of(driver)
    if isinstance(driver, Performance):
        return Driving(driver, "take", name, None, digest)
    path = Path(driver)
    kind = classify(path)
    if kind in ("image", "video"):
        take = _captured(path, digest, options, progress)
        return Driving(take, "video" if kind == "video" else "photo", name, path, digest)
    from omote import export

    take = export.read(path)
    if not (take.confidence > 0).any():
        raise NoFaceError("no frame of this take has a face", where=path)
    return Driving(take, "take", name, path, digest)


def script(options: AnimateOptions) -> Driving:
    """The take that a preset, a score, an emotion or a text stands for.

    Raises:
        InputError: there is no such preset or emotion, or the score cannot be read.
    """
    from omote.edit.perform import perform

    take = perform(
        options.preset,
        score=options.score,
        emotion=options.emotion,
        text=options.text,
        duration=options.duration,
        fps=options.fps or _SCRIPT_FPS,
        seed=options.seed,
    )
    return Driving(take, "script", options.scripted or "", None, digest_of(take))


def _captured(path: Path, digest: str, options: AnimateOptions, progress: Progress | None) -> Performance:
    """Capture one face of a file, or find it in ``options.take``, where it is kept."""
    from omote import __version__
    from omote.capture.pipeline import capture_file

    mark = {"face": options.driver_face, "smooth": options.smooth, "faces": 1}
    kept = None if options.take is None else kept_take(options.take, digest, mark)
    if kept is not None:
        return kept
    report = None if progress is None else _Named(progress, f"capturing {path.name}")
    take = capture_file(path, face=options.driver_face, smooth=options.smooth, progress=report)[0].performance
    about = {"sha256": digest, "size": path.stat().st_size, "omote": __version__, CAPTURE_MARK: mark}
    take = take.with_(source={**take.source, **about})
    if options.take is not None:
        take.save(options.take)
    return take


@dataclass(frozen=True)
class _Named:
    """A capture's progress, told under a name."""

    progress: Progress
    name: str

    def __call__(self, done: int, total: int | None) -> None:
        self.progress(self.name, done, total)


def kept_take(path: Path, digest: str, mark: Mapping[str, object]) -> Performance | None:
    """The take in a file, if it came from these bytes (sha256) by these options; else None."""
    if not path.is_file():
        return None
    try:
        take = Performance.load(path)
    except OmoteError:  # damaged, or of another version: captured again
        return None
    same = take.source.get("sha256") == digest and take.source.get(CAPTURE_MARK) == mark
    return take if same else None
