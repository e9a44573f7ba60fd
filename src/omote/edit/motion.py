"""One face's motion on another: what an animating engine is given, from a photo's fit and a driving take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from omote.controls import FACS102
from omote.edit.blinks import LIDS, insert_blinks
from omote.edit.gaze import Gaze, aim_eyes, checked_gaze
from omote.edit.names import weights_of
from omote.edit.regions import REGIONS, checked_regions, region_indices
from omote.errors import InputError, NoFaceError
from omote.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from omote.performance import Performance
from omote.performance.interpolation import slerp_axis_angle

Array = NDArray[Any]

_FASTEST_LID = 3.0
"""A lid moves at most this many times as far as the driver's."""
_RELAXED = 0.25
_TOUCHING = ("lid_", "jaw_", "lips_", "sticky_", "lip_press", "lip_roll", "tongue_")
_SETTLE = 0.3
"""Seconds over which a face that was lost eases into where it is found again."""
_NEAREST, _NEAREST_SHARE = 0.2, 0.4
"""A head comes no nearer to the camera than this many metres, nor than this share of its distance in the photo."""


@dataclass(frozen=True)
class MotionOptions:
    """How a driver's motion is put on a face.

    Args:
        mode: "relative" adds what changes from the reference on; "absolute" takes the driver's values themselves.
        reference: what relative motion is relative to: the driver's "first" frame with a face, a frame by number, or
            the "neutral" face (all controls 0, facing the camera), which is right for presets and scores.
        regions: which of "eyes", "lips", "expression" and "pose" move; the others stay as in the photo.
        strength: factor of the motion; 1 is as it is, 0 none.
        offsets: FACS102 or ARKit name, or pattern -> what is added to the result, in control units.
        gaze: "camera", (yaw, pitch) degrees in camera space, or None for the driver's; see `omote.edit.gaze`.
        blinks: blinks a minute to insert; None for none but the driver's.
        seed: of the blinks.

    Raises:
        InputError: a value that is none of these.
    """

    mode: Literal["relative", "absolute"] = "relative"
    reference: int | Literal["first", "neutral"] = "first"
    regions: frozenset[str] = frozenset(REGIONS)
    strength: float = 1.0
    offsets: Mapping[str, float] = field(default_factory=dict)
    gaze: Gaze | None = None
    blinks: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in ("relative", "absolute"):
            raise InputError(f"must be relative or absolute, got '{self.mode}'", where="mode")
        if not isinstance(self.reference, int) and self.reference not in ("first", "neutral"):
            raise InputError(
                f"must be first, neutral or a frame's number, got '{self.reference}'", where="reference"
            )
        if not 0 <= self.strength < np.inf:
            raise InputError(f"must be 0 or more, got {self.strength}", where="strength")
        if self.blinks is not None and not 0 <= self.blinks < np.inf:
            raise InputError(f"must be 0 blinks a minute or more, got {self.blinks}", where="blinks")
        offsets = {}
        for name, value in self.offsets.items():
            weights_of(name)
            if not np.isfinite(value):
                raise InputError(f"must be a number, got {value}", where=f"offset of {name}")
            offsets[name] = float(value)
        object.__setattr__(self, "regions", checked_regions(self.regions))
        object.__setattr__(self, "gaze", checked_gaze(self.gaze))
        object.__setattr__(self, "offsets", MappingProxyType(offsets))

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (self.mode, self.reference, self.regions, self.strength, dict(self.offsets))
        return MotionOptions, (*fields, self.gaze, self.blinks, self.seed)


@cache
def _below_rest() -> Array:
    """(102,) float32 how far below its range relative motion may take each control.

    What a driver relaxes from its reference on, a photo at rest has to relax too, or its share of the motion is lost;
    the rig extrapolates. Not for what touches something: lids, jaw, lips that are together, the tongue.
    """
    free = [n for n, c in enumerate(FACS102.controls) if c.low >= 0 and not c.name.startswith(_TOUCHING)]
    out = np.zeros(len(FACS102), np.float32)
    out[free] = _RELAXED
    return out


@dataclass(frozen=True)
class _Motion:
    """A driver made ready: frames without a face filled in, in FACS102, and the frame that counts as rest."""

    controls: Array
    rotation: Array
    translation: Array
    rest: Array
    rest_rotation: Array
    rest_translation: Array
    known: Array
    """(102,) whether the driver's own controls can express each control."""


def apply_motion(
    source: Performance, driver: Performance, options: MotionOptions | None = None
) -> Performance:
    """The driver's motion on the source's face.

    Relative: ``source + strength * (driver - reference)`` for controls, each limited to its range (to a quarter below
    it where nothing can collide, and to where the source is, should that be outside); the rotation ``R R_ref^-1``, its
    angle times strength, on top of the source's; the path in metres added to the source's place. An eyelid's way is
    scaled so that a driver's closed eye is a closed eye here, whatever the two were at rest.

    Absolute: ``source + strength * (driver - source)``, the rotation along the shorter arc. The place is taken only
    from a driver seen by the very same camera; from another it moves as in relative motion, since metres in front of
    another camera mean nothing here.

    Controls that the driver's space does not have, and regions that are not to move, keep the source's values. A frame
    without a face (confidence 0) holds the pose before it and eases into the next one; before the first face, that one
    is held. Offsets, gaze and blinks come last, in this order.

    Args:
        source: the fit of the photo: one frame.
        driver: T frames in any space that converts to FACS102.
        options: None is the defaults.

    Returns:
        T frames in FACS102 at the driver's times and confidence, with the source's identity and camera.

    Raises:
        InputError: a source of several frames, a reference frame that does not exist, controls of which none is known.
        NoFaceError: no frame of the driver has a face.
    """
    options = options or MotionOptions()
    if len(source) != 1:
        raise InputError(f"expected one frame, the photo's, got {len(source)}", where="source")
    source = source.with_space(FACS102)
    motion = _prepare(driver, options.reference)
    base = source.controls[0]
    if options.mode == "relative":
        controls = base + options.strength * _relative(motion, base)
        turn = motion.rotation @ motion.rest_rotation.T
        rotation = axis_angle_to_matrix(options.strength * matrix_to_axis_angle(turn))
        rotations = matrix_to_axis_angle(rotation @ axis_angle_to_matrix(source.head_rotation[0]))
    else:
        controls = base + options.strength * np.where(motion.known, motion.controls - base, np.float32(0))
        own = np.broadcast_to(source.head_rotation[0].astype(np.float64), (len(driver), 3))
        target = matrix_to_axis_angle(motion.rotation)
        rotations = _turned(own, target, options.strength)
    if options.mode == "absolute" and driver.camera == source.camera:
        path = motion.translation - source.head_translation[0]
    else:
        path = motion.translation - motion.rest_translation
    translations = _kept_ahead(
        source.head_translation[0] + options.strength * path, source.head_translation[0]
    )
    for region in set(REGIONS) - options.regions:
        controls[:, region_indices(region)] = base[region_indices(region)]
    if "pose" not in options.regions:
        rotations = np.repeat(source.head_rotation.astype(np.float64), len(driver), 0)
        translations = np.repeat(source.head_translation.astype(np.float64), len(driver), 0)
    for name, value in options.offsets.items():
        for index, weight in weights_of(name):
            controls[:, index] += weight * value
    low = FACS102.low - (_below_rest() if options.mode == "relative" else 0)
    np.clip(controls, np.minimum(low, base), np.maximum(FACS102.high, base), out=controls)
    if options.gaze is not None:
        identity = source.identity.get("facs")
        controls = aim_eyes(controls, rotations, translations, identity, options.gaze)
    if options.blinks:
        controls = insert_blinks(controls, driver.times, options.blinks, options.seed)
    return Performance(
        space=FACS102,
        controls=controls,
        head_rotation=rotations,
        head_translation=translations,
        confidence=driver.confidence,
        times=driver.times,
        camera=source.camera,
        identity=source.identity,
        source={"method": "motion", "photo": dict(source.source), "driver": dict(driver.source)},
    )


def _prepare(driver: Performance, reference: int | str) -> _Motion:
    weights = np.ones(len(FACS102), bool)
    if driver.space != FACS102:
        lost = driver.space.conversion_report(FACS102).unreached
        weights[[FACS102.index(name) for name in lost]] = False
    seen = np.flatnonzero(driver.confidence > 0)
    if not len(seen):
        raise NoFaceError("no frame of the driver has a face")
    before, after, share = _bridges(driver.times, seen)
    controls = _mixed(
        driver.with_space(FACS102).controls, before, after, share
    )  # float32: takes may last hours
    translation = _mixed(driver.head_translation.astype(np.float64), before, after, share)
    angles = slerp_axis_angle(driver.head_rotation[before], driver.head_rotation[after], share)
    rotation = axis_angle_to_matrix(angles)
    if reference == "neutral":
        rest, rest_rotation, frame = FACS102.neutral, np.eye(3), int(seen[0])
    else:
        frame = int(seen[0]) if reference == "first" else int(reference)
        if not -len(driver) <= frame < len(driver):
            raise InputError(f"there is no frame {frame} of {len(driver)}", where="reference")
        rest, rest_rotation = controls[frame], rotation[frame]
    return _Motion(controls, rotation, translation, rest, rest_rotation, translation[frame], weights)


def _bridges(times: Array, seen: Array) -> tuple[Array, Array, Array]:
    """For each frame the frames with a face it is made of, and the share of the latter; itself where it has one."""
    frames = np.arange(len(times))
    position = np.searchsorted(seen, frames, side="right")
    before = seen[np.maximum(position - 1, 0)]
    after = seen[np.minimum(np.searchsorted(seen, frames), len(seen) - 1)]
    before = np.where(frames < seen[0], seen[0], before)
    gap = np.minimum(times[after] - times[before], _SETTLE)
    share = np.clip((times - times[after] + gap) / np.where(gap > 0, gap, 1.0), 0, 1)
    share = np.where(after > before, share * share * (3 - 2 * share), 0.0)
    return before, after, share


def _mixed(values: Array, before: Array, after: Array, share: Array) -> Array:
    if (before == after).all():
        return values if (np.diff(before) == 1).all() else values[before]
    first, share = values[before], share.astype(values.dtype)
    return np.asarray(first + share[:, None] * (values[after] - first))


def _relative(motion: _Motion, base: Array) -> Array:
    """(T, 102) what changes from the reference on, with eyelids scaled to the way that is left to close them."""
    change = motion.controls - motion.rest
    left, own = 1 - base[LIDS], 1 - motion.rest[LIDS]
    scale = np.where((own > 0.05) & (left > 0), np.minimum(left / np.maximum(own, 0.05), _FASTEST_LID), 1.0)
    change[:, LIDS] *= np.where(change[:, LIDS] > 0, scale, 1.0)
    return change


def _turned(own: Array, target: Array, strength: float) -> Array:
    """(T, 3) axis-angle from one rotation towards another, or beyond it for a strength above 1."""
    if strength <= 1:
        return slerp_axis_angle(own, target, np.full(len(own), strength))
    start = axis_angle_to_matrix(own)
    turn = matrix_to_axis_angle(axis_angle_to_matrix(target) @ start.swapaxes(-1, -2))
    return np.asarray(matrix_to_axis_angle(axis_angle_to_matrix(strength * turn) @ start))


def _kept_ahead(places: Array, own: Array) -> Array:
    """(T, 3) metres, none of them nearer to the camera than a head can be drawn."""
    nearest = min(-float(own[2]), max(_NEAREST, -float(own[2]) * _NEAREST_SHARE))
    result = np.array(places, np.float64)
    result[:, 2] = np.minimum(result[:, 2], -nearest)
    return result
