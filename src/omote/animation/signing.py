"""Content Credentials and the visible mark on what was animated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.animation.drivers import Progress
from omote.animation.plan import Job
from omote.performance import Performance

Picture = NDArray[np.uint8]


def visible_mark() -> Callable[[Picture], Picture]:
    """The function that draws the mark on a frame (H, W, 3) uint8 RGB."""
    from omote.provenance import draw_visible_mark

    return draw_visible_mark


def sign(job: Job, made: Path, progress: Progress) -> None:
    """Sign the file, or every frame of the folder.

    Args:
        job: says from what, how, and with whose consent and key.
        made: what was written, under its final name.
        progress: told while the frames of a folder are signed.

    Raises:
        OutputError, InputError, FormatError, OmoteError: as `omote.provenance.sign_media`.
    """
    from omote.animation.sinks import frames_in
    from omote.media import is_video
    from omote.provenance import sign_media

    options = job.options
    source = "video" if is_video(job.photo) else "photo"
    files = frames_in(made) if job.kind == "folder" else [made]
    for number, file in enumerate(files, 1):
        sign_media(
            file,
            inputs=_inputs(job),
            action="animated",
            description=f"A {source} animated by {', '.join(job.driver_names)}",
            consent=options.consent,
            engine=options.engine,
            certificate=options.certificate,
            key=options.key,
        )
        progress("signing", number, len(files))


def _inputs(job: Job) -> list[Any]:
    from omote.provenance import Input

    parts = [Input(job.photo.name, path=job.photo)]
    for driver, digest in zip(job.drivers, job.digests[1:], strict=False):  # the sound's comes last
        if isinstance(driver, Performance):
            parts.append(Input(str(driver.source.get("file", "a take")), sha256=digest))
        else:
            parts.append(Input(Path(driver).name, path=Path(driver)))
    if job.options.sound_from is not None:
        parts.append(Input(job.options.sound_from.name, path=job.options.sound_from))
    if not job.drivers:
        parts.append(Input(job.driver_names[0]))
    return parts
