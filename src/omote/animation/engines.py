"""Which options which engine knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omote.drive import ANIMATORS
from omote.errors import InputError

if TYPE_CHECKING:
    from omote.animation.options import AnimateOptions
    from omote.drive.liveportrait.settings import LivePortraitOptions

LIVEPORTRAIT_NAMES = (
    "compat",
    "weights",
    "driving_option",
    "stitching",
    "eye_retargeting",
    "lip_retargeting",
    "normalize_lip",
    "hold_eyes",
    "lip_ratio",
    "silence",
    "sliders",
    "paste_back",
    "crop_scale",
    "driver_crop_scale",
    "crop_driver",
    "observation_variance",
    "batch",
    "exact",
)
"""Options that LivePortrait alone knows."""

_CALLED = {
    "offsets": "set",
    "changes": "set",
    "sliders": "slider",
    "paste_back": "no-paste-back",
    "stitching": "no-stitching",
}
_SMOOTH = 0.5


def check_engine(options: AnimateOptions) -> None:
    """Refuse an engine that does not exist, and options that it does not know.

    Raises:
        InputError: one of them.
    """
    if options.engine not in ANIMATORS:
        what = f"there is no engine '{options.engine}'"
        raise InputError(what, where="--engine", remedy=f"Engines: {', '.join(ANIMATORS)}.")
    if options.engine != "liveportrait":
        for name in options.liveportrait:
            what = f"the engine {options.engine} does not know this option"
            raise InputError(what, where=_option(name), remedy="Add --engine liveportrait.")
        return
    where = edit_asked_for(options)
    if where is not None and options.liveportrait.get("compat") is not None:
        remedy = "It starts from the driver's first frame as it is: change the take first, with omote edit."
        raise InputError("the official mode does not know this option", where=where, remedy=remedy)
    liveportrait_options(options)


def edit_asked_for(options: AnimateOptions) -> str | None:
    """How the command line calls the first change of rig controls that is asked for; None where there is none."""
    names = ("offsets", "changes", "gaze", "blinks")
    return next((_option(name) for name in names if getattr(options, name)), None)


def liveportrait_options(options: AnimateOptions) -> LivePortraitOptions:
    """The options in the engine's own terms.

    Raises:
        InputError: values that cannot be, or do not go together.
    """
    from omote.drive.liveportrait.settings import LivePortraitOptions

    own: dict[str, Any] = dict(options.liveportrait)
    if own.get("compat") is not None and options.smooth != _SMOOTH:
        remedy = "It smooths source videos only, as --observation-variance says."
        raise InputError("the official mode does not know this option", where="--smooth", remedy=remedy)
    if options.size is not None and not own.get("paste_back", True) and own.get("compat") is None:
        what = "without pasting back the result is as large as the networks draw it"
        raise InputError(what, where="--size", remedy="Leave out --size or --no-paste-back.")
    return LivePortraitOptions(
        relative=options.mode != "absolute",
        reference="auto" if options.reference is None else options.reference,
        regions=options.regions,
        multiplier=options.strength,
        smooth=options.smooth,
        longest=options.size,
        **own,
    )


def _option(name: str) -> str:
    return "--" + _CALLED.get(name, name).replace("_", "-")
