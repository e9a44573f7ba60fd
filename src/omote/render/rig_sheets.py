"""A contact sheet of any rig: every control at the end of its range, and every combination shape with its factors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from omote.errors import InputError
from omote.performance import Camera
from omote.render.sheets import BACKGROUND, ends, tile
from omote.render.texture_sampling import Albedo
from omote.rigs.name_matching import shown_with_jaw

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from omote.rigs.protocol import Rig

Array = npt.NDArray[Any]

TURN = math.radians(-14)
_DISTANCE = 6.0  # of the camera, in half heights of what it shows
_CLAY = (0.72, 0.55, 0.47)


def rig_sheet(
    rig: Rig,
    names: Sequence[str] | None = None,
    *,
    size: int = 200,
    columns: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Array:
    """The neutral head, then each control alone at the ends of its range, with how far it moves the surface.

    Args:
        rig: any rig.
        names: controls and combination shapes to show; default all.
        size: width of a picture in px, 48 to 1024.
        columns: pictures in a row; default about as wide as high, at most 12.
        progress: called with how many of how many pictures are drawn.

    Returns:
        (H, W, 3) uint8 sRGB with labels.

    Raises:
        InputError: unknown names, or a size or column count out of range.
    """
    import torch

    if not 48 <= size <= 1024:
        raise InputError(f"pictures of {size} px", where="size", remedy="Use 48 to 1024.")
    if columns is not None and columns < 1:
        raise InputError(f"{columns} columns", where="columns", remedy="Use 1 or more.")
    combinations = dict(getattr(rig, "combinations", ()) or ()) if hasattr(rig, "shape_names") else {}
    chosen = [*rig.space.names, *combinations] if names is None else list(names)
    rest = np.array(rig.space.neutral, np.float32)
    jaw = shown_with_jaw(rig.space.names)
    poses: list[tuple[str, Array, str]] = [("neutral", rest, "")]
    for name in chosen:
        factors = combinations.get(name)
        if factors is not None:
            row = rest.copy()
            row[[rig.space.index(factor) for factor in factors]] = 1
            poses.append((name, row, ""))
            continue
        control = rig.space.controls[rig.space.index(name)]
        for value in ends(control):
            row = rest.copy()
            opened = jaw.get(name, {})
            for other, amount in opened.items():
                row[rig.space.index(other)] = amount
            row[rig.space.index(name)] = value
            beside = "".join(f" with {other} {amount:g}" for other, amount in opened.items())
            poses.append((f"{name} {value:+g}" if len(ends(control)) > 1 else name, row, beside))
    nobody = torch.zeros(1, len(rig.identity_space))
    with torch.no_grad():
        neutral = rig(torch.from_numpy(rest)[None], nobody)[0].numpy()
        studio = _Studio(rig, neutral, size)
        cells = []
        for index, (label, row, beside) in enumerate(poses):
            vertices = rig(torch.from_numpy(row)[None], nobody)[0].numpy()
            far = 1e3 * float(np.linalg.norm(vertices - neutral, axis=1).max())
            caption = f"{far:.1f} mm{beside}" if index else f"{len(neutral)} vertices"
            cells.append((label, caption, studio.picture(vertices)))
            if progress is not None:
                progress(index + 1, len(poses))
    return tile(cells, columns or min(12, max(1, math.ceil(math.sqrt(len(cells))))), size)


class _Studio:
    """Draws the head of one rig, always from the same place."""

    def __init__(self, rig: Rig, neutral: Array, size: int) -> None:
        from omote.rigs.regions import face_region

        shown = neutral[face_region(rig)]
        low, high = shown.min(0), shown.max(0)
        self.centre = (low + high) / 2
        self.half = max(0.56 * float((high - low)[:2].max()), 1e-6)
        self.size = size
        self.faces, self.weld = rig.faces.numpy(), rig.weld.numpy()
        colours = getattr(rig, "colours", None)
        self.albedo = Albedo.from_srgb(np.asarray(_CLAY if colours is None else colours))

    def picture(self, vertices: Array) -> Array:
        """(size, size, 3) uint8."""
        from omote.render.scene import render_mesh

        cos, sin = math.cos(TURN), math.sin(TURN)
        turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], np.float32)
        placed = (vertices - self.centre.astype(np.float32)) @ turn.T
        placed[:, 2] -= _DISTANCE * self.half
        middle = (self.size / 2, self.size / 2)
        camera = Camera(focal=self.size / 2 * _DISTANCE, principal=middle, size=(self.size, self.size))
        buffers = render_mesh(
            np.ascontiguousarray(placed, np.float32),
            self.faces,
            camera,
            weld=self.weld,
            albedo=self.albedo,
            background=BACKGROUND,
        )
        return np.round(np.clip(buffers.rgb, 0, 1) * 255).astype(np.uint8)
