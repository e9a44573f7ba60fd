"""The options of ``omote animate`` that the engine liveportrait alone knows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag


def _option(metavar: str) -> Any:
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=QUIET)


@dataclass(frozen=True)
class LivePortraitArgs:
    """With --engine liveportrait."""

    weights: Annotated[str | None, _option("DIR|seeded:N")] = None
    """The model files: a folder, or seeded:0 for random ones, which show the machinery and not a face; default: those
    of `omote weights get liveportrait`."""
    compat: Annotated[str | None, _option("official")] = None
    """Do as the published code does, its quirks included."""
    driving_option: Annotated[str | None, _option("pose-friendly|expression-friendly")] = None
    """The head as the driver's (default); or a calm head, and the expression fitted to the size of the face."""
    stitching: Flag = True
    """Do not keep neck and shoulders in place."""
    eye_retargeting: Flag = False
    """Open each eye as far as the driver's."""
    lip_retargeting: Flag = False
    """Open the lips as far as the driver's."""
    normalize_lip: Flag = False
    """First close the lips of the source."""
    hold_eyes: Flag = False
    """Keep the eyes of a source video as open as in its first frame."""
    lip_ratio: Annotated[float | None, _option("0..0.8")] = None
    """Open the lips of every frame this far; needs no driver."""
    silence: Flag = False
    """Keep the lips at rest; needs no driver."""
    slider: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], _option("NAME=VALUE")] = ()
    """Edit every frame: pitch, yaw, roll, gaze_x, gaze_y, smile, wink, eyebrow, pouting, pursing, grin, lip_open,
    move_x, move_y, move_z, eye_ratio, lip_ratio. Can be given several times; needs no driver."""
    paste_back: Flag = True
    """Give the first face as the networks draw it (published: 512 px) instead of the whole picture."""
    crop_scale: Annotated[float | None, _option("1..5")] = None
    """Side of the source's crop, in sides of the face; default 2.3."""
    driver_crop_scale: Annotated[float | None, _option("1..5")] = None
    """Likewise of the driver's; default 2.2."""
    crop_driver: Flag = False
    """With --compat official: cut the face out of square driving videos, too."""
    observation_variance: Annotated[float | None, _option("VARIANCE")] = None
    """With --compat official: smoothing of source videos; default 3e-7."""
    batch: Annotated[int | None, _option("N")] = None
    """Frames rendered at once; default 4."""
    exact: Flag = False
    """Multiply in float32 throughout: slower, and the same on every machine but for rounding."""

    def options(self) -> dict[str, Any]:
        """Those that were given, by the library's names.

        Raises:
            InputError: a slider that cannot be read.
        """
        from omote.animation.parse import parse_sliders

        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        if "slider" in given:
            given["sliders"] = parse_sliders(given.pop("slider"))
        return given

    def tell_of_weights(self) -> None:
        """Say plainly that random weights make no face."""
        if self.weights is not None and self.weights.startswith("seeded:"):
            from omote.drive.liveportrait.networks import RANDOM_NOTE

            console.note(f"omote: note: {RANDOM_NOTE}")
