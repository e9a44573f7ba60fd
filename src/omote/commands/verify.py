"""``omote verify``: who made a file, of what, and whether it has changed since."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag
from omote.errors import InputError


@dataclass(frozen=True)
class VerifyArgs:
    """Check the Content Credentials of pictures, videos and bundles; nothing is sent or fetched.

    Tells who signed, what was done with which software, from what, when, with whose consent, and whether the
    file has changed since. The exit code is 0 if all files are valid, else 2: a file was changed, its
    credentials cannot be accepted, or it has none.

    Examples:
      omote verify talking.mp4
      omote verify out/*.png take.zip --json
      omote verify talking.mp4 --trust studio-root.pem
    """

    paths: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE ...", help_behavior_hint=QUIET)
    ]
    """Pictures, videos, bundles (.zip), and .c2pa files that lie beside what they belong to."""
    trust: Annotated[Path | None, tyro.conf.arg(metavar="ROOT.pem", help_behavior_hint=QUIET)] = None
    """Root certificates (PEM): signers under them count as verified."""
    json: Flag = False
    """Print a JSON list with one object for each file."""

    def run(self) -> int:
        """Print the reports; return 0 if all files are valid, else 2."""
        from omote.provenance import verify

        if not self.paths:
            raise InputError("no file was given", remedy="Try `omote verify talking.mp4`.")
        reports = [verify(path, trust=self.trust) for path in self.paths]
        if self.json:
            console.say_json([report.to_dict() for report in reports])
        else:
            for index, report in enumerate(reports):
                if index:
                    console.say()
                for line in report.lines():
                    console.say(line)
        return 0 if all(report.is_valid for report in reports) else 2
