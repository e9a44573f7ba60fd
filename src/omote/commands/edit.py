"""``omote edit``: change a performance and write it to another file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag
from omote.errors import InputError

if TYPE_CHECKING:
    from omote.edit.gaze import Gaze
    from omote.performance import Performance

Number = Annotated[float | None, tyro.conf.arg(metavar="NUMBER", help_behavior_hint=QUIET)]
Seconds = Annotated[float | None, tyro.conf.arg(metavar="SECONDS", help_behavior_hint=QUIET)]
_SHOWN = 12


@dataclass(frozen=True)
class EditArgs:
    """Change a performance: controls, gaze, blinks, timing, the head.

    What is asked for happens in this order: --start/--end, --retime, --mirror, --smooth, --gain, --set, --turn, --gaze,
    --blinks, --loop.

    --set NAME=0.3 sets a control, NAME=+0.2 and NAME=-0.2 add, NAME=x1.5 multiplies, NAME==-0.3 sets one below 0.
    NAME is a FACS102 or ARKit name, a pattern such as "mouthSmile*", or a word such as smile.

    Examples:
      omote edit take.omote --set "mouthSmile*=+0.2" -o warmer.omote
      omote edit take.omote --set jaw_open=x1.3 --set "brow_*=0" --mirror -o out.omote
      omote edit take.omote --gaze camera --blinks 15 --retime 1.2 -o out.omote
      omote edit take.omote --gain lips=1.2 --gain pose=0.5 --smooth 0.05 --loop 0.5 -o out.omote
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TAKE", help_behavior_hint=QUIET)]
    """The performance: .omote, or another that `omote convert` reads."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE", help_behavior_hint=QUIET)]
    """The file to write; its suffix says the format."""
    set: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]],
        tyro.conf.arg(metavar="NAME=VALUE", help_behavior_hint=QUIET),
    ] = ()
    """Change controls in all frames; may be given several times."""
    mirror: Flag = False
    """Swap left and right."""
    gaze: Annotated[str | None, tyro.conf.arg(metavar="camera|YAW,PITCH", help_behavior_hint=QUIET)] = None
    """Where the eyes look: into the camera, or degrees to its right and up, whatever the head does."""
    blinks: Annotated[float | None, tyro.conf.arg(metavar="RATE", help_behavior_hint=QUIET)] = None
    """Insert this many blinks a minute, at natural intervals."""
    retime: Annotated[float | None, tyro.conf.arg(metavar="FACTOR", help_behavior_hint=QUIET)] = None
    """Make it last so many times as long: 2 is half speed."""
    start: Seconds = None
    """Cut away what is before, in seconds."""
    end: Seconds = None
    """Cut away what is after, in seconds."""
    smooth: Seconds = None
    """Smooth without lag over about this time; 0.05 takes out jitter."""
    gain: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]],
        tyro.conf.arg(metavar="REGION=FACTOR", help_behavior_hint=QUIET),
    ] = ()
    """Scale eyes, lips, expression or pose; may be given several times."""
    turn: Annotated[str | None, tyro.conf.arg(metavar="YAW,PITCH,ROLL", help_behavior_hint=QUIET)] = None
    """Turn the head by degrees in all frames: to its left, up, to its left shoulder."""
    loop: Seconds = None
    """Ease the last seconds into the first frame, so that it plays round and round."""
    consent: Annotated[str | None, tyro.conf.arg(metavar="TEXT", help_behavior_hint=QUIET)] = None
    """Write down who agreed to what, in plain words; it travels in the file and in what is signed later."""
    preview: Annotated[Path | None, tyro.conf.arg(metavar="IMAGE|VIDEO", help_behavior_hint=QUIET)] = None
    """Also show the embedded head performing: a contact sheet (.png) or a video (.mp4, .gif)."""
    seed: Annotated[int, tyro.conf.arg(metavar="NUMBER")] = 0
    """Of the inserted blinks."""
    json: Flag = False
    """Print what changed as JSON."""

    def run(self) -> int:
        """Write the file; return 0."""
        from omote import export
        from omote.commands.perform import write_preview
        from omote.edit.edit import changed_controls

        if self.source.exists() and self.output.exists() and self.source.samefile(self.output):
            raise InputError("source and output are the same file", where=self.source)
        before = export.read(self.source)
        after = self.edited(before)
        outputs = export.write(after, self.output)
        if self.preview is not None:
            outputs.append(write_preview(after, self.preview))
        changes = changed_controls(before, after)
        if self.json:
            rows = [{"control": name, "mean_before": old, "mean_after": new} for name, old, new in changes]
            console.say_json({"input": self.source, "outputs": outputs, "changes": rows})
            return 0
        for name, old, new in changes[:_SHOWN]:
            console.say(f"  {name}: mean {old:.3f} -> {new:.3f}")
        if len(changes) > _SHOWN:
            console.say(f"  and {len(changes) - _SHOWN} more controls")
        moved = _head_moved(before, after)
        if moved is not None:
            console.say(f"  head: turned by up to {moved:.1f} degrees")
        if (len(before), before.duration) != (len(after), after.duration):
            console.say(
                f"  length: {len(before)} frames, {before.duration:.2f} s -> "
                f"{len(after)} frames, {after.duration:.2f} s"
            )
        for output in outputs:
            console.say(str(output))
        return 0

    def edited(self, take: Performance) -> Performance:
        """The take, changed as asked, in the order that the help says.

        Raises:
            InputError: nothing is asked for, or something that cannot be done.
        """
        from omote.edit import edit

        options = (
            self.start,
            self.end,
            self.retime,
            self.smooth,
            self.turn,
            self.gaze,
            self.blinks,
            self.loop,
            self.consent,
        )
        if not (self.set or self.gain or self.mirror) and all(option is None for option in options):
            raise InputError("no change is asked for", where="edit", remedy="See `omote edit --help`.")
        if self.seed < 0:
            raise InputError(f"must be 0 or more, got {self.seed}", where="--seed")
        if self.start is not None or self.end is not None:
            take = take.between(self.start, self.end)
        if self.retime is not None:
            take = take.retime(self.retime)
        if self.mirror:
            take = take.mirror()
        if self.smooth is not None:
            take = edit.smooth(take, self.smooth)
        if self.gain:
            take = edit.gain(take, _factors(self.gain))
        if self.set:
            take = edit.set_controls(take, *self.set)
        if self.turn is not None:
            take = edit.turn_head(take, *_numbers(self.turn, 3, "--turn"))
        if self.gaze is not None:
            take = edit.look(take, _gaze(self.gaze))
        if self.blinks is not None:
            take = edit.blink(take, self.blinks, self.seed)
        if self.consent is not None:
            from omote.provenance.consent import checked_consent

            take = take.with_(source={**take.source, "consent": checked_consent(self.consent)})
        return take if self.loop is None else edit.loop(take, self.loop)


def _head_moved(before: Performance, after: Performance) -> float | None:
    """Degrees by which the head is turned otherwise, at most; None where frames do not correspond or none is."""
    from omote.geometry.rotations import axis_angle_to_matrix, geodesic_angle

    if len(before) != len(after):
        return None
    apart = geodesic_angle(*(axis_angle_to_matrix(take.head_rotation) for take in (before, after)))
    most = math.degrees(float(apart.max()))
    return most if most > 0.05 else None


def _gaze(text: str) -> Gaze:
    if text == "camera":
        return "camera"
    yaw, pitch = _numbers(text, 2, "--gaze", "Say camera, or two numbers such as 10,-5.")
    return yaw, pitch


def _factors(given: tuple[str, ...]) -> dict[str, float]:
    factors = {}
    for part in given:
        region, _, value = part.partition("=")
        (factors[region.strip()],) = _numbers(value, 1, "--gain", "Write REGION=FACTOR, such as lips=1.2.")
    return factors


def _numbers(text: str, count: int, option: str, remedy: str | None = None) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        wanted = "a number" if count == 1 else f"{count} numbers separated by commas"
        raise InputError(f"expected {wanted}, got '{text}'", where=option, remedy=remedy)
    return values
