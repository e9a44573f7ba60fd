"""The package in three functions: capture something, load what was captured, animate a photo with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from omote.performance import Performance

if TYPE_CHECKING:
    from omote.animation.writing import Animated


@overload
def capture(
    path: str | Path, *, face: Literal["largest"] | int = "largest", smooth: float = 0.5, **options: Any
) -> Performance: ...
@overload
def capture(
    path: str | Path, *, face: Literal["all"], smooth: float = 0.5, **options: Any
) -> list[Performance]: ...
def capture(
    path: str | Path,
    *,
    face: Literal["largest", "all"] | int = "largest",
    smooth: float = 0.5,
    **options: Any,
) -> Performance | list[Performance]:
    """Capture a photo, a video or a scan.

    Args:
        path: an image, a video, or a scan (``.obj``, ``.ply``, ``.glb``).
        face: "largest", an index counted from 0 (largest first), or "all".
        smooth: strength of temporal smoothing without lag, 0 (off) to 1; photos are not affected.
        options: ``method``, "landmarks" or "inversion" (default: inversion for scans, else landmarks); for inversion
            ``weights``, another network than the one that ships, ``rig``, the file of the rig that it was trained for,
            and ``normals``, a photo's normal map; ``progress``, a function of (steps done, steps in all or None);
            ``options``, a `omote.capture.fit.FitOptions`.

    Returns:
        The performance: 102 controls (those of ``rig``, if given), head pose, identity and camera over time. With
        face="all", a list of them.

    Raises:
        NoFaceError: no face, not the one asked for, or nothing that looks like a human face.
        InputError: the file cannot be read.
        WeightsError: a model file is missing and cannot be fetched, or the network is for another rig.
    """
    from omote.capture.pipeline import capture_file
    from omote.media.paths import sha256_of

    found = capture_file(path, face=face, smooth=smooth, **options)
    digest = sha256_of(Path(path))
    takes = [c.performance.with_(source={**c.performance.source, "sha256": digest}) for c in found]
    return takes if face == "all" else takes[0]


def load(path: str | Path) -> Performance:
    """Read a performance: ``.omote``, Live Link Face or ARKit CSV, ARKit JSON, npz, LivePortrait's ``.pkl``.

    Raises:
        InputError: there is no such file.
        FormatError: the file is malformed, or not of a kind that holds a performance.
    """
    from omote.export import read

    return read(path)


def animate(
    photo: str | Path,
    driver: str | Path | Performance | Sequence[str | Path | Performance] | None,
    output: str | Path,
    **options: Any,
) -> Animated:
    """Make the face in a photo move.

    Args:
        photo: an image file; for the engine liveportrait a video, too.
        driver: what moves it: a video or a photo (captured first), a file that `load` reads, a performance; several
            for several faces; None with one of the options ``preset``, ``score``, ``emotion`` and ``text``.
        output: what to make, by its suffix: a video (mp4, mov, mkv, webm), a looping image (gif, webp, apng), a picture
            (png, jpg), or without a suffix a folder of PNG frames.
        options: ``progress``, a function of (what is being done, steps done, steps in all or None), and the attributes
            of `omote.animation.options.AnimateOptions`; with ``engine="liveportrait"`` also those of
            `omote.drive.liveportrait.settings.LivePortraitOptions`, whose ``relative``, ``multiplier`` and ``longest``
            are ``mode``, ``strength`` and ``size`` here.

    Returns:
        What was made: path, frames, fps, duration, size, ...

    Raises:
        NoFaceError: no face in the photo or the driver, or not the one asked for.
        InputError: a file of the wrong kind, or options that cannot be.
        OutputError: the result cannot be written or signed.
        FormatError: a damaged take, certificate or key.
        WeightsError: the landmarker's model file is missing and cannot be fetched.
    """
    from omote.animation.engines import LIVEPORTRAIT_NAMES
    from omote.animation.options import AnimateOptions, check_names
    from omote.animation.run import animate as run

    progress = options.pop("progress", None)
    check_names(options)
    if isinstance(options.get("face"), list):
        options["face"] = tuple(options["face"])
    own = {name: options.pop(name) for name in LIVEPORTRAIT_NAMES if name in options}
    drivers: list[str | Path | Performance] = []
    if isinstance(driver, str | Path | Performance):
        drivers = [driver]
    elif driver is not None:
        drivers = list(driver)
    return run(photo, drivers, output, AnimateOptions(**options, liveportrait=own), progress)
