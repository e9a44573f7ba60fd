"""What can be asked of an animation, and the refusal of what cannot, before any work begins."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from omote.animation.engines import LIVEPORTRAIT_NAMES, check_engine
from omote.edit.edit import set_controls
from omote.edit.gaze import checked_gaze
from omote.edit.names import weights_of
from omote.edit.regions import REGIONS, checked_regions
from omote.edit.stage import Stage
from omote.errors import InputError, OutputError

FaceChoice = Literal["largest", "all"] | int
VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm"})
LOOPS = frozenset({".gif", ".webp", ".apng"})
STILLS = frozenset({".png", ".jpg", ".jpeg"})

Kind = Literal["video", "loop", "still", "folder"]


@dataclass(frozen=True, kw_only=True)
class AnimateOptions:
    """How a photo is animated; all have defaults.

    Attributes:
        preset: a performance that ships with Omote (see `omote.edit.presets.PRESETS`), instead of a driver.
        score: a text score, instead of a driver.
        emotion: EMFACS emotions such as ``happy:0.7``, instead of a driver.
        text: what is said (the preset "talk"), instead of a driver.
        duration: seconds that a preset or an emotion lasts; None: its own.
        face: which faces of the photo move: "largest", "all" (left to right as they are seen), or numbers counted
            from 0, largest first.
        driver_face: which face of a driving video or photo leads: "largest" or a number, largest first.
        engine: name of the animating engine, "puppet" or "liveportrait".
        liveportrait: what that engine alone knows, by the names of
            `omote.drive.liveportrait.settings.LivePortraitOptions`.
        mode: "relative": the driver's motion is added to the face of the photo; "absolute": the face takes on the
            driver's. None: absolute for a single expression (a driver of one frame), else relative; always relative
            with the engine liveportrait.
        reference: what the driver's motion is relative to: a frame of it, "first" or "neutral". None: the first frame
            of videos and takes, neutral for presets, scores and emotions.
        regions: what moves: some of "eyes", "lips", "expression", "pose". None: all; for a single expression all but
            the pose.
        strength: 0 leaves the photo as it is, 1 is the driver's own, more exaggerates; 0..5.
        offsets: control names or patterns -> what is added to them.
        changes: further changes of the result, written as for `omote.edit.edit.set_controls`: ``"jaw_open=x1.5"``.
        gaze: None (the driver's), "camera", or (yaw, pitch) degrees: + is the subject's left, and up.
        blinks: blinks per minute to insert, 0..120; None inserts none.
        seed: of what is random (when the inserted blinks come).
        smooth: smoothing over time of a captured driving video, 0..1.
        ease: seconds in which a single expression comes and goes in a video.
        fps: frame rate of the result; None: the driver's own times, or those of a source video.
        size: longest side of the result, pixels; None: the source's own (480 at most for gif and webp).
        frame: for a picture: the driver's frame, counted from 0.
        time: for a picture: seconds from the start of the driver.
        strip: for a picture: that many frames side by side, evenly spread over time.
        compare: show photo | driver | result side by side.
        audio: keep the sound of a driving video.
        sound_from: a file whose sound goes with the result, instead.
        take: a file in which the captured driving video is kept (``.omote``), and found again; for liveportrait the
            motion of any driver, in IMPLICIT21.
        credentials: sign the result with Content Credentials.
        visible_mark: draw a small mark that says that the picture is synthetic.
        consent: who agreed to what, in plain words; travels in the credentials.
        certificate: PEM file of an own certificate to sign with, and
        key: its private key.
        overwrite: make it again even if it is complete.
    """

    preset: str | None = None
    score: str | None = None
    emotion: str | None = None
    text: str | None = None
    duration: float | None = None
    face: FaceChoice | tuple[int, ...] = "largest"
    driver_face: Literal["largest"] | int = "largest"
    engine: str = "puppet"
    liveportrait: Mapping[str, Any] = field(default_factory=dict)
    mode: Literal["relative", "absolute"] | None = None
    reference: Literal["first", "neutral"] | int | None = None
    regions: frozenset[str] | None = None
    strength: float = 1.0
    offsets: Mapping[str, float] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    gaze: Literal["camera"] | tuple[float, float] | None = None
    blinks: float | None = None
    seed: int = 0
    smooth: float = 0.5
    ease: float = 0.6
    fps: float | None = None
    size: int | None = None
    frame: int | None = None
    time: float | None = None
    strip: int | None = None
    compare: bool = False
    audio: bool = True
    sound_from: Path | None = None
    take: Path | None = None
    credentials: bool = True
    visible_mark: bool = False
    consent: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(f"{value:g} is not in {low:g}..{high:g}", where=option_name(name))
        if self.mode not in (None, "relative", "absolute"):
            raise InputError(f"'{self.mode}' is neither relative nor absolute", where="mode")
        for name in ("sound_from", "take", "certificate", "key"):  # paths may be given as text
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))
        if self.regions is not None:
            object.__setattr__(self, "regions", checked_regions(self.regions, "--regions"))
            if not self.regions:
                raise InputError("names nothing", where="--regions", remedy=f"Use {', '.join(REGIONS)}.")
        checked_gaze(self.gaze)
        for name in self.offsets:
            weights_of(name)
        if self.changes:
            set_controls(
                Stage(np.zeros(1)).performance({}, 1.0), *self.changes
            )  # refuses what cannot be read
        if isinstance(self.face, tuple) and (
            not self.face or len(set(self.face)) < len(self.face) or min(self.face) < 0
        ):
            raise InputError("expected different numbers from 0", where="--face")
        if sum(value is not None for value in (self.preset or self.text, self.score, self.emotion)) > 1:
            raise InputError("give one of --preset, --score, --emotion and --text")
        if self.text is not None and self.preset not in (None, "talk"):
            raise InputError("goes with --preset talk only", where="--text")
        if self.duration is not None and (self.scripted is None or self.score is not None):
            raise InputError("is for presets, emotions and texts", where="--duration")
        if self.strip is not None and self.compare:
            raise InputError("give one of --strip and --compare")
        if sum(value is not None for value in (self.frame, self.time, self.strip)) > 1:
            raise InputError("give one of --frame, --time and --strip")
        if (self.certificate is None) != (self.key is None):
            raise InputError("--certificate and --key go together: a certificate and its private key")
        check_engine(self)
        if not self.credentials and (self.certificate is not None or self.consent is not None):
            raise InputError(
                "--consent, --certificate and --key are about Content Credentials",
                where="--no-credentials",
                remedy="Leave one or the other out.",
            )

    @property
    def scripted(self) -> str | None:
        """What drives instead of a driver, such as "preset smile"; None where a driver does."""
        if self.text is not None:
            return "text"
        for name in ("preset", "score", "emotion"):
            text = getattr(self, name)
            if text is not None:
                return name if name == "score" else f"{name} {text}"
        return None

    def facts(self) -> dict[str, Any]:
        """Everything that decides what the result looks like, as plain JSON values; for telling it from another."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("overwrite", "take")}
        return {name: _plain(value) for name, value in sorted(values.items())}


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("strength", 0, 5),
    ("blinks", 0, 120),
    ("smooth", 0, 1),
    ("ease", 0, 10),
    ("duration", 0.1, 3600),
    ("fps", 0.1, 240),
    ("size", 16, 16_384),
    ("frame", 0, 10_000_000),
    ("time", 0, 1e6),
    ("strip", 2, 64),
)


def check_names(options: Mapping[str, Any]) -> None:
    """Refuse names that `AnimateOptions` does not have.

    Raises:
        InputError: one of them; names the nearest.
    """
    known = [f.name for f in fields(AnimateOptions)] + list(LIVEPORTRAIT_NAMES)
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            remedy = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
            raise InputError(f"there is no option '{name}'", where="animate", remedy=remedy)


def option_name(name: str) -> str:
    """How the command line calls an option."""
    return "--" + name.replace("_", "-")


def kind_of(output: Path, options: AnimateOptions) -> Kind:
    """What is to be made, by the name: a video, a looping image, a picture, or a folder of frames.

    Raises:
        OutputError: no such kind of file is written.
        InputError: options that this kind has no use for.
    """
    suffix = output.suffix.lower()
    picked = next((n for n in ("frame", "time", "strip") if getattr(options, n) is not None), None)
    if output.is_dir() or not suffix:
        kind: Kind = "folder"
    elif suffix in VIDEOS:
        kind = "video"
    elif suffix in STILLS or (suffix == ".webp" and picked is not None):
        kind = "still"
    elif suffix in LOOPS:
        kind = "loop"
    else:
        raise OutputError(
            f"cannot write {suffix} files",
            where=output,
            remedy="Use .mp4, .mov, .mkv or .webm; .gif, .webp or .apng; .png or .jpg; or no suffix: a folder.",
        )
    if picked is not None and kind != "still":
        raise InputError(f"{option_name(picked)} makes a picture", where=output, remedy="Name it .png.")
    if options.sound_from is not None and kind != "video":
        raise InputError("only a video has sound", where=output, remedy="Name it .mp4.")
    return kind


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in sorted(value.items())}
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    return list(value) if isinstance(value, tuple) else value
