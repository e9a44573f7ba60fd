"""From what a source's face is and what a driver does to the keypoints of every frame, ours or as published."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omote.drive.liveportrait.composing import compose, expression_gain, eyes_apart
from omote.drive.liveportrait.composition import compose_image, compose_video, neutral_expression
from omote.drive.liveportrait.driving import DrivingTake, at_times
from omote.drive.liveportrait.edits import set_lips, silence_lips
from omote.drive.liveportrait.finishing import eye_holding, finish, held_openness, lip_normalizing
from omote.drive.liveportrait.offsets import Mlps, lip_offsets, stitch
from omote.drive.liveportrait.options import Ratios
from omote.drive.liveportrait.reference import choose_reference, reference_motion, require_face
from omote.drive.liveportrait.regions import LIP_POINTS
from omote.drive.liveportrait.settings import FRIENDLY, LivePortraitOptions
from omote.drive.liveportrait.sliders import edit_keypoints, edit_motion
from omote.drive.liveportrait.smoothing import EXPRESSION_TAU, smooth_motion, smooth_over_time
from omote.errors import InputError
from omote.models.liveportrait.keypoints import Motion

Array = NDArray[Any]

_SAME_S = 1e-4
"""Seconds between two moments that are one."""
_WIDEST = 0.8
"""Of the ratios that the small networks were made for."""
_AT_REST = {"eyes": 0.3, "lips": 0.08}
"""Openness of a neutral face: between that of MediaPipe's canonical face and that of the embedded head."""


@dataclass(frozen=True)
class Still:
    """What a source's face is: of a photo (S = 1), or of the S frames of a video.

    Attributes:
        motion: S frames.
        eyes: (S, 2) close ratios.
        lip: (S, 1).
        times: (S,) seconds.
        found: (S,) bool.
        cuts: frames that begin a new shot.
        video: it is a video's.
    """

    motion: Motion
    eyes: Tensor
    lip: Tensor
    times: NDArray[np.float64]
    found: NDArray[np.bool_]
    cuts: tuple[int, ...] = ()
    video: bool = False

    def until(self, count: int) -> Still:
        """The first frames of a video."""
        return replace(
            self,
            motion=self.motion[:count],
            eyes=self.eyes[:count],
            lip=self.lip[:count],
            times=self.times[:count],
            found=self.found[:count],
            cuts=tuple(cut for cut in self.cuts if cut < count),
        )


@dataclass(frozen=True)
class Moved:
    """Keypoints for the renderer; about 500 bytes a frame.

    Attributes:
        source: (T, 21, 3), or (1, 21, 3) of a photo.
        driving: (T, 21, 3).
        reference: the driver's frame that the motion starts from; None without a driver or where it is in no frame.
    """

    source: Tensor
    driving: Tensor
    reference: int | None = None

    def __len__(self) -> int:
        return len(self.driving)


def perform(face: Still, take: DrivingTake | None, options: LivePortraitOptions, mlps: Mlps) -> Moved:
    """The keypoints of every frame.

    Args:
        face: of the source.
        take: what drives it, at the moments of the result: for a video those of its own frames. None: edits alone.
        options: how.
        mlps: the small networks.

    Raises:
        InputError: retargeting asks for ratios that a template does not have, or for a frame that is not there.
        NoFaceError: the reference frame has no face.
    """
    with torch.no_grad():
        return _official(face, take, options, mlps) if options.official else _ours(face, take, options, mlps)


def _ours(face: Still, take: DrivingTake | None, options: LivePortraitOptions, mlps: Mlps) -> Moved:
    if face.video and take is not None:
        face = face.until(len(take))
    source = face.motion
    if face.video:
        source = smooth_motion(source, face.times, options.smooth, cuts=face.cuts, lip=face.lip)
    points = source.points()
    moved, reference = source, None
    if take is not None:
        calm = options.driving_option == FRIENDLY[0]
        driving = take.motion
        closes = options.normalize_lip and options.relative
        lip = torch.zeros_like(face.lip) if closes else face.lip  # what the motion is put on
        reference = choose_reference(take, source, face.eyes, lip, _reference_of(take, options))
        if not take.still:
            driving = smooth_motion(
                driving, take.times, options.smooth, cuts=take.cuts, lip=take.lip, calm=calm
            )
        start = reference_motion(replace(take, motion=driving), reference)
        moved = compose(
            source,
            driving,
            start,
            regions=options.taken(still=take.still),
            relative=options.relative,
            strength=options.multiplier,
            gain=expression_gain(source, start) if calm and take.own_shape else 1.0,
        )
    if options.silence:
        moved = _silent(moved)
    if options.edits:
        moved = edit_motion(moved, options.sliders)
    x_d = moved.points()
    x_d = x_d + _openness(face, source, points, take, reference, options, mlps)
    x_d = stitch(points, x_d, mlps.stitching) if options.stitching else x_d
    return Moved(points, x_d, reference)


def _reference_of(take: DrivingTake, options: LivePortraitOptions) -> Any:
    return "neutral" if take.still and options.reference == "auto" else options.reference


def _silent(moved: Motion) -> Motion:
    """A motion whose lips are at rest."""
    exp = moved.exp.clone()
    lips = list(LIP_POINTS)
    exp[:, lips] = neutral_expression(exp)[:, lips]
    return replace(moved, exp=exp)


def _openness(
    face: Still,
    source: Motion,
    points: Tensor,
    take: DrivingTake | None,
    reference: int | None,
    options: LivePortraitOptions,
    mlps: Mlps,
) -> Tensor:
    """(T or 1, 21, 3) what opens and closes eyes and lips, on top of the motion.

    Retargeting corrects what the motion itself leaves open: the source's openness, as the driver's change alone makes
    it, is brought to the driver's. Each step goes on from the openness that the one before it left.
    """
    total = torch.zeros_like(points)
    take = None if take is None else _calm(take, options)
    own = Ratios(source_eyes=face.eyes, source_lip=face.lip)
    composition = options.composition
    sliders = options.sliders
    eyes, lip = (
        own if take is None else _after(own, region, take, reference, options)
        for own, region in ((face.eyes, "eyes"), (face.lip, "lips"))
    )
    if take is not None and options.normalize_lip and options.relative:
        total = total + lip_normalizing(points, composition, mlps, own)
        closed = (lip - face.lip).clamp(0, _WIDEST)
        lip = torch.where(face.lip >= composition.lip_threshold, closed, lip)
    if options.hold_eyes and face.video:
        total = total + eye_holding(points, composition, mlps, own)
        eyes = (eyes - face.eyes + held_openness(composition, own)).clamp(0, _WIDEST)
    if take is not None and options.eye_retargeting:
        wanted = _needed(take.eyes, "eye")
        total = total + eyes_apart(source, points, eyes, wanted, mlps.eye)
        eyes = wanted
    if take is not None and options.lip_retargeting:
        wanted = _needed(take.lip, "lip")
        total = total + lip_offsets(points, lip, wanted, mlps.lip)
        lip = wanted
    if sliders.eye_ratio is not None:
        wanted = torch.full_like(eyes, sliders.eye_ratio)
        total = total + eyes_apart(source, points, eyes, wanted, mlps.eye)
    lip_ratio = sliders.lip_ratio if options.lip_ratio is None else options.lip_ratio
    if lip_ratio is not None:
        offsets = lip_offsets(points, lip, torch.full_like(lip, lip_ratio), mlps.lip)
        total = total + _smoothed(offsets, face, options)
    return total


def _calm(take: DrivingTake, options: LivePortraitOptions) -> DrivingTake:
    """The take with its openness smoothed over time as its expression is."""
    if take.still or options.smooth <= 0 or len(take) < 3:
        return take

    def smoothed(ratios: Tensor | None) -> Tensor | None:
        if ratios is None:
            return None
        rows = smooth_over_time(
            ratios.double().numpy(), take.times, EXPRESSION_TAU * options.smooth, take.cuts
        )
        return torch.from_numpy(rows).to(ratios)

    return replace(take, eyes=smoothed(take.eyes), lip=smoothed(take.lip))


def _needed(ratios: Tensor | None, name: str) -> Tensor:
    if ratios is None:
        what = f"{name} retargeting needs the openness of the driver, which this template does not hold"
        raise InputError(what, remedy="Templates of the animal pipeline have none; leave the option out.")
    return ratios.clamp(0, _WIDEST)


def _after(
    own: Tensor, region: str, take: DrivingTake, reference: int | None, options: LivePortraitOptions
) -> Tensor:
    """(T, n) how open the source's eyes or lips are once the driver's motion is on it.

    Openness is a share of the face, so that the gain on the expression of a larger face leaves its change as it is.
    """
    theirs = take.eyes if region == "eyes" else take.lip
    if theirs is None or region not in options.taken(still=take.still):
        return own.expand(len(take), -1)
    if not options.relative:
        return (own + options.multiplier * (theirs - own)).clamp(0, _WIDEST)
    start = take.rest if reference is None else take
    first: Tensor | None = torch.full_like(theirs[:1], _AT_REST[region])
    if start is not None:
        first = start.eyes if region == "eyes" else start.lip
    if first is None:
        return own.expand(len(take), -1)
    at = reference or 0
    return (own + options.multiplier * (theirs - first[at : at + 1])).clamp(0, _WIDEST)


def _smoothed(offsets: Tensor, face: Still, options: LivePortraitOptions) -> Tensor:
    if not face.video:
        return offsets
    rows = offsets.reshape(len(offsets), -1).double().numpy()
    rows = smooth_over_time(rows, face.times, EXPRESSION_TAU * options.smooth, face.cuts)
    return torch.from_numpy(rows).to(offsets).reshape(offsets.shape)


def _official(face: Still, take: DrivingTake | None, options: LivePortraitOptions, mlps: Mlps) -> Moved:
    """As published."""
    points, composition = face.motion.points(), options.composition
    if take is None:
        return Moved(points, _edited(face, points, options, mlps))
    if options.edits:
        what = "edits of driven frames do not exist in the official mode"
        raise InputError(what, where="--compat", remedy="Leave out the driver or --compat official.")
    if face.video:
        motion = compose_video(face.motion, take.motion, composition, still=take.still)
    else:
        motion = compose_image(face.motion, take.motion, composition, still=take.still)
    count = len(motion)
    points = points[:count]

    def rows(values: Tensor | None) -> Tensor | None:
        return values if values is None or len(values) == 1 else values[:count]

    ratios = Ratios(rows(face.eyes), rows(face.lip), rows(take.eyes), rows(take.lip))
    x_d = finish(points, motion.points(), composition, mlps, ratios, video_source=face.video)
    return Moved(points, x_d, 0)


def _edited(face: Still, points: Tensor, options: LivePortraitOptions, mlps: Mlps) -> Tensor:
    if options.silence:
        return silence_lips(face.motion, mlps, stitching=options.stitching)
    if options.lip_ratio is not None:
        return set_lips(points, face.lip, options.lip_ratio, mlps, stitching=options.stitching)
    return edit_keypoints(
        face.motion, options.sliders, mlps, face.eyes, face.lip, stitching=options.stitching
    )


def at_moments(take: DrivingTake, moments: Array, reference: Any) -> tuple[DrivingTake, Any]:
    """A take at other moments, and the reference counted in them.

    Args:
        take: the driver.
        moments: (N,) seconds from its first frame.
        reference: as in the options; a frame's number becomes that of its moment. A frame at no moment is kept beside
            the take. The take's own frame at rest counts for "auto" alone.

    Raises:
        InputError: a frame that the take does not have, or one of a take that is a single frame.
        NoFaceError: it has no face.
    """
    if take.still and reference not in ("auto", "neutral"):
        what = "the driver is a single frame: nothing would move"
        raise InputError(what, where="--reference", remedy="Use neutral, or leave it out.")
    if reference != "auto":
        take = replace(take, rest=None)
    if isinstance(reference, int):
        if not 0 <= reference < len(take):
            what = f"the driver has no frame {reference}"
            raise InputError(what, where="--reference", remedy=f"It has {len(take)}, counted from 0.")
        require_face(take, reference)
        away = np.abs(moments - take.elapsed[reference])
        if away.min() > _SAME_S:
            return replace(at_times(take, moments), rest=take.rows(np.array([reference]))), "auto"
        reference = int(np.argmin(away))
    return at_times(take, moments), reference
