"""Changes of rig controls for the engine liveportrait: of rig performances, before the embedded head performs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from omote.animation.drivers import DriverLike, name_of
from omote.animation.engines import edit_asked_for
from omote.animation.options import AnimateOptions
from omote.controls import FACS102, IMPLICIT21
from omote.edit.edit import blink, look, set_controls
from omote.errors import InputError, NoFaceError
from omote.performance import Performance

_TURN = np.radians(10.0)
"""A turn of the head that is as far from rest as one control at 1."""


def check_edits(drivers: Sequence[DriverLike], options: AnimateOptions) -> None:
    """Refuse changes of rig controls where nothing that drives has any.

    Raises:
        InputError: they are asked for, and a driver is no rig performance.
        FormatError: a driver that cannot be read.
    """
    from omote import export
    from omote.media import classify

    where = edit_asked_for(options)
    if where is None or options.scripted is not None:
        return
    faces = "Leave it out, or change the face itself: --slider smile=0.8."
    if not drivers:
        raise InputError(
            "there is no rig performance whose controls it could change", where=where, remedy=faces
        )
    for driver in drivers:
        if not isinstance(driver, Performance) and classify(driver) in ("image", "video"):
            name = Path(driver).name
            what = f"{name} has no rig controls to be changed"
            raise InputError(what, where=where, remedy=f"Drive with a capture of it: omote capture {name}.")
        take = driver if isinstance(driver, Performance) else export.read(driver)
        if take.space == IMPLICIT21:
            what = f"{name_of(driver)} is a motion template, which has no rig controls to be changed"
            raise InputError(what, where=where, remedy=faces)


def edited(take: Performance, options: AnimateOptions) -> tuple[Performance, Performance | None]:
    """A rig performance with its controls changed, and what relative motion starts from.

    Offsets, the gaze, blinks and other changes come in the order in which the puppet makes them. A change that is there
    all the time is in every frame of the result; so motion starts from a frame without it.

    Args:
        take: as it is performed: before a camera, in controls that convert to FACS102.
        options: the changes, and the reference.

    Returns:
        The take in FACS102, and one frame of it without the changes; the take itself and None where none is asked for.

    Raises:
        InputError: a control that does not exist, or a reference frame that is not there.
        NoFaceError: the reference frame has no face.
    """
    if edit_asked_for(options) is None:
        return take, None
    facs = take.with_space(FACS102)
    made = set_controls(facs, *(f"{name}={value:+.9f}" for name, value in options.offsets.items()))
    if options.gaze is not None:
        made = look(made, options.gaze)
    if options.blinks:
        made = blink(made, options.blinks, options.seed)
    return set_controls(made, *options.changes), _rest(facs, options)


def _rest(take: Performance, options: AnimateOptions) -> Performance:
    """The frame that relative motion starts from: that which is asked for, else the one nearest to a face at rest."""
    reference = options.reference
    found = take.confidence > 0
    if reference == "neutral" or (reference is None and len(take) == 1):
        still = take[:1]
        rest = FACS102.neutral[None].astype(np.float32)
        return still.with_(controls=rest, head_rotation=np.zeros((1, 3)), confidence=np.ones(1))
    if reference is None:
        apart = np.linalg.norm(take.controls - FACS102.neutral, axis=1)
        apart = apart + np.linalg.norm(take.head_rotation, axis=1) / _TURN
        return take[int(np.argmin(np.where(found, apart, np.inf)))]
    number = int(np.argmax(found)) if reference == "first" else int(reference)
    if not number < len(take):
        what = f"the driver has no frame {number}"
        raise InputError(what, where="--reference", remedy=f"It has {len(take)}, counted from 0.")
    if not found[number]:
        what = f"there is no face in frame {number} of the driver"
        raise NoFaceError(what, where="--reference", remedy="Choose another, or leave it to Omote.")
    return take[number]
