"""How a driver's motion is put on a source, as the published code's options say it, and the ratios that it needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from omote.drive.liveportrait.kalman import OBSERVATION_VARIANCE
from omote.drive.liveportrait.regions import HEAD_REGIONS, check_region
from omote.errors import InputError


@dataclass(frozen=True)
class Composition:
    """How a driver's motion is put on a source; the defaults are those of the published command line.

    Attributes:
        relative: take the driver's change since its reference frame; otherwise its values themselves.
        region: what is taken, one of `omote.drive.liveportrait.regions.REGIONS`.
        multiplier: factor on the whole motion away from the source's keypoints.
        stitching: keep neck and shoulders in place.
        normalize_lip: first close the source's lips (relative only).
        eye_retargeting: give the eyes the driver's openness; with relative motion, instead of all other motion.
        lip_retargeting: likewise of the lips.
        source_video_eye_retargeting: hold a source video's eyes at the openness of its first frame.
        observation_variance: of the smoothing for video sources, see `omote.drive.liveportrait.kalman.smooth`.
        lip_threshold: lip ratio of the source from which `normalize_lip` acts.
        eye_threshold: eye ratio of a source video's first frame below which its eyes count as closed.
    """

    relative: bool = True
    region: str = "all"
    multiplier: float = 1.0
    stitching: bool = True
    normalize_lip: bool = False
    eye_retargeting: bool = False
    lip_retargeting: bool = False
    source_video_eye_retargeting: bool = False
    observation_variance: float = OBSERVATION_VARIANCE
    lip_threshold: float = 0.03
    eye_threshold: float = 0.18

    def __post_init__(self) -> None:
        check_region(self.region)
        if not math.isfinite(self.multiplier):
            raise InputError(f"got {self.multiplier}, expected a finite number", where="driving multiplier")

    @property
    def moves_head(self) -> bool:
        """Whether rotation and translation are taken from the driver."""
        return self.region in HEAD_REGIONS


@dataclass(frozen=True)
class Ratios:
    """Close ratios of S source frames (S = 1 for a photo) and N driving frames; those that are not used may be None.

    Attributes:
        source_eyes: (S, 2) left and right of the image.
        source_lip: (S, 1).
        driving_eyes: (N, 2); only the left one is used, as published.
        driving_lip: (N, 1).
        first_source_eyes: (1, 2) of the source video's first frame; None means that ``source_eyes`` starts with it.
    """

    source_eyes: Tensor | None = None
    source_lip: Tensor | None = None
    driving_eyes: Tensor | None = None
    driving_lip: Tensor | None = None
    first_source_eyes: Tensor | None = None

    def need(self, name: str) -> Tensor:
        """That field.

        Raises:
            InputError: it is None.
        """
        value: Tensor | None = getattr(self, name)
        if value is None:
            what = f"retargeting needs the {name.replace('_', ' ')} ratios, which are not known"
            raise InputError(what, remedy="A template without ratios drives without retargeting.")
        return value
