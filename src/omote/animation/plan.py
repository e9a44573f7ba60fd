"""What an animation is made from and what it becomes, checked before anything slow begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omote import __version__
from omote.animation.drivers import DriverLike, digest_of, name_of
from omote.animation.engines import liveportrait_options
from omote.animation.options import AnimateOptions, Kind, kind_of
from omote.errors import InputError
from omote.performance import Performance


@dataclass(frozen=True)
class Job:
    """A checked request.

    Attributes:
        photo: the image file.
        drivers: as given; empty where the options hold a script.
        output: the file or folder to make.
        kind: which of these.
        options: all else.
        digests: sha256 of the photo, of each driver, and of the file whose sound is taken.
        weights: what tells the networks from others; "" for an engine without.
    """

    photo: Path
    drivers: tuple[DriverLike, ...]
    output: Path
    kind: Kind
    options: AnimateOptions
    digests: tuple[str, ...]
    weights: str = ""

    @property
    def driver_names(self) -> list[str]:
        """What drives, for people: "talk.mp4", "preset smile", or "sliders" where nothing does."""
        if self.options.scripted is None and not self.drivers:
            return ["sliders"]
        if self.options.scripted is not None:
            return [self.options.scripted]
        return [name_of(d) if isinstance(d, Performance) else Path(d).name for d in self.drivers]

    @property
    def moving(self) -> bool:
        """Whether a movement is shown, or moments of one: then a single expression comes and goes."""
        return self.kind != "still" or self.options.strip is not None or self.options.time is not None

    def facts(self) -> dict[str, Any]:
        """All that decides the result."""
        return {"omote": __version__, "inputs": self.digests, "files": self.weights, **self.options.facts()}


def plan(photo: Path, drivers: Sequence[DriverLike], output: Path, options: AnimateOptions) -> Job:
    """Check a request.

    Raises:
        InputError: a file that is missing or of the wrong kind, too few or too many drivers, options that do not go
            together.
        OutputError: a file that cannot be written, or cannot be signed.
        FormatError: a damaged key or certificate.
    """
    from omote.media.paths import check_readable

    kind = kind_of(output, options)
    portrait = options.engine == "liveportrait"
    _check_photo(photo, videos=portrait)
    if options.scripted is not None and drivers:
        raise InputError(
            f"{options.scripted} takes the place of a driver",
            where=_told(drivers[0]),
            remedy="Leave one or the other out.",
        )
    if options.scripted is None and not drivers and not (portrait and liveportrait_options(options).edits):
        raise InputError(
            "nothing drives the photo",
            where=photo,
            remedy="Give a video, a take (.omote, CSV, .pkl), or --preset smile.",
        )
    for driver in drivers:
        _check_driver(driver)
    _check_take(drivers, options)
    weights = ""
    if portrait:
        from omote.animation.portrait_edits import check_edits
        from omote.drive.liveportrait.networks import check_weights

        check_edits(drivers, options)
        weights = check_weights(liveportrait_options(options).weights)
    files = [photo, *(Path(d) for d in drivers if not isinstance(d, Performance))]
    sound = [] if options.sound_from is None else [check_readable(options.sound_from)]
    for made in (output, *([] if options.take is None else [options.take])):
        if any(made.exists() and made.samefile(file) for file in files + sound):
            raise InputError("would replace what it is made from", where=made, remedy="Choose another name.")
    _check_signature(output, kind, options)
    digests = tuple(digest_of(file) for file in (photo, *drivers, *sound))
    return Job(photo, tuple(drivers), output, kind, options, digests, weights)


def _told(driver: DriverLike) -> str:
    return name_of(driver) if isinstance(driver, Performance) else str(driver)


def _check_photo(photo: Path, *, videos: bool) -> None:
    from omote.media import classify

    kind = classify(photo)
    if kind == "video":
        if videos:
            return
        what = "this is a video; what is animated is a photo"
        remedy = "The photo comes first: omote animate PHOTO DRIVER. Videos: --engine liveportrait."
        raise InputError(what, where=photo, remedy=remedy)
    if kind != "image":
        what = "this is a take, not a photo" if kind == "performance" else "this is not a photo"
        raise InputError(what, where=photo, remedy="The photo comes first: omote animate PHOTO DRIVER.")


def _check_driver(driver: DriverLike) -> None:
    from omote.export import format_of
    from omote.media import classify

    if isinstance(driver, Performance) or classify(driver) in ("image", "video", "performance"):
        return
    try:
        form = format_of(driver)
    except InputError:
        form = None
    if form is None or (form.reader is None and form.name != "omote"):
        raise InputError(
            "this is nothing that can drive a photo",
            where=driver,
            remedy="Give a video, a photo, .omote, Live Link Face or ARKit CSV, ARKit JSON, .npz or .pkl.",
        )


def _check_take(drivers: Sequence[DriverLike], options: AnimateOptions) -> None:
    from omote.media import classify

    if options.take is None:
        return
    if options.take.suffix.lower() != ".omote":
        raise InputError("a take is kept as .omote", where=options.take, remedy="Name it .omote.")
    if options.engine == "liveportrait":  # the motion of any driver
        count = len(drivers) if options.scripted is None else 1
        if count != 1:
            raise InputError(f"keeps the motion of one driver, and {count} are given", where="--save-take")
        return
    captured = [d for d in drivers if not isinstance(d, Performance) and classify(d) in ("image", "video")]
    if len(captured) != 1:
        raise InputError(
            f"keeps the capture of one driver, and {len(captured)} are captured here", where="--save-take"
        )


def _check_signature(output: Path, kind: Kind, options: AnimateOptions) -> None:
    from omote.provenance import check_signing, checked_consent

    if not options.credentials:
        return
    png = kind == "folder" or output.suffix.lower() == ".apng"
    check_signing("frame.png" if png else output, certificate=options.certificate, key=options.key)
    if options.consent is not None:
        checked_consent(options.consent)
