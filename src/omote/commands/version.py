"""``omote version``."""

from __future__ import annotations

import platform
from dataclasses import dataclass

import omote
from omote.commands import console
from omote.commands.console import Flag

_PARTS = ("torch", "mediapipe", "numpy", "av", "warp-lang", "safetensors")


@dataclass(frozen=True)
class VersionArgs:
    """Print the version of Omote, and with --json those of what it stands on.

    Examples:
      omote version
      omote version --json
    """

    json: Flag = False
    """Print JSON: omote, python, platform and the versions of the main libraries."""

    def run(self) -> int:
        """Print the version; return 0."""
        if not self.json:
            console.say(f"omote {omote.__version__}")
            return 0
        parts = {name: _version(name) for name in _PARTS}
        console.say_json(
            {
                "omote": omote.__version__,
                "python": platform.python_version(),
                "platform": platform.platform(),
                **parts,
            }
        )
        return 0


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None
