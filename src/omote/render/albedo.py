"""A procedural albedo for the embedded head: skin, lips, brows, lashes, eyes, teeth, tongue. No scan, no photograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omote.errors import InputError
from omote.render import paint_parts, paint_skin
from omote.render.texels import atlas_texels
from omote.rigs.asset import load_head_asset

RGB = tuple[float, float, float]

SKIN_TONES: tuple[tuple[float, RGB], ...] = (
    (0.00, (0.925, 0.790, 0.715)),
    (0.20, (0.890, 0.730, 0.635)),
    (0.40, (0.805, 0.625, 0.505)),
    (0.60, (0.650, 0.470, 0.350)),
    (0.80, (0.455, 0.310, 0.225)),
    (1.00, (0.290, 0.195, 0.150)),
)
"""Skin tone 0..1 (about the Fitzpatrick scale I..VI) to sRGB 0..1."""


@dataclass(frozen=True)
class AlbedoParams:
    """What a face is painted with. Colours are sRGB, 0..1.

    Attributes:
        skin: tone 0 (very light) .. 1 (very dark), or a colour.
        lips: colour of the lips, or None to follow from the skin.
        brows: colour of the brow hairs; brow_thickness: 0 (none) .. 1 (usual) .. 2 (heavy).
        iris: colour of the iris.
        lashes: colour of the eyelashes.
        hair: 0 (bald) .. 1: shade of short-cropped hair on the scalp, in the brow colour.
        freckles: 0 .. 1.
        seed: of everything random.
    """

    skin: float | RGB = 0.22
    lips: RGB | None = None
    brows: RGB = (0.20, 0.135, 0.095)
    brow_thickness: float = 1.0
    iris: RGB = (0.36, 0.235, 0.125)
    lashes: RGB = (0.085, 0.06, 0.05)
    hair: float = 0.6
    freckles: float = 0.15
    seed: int = 0

    def skin_rgb(self) -> np.ndarray:
        """(3,) base colour of the skin."""
        if not isinstance(self.skin, (int, float)):
            return np.asarray(self.skin, np.float32)
        tones, colours = zip(*SKIN_TONES, strict=True)
        channels = [np.interp(self.skin, tones, [c[k] for c in colours]) for k in range(3)]
        return np.array(channels, np.float32)

    def lip_rgb(self) -> np.ndarray:
        """(3,) base colour of the lips."""
        if self.lips is not None:
            return np.asarray(self.lips, np.float32)
        return self.skin_rgb() * np.array([0.90, 0.68, 0.70], np.float32)


def paint_albedo(params: AlbedoParams | None = None, size: int = 1024) -> np.ndarray:
    """Paint the albedo in the rig's texture atlas (about 0.6 s at 1024; the same parameters give the same picture).

    Args:
        params: colours; the defaults are a light brown-eyed face.
        size: width and height in texels, 64 to 8192.

    Returns:
        (size, size, 3) uint8 sRGB, row 0 at v = 0 (``uv`` has its origin at the top left).

    Raises:
        InputError: if ``size`` is out of range.
    """
    if not 64 <= size <= 8192:
        raise InputError(f"size {size} is not between 64 and 8192", remedy="1024 is the usual choice.")
    params = params or AlbedoParams()
    texels = atlas_texels(size)
    parts = load_head_asset().header["parts"]
    number = {name: i for i, name in enumerate(parts)}
    colour = np.empty((len(texels.row), 3), np.float32)
    skin = texels.part == number["skin"]
    colour[skin] = paint_skin.paint(texels, skin, params)
    for name in parts:
        if name == "skin":
            continue
        inside = texels.part == number[name]
        colour[inside] = paint_parts.PAINTERS[name](texels, inside, params)
    background = tuple(float(c) for c in params.skin_rgb())
    picture = texels.image(colour, (background[0], background[1], background[2]))
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
