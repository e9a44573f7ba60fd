"""Everything that can be asked of the LivePortrait pipeline, and the refusal of what cannot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

from omote.drive.liveportrait.crops import DRIVER, EDIT, SOURCE, Placement
from omote.drive.liveportrait.kalman import OBSERVATION_VARIANCE
from omote.drive.liveportrait.options import Composition
from omote.drive.liveportrait.sliders import Sliders
from omote.edit.regions import REGIONS, checked_regions
from omote.errors import InputError

Reference = Literal["auto", "first", "neutral"] | int
EVERYTHING = frozenset(REGIONS)
FRIENDLY = ("expression-friendly", "pose-friendly")

_OFFICIAL_REGIONS = {
    EVERYTHING: "all",
    frozenset({"eyes", "lips", "expression"}): "exp",
    frozenset({"pose"}): "pose",
    frozenset({"lips"}): "lip",
    frozenset({"eyes"}): "eyes",
}
_MOST_BATCH = 256
_OFFICIAL_SIDE = 1280


@dataclass(frozen=True, kw_only=True)
class LivePortraitOptions:
    """How a driver's motion is put on a source.

    Attributes:
        compat: "official" reproduces the published behaviour, its quirks included; None is ours, which fixes them.
        weights: where the networks come from, see `omote.drive.liveportrait.networks.load_nets`.
        relative: add the driver's change since the reference to the source; otherwise take its values themselves.
        reference: what relative motion starts from: "auto" the driver's frame that is nearest to a neutral face in the
            source's pose, "first", "neutral" (a neutral face looking ahead), or a frame's number.
        regions: what moves: some of "eyes", "lips", "expression" (all else of the face), "pose"; None is everything,
            but of a still driver not the pose.
        multiplier: factor on the whole motion; 0 leaves the source as it is.
        driving_option: "pose-friendly": the head moves as the driver's. "expression-friendly": the expression is
            scaled to the size of the source's face and the head moves calmly.
        smooth: smoothing over time, 0..1, without lag.
        stitching: keep neck and shoulders in place.
        eye_retargeting: give the eyes the driver's openness.
        lip_retargeting: likewise of the lips.
        normalize_lip: first close the source's lips (relative motion only).
        hold_eyes: hold the eyes of a source video as open as in its first frame.
        lip_ratio: give the lips of all frames this openness, 0..0.8; None leaves them.
        silence: keep the lips still: a neutral mouth on every frame of a source video.
        sliders: edits of every frame, on top of the motion; a mapping of their names to values will do.
        paste_back: put the face back into the picture; otherwise the result is the drawn face. See `pastes`.
        longest: official mode: the longer side that sources are reduced to, px; None is the published 1280. Ours keeps
            their size.
        crop_scale: side of the source's crop, in sides of the face; None is the published 2.3, and 2.5 where the
            official mode edits a photo.
        driver_crop_scale: likewise of the driver's.
        crop_driver: official mode: cut the driver's face out even if its frames are square (ours always does).
        observation_variance: official mode: of the published smoothing of source videos.
        batch: frames rendered at once.
        exact: multiply in float32 throughout; False: in less where pictures stay close and the machine is faster.
    """

    compat: Literal["official"] | None = None
    weights: str | Path | None = None
    relative: bool = True
    reference: Reference = "auto"
    regions: frozenset[str] | None = None
    multiplier: float = 1.0
    driving_option: str = "pose-friendly"
    smooth: float = 0.5
    stitching: bool = True
    eye_retargeting: bool = False
    lip_retargeting: bool = False
    normalize_lip: bool = False
    hold_eyes: bool = False
    lip_ratio: float | None = None
    silence: bool = False
    sliders: Sliders = field(default_factory=Sliders)
    paste_back: bool = True
    longest: int | None = None
    crop_scale: float | None = None
    driver_crop_scale: float = DRIVER.scale
    crop_driver: bool = False
    observation_variance: float = OBSERVATION_VARIANCE
    batch: int = 4
    exact: bool = False

    def __post_init__(self) -> None:
        if self.compat not in (None, "official"):
            raise InputError(f"'{self.compat}' is not known", where="--compat", remedy="Use official.")
        if self.driving_option not in FRIENDLY:
            what = f"'{self.driving_option}' is not known"
            raise InputError(what, where="--driving-option", remedy=f"Use {' or '.join(FRIENDLY)}.")
        if self.regions is not None:
            object.__setattr__(self, "regions", checked_regions(self.regions, "--regions"))
        for name, low, high in _RANGES:
            value = getattr(self, name)
            where, kind = flag(name), Integral if name in _WHOLE else Real
            if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
                raise InputError(f"{value!r} is no {'whole ' if name in _WHOLE else ''}number", where=where)
            if value is not None and not (math.isfinite(value) and low <= float(value) <= high):
                raise InputError(f"{value:g} is not in {low:g}..{high:g}", where=where)
        for name in _SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{getattr(self, name)!r} is neither True nor False", where=flag(name))
        if isinstance(self.sliders, Mapping):
            object.__setattr__(self, "sliders", _sliders(self.sliders))
        if self.silence and self.lip_ratio is not None:
            raise InputError("give one of --silence and --lip-ratio")
        if isinstance(self.reference, str) and self.reference not in ("auto", "first", "neutral"):
            raise InputError(f"'{self.reference}' is no reference", where="--reference")
        if not self.relative:
            for name, default in (("reference", "auto"), ("normalize_lip", False)):
                if getattr(self, name) != default:
                    what = "has no effect on absolute motion"
                    raise InputError(what, where=flag(name), remedy="Leave it out, or leave out --absolute.")
        if self.official:
            self._check_official()
            return
        self._check_ours()
        for name, told in (
            ("crop_driver", self.crop_driver),
            ("observation_variance", self.observation_variance != OBSERVATION_VARIANCE),
        ):
            if told:
                raise InputError(
                    "only the official mode has this", where=flag(name), remedy="Add --compat official."
                )

    def _check_ours(self) -> None:
        """Refuse what would have no effect."""
        if self.silence:
            for name, told in (
                ("lip-retargeting", self.lip_retargeting),
                ("normalize-lip", self.normalize_lip),
                ("slider lip_ratio", self.sliders.lip_ratio is not None),
            ):
                if told:
                    raise InputError(f"give one of --silence and --{name}")
        if self.lip_ratio is not None and self.sliders.lip_ratio is not None:
            raise InputError("give one of --lip-ratio and --slider lip_ratio")

    def _check_official(self) -> None:
        """Refuse what the published code does not have."""
        if (self.regions or EVERYTHING) not in _OFFICIAL_REGIONS:
            remedy = "It has pose, eyes, lips, eyes,lips,expression, and all four."
            raise InputError("the official mode has no such choice", where="--regions", remedy=remedy)
        if self.reference not in ("auto", "first", 0):
            remedy = "It starts from the first frame; leave out --compat official."
            raise InputError(
                "the official mode has no choice of reference", where="--reference", remedy=remedy
            )
        if self.driving_option != FRIENDLY[1]:
            what = "has no effect in the official mode, where its factor is always 1"
            raise InputError(what, where="--driving-option", remedy="Leave one of the two out.")
        if self.edits and self.hold_eyes:
            what = "has no effect on edits in the official mode"
            raise InputError(what, where="--hold-eyes", remedy="Leave it out.")
        if self.sliders != Sliders() and (self.silence or self.lip_ratio is not None):
            other = "--silence" if self.silence else "--lip-ratio"
            what = f"the official mode does not know sliders together with {other}"
            raise InputError(what, where="--slider", remedy="Leave one of the two out.")

    @property
    def official(self) -> bool:
        """Whether the published behaviour is asked for."""
        return self.compat == "official"

    @property
    def approximate(self) -> bool:
        """Whether many pictures may be drawn in less than full precision; see `Renderer.study`."""
        return not (self.exact or self.official)

    @property
    def composition(self) -> Composition:
        """The same in the published code's terms."""
        return Composition(
            relative=self.relative,
            region=_OFFICIAL_REGIONS.get(self.regions or EVERYTHING, "all"),
            multiplier=self.multiplier,
            stitching=self.stitching,
            normalize_lip=self.normalize_lip,
            eye_retargeting=self.eye_retargeting,
            lip_retargeting=self.lip_retargeting,
            source_video_eye_retargeting=self.hold_eyes,
            observation_variance=self.observation_variance,
        )

    @property
    def pastes(self) -> bool:
        """Whether faces are put back into the picture; the published code does not without stitching."""
        return self.paste_back and (self.stitching or not self.official)

    @property
    def source_limit(self) -> int | None:
        """The longer side that sources are reduced to, px; None where they keep their size."""
        return (self.longest or _OFFICIAL_SIDE) if self.official else None

    @property
    def source_placement(self) -> Placement:
        """Where the crop of a source that is driven, or of a source video, lies about its face."""
        return SOURCE if self.crop_scale is None else replace(SOURCE, scale=self.crop_scale)

    @property
    def photo_placement(self) -> Placement:
        """Where a source photo's crop lies about its face; the official mode drives a photo or edits it, never both."""
        edited = self.official and self.edits and self.crop_scale is None
        return EDIT if edited else self.source_placement

    @property
    def driver_placement(self) -> Placement:
        """Where the driver's crop lies about its face."""
        return Placement(self.driver_crop_scale, vy=DRIVER.vy)

    def taken(self, *, still: bool) -> frozenset[str]:
        """The regions that move."""
        everything = EVERYTHING - {"pose"} if still else EVERYTHING
        return everything if self.regions is None else self.regions

    @property
    def edits(self) -> bool:
        """Whether there is something to do without any driver."""
        return self.sliders != Sliders() or self.lip_ratio is not None or self.silence


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("multiplier", 0, 5),
    ("smooth", 0, 1),
    ("lip_ratio", 0, 0.8),
    ("longest", 2, 1 << 14),
    ("crop_scale", 1, 5),
    ("driver_crop_scale", 1, 5),
    ("observation_variance", 0, 1),
    ("batch", 1, _MOST_BATCH),
)
_WHOLE = ("longest", "batch")
_SWITCHES = (
    "relative",
    "stitching",
    "eye_retargeting",
    "lip_retargeting",
    "normalize_lip",
    "hold_eyes",
    "silence",
    "paste_back",
    "crop_driver",
    "exact",
)


def flag(name: str) -> str:
    """An option as it is typed."""
    return "--" + name.replace("_", "-")


def _sliders(values: Mapping[str, Any]) -> Sliders:
    """Sliders from their names and values."""
    known = [one.name for one in fields(Sliders)]
    unknown = [name for name in values if name not in known]
    if unknown:
        raise InputError(
            f"there is none called {unknown[0]!r}", where="slider", remedy=f"Use {', '.join(known)}."
        )
    return Sliders(**values)


def option_names() -> frozenset[str]:
    """The names of all options."""
    return frozenset(one.name for one in fields(LivePortraitOptions))
