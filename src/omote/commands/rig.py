"""``omote rig``: the embedded head and its controls, and rigs of your own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from omote.commands import console
from omote.commands.console import Flag, subcommand
from omote.commands.rig_inspect import RigInspectArgs
from omote.commands.rig_map import RigMapArgs
from omote.commands.rig_transfer import RigTransferArgs

if TYPE_CHECKING:
    from omote.controls import Control


@dataclass(frozen=True)
class RigListArgs:
    """List the controls: names, ranges, FACS action units and what they do.

    Examples:
      omote rig list
      omote rig list "lid_*"
      omote rig list --space arkit52 --json
    """

    pattern: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATTERN")] = "*"
    """Only names that fit, such as "corner_pull_*"."""
    space: Annotated[str, tyro.conf.arg(metavar="SPACE")] = "facs102"
    """Which controls: facs102 or arkit52."""
    json: Flag = False
    """Print a JSON list with one object for each control."""

    def run(self) -> int:
        """Print the table; return 0."""
        from omote.controls import space_by_name

        space = space_by_name(self.space)
        chosen = [space.controls[index] for index in space.match(self.pattern)]
        if self.json:
            console.say_json([asdict(control) for control in chosen])
            return 0
        table = console.table(
            "control",
            "range",
            "side",
            "action units",
            "what it does",
            title=f"{space.name}: {len(chosen)} controls",
        )
        for control in chosen:
            table.add_row(
                control.name, _range(control), control.side, ", ".join(control.action_units), control.doc
            )
        console.show(table)
        return 0


@dataclass(frozen=True)
class RigShowArgs:
    """Draw a contact sheet: the head with each control at the end of its range.

    Examples:
      omote rig show
      omote rig show -o lids.png --controls "lid_*"
    """

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="IMAGE")] = Path("rig.png")
    """The picture to write: .png, .jpg or .webp."""
    controls: Annotated[str, tyro.conf.arg(metavar="PATTERN")] = "*"
    """Only controls that fit, such as "brow_*"."""
    size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 200
    """Width of each picture, 48 to 1024."""
    json: Flag = False
    """Print what was written as JSON."""

    def run(self) -> int:
        """Write the picture; return 0."""
        from omote.controls import FACS102
        from omote.media import write_image
        from omote.render.sheets import control_sheet

        names = [FACS102.names[index] for index in FACS102.match(self.controls)]
        write_image(self.output, control_sheet(names, size=self.size))
        if self.json:
            console.say_json({"outputs": [self.output], "controls": names})
        else:
            console.say(str(self.output))
        return 0


@dataclass(frozen=True)
class RigArgs:
    """Rigs: the embedded head and its 102 controls, and heads of your own.

    Examples:
      omote rig list "lip_*"
      omote rig show -o sheet.png
      omote rig inspect head.glb -o sheet.png
      omote rig map head.glb --to arkit52
      omote rig transfer facs head.obj -o rigged.glb
    """

    command: (
        Annotated[RigListArgs, subcommand("list", RigListArgs)]
        | Annotated[RigShowArgs, subcommand("show", RigShowArgs)]
        | Annotated[RigInspectArgs, subcommand("inspect", RigInspectArgs)]
        | Annotated[RigMapArgs, subcommand("map", RigMapArgs)]
        | Annotated[RigTransferArgs, subcommand("transfer", RigTransferArgs)]
    )

    def run(self) -> int:
        """Run the chosen command."""
        return self.command.run()


def _range(control: Control) -> str:
    span = f"{control.low:g}..{control.high:g}"
    return f"{span} ({control.unit})" if control.unit else span
