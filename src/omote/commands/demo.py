"""``omote demo``: the whole way on a real photograph that scikit-image carries."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from omote.commands import console
from omote.commands.capture import CaptureArgs
from omote.commands.console import Flag
from omote.errors import InputError


@dataclass(frozen=True)
class DemoArgs:
    """Capture a real photograph (the astronaut Eileen Collins; NASA, public domain) and write files from it.

    Examples:
      omote demo
      omote demo -o somewhere
    """

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")] = Path("demo_output")
    """Folder for the results."""
    json: Flag = False
    """Print what was made as JSON."""

    def run(self) -> int:
        """Capture the photograph; return 0."""
        code = CaptureArgs(
            paths=(astronaut(),), output=self.output, to="glb,livelink", overwrite=True, json=self.json
        ).run()
        if code == 0 and not self.json:
            console.say(
                f"\nLook at {self.output / 'astronaut_overlay.png'}; open the .glb in Blender or a viewer."
            )
        return code


def astronaut() -> Path:
    """The photograph inside an installed scikit-image, located without importing it.

    Raises:
        InputError: scikit-image is not installed, or without its data.
    """
    spec = importlib.util.find_spec("skimage")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / "data" / "astronaut.png"
        if path.is_file():
            return path
    raise InputError(
        "the demonstration photograph is not here",
        remedy="Run `pip install scikit-image`, or capture a photo of yours.",
    )
