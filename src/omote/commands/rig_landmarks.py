"""Rigs as training and measuring need them: with the face's landmarks found on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omote.rigs.protocol import Rig


def with_landmarks(rig: Rig, *, quiet: bool) -> Rig:
    """The rig, its landmarks found on renders of it where it has none.

    Args:
        rig: any.
        quiet: no progress on standard error while the landmarker is fetched.

    Raises:
        NoFaceError: no face is found on its renders.
        WeightsError: the landmarker's model file is missing and cannot be fetched.
    """
    from omote.capture.mesh_landmarks import rig_landmarks
    from omote.commands.weights import ensure

    if rig.landmarks is None:
        ensure("face_landmarker", quiet=quiet)
        rig_landmarks(rig)
    return rig
