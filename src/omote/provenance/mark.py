"""The visible mark: a small label in the lower right corner that says "AI · Omote"."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omote.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

TEXT = "AI · Omote"

_LETTERS = 0.030  # height of the font, as a share of the picture's geometric mean side
_SMALLEST = 9.0  # px: below this letters cannot be read
_OVERSAMPLED = 4  # the box is drawn this much larger and reduced: smooth corners
_BOX = (18, 18, 22, 165)  # RGBA: dark and translucent
_EDGE = (255, 255, 255, 70)  # a hairline that lifts the box off dark pictures
_INK = (255, 255, 255, 235)


def draw_visible_mark(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy of a picture with the mark in its lower right corner.

    The size follows the picture. Pictures too small for readable letters get as much as fits.

    Args:
        frame: (H, W, 3) uint8 sRGB.

    Returns:
        (H, W, 3) uint8; outside the mark the same values.

    Raises:
        InputError: another shape or type.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
        raise InputError(f"got {frame.dtype} of shape {frame.shape}, expected uint8 (H, W, 3)", where="frame")
    rows, columns, ink, keep = _overlay(frame.shape[0], frame.shape[1])
    marked = frame.copy()
    under = marked[rows, columns].astype(np.uint16)
    marked[rows, columns] = (under * keep + ink) // 255
    return marked


@lru_cache(maxsize=8)
def _overlay(height: int, width: int) -> tuple[slice, slice, NDArray[np.uint16], NDArray[np.uint16]]:
    """Where the mark goes in a picture of this size, and what it does there: ``(under * keep + ink) // 255``.

    Returns:
        rows, columns; ink (h, w, 3) uint16, colour times opacity times 255, rounding included; keep (h, w, 1)
        uint16, 255 minus opacity.
    """
    label = _label(max(_LETTERS * (height * width) ** 0.5, _SMALLEST))
    margin = min(round(label.height * 0.5), max(height - label.height, 0), max(width - label.width, 0))
    label = label.crop((max(label.width - width, 0), max(label.height - height, 0), *label.size))
    bottom, right = height - margin, width - margin
    rgba: NDArray[Any] = np.asarray(label, np.uint16)
    alpha = rgba[..., 3:]
    ink = (rgba[..., :3] * alpha + 127).astype(np.uint16)
    place = slice(bottom - label.height, bottom), slice(right - label.width, right)
    return *place, ink, 255 - alpha


def _label(size: float) -> Image.Image:
    """The label with letters of ``size`` px, RGBA, straight alpha."""
    from PIL import Image, ImageDraw, ImageFont

    many = _OVERSAMPLED
    font = ImageFont.load_default(size * many)  # Pillow carries this typeface
    left, top, right, bottom = font.getbbox(TEXT)
    across, up = size * 0.55 * many, size * 0.36 * many
    box = round((right - left + 2 * across) / many), round((bottom - top + 2 * up) / many)
    large = Image.new("RGBA", (box[0] * many, box[1] * many), (*_BOX[:3], 0))
    draw = ImageDraw.Draw(large)
    edge = (0, 0, large.width - 1, large.height - 1)
    line = max(round(size / 16 * many), many // 2)
    draw.rounded_rectangle(edge, large.height * 0.32, fill=_BOX)
    ring = Image.new("L", large.size, 0)
    ImageDraw.Draw(ring).rounded_rectangle(edge, large.height * 0.32, outline=_EDGE[3], width=line)
    over = Image.new("RGBA", large.size, (*_EDGE[:3], 0))
    over.putalpha(ring)
    large.alpha_composite(over)
    letters = Image.new("L", large.size, 0)
    start = ((large.width - (right - left)) / 2 - left, (large.height - (bottom - top)) / 2 - top)
    ImageDraw.Draw(letters).text(start, TEXT, fill=_INK[3], font=font)
    over = Image.new("RGBA", large.size, (*_INK[:3], 0))
    over.putalpha(letters)
    large.alpha_composite(over)
    return large.resize(box, Image.Resampling.BOX)
