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
        posed = [
            None if motion is None else head.pose(motion)
            for head, motion in zip(self.heads, motions, strict=True)
        ]
        count = next(len(poses) for poses in posed if poses is not None)
        for t in range(count):
            now = [None if poses is None else poses[t] for poses in posed]
            across, down = self.grid.backward(
                [head.bound.screen for head in self.heads],
                [None if pose is None else pose.screen[:, :2] for pose in now],
            )
            frame = cv2.remap(self.photo, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            far_first = sorted(
                (k for k in range(len(now)) if now[k] is not None),
                key=lambda k: -float(now[k].depth),  # type: ignore[union-attr]
            )
            for k in far_first:
                pose = now[k]
                if pose is not None:
                    self.heads[k].draw(frame, pose)
            yield frame
