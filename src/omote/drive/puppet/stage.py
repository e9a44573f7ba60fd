"""A prepared photo and the frames it becomes: surroundings first, then each head over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from omote.drive.puppet.binding import bind
from omote.drive.puppet.head import Head
from omote.drive.puppet.surroundings import Grid

if TYPE_CHECKING:
    from omote.drive import Portrait
    from omote.performance import Performance

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Stage:
    """A photo that is ready to move.

    Attributes:
        photo: (H, W, 3) uint8 sRGB.
        heads: one a face, in the portrait's order.
        grid: the warp of everything around them.
    """

    photo: Image
    heads: tuple[Head, ...]
    grid: Grid

    @classmethod
    def build(cls, portrait: Portrait) -> Stage:
        """Bind every face of a portrait."""
        photo = np.ascontiguousarray(portrait.image)
        heads = tuple(Head.build(bind(face), photo) for face in portrait.faces)
        size = (photo.shape[1], photo.shape[0])
        return cls(photo, heads, Grid.around([head.bound for head in heads], size))

    def frames(self, motions: Sequence[Performance | None]) -> Iterator[Image]:
        """Frames of a short stretch of motion; one entry a head."""
        count = next(len(motion) for motion in motions if motion is not None)
        # A head that does not move is drawn where it is: a neighbour's warp must not drag it along.
        posed = [
            head.pose(head.bound.source) * count if motion is None else head.pose(motion)
            for head, motion in zip(self.heads, motions, strict=True)
        ]
        for t in range(count):
            now = [poses[t] for poses in posed]
            screens = [pose.screen[:, :2] for pose in now]
            across, down = self.grid.backward([head.bound.screen for head in self.heads], screens)
            frame = cv2.remap(self.photo, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            for pose, head in sorted(zip(now, self.heads, strict=True), key=lambda pair: -pair[0].depth):
                head.draw(frame, pose)
            yield frame
