"""Faces drawn by the renderer, or had from an interrupted run that drew the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from omote.drive.liveportrait.renderer import Renderer, to_pictures, to_tensor

Pictures = NDArray[np.uint8]
Keep = Callable[[Sequence[str], Callable[[], Pictures]], Pictures]
"""Told what tells B pictures from all others that the same networks can draw, and how to draw them; gives them."""


class Drawing:
    """Draws faces.

    Args:
        renderer: runs the networks.
        keep: may give faces that were drawn before; None: each is drawn.
    """

    def __init__(self, renderer: Renderer, keep: Keep | None = None) -> None:
        self._renderer, self._keep = renderer, keep

    def __call__(self, seen: Pictures, source: Tensor, driving: Tensor, features: Any = None) -> Pictures:
        """(B, S, S, 3) uint8 faces.

        Args:
            seen: (B, s, s, 3) crops of the source, or 1 for all.
            source: (B, 21, 3) keypoints of it, or 1 for all.
            driving: (B, 21, 3) keypoints that it is to have.
            features: of the crops, from `Renderer.prepare`; None: they are computed where something is drawn.
        """

        def draw() -> Pictures:
            ready = self._renderer.prepare(to_tensor(seen)) if features is None else features
            return to_pictures(self._renderer.render(ready, source, driving))

        return draw() if self._keep is None else self._keep(_names(seen, source, driving), draw)


def _names(seen: Pictures, source: Tensor, driving: Tensor) -> list[str]:
    crops = [hashlib.sha256(crop.tobytes()) for crop in seen]
    names = []
    for number, to in enumerate(driving):
        name = crops[min(number, len(crops) - 1)].copy()
        for points in (source[min(number, len(source) - 1)], to):
            name.update(points.float().numpy().tobytes())
        names.append(name.hexdigest())
    return names
