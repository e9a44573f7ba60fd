"""The puppet: a photo moves by re-rendering the head that was fitted to it. No network, no download, any resolution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from omote.errors import InputError

if TYPE_CHECKING:
    from omote.drive import Portrait
    from omote.drive.puppet.stage import Stage
    from omote.performance import Performance

_BATCH = 16
"""Frames whose heads are posed at once."""


class Puppet:
    """Animates the faces of a photo; see `omote.drive.Driver`."""

    def prepare(self, portrait: Portrait) -> Stage:
        """Bind the rig to each face and complete what the photo hides; about a second at 512 px.

        Raises:
            InputError: the portrait has no face.
        """
        from omote.drive.puppet.stage import Stage

        if not portrait.faces:
            raise InputError("the portrait has no face", remedy="Capture the photo first.")
        return Stage.build(portrait)

    def drive(self, state: Stage, motions: Sequence[Performance | None]) -> Iterator[NDArray[np.uint8]]:
        """Yield the frames (H, W, 3) uint8 sRGB at the photo's own size; memory does not grow with their number.

        Raises:
            InputError: at the first frame: not one motion a face, motions of different lengths, or none at all.
        """
        if len(motions) != len(state.heads):
            raise InputError(
                f"got {len(motions)} motions for {len(state.heads)} faces", remedy="Give one a face."
            )
        lengths = {len(motion) for motion in motions if motion is not None}
        if not lengths:
            raise InputError("no face has a motion", remedy="Give at least one.")
        if len(lengths) > 1:
            raise InputError(
                f"the motions have {sorted(lengths)} frames", remedy="Give motions of one length."
            )
        count = lengths.pop()
        for start in range(0, count, _BATCH):
            batch = slice(start, min(start + _BATCH, count))
            yield from state.frames([None if motion is None else motion[batch] for motion in motions])
