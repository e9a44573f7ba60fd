"""``omote eval``: how good Omote's results are, by published protocols."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag, subcommand
from omote.commands.eval_inversion import EvalInversionArgs
from omote.errors import InputError

if TYPE_CHECKING:
    from omote.evaluation.reenactment import Report


@dataclass(frozen=True)
class EvalReenactmentArgs:
    """Measure how well engines make a photo move, on the videos of a folder.

    Self-reenactment: a video's first frame is animated by the rest of it and compared with the rest's own frames. Two
    baselines are always in the table: the source repeated (static), and the source warped to the true landmarks of each
    frame (landmark-warp), which knows the answer in 2-D. With --cross each video drives another face.

    Examples:
      omote eval reenactment videos
      omote eval reenactment videos --only "d*" --engine puppet -o results
      omote eval reenactment videos --cross -o cross --json
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Folder with videos (with --cross also photos, the sources)."""
    engine: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]],
        tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: puppet; may be given several times)"),
    ] = ()
    """An engine to measure; "static" measures the baselines alone."""
    frames: Annotated[int, tyro.conf.arg(metavar="N")] = 12
    """How many frames of each video are compared."""
    size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 512
    """Videos are scaled to at most this long side."""
    cross: Flag = False
    """Drive other faces: the folder's photos in turn, or else the next video's first frame."""
    only: Annotated[str, tyro.conf.arg(metavar="PATTERN")] = "*"
    """Only videos whose names fit, such as "d1*"."""
    limit: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint=QUIET)] = None
    """At most so many videos."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="DIR", help_behavior_hint=QUIET)] = (
        None
    )
    """Folder for report.md, metrics.csv, frame strips, and what is kept between runs."""
    overwrite: Flag = False
    """Measure the engines again, even if nothing has changed (captures and baselines are kept)."""
    json: Flag = False
    """Print one line of JSON in place of the table."""

    def run(self) -> int:
        """Measure and tell; return 0."""
        from omote.commands.weights import ensure
        from omote.evaluation.reenactment import Options, evaluate, find_media
        from omote.evaluation.reenactment_report import to_json, write_report
        from omote.media.paths import prepare_target

        options = Options(self.frames, self.size, self.cross)
        videos, photos = find_media(self.folder, self.only)
        if self.limit is not None:
            if self.limit < 1:
                raise InputError(f"{self.limit} videos", where="--limit", remedy="Use 1 or more.")
            videos = videos[: self.limit]
        if self.output is not None:
            prepare_target(self.output / "report.md")
        ensure("face_landmarker", quiet=self.json)
        with console.progress_bar(quiet=self.json) as progress:
            overall = progress.add_task("videos", total=len(videos))
            inner = progress.add_task("", total=None, visible=False)
            begun: dict[str, None] = {}

            def tell(video: str, what: str, done: int, total: int | None) -> None:
                begun.setdefault(video)
                progress.update(overall, completed=len(begun) - 1)
                text = f"{video}: {what}"
                progress.update(inner, description=text, completed=done, total=total, visible=True)

            report = evaluate(
                videos,
                self.engine or ("puppet",),
                photos=photos,
                options=options,
                output=self.output,
                overwrite=self.overwrite,
                progress=tell,
            )
        written = [] if self.output is None else write_report(report, self.output, command=self._command())
        if self.json:
            console.say(json.dumps(to_json(report), ensure_ascii=False, allow_nan=False))
            return 0
        console.show(_table(report))
        for path in written:
            console.say(str(path))
        return 0

    def _command(self) -> str:
        """What was typed, as far as it decides the result."""
        engines = "".join(f" --engine {name}" for name in self.engine)
        changed = f" --frames {self.frames}" * (self.frames != 12) + f" --size {self.size}" * (
            self.size != 512
        )
        only = f' --only "{self.only}"' * (self.only != "*")
        limit = "" if self.limit is None else f" --limit {self.limit}"
        cross = " --cross" * self.cross
        return f"omote eval reenactment {self.folder.name}{engines}{changed}{cross}{only}{limit}"


@dataclass(frozen=True)
class EvalListArgs:
    """List the engines that can be measured.

    Examples:
      omote eval list
    """

    json: Flag = False
    """Print a JSON object."""

    def run(self) -> int:
        """Print the names; return 0."""
        from omote.drive import ENGINES

        if self.json:
            console.say_json({"engines": ENGINES})
        else:
            console.say("\n".join(ENGINES))
        return 0


@dataclass(frozen=True)
class EvalArgs:
    """Measure how good results are, against baselines: engines that animate photos, networks that read controls.

    Examples:
      omote eval reenactment videos --engine puppet -o results
      omote eval inversion -o results
      omote eval list
    """

    command: (
        Annotated[EvalReenactmentArgs, subcommand("reenactment", EvalReenactmentArgs)]
        | Annotated[EvalInversionArgs, subcommand("inversion", EvalInversionArgs)]
        | Annotated[EvalListArgs, subcommand("list", EvalListArgs)]
    )

    def run(self) -> int:
        """Run the chosen evaluation."""
        return self.command.run()


def _table(report: Report) -> Any:
    from omote.evaluation.reenactment_report import shown_columns, table_rows

    headings = [heading for _, heading, _ in shown_columns(report)]
    title = f"{'cross' if report.options.cross else 'self'}-reenactment, {report.options.size} px"
    table = console.table("video", "method", *headings, title=title, right=headings)
    before = None
    for video, method, texts in table_rows(report):
        if before is not None and video != before:
            table.add_section()
        table.add_row("" if video == before else video, method, *texts)
        before = video
    return table
