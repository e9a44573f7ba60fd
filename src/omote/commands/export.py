"""``omote export``: files for other programs from performances."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag
from omote.errors import InputError


@dataclass(frozen=True)
class ExportArgs:
    """Write performances as files that other programs read.

    Formats:
      glb         mesh with named morph targets, animation, head pose, camera (Blender, Unreal, Unity, web)
      livelink    Live Link Face CSV
      arkit-csv   the 52 ARKit shapes and the head pose, a row per frame
      arkit-json  the same as JSON, in Audio2Face's layout
      npz         NumPy arrays of everything
      template    LivePortrait motion template (.pkl), of takes that came from one
      obj, ply    the mesh of one frame, or of many with --frames
      omote       Omote's own file

    Examples:
      omote export take.omote --to glb,livelink
      omote export take.omote --to glb --targets arkit -o out
      omote export take.omote --to obj --frames 0:100:10
    """

    paths: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TAKE ...", help_behavior_hint=QUIET)
    ]
    """Performances: .omote files, or others that `omote convert` reads."""
    to: Annotated[str, tyro.conf.arg(metavar="FORMATS")] = "glb"
    """Formats, separated by commas."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="DIR", help_behavior_hint=QUIET)] = (
        None
    )
    """Folder for the files; default: beside each take."""
    targets: Annotated[
        Literal["facs", "arkit"] | None, tyro.conf.arg(metavar="facs|arkit", help_behavior_hint=QUIET)
    ] = None
    """glb: morph targets of the 102 controls (the default) or of the 52 ARKit shapes."""
    frames: Annotated[str | None, tyro.conf.arg(metavar="FRAMES", help_behavior_hint=QUIET)] = None
    """obj, ply: frames such as 12, all, 10:20 or 3,5,8; default: the first."""
    pose: Flag = False
    """obj, ply: place the head as the camera saw it, instead of upright at the origin."""
    vertices: Flag = False
    """npz: also the mesh of every frame."""
    json: Flag = False
    """Print what was written as JSON."""

    def run(self) -> int:
        """Write the files; return 0."""
        from omote import export

        if not self.paths:
            raise InputError("no performance was given", remedy="Try `omote export take.omote --to glb`.")
        export.parse_formats(self.to)
        given: dict[str, Any] = {"targets": self.targets, "frames": self.frames}
        options = {name: value for name, value in given.items() if value is not None}
        options.update({name: True for name in ("pose", "vertices") if getattr(self, name)})
        results = []
        for path in self.paths:
            take = export.read(path)
            folder = path.parent if self.output is None else self.output
            outputs = export.write(take, folder / path.name, to=self.to, **options)
            results.append({"input": path, "outputs": outputs})
            if not self.json:
                for output in outputs:
                    console.say(str(output))
        if self.json:
            console.say_json({"results": results})
        return 0
