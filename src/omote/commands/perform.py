"""``omote perform``: performances without a camera, from a preset, a score, emotions or a text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag
from omote.errors import InputError

if TYPE_CHECKING:
    from omote.performance import Performance

_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class PerformArgs:
    """Make a performance without a camera: a preset, a score, emotions, or a text to say.

    A score is a line of keyframes, each a time in seconds and a whole pose: names of controls (FACS102 or ARKit), words
    such as smile, winkLeft, browsUp or pucker, visemes (aa, PP, ...), emotions, each with a value (1 if left out);
    headYaw, headPitch, headRoll, gazeYaw and gazePitch in degrees; neutral; hold (as before).

    Examples:
      omote perform --list
      omote perform --preset smile -o smile.omote
      omote perform --score "0 neutral, 0.4 smile 0.8, 1.2 happy 0.7 headYaw 10, 2 neutral" --preview sheet.png
      omote perform --emotion happy:0.5,surprise:0.4 --to glb,livelink
      omote perform --text "Hello world" --preview hello.mp4
    """

    preset: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint=QUIET)] = None
    """A ready-made performance; --list shows them."""
    score: Annotated[str | None, tyro.conf.arg(metavar="TEXT|FILE.txt", help_behavior_hint=QUIET)] = None
    """Keyframes, or a text file of them."""
    emotion: Annotated[str | None, tyro.conf.arg(metavar="NAME[:0..1],...", help_behavior_hint=QUIET)] = None
    """Emotions as combinations of action units (EMFACS), such as happy:0.8."""
    text: Annotated[str | None, tyro.conf.arg(metavar="TEXT", help_behavior_hint=QUIET)] = None
    """What the preset talk says."""
    output: Annotated[
        Path | None, tyro.conf.arg(aliases=["-o"], metavar="FILE", help_behavior_hint=QUIET)
    ] = None
    """The file to write; its suffix says the format, as in `omote convert`. Default: NAME.omote here."""
    to: Annotated[str | None, tyro.conf.arg(metavar="FORMATS", help_behavior_hint=QUIET)] = None
    """Further formats beside it, separated by commas; see `omote export --help`."""
    preview: Annotated[Path | None, tyro.conf.arg(metavar="IMAGE|VIDEO", help_behavior_hint=QUIET)] = None
    """Also show the embedded head performing: a contact sheet (.png) or a video (.mp4, .gif)."""
    duration: Annotated[float | None, tyro.conf.arg(metavar="SECONDS", help_behavior_hint=QUIET)] = None
    """How long; default: what suits the performance."""
    fps: Annotated[float, tyro.conf.arg(metavar="RATE")] = 30.0
    """Frames a second."""
    strength: Annotated[float, tyro.conf.arg(metavar="FACTOR")] = 1.0
    """Factor of everything that moves."""
    seed: Annotated[int, tyro.conf.arg(metavar="NUMBER")] = 0
    """Of chance: the same seed gives the same performance."""
    list: Flag = False
    """List presets, emotions and words, and leave."""
    json: Flag = False
    """Print what was made as JSON."""

    def run(self) -> int:
        """Write the files; return 0."""
        from omote import export
        from omote.edit.perform import perform

        if self.list:
            self._show()
            return 0
        if self.to is not None:
            export.parse_formats(self.to)
        if self.preview is not None:
            _check_preview(self.preview)
        if self.seed < 0:
            raise InputError(f"must be 0 or more, got {self.seed}", where="--seed")
        take = perform(
            self.preset,
            score=self.score,
            emotion=self.emotion,
            text=self.text,
            duration=self.duration,
            fps=self.fps,
            strength=self.strength,
            seed=self.seed,
        )
        target = self.output or Path(f"{self._name()}.omote")
        outputs = export.write(take, target)
        if self.to is not None:
            outputs += [p for p in export.write(take, target, to=self.to) if p not in outputs]
        if self.preview is not None:
            outputs.append(write_preview(take, self.preview))
        if self.json:
            console.say_json({"outputs": outputs, **take.info()})
            return 0
        console.say(f"{len(take)} frames, {take.duration:.2f} s")
        for output in outputs:
            console.say(str(output))
        return 0

    def _name(self) -> str:
        """What the file is called unless told otherwise."""
        if self.score is not None:
            return "score"
        given = self.preset or ("talk" if self.text is not None else self.emotion or "take")
        return re.sub(r"[^A-Za-z0-9]+", "-", given).strip("-").lower() or "take"

    def _show(self) -> None:
        from omote.edit.emotions import EMOTIONS
        from omote.edit.poses import VISEMES, WORDS
        from omote.edit.presets import PRESETS

        words = [word for word in WORDS if word not in VISEMES]
        if self.json:
            presets = {name: {"seconds": p.seconds, "doc": p.doc} for name, p in PRESETS.items()}
            console.say_json(
                {"presets": presets, "emotions": dict(EMOTIONS), "words": words, "visemes": [*VISEMES]}
            )
            return
        table = console.table("preset", "seconds", "what it is", right=["seconds"])
        for name, preset in PRESETS.items():
            table.add_row(name, f"{preset.seconds:g}", preset.doc)
        console.show(table)
        table = console.table("emotion", "action units")
        for name, code in EMOTIONS.items():
            table.add_row(name, code)
        console.show(table)
        sided = [word for word in words if f"{word}Left" in words]
        others = [word for word in words if word not in sided and word.removesuffix("Left") not in sided]
        others = [word for word in others if word.removesuffix("Right") not in sided]
        console.say(f"words, also with Left or Right: {' '.join(sided)}")
        console.say(f"words: {' '.join(others)}")
        console.say(f"visemes: {' '.join(VISEMES)}")
        console.say("angles in degrees: headYaw headPitch headRoll gazeYaw gazePitch")


def write_preview(take: Performance, path: Path) -> Path:
    """Draw the embedded head performing a take: a contact sheet, or a video by the suffix.

    Raises:
        InputError: a suffix of neither.
        OutputError: it cannot be written.
    """
    from omote.media import write_image
    from omote.render.take_view import take_sheet, take_video

    _check_preview(path)
    if path.suffix.lower() in _PICTURES:
        write_image(path, take_sheet(take))
        return path
    with console.progress_bar() as bar:
        task = bar.add_task("preview", total=len(take))
        return take_video(take, path, progress=lambda done, _: bar.update(task, completed=done))


def _check_preview(path: Path) -> None:
    if path.suffix.lower() not in (*_PICTURES, ".mp4", ".mov", ".mkv", ".webm", ".gif"):
        remedy = "Use .png for a contact sheet, .mp4 or .gif for a video."
        raise InputError(f"a preview cannot be a '{path.suffix}' file", where=path, remedy=remedy)
