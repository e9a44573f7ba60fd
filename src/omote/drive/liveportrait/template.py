"""Motion templates: LivePortrait's driving motion as arrays, and as a Performance in IMPLICIT21.

The published rotation R turns row vectors (``x R``) in the axes x right, y down, z into the image, so the head's matrix
for column vectors is R transposed. The camera space of a Performance has x right, y up, z to the viewer: it is that
frame turned by F = diag(1, -1, -1), half a turn about x. The same head rotation there is F R^T F. Written with
rotation vectors, log(F R^T F) = F log(R^T) = -F log(R): the x component of log(R) changes its sign, y and z stay.
The way back is R = exp((-w_x, w_y, w_z)), so both ways are exact.

The translation belongs to the crop and says nothing in metres: it is among the controls, and the head of the
Performance stands still before the camera.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.controls import IMPLICIT21
from omote.controls.implicit21 import EYE_RATIOS, KEYPOINTS, LIP_RATIO, OFFSETS, TRANSLATION
from omote.errors import InputError
from omote.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, project_to_so3
from omote.performance import Camera, Performance

Array = npt.NDArray[Any]

IDENTITY = "implicit21"
"""The key of a Performance's identity under which the driver's canonical keypoints are, (63,) keypoint by keypoint."""

REST = "implicit21_rest"
"""Likewise that under which the frame is that relative motion starts from: its controls, then its head's rotation."""
_SHOTS = "shots"
"""The key of a Performance's source under which the frames are that begin a new shot, and of which times."""

_FLIP = np.array([-1.0, 1.0, 1.0])
_DISTANCE = 0.6  # metres before the camera, where a head without a position is put
_CROP = 256  # pixels, the networks' input


def _columns(names: tuple[str, ...]) -> list[int]:
    return [IMPLICIT21.index(name) for name in names]


@dataclass(frozen=True, kw_only=True)
class Template:
    """The driving motion of T frames, in the units of the networks (the crop spans -1..1; x right, y down, z inwards).

    Attributes:
        times: (T,) seconds.
        rotation: (T, 3, 3) float32, the published R: it turns row vectors.
        t: (T, 3) float32 translation; its z is not used.
        scale: (T, 1) float32, above 0.
        exp: (T, 21, 3) float32 expression offsets, added to the turned canonical keypoints before the scale.
        eyes: (T, 2) float32 close ratios, the image's left eye first; None where they are not known.
        lip: (T, 1) float32 close ratio; None where it is not known.
        kp: (21, 3) float32 canonical keypoints of the driver, one set for the take; None where they are not known.
            No driving rule needs them: the source's own are used.
        confidence: (T,) float32; 0 where no face was found and the frame before is held.
        cuts: frames that begin a new shot.
        rest: the one frame that relative motion starts from; None: one of these.
    """

    times: Array
    rotation: Array
    t: Array
    scale: Array
    exp: Array
    confidence: Array
    eyes: Array | None = None
    lip: Array | None = None
    kp: Array | None = None
    cuts: tuple[int, ...] = ()
    rest: Template | None = None

    def __len__(self) -> int:
        return len(self.times)

    def points(self) -> Array | None:
        """(T, 21, 3) keypoints of the driver itself, ``scale (kp R + exp) + (t_x, t_y, 0)``; None without ``kp``."""
        if self.kp is None:
            return None
        moved = self.scale[:, None] * (self.kp @ self.rotation + self.exp)
        return np.asarray(moved + (self.t * [1, 1, 0])[:, None], np.float32)


def template_of(performance: Performance) -> Template:
    """The arrays of a Performance in IMPLICIT21.

    Ratios are None unless every frame has them (a control confidence of 0 says that it has not).

    Raises:
        InputError: the take is in another control space, its canonical keypoints are not 63 numbers, or a scale is not
            above 0.
    """
    take = performance
    if take.space != IMPLICIT21:
        what = f"a motion template holds {IMPLICIT21.name} controls, this take has those of {take.space.name}"
        remedy = "Only a take that came from a template or from LivePortrait's motion extractor has them."
        raise InputError(what, where="take", remedy=remedy)
    kp = take.identity.get(IDENTITY)
    if kp is not None and kp.shape != (3 * KEYPOINTS,):
        what = f"canonical keypoints are {3 * KEYPOINTS} numbers, got {kp.shape}"
        raise InputError(what, where=f"identity {IDENTITY}")
    rest = take.identity.get(REST)
    if rest is not None and rest.shape != (len(IMPLICIT21) + 3,):
        what = f"a frame at rest is {len(IMPLICIT21) + 3} numbers, got {rest.shape}"
        raise InputError(what, where=f"identity {REST}")
    scale = take.controls[:, _columns(("scale",))]
    if not (scale > 0).all():
        raise InputError(f"must be above 0, frame {int(np.argmin(scale))} is not", where="control scale")
    return Template(
        times=take.times,
        rotation=axis_angle_to_matrix(take.head_rotation * _FLIP).astype(np.float32),
        t=take.controls[:, _columns(TRANSLATION)],
        scale=scale,
        exp=take.controls[:, _columns(OFFSETS)].reshape(len(take), KEYPOINTS, 3),
        confidence=take.confidence,
        eyes=_known(take, EYE_RATIOS),
        lip=_known(take, (LIP_RATIO,)),
        kp=None if kp is None else kp.reshape(KEYPOINTS, 3),
        cuts=_cuts(take),
        rest=None if rest is None else template_of(_one_frame(take, rest)),
    )


def _one_frame(take: Performance, rest: Array) -> Performance:
    identity = {name: values for name, values in take.identity.items() if name != REST}
    return take[:1].with_(
        controls=rest[None, :-3], head_rotation=rest[None, -3:], confidence=np.ones(1), identity=identity
    )


def _cuts(take: Performance) -> tuple[int, ...]:
    """The frames that begin a new shot, unless the take has been cut or retimed since they were written down."""
    held = take.source.get(_SHOTS)
    if not isinstance(held, Mapping) or held.get("times") != _digest(take.times):
        return ()
    cuts = held.get("begin")
    if not isinstance(cuts, list) or not all(type(n) is int and 0 < n < len(take) for n in cuts):
        return ()
    return tuple(sorted(set(cuts)))


def _digest(times: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(times, np.float64).tobytes()).hexdigest()[:16]


def performance_of(template: Template, source: Mapping[str, Any]) -> Performance:
    """A Performance in IMPLICIT21; `template_of` gives the same arrays back to float32 rounding.

    Rotations that are a little off are replaced by the nearest. Ratios that are None are put at rest, and their control
    confidence is 0.

    Args:
        template: the motion.
        source: the account of its origin.

    Raises:
        InputError: a shape that does not fit, or values that are not finite.
    """
    count = len(template)
    values = np.tile(IMPLICIT21.neutral, (count, 1))
    values[:, _columns(OFFSETS)] = template.exp.reshape(count, -1)
    values[:, _columns(("scale",))] = template.scale
    values[:, _columns(TRANSLATION)] = template.t
    evidence = np.ones_like(values)
    for names, ratios in ((EYE_RATIOS, template.eyes), ((LIP_RATIO,), template.lip)):
        if ratios is None:
            evidence[:, _columns(names)] = 0.0
        else:
            values[:, _columns(names)] = ratios
    identity = {} if template.kp is None else {IDENTITY: template.kp.reshape(-1)}
    if template.rest is not None:
        rest = performance_of(template.rest, {})
        identity[REST] = np.concatenate([rest.controls[0], rest.head_rotation[0]])
    if template.cuts:
        source = {**source, _SHOTS: {"begin": list(template.cuts), "times": _digest(template.times)}}
    return Performance(
        space=IMPLICIT21,
        controls=values,
        head_rotation=matrix_to_axis_angle(project_to_so3(template.rotation)) * _FLIP,
        head_translation=np.tile([0.0, 0.0, -_DISTANCE], (count, 1)),
        confidence=template.confidence,
        times=template.times,
        camera=Camera(focal=1.8 * _CROP, principal=(_CROP / 2, _CROP / 2), size=(_CROP, _CROP)),
        identity=identity,
        source=source,
        control_confidence=evidence,
    )


def _known(take: Performance, names: tuple[str, ...]) -> Array | None:
    columns = _columns(names)
    if take.control_confidence is not None and not (take.control_confidence[:, columns] > 0).all():
        return None
    return np.asarray(take.controls[:, columns])
