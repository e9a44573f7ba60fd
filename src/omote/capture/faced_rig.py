"""Rigs opened with the landmarks of their face, whichever way they stand: where a file's axes are wrong, it tells.

Files rarely say which way a head looks, and exporters get it wrong. `omote.rigs.open.open_rig` takes +y up and +z
forward, and turns a head that clearly faces backwards. Here the head is then rendered; if it shows no face, its face
is searched from all sides, as a scan's is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from omote.capture.detect import FaceDetector
from omote.capture.mesh_landmarks import rig_landmarks
from omote.capture.scan_files import Part, Scan
from omote.capture.scans import find_face
from omote.errors import InputError, NoFaceError
from omote.rigs.open import open_rig, read_shapes
from omote.rigs.protocol import Rig


def open_faced_rig(
    source: str | Path, *, unit: str = "auto", axes: str = "auto", mapping: str | Path | None = None
) -> tuple[Rig, str]:
    """A rig with landmarks, and the axes that its file was read with.

    Args:
        source: as `omote.rigs.open.open_rig` takes it.
        unit: likewise.
        axes: likewise; with "auto", those of the face are used where no face looks along +z.
        mapping: likewise.

    Returns:
        The rig, and ``axes``, or those found.

    Raises:
        InputError: there is no such rig, or its kind is not known.
        FormatError: the file is malformed, or is no rig.
        NoFaceError: no face is found on renders of it.
        WeightsError: the landmarker's model file is missing.
    """
    rig = open_rig(source, unit=unit, axes=axes, mapping=mapping)
    try:
        rig_landmarks(rig)
    except NoFaceError as error:
        found = _face_axes(rig, Path(source)) if axes == "auto" else None
        if found is None:
            remedy = "It needs a human face, whole enough to have eyes, nose and mouth."
            raise NoFaceError(error.what, where=source, remedy=remedy) from None
        rig, axes = open_rig(source, unit=unit, axes=found, mapping=mapping), found
        try:
            rig_landmarks(rig)
        except NoFaceError as again:
            raise NoFaceError(again.what, where=source, remedy=again.remedy) from None
    return rig, axes


def _face_axes(rig: Rig, path: Path) -> str | None:
    """The axes of the file nearest to up and forward of the face on it, such as "+z-y"; None: no side shows one."""
    vertices = read_shapes(path).vertices.astype(np.float32)  # as the file has them
    scan = Scan((Part(vertices, rig.faces.numpy(), None, None),), coloured=False)
    detector = FaceDetector("image")
    try:
        turn = find_face(scan, detector).rotation
    except (NoFaceError, InputError):
        return None
    finally:
        detector.close()
    up = int(np.abs(turn[1]).argmax())
    forward = int(np.where(np.arange(3) == up, -1, np.abs(turn[2])).argmax())
    chosen = ((turn[1], up), (turn[2], forward))
    return "".join(("-" if row[axis] < 0 else "+") + "xyz"[axis] for row, axis in chosen)
