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
    """Capture a real photograph (the astronaut Eileen Collins; NASA, public domain), write files, make it move.

    Examples:
      omote demo
      omote demo -o somewhere
    """

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")] = Path("demo_output")
    """Folder for the results."""
    json: Flag = False
    """Print what was made as JSON."""

    def run(self) -> int:
        """Capture the photograph and animate it; return 0."""
        from omote.commands.animate import AnimateArgs
        from omote.commands.capture import capture_all
        from omote.commands.tasks import plan

        photo = astronaut()
        capture = CaptureArgs(paths=(photo,), output=self.output, to="glb,livelink", overwrite=True)
        animate = AnimateArgs(
            paths=(photo,),
            output=self.output / "astronaut_look-around.mp4",
            preset="look-around",
            duration=3.0,
            overwrite=True,
        )
        if self.json:
            results = capture_all(plan(capture), jobs=1, quiet=True)
            animation = animate.facts(animate.made(quiet=True))
            console.say_json({"output": self.output, "results": results, "animation": animation})
            return max(result["exit_code"] for result in results)
        code = capture.run() or animate.run()
        if code == 0:
            picture = self.output / "astronaut_overlay.png"
            console.say(f"\nLook at {picture} and {animate.output}; open the .glb in Blender or a viewer.")
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
