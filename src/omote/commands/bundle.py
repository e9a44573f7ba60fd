"""``omote bundle``: a take's files in one signed archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag
from omote.errors import InputError

Pem = Annotated[Path | None, tyro.conf.arg(metavar="FILE.pem", help_behavior_hint=QUIET)]


@dataclass(frozen=True)
class BundleArgs:
    """Pack the files of a take into one zip that carries Content Credentials.

    Performances, tables and meshes cannot be signed one by one; the archive can. It also holds manifest.json:
    name, size and sha256 of each file, and the facts of the takes. `omote verify` checks it.

    Examples:
      omote bundle out/me.omote out/me.glb -o me.zip
      omote bundle out/take* -o take.zip --source take.mp4 --consent "Ada agreed on 2026-11-02"
    """

    paths: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE ...", help_behavior_hint=QUIET)
    ]
    """What goes into the bundle."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="ZIP", help_behavior_hint=QUIET)] = (
        None
    )
    """The archive; default: beside the first file, with its name."""
    source: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE ...", help_behavior_hint=QUIET)] = ()
    """The photos or videos that the takes were captured from; default: what the takes say."""
    consent: Annotated[str | None, tyro.conf.arg(metavar="TEXT", help_behavior_hint=QUIET)] = None
    """A statement about consent to sign; default: the one in the takes."""
    certificate: Pem = None
    """Sign with this certificate chain instead of the key of this machine (also OMOTE_CERTIFICATE)."""
    key: Pem = None
    """The private key of the certificate (also OMOTE_KEY)."""
    credentials: Flag = True
    """Leave out the Content Credentials."""
    json: Flag = False
    """Print what was written as JSON."""

    def run(self) -> int:
        """Write the archive; return 0."""
        from omote.media import classify
        from omote.performance import Performance
        from omote.provenance import no_credentials_notice, write_bundle

        if not self.paths:
            raise InputError("no file was given", remedy="Try `omote bundle me.omote me.glb -o me.zip`.")
        first = self.paths[0]
        output = first.with_suffix(".zip") if self.output is None else self.output
        written = write_bundle(
            output,
            self.paths,
            [Performance.load(path) for path in self.paths if classify(path) == "performance"],
            sources=self.source,
            consent=self.consent,
            certificate=self.certificate,
            key=self.key,
            credentials=self.credentials,
        )
        if not self.credentials:
            console.note(f"omote: note: {no_credentials_notice()}")
        if self.json:
            console.say_json({"inputs": self.paths, "output": written, "credentials": self.credentials})
        else:
            console.say(str(written))
        return 0
