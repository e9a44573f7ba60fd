"""The pinhole camera of a take."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from omote.errors import InputError


@dataclass(frozen=True)
class Camera:
    """A pinhole camera at the world's origin: x right, y up, z to the viewer; it sees negative z.

    A point (X, Y, Z) lands at ``u = cx + focal * X / -Z``, ``v = cy - focal * Y / -Z`` in continuous pixel
    coordinates (x right, y down; pixel (row i, column j) covers [j, j+1) x [i, i+1)).

    Args:
        focal: focal length, pixels, above 0.
        principal: (cx, cy) principal point, pixels.
        size: (width, height) of the image, whole pixels.

    Raises:
        InputError: a value that is not finite, or not above 0 where it must be.
    """

    focal: float
    principal: tuple[float, float]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        try:
            focal = float(self.focal)
            cx, cy = (float(x) for x in self.principal)
            width, height = (float(x) for x in self.size)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"expected numbers: focal, (cx, cy), (w, h); {error}", where="camera") from None
        if not (math.isfinite(focal) and focal > 0 and math.isfinite(cx) and math.isfinite(cy)):
            what = f"focal {focal} and principal point ({cx}, {cy}) must be finite, focal above 0"
            raise InputError(what, where="camera")
        if not (width.is_integer() and height.is_integer() and width >= 1 and height >= 1):
            raise InputError(f"size ({width}, {height}) must be whole pixels above 0", where="camera")
        object.__setattr__(self, "focal", focal)
        object.__setattr__(self, "principal", (cx, cy))
        object.__setattr__(self, "size", (int(width), int(height)))

    @property
    def field_of_view(self) -> float:
        """Horizontal field of view of a centred camera of this focal length and width, radians."""
        return 2.0 * math.atan2(0.5 * self.size[0], self.focal)

    def mirror(self) -> Camera:
        """The camera of the image flipped left to right."""
        return replace(self, principal=(self.size[0] - self.principal[0], self.principal[1]))
