"""``omote animate``: a photo moves as a video, a take or a preset does."""

from __future__ import annotations

import re
import time as clock
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from omote.commands import console
from omote.commands.animate_liveportrait import LivePortraitArgs
from omote.commands.console import QUIET, Flag
from omote.errors import InputError

if TYPE_CHECKING:
    from omote.animation.options import AnimateOptions
    from omote.animation.writing import Animated


def _option(metavar: str) -> Any:
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=QUIET)


@dataclass(frozen=True)
class AnimateArgs:
    """Make a photo move: like a video, a recorded take, a preset, or a score that you write.

    DRIVER is a video or a photo of a face (captured first), a .omote file, a Live Link Face or ARKit CSV, ARKit
    JSON or .npz; for --engine liveportrait a motion template (.pkl), too. The name of the output decides what is
    made: .mp4, .mov, .mkv, .webm; .gif, .webp, .apng (they repeat for ever); .png, .jpg (one frame: where the face
    moves most, or --frame, --time, --strip); without a suffix a folder of PNG frames. Results carry Content
    Credentials which say that they are synthetic. liveportrait goes on where it was when it is interrupted.

    Examples:
      omote animate me.jpg talk.mp4
      omote animate me.jpg take.omote -o me.gif --regions eyes,lips
      omote animate me.jpg --preset smile -o smile.mp4
      omote animate me.jpg --score "0 neutral, 0.5 smileLeft 0.8, 1.5 neutral" -o smirk.mp4
      omote animate me.jpg --emotion happy:0.7 -o happy.png
      omote animate group.jpg left.omote right.omote --face all
      omote animate me.jpg talk.mp4 --set 'mouthSmile*=+0.2' --gaze camera --compare -o both.mp4
      omote animate me.jpg talk.mp4 --engine liveportrait -o talk_me.mp4
      omote animate clip.mp4 laugh.pkl --engine liveportrait --regions lips -o laughing.mp4
      omote animate me.jpg --engine liveportrait --slider smile=0.8 --slider yaw=10 -o me_smiling.png
    """

    paths: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="PHOTO|VIDEO [DRIVER ...]", help_behavior_hint=QUIET),
    ]
    """The photo (for liveportrait a video, too), and what drives it: nothing with --preset, --score, --emotion or
    --text; several for several faces."""
    output: Annotated[
        Path | None, tyro.conf.arg(aliases=["-o"], metavar="FILE|DIR", help_behavior_hint=QUIET)
    ] = None
    """What to make; default: omote_output/PHOTO_DRIVER.mp4, or .png where the driver is a photo."""
    preset: Annotated[str | None, _option("NAME")] = None
    """Move as this preset does (`omote perform --list` shows all)."""
    score: Annotated[str | None, _option("TEXT")] = None
    """Move through these poses: times in seconds, names and values (see `omote perform --help`)."""
    emotion: Annotated[str | None, _option("NAME[:0..1],...")] = None
    """Show an emotion: happy, sad, surprise, fear, anger, disgust or contempt."""
    text: Annotated[str | None, _option("TEXT")] = None
    """Say this (the mouth moves; there is no sound)."""
    duration: Annotated[float | None, _option("SECONDS")] = None
    """How long a preset or an emotion lasts; default: its own."""
    face: Annotated[str, tyro.conf.arg(metavar="largest|all|NUMBERS")] = "largest"
    """Which faces of the photo move: the largest, all (several drivers go to them from left to right), or numbers such
    as 0,2 counted from 0, largest first (several drivers go to them in this order)."""
    driver_face: Annotated[str, tyro.conf.arg(metavar="largest|NUMBER")] = "largest"
    """Which face of a driving video or photo leads."""
    relative: Flag = False
    """Add the driver's motion to the face in the photo; the default, except for a single expression
    (liveportrait: for all)."""
    absolute: Flag = False
    """Take the driver's expression and pose themselves."""
    reference: Annotated[str | None, _option("FRAME|first|neutral")] = None
    """What relative motion is relative to: a frame of the driver; default: first (presets and the like: neutral);
    liveportrait: the frame nearest to a neutral face in the source's pose."""
    regions: Annotated[str | None, _option("REGIONS")] = None
    """What moves: some of eyes,lips,expression,pose; default: all (a single expression: all but the pose)."""
    strength: Annotated[float, tyro.conf.arg(metavar="0..5")] = 1.0
    """How strongly: 0 leaves the photo as it is, above 1 exaggerates."""
    set: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], _option("NAME=+VALUE")] = ()
    """Change a control all the time, by a name or a pattern, of the 102 or of ARKit's: 'mouthSmile*=+0.2' adds,
    jaw_open=x1.5 multiplies, jaw_open=0.3 sets. Can be given several times."""
    gaze: Annotated[str | None, _option("camera|YAW,PITCH")] = None
    """Look at the camera, or that many degrees to the subject's left and up."""
    blinks: Annotated[float | None, _option("PER_MINUTE")] = None
    """Insert blinks, so many a minute."""
    seed: Annotated[int, tyro.conf.arg(metavar="N", help_behavior_hint=QUIET)] = 0
    """Another number, other moments for the inserted blinks."""
    smooth: Annotated[float, tyro.conf.arg(metavar="0..1")] = 0.5
    """Smoothing of what is captured from a driving video, without lag (liveportrait: of every driver, and of source
    videos)."""
    fps: Annotated[float | None, _option("RATE")] = None
    """Frames a second; default: the driver's, or the source video's (at most 25 in .gif, .webp and .apng)."""
    size: Annotated[int | None, _option("PIXELS")] = None
    """Longest side at most; default: the source's own (480 in .gif, .webp and .apng)."""
    frame: Annotated[int | None, _option("N")] = None
    """For a picture: this frame of the driver, counted from 0."""
    time: Annotated[float | None, _option("SECONDS")] = None
    """For a picture: this moment of the driver."""
    strip: Annotated[int | None, _option("N")] = None
    """For a picture: N frames side by side, evenly spread over time."""
    compare: Flag = False
    """Show the photo, the driver and the result side by side."""
    audio: Flag = True
    """Leave out the sound of a driving video."""
    sound_from: Annotated[Path | None, _option("FILE")] = None
    """Take the sound from this file instead, such as the video that a .omote file was captured from."""
    save_take: Annotated[Path | None, _option("FILE.omote")] = None
    """Keep what is captured from the driving video here; a later run uses it instead of capturing again. liveportrait:
    keep the motion of any driver, as a motion template."""
    credentials: Flag = True
    """Do not sign the result; a note says what that means."""
    visible_mark: Flag = False
    """Draw a small mark that says that the picture is synthetic."""
    consent: Annotated[str | None, _option("TEXT")] = None
    """Who agreed to what, in your words; signed together with the result."""
    certificate: Annotated[Path | None, _option("PEM")] = None
    """Sign with your own certificate instead of this machine's key."""
    key: Annotated[Path | None, _option("PEM")] = None
    """The private key of --certificate."""
    overwrite: Flag = False
    """Make it again even if it is complete."""
    json: Flag = False
    """Print what was made as JSON; no progress bars."""
    engine: Annotated[str, tyro.conf.arg(metavar="puppet|liveportrait")] = "puppet"
    """What renders the frames: the rig textured by the photo, or LivePortrait, whose own options are below."""
    liveportrait: LivePortraitArgs = field(default_factory=LivePortraitArgs)

    def run(self) -> int:
        """Animate the photo; return 0."""
        if not self.paths:
            raise InputError("no photo was given", remedy="Try `omote animate me.jpg --preset smile`.")
        made = self.made(quiet=self.json)
        self.liveportrait.tell_of_weights()
        if not self.credentials:
            from omote.provenance import no_credentials_notice

            console.note(f"omote: note: {no_credentials_notice()}")
        if self.json:
            console.say_json(self.facts(made))
        else:
            _tell(self.paths[0], made)
        return 0

    def made(self, *, quiet: bool) -> Animated:
        """Animate the photo, the first of the paths; bars on the way unless ``quiet``."""
        from omote.animation.run import animate

        photo, *drivers = self.paths
        options = self.options()
        output = self.output or default_output(photo, drivers, options)
        with _Bars(quiet=quiet) as bars:
            return animate(photo, drivers, output, options, bars)

    def facts(self, made: Animated) -> dict[str, Any]:
        """What --json tells."""
        facts = asdict(made)
        photo, *drivers = self.paths
        outputs = [facts.pop("path")]
        return {"photo": photo, "drivers": drivers, "outputs": outputs, **facts, "take": self.save_take}

    def options(self) -> AnimateOptions:
        """The options in the library's terms.

        Raises:
            InputError: a value that cannot be read, or options that do not go together.
        """
        from omote.animation.options import AnimateOptions
        from omote.animation.parse import (
            parse_changes,
            parse_driver_face,
            parse_faces,
            parse_gaze,
            parse_reference,
            parse_regions,
        )

        if self.relative and self.absolute:
            raise InputError("give one of --relative and --absolute")
        offsets, changes = parse_changes(self.set)
        own = {f.name for f in fields(self)}
        same = {f.name: getattr(self, f.name) for f in fields(AnimateOptions) if f.name in own}
        same["liveportrait"] = self.liveportrait.options()
        parsed: dict[str, Any] = {
            "face": parse_faces(self.face),
            "driver_face": parse_driver_face(self.driver_face),
            "mode": "relative" if self.relative else "absolute" if self.absolute else None,
            "reference": parse_reference(self.reference),
            "regions": parse_regions(self.regions),
            "offsets": offsets,
            "changes": changes,
            "gaze": parse_gaze(self.gaze),
            "take": self.save_take,
        }
        return AnimateOptions(**{**same, **parsed})


def default_output(photo: Path, drivers: Sequence[Path], options: AnimateOptions) -> Path:
    """``omote_output/PHOTO_DRIVER.mp4``; ``.png`` for one frame: a photo as the driver, or --frame and the like.

    Raises:
        InputError: a driver is missing or cannot be read.
    """
    from omote.media import classify

    if options.scripted is not None:
        name = re.sub(r"[^\w.-]+", "-", options.preset or options.emotion or options.scripted)
        name = name.strip("-.").lower()
    else:
        name = "_".join(driver.stem for driver in drivers) or "edited"
    one = any(value is not None for value in (options.frame, options.time, options.strip))
    still = all(classify(driver) == "image" for driver in drivers) and options.scripted is None
    still = still and classify(photo) == "image"
    return Path("omote_output") / f"{photo.stem}_{name[:80]}{'.png' if one or still else '.mp4'}"


class _Bars:
    """A bar for each stage of the work; with frames a second while frames are made."""

    def __init__(self, *, quiet: bool) -> None:
        self._progress = console.progress_bar(quiet=quiet)
        self._tasks: dict[str, tuple[Any, float]] = {}

    def __enter__(self) -> _Bars:
        self._progress.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.__exit__(*error)

    def __call__(self, what: str, done: int, total: int | None) -> None:
        now = clock.monotonic()
        if what not in self._tasks:
            for earlier in self._progress.tasks:
                if earlier.total is None:  # one stage after the other: those of unknown length are over
                    self._progress.update(earlier.id, completed=1, total=1)
            self._tasks[what] = self._progress.add_task(what, total=total), now
        task, began = self._tasks[what]
        rate = f", {done / (now - began):.1f} frames/s" if what == "animating" and now > began else ""
        self._progress.update(task, completed=done, total=total, description=f"{what}{rate}")


def _tell(photo: Path, made: Animated) -> None:
    if made.status == "complete":
        console.say(f"{photo.name}: nothing to do, complete already (--overwrite makes it again)")
    elif made.fps:
        facts = f"{made.frames} frames, {made.rate:.1f} a second"
        console.say(f"{photo.name}: animated in {made.seconds:.1f} s ({facts})")
    else:
        console.say(f"{photo.name}: animated in {made.seconds:.1f} s")
    if made.resumed:
        console.note(f"omote: note: an interrupted run had drawn {made.resumed} pictures of faces before")
    if made.held:
        spans = ", ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in made.held)
        what = "the driver's motion is held there, and a source without a face left as it is"
        console.note(f"omote: note: no face for frames {spans} of the result: {what}")
    console.say(f"  {made.path}")
