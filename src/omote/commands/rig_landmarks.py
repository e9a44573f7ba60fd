"""Rigs as training and measuring need them: with the face's landmarks found on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omote.commands import console

if TYPE_CHECKING:
    from omote.rigs.protocol import Rig


def open_with_landmarks(
    source: str, *, quiet: bool, unit: str = "auto", axes: str = "auto", mapping: Path | None = None
) -> tuple[Rig, str]:
    """A rig with landmarks and the axes of its file; tells if these were found by its face.

    Args:
        source: see `omote.capture.faced_rig.open_faced_rig`.
        unit: likewise.
        axes: likewise.
        mapping: likewise.
        quiet: nothing on standard error, neither while the landmarker is fetched.

    Raises:
        InputError, FormatError: there is no such rig, or it cannot be read.
        NoFaceError: no face is found on its renders.
        WeightsError: the landmarker's model file is missing and cannot be fetched.
    """
    from omote.capture.faced_rig import open_faced_rig
    from omote.commands.weights import ensure
    from omote.rigs.constants import EMBEDDED

    if source != EMBEDDED:
        ensure("face_landmarker", quiet=quiet)
    rig, found = open_faced_rig(source, unit=unit, axes=axes, mapping=mapping)
    if found != axes and not quiet:
        console.note(f"omote: note: {source}: stands along {found}, as its face tells")
    return rig, found
