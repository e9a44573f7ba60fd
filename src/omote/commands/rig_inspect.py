"""``omote rig inspect``: what a rig of any kind holds, and what looks wrong with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag

if TYPE_CHECKING:
    from omote.rigs.inspection import ControlReport, RigReport
    from omote.rigs.protocol import Rig

RigSource = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RIG", help_behavior_hint=QUIET)]
Unit = Annotated[str, tyro.conf.arg(metavar="UNIT")]
Axes = Annotated[str, tyro.conf.arg(metavar="AXES")]


@dataclass(frozen=True)
class RigInspectArgs:
    """List the shapes of a rig, how far each moves the face, and what looks wrong; draw them all.

    RIG is a .glb, .gltf or .vrm with morph targets, a folder of .obj shapes, a .usd with blend shapes, or facs
    for the embedded head.

    Examples:
      omote rig inspect head.glb
      omote rig inspect shapes/ -o sheet.png
      omote rig inspect head.usdz --unit cm --axes +z-y --json
    """

    rig: RigSource
    """The rig to read."""
    output: Annotated[
        Path | None, tyro.conf.arg(aliases=["-o"], metavar="IMAGE", help_behavior_hint=QUIET)
    ] = None
    """Also draw every control at the end of its range: .png, .jpg or .webp."""
    size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 200
    """Width of each picture of the sheet, 48 to 1024."""
    unit: Unit = "auto"
    """Unit of the file: auto, m, dm, cm, mm or in."""
    axes: Axes = "auto"
    """Up and forward axes of the file: auto, or such as +y+z or +z-y."""
    landmarks: Flag = False
    """Also look for the face on renders of the neutral head and tell how well its landmarks are found."""
    json: Flag = False
    """Print the report as JSON."""

    def run(self) -> int:
        """Print the report, write the picture; return 0."""
        from omote.rigs.inspection import inspect_rig
        from omote.rigs.open import open_rig

        rig = open_rig(self.rig, unit=self.unit, axes=self.axes)
        report = inspect_rig(rig)
        found = landmark_report(rig) if self.landmarks else None
        if self.output is not None:
            self._draw(rig, self.output)
        if self.json:
            outputs = [] if self.output is None else [self.output]
            extra = {} if found is None else {"landmarks": found}
            console.say_json({**asdict(report), **extra, "outputs": outputs})
            return 0
        _show(report)
        if found is not None:
            console.say(
                f"landmarks: median weight {found['weight_median']:.2f}, least {found['weight_least']:.2f}"
            )
        if self.output is not None:
            console.say(str(self.output))
        return 0

    def _draw(self, rig: Rig, output: Path) -> None:
        from omote.media import write_image
        from omote.render.rig_sheets import rig_sheet

        with console.progress_bar(quiet=self.json) as bar:
            task = bar.add_task("drawing", total=None)
            sheet = rig_sheet(
                rig,
                size=self.size,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        write_image(output, sheet)


def landmark_report(rig: Rig) -> dict[str, float]:
    """How well MediaPipe's landmarks are found on the rig's neutral head: median and least weight, 0..1."""
    import numpy as np

    from omote.capture.mesh_landmarks import rig_landmarks

    weight = rig_landmarks(rig).weight
    return {"weight_median": float(np.median(weight)), "weight_least": float(weight.min())}


def _show(report: RigReport) -> None:
    sizes = f"{report.vertices} vertices, {report.triangles} triangles, {100 * report.height_m:.1f} cm high"
    console.say(f"{report.name}: {sizes}")
    if len(report.parts) > 1:
        console.say(f"parts: {', '.join(report.parts)}")
    if report.identity:
        console.say(f"identity: {len(report.identity)} shapes")
    table = console.table(
        "control",
        "range",
        "vertices",
        "moves mm",
        "partner",
        title=f"{len(report.controls)} controls",
        right=("vertices", "moves mm"),
    )
    for row in report.controls:
        table.add_row(*_row(row), row.partner or "")
    console.show(table)
    if report.combinations:
        combined = console.table(
            "combination shape",
            "range",
            "vertices",
            "moves mm",
            "product of",
            title=f"{len(report.combinations)} combination shapes",
            right=("vertices", "moves mm"),
        )
        for row in report.combinations:
            combined.add_row(*_row(row), " × ".join(row.factors))
        console.show(combined)
    for note in report.notes:
        console.say(f"note: {note}")
    for problem in report.problems:
        console.say(f"problem: {problem}")


def _row(row: ControlReport) -> tuple[str, str, str, str]:
    return row.name, f"{row.low:g}..{row.high:g}", str(row.vertices), f"{row.largest_mm:.1f}"
