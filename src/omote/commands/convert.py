"""``omote convert``: one performance file into another, edited on the way where asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag
from omote.errors import InputError

if TYPE_CHECKING:
    from omote.performance import Performance


Seconds = Annotated[float | None, tyro.conf.arg(metavar="SECONDS", help_behavior_hint=QUIET)]
Rate = Annotated[float | None, tyro.conf.arg(metavar="RATE", help_behavior_hint=QUIET)]


@dataclass(frozen=True)
class ConvertArgs:
    """Turn one performance file into another; cut, resample, mirror or rename its controls on the way.

    Reads .omote, Live Link Face CSV, ARKit CSV and JSON, .npz, and LivePortrait motion templates (.pkl; nothing
    that such a file names is run). The name of TARGET decides what is written; see `omote export --help`.

    Examples:
      omote convert take.livelink.csv take.omote
      omote convert take.omote short.omote --start 1.5 --end 4
      omote convert take.omote take30.arkit.csv --fps 30
      omote convert laugh.pkl laugh.omote
      omote convert phone.csv phone.glb --angle-unit degrees
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE", help_behavior_hint=QUIET)]
    """The performance to read."""
    target: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET", help_behavior_hint=QUIET)]
    """The file to write."""
    space: Annotated[str | None, tyro.conf.arg(metavar="SPACE", help_behavior_hint=QUIET)] = None
    """Express the performance in these controls: facs102 or arkit52."""
    start: Seconds = None
    """Cut away what is before, in seconds."""
    end: Seconds = None
    """Cut away what is after, in seconds."""
    fps: Rate = None
    """Resample to this many frames a second."""
    mirror: Flag = False
    """Swap left and right."""
    angle_unit: Annotated[
        Literal["radians", "degrees"] | None,
        tyro.conf.arg(metavar="radians|degrees", help_behavior_hint=QUIET),
    ] = None
    """Unit of the angle columns of a Live Link Face CSV; default: radians."""
    source_fps: Rate = None
    """Frames per second of an ARKit CSV or JSON, or of a motion template, that has no times."""
    json: Flag = False
    """Print what was written as JSON."""

    def run(self) -> int:
        """Write the file; return 0."""
        from omote import export

        if self.source.exists() and self.target.exists() and self.source.samefile(self.target):
            raise InputError("source and target are the same file", where=self.source)
        given: dict[str, Any] = {"angle_unit": self.angle_unit, "fps": self.source_fps}
        take = export.read(self.source, **{name: value for name, value in given.items() if value is not None})
        outputs = export.write(self.edited(take), self.target)
        if self.json:
            console.say_json({"input": self.source, "outputs": outputs})
        else:
            for output in outputs:
                console.say(str(output))
        return 0

    def edited(self, take: Performance) -> Performance:
        """The take, cut, resampled, mirrored and renamed as asked, in this order.

        Raises:
            InputError: an empty cut, an unknown space or an impossible frame rate.
        """
        from omote.controls import space_by_name

        if self.start is not None or self.end is not None:
            take = take.between(self.start, self.end)
        if self.fps is not None:
            take = take.resample(self.fps)
        if self.mirror:
            take = take.mirror()
        if self.space is not None:
            take = take.with_space(space_by_name(self.space))
        return take
