"""The texture atlas of the embedded head, texel by texel: which triangle, which part, and where on the template."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from PIL import Image, ImageDraw

from omote.errors import FormatError
from omote.rigs.asset import load_head_asset, triangles

PADDING = 6
"""Texels by which islands grow, so that bilinear and mip-mapped sampling never meets the background (at 1024)."""


@dataclass(frozen=True)
class Texels:
    """The N covered texels of a square atlas, in row order.

    Attributes:
        size: width and height of the atlas.
        covered: (size, size) bool.
        row, column: (N,) int32.
        triangle: (N,) int32 triangle under the texel's centre; in the padding, the nearest one of the island.
        part: (N,) uint8 index into the asset's parts.
        position: (N, 3) float32 metres on the template, head space.
        cavity: (N,) float32 0..1, how much of the sky the head hides there.
        lash: (N,) float32 0 at the root of an eyelash card, 1 at its tip; 0 elsewhere.
    """

    size: int
    covered: np.ndarray
    row: np.ndarray
    column: np.ndarray
    triangle: np.ndarray
    part: np.ndarray
    position: np.ndarray
    cavity: np.ndarray
    lash: np.ndarray

    def image(self, values: np.ndarray, background: tuple[float, float, float]) -> np.ndarray:
        """(size, size, 3) of values (N, 3)."""
        out = np.empty((self.size, self.size, 3), values.dtype)
        out[:] = np.asarray(background, values.dtype)
        out[self.covered] = values
        return out


@lru_cache(maxsize=1)
def load_paint() -> dict[str, np.ndarray]:
    """Arrays of ``assets/head_paint.npz``: the lip mask with its box, and the cavity of each welded vertex.

    Raises:
        FormatError: if the file is missing or damaged.
    """
    path = resources.files("omote") / "assets" / "head_paint.npz"
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return {name: stored[name] for name in ("lips", "lips_box", "cavity")}
    except (OSError, ValueError, KeyError) as error:
        raise FormatError(
            f"the skin's masks cannot be read ({error})", where=str(path), remedy="Reinstall omote."
        ) from error


def triangle_ids(corners: np.ndarray, size: int, padding: int) -> np.ndarray:
    """(size, size) int32 triangle under each texel centre, -1 outside; islands grown by ``padding`` texels.

    Args:
        corners: (F, 3, 2) texel coordinates (pixel centres at +0.5), no overlaps.
        size: width and height in texels.
        padding: how far islands grow.
    """
    image = Image.new("I", (size, size), -1)
    draw = ImageDraw.Draw(image)
    for i, corner in enumerate((corners - 0.5).reshape(-1, 6).tolist()):
        draw.polygon(corner, fill=i)
    number = np.asarray(image).astype(np.int32)
    for _ in range(padding):
        grown = number.copy()
        for to, source in (
            (np.s_[1:], np.s_[:-1]),
            (np.s_[:-1], np.s_[1:]),
            (np.s_[:, 1:], np.s_[:, :-1]),
            (np.s_[:, :-1], np.s_[:, 1:]),
        ):
            np.copyto(grown[to], number[source], where=grown[to] < 0)
        number = grown
    return number


def _lash_distance() -> np.ndarray:
    """(V,) 0 at the root of each lash, 1 at the tip of the longest of its card."""
    asset = load_head_asset()
    template, expand, part = asset["template"], asset["expand"], asset["quad_part"]
    vertex = np.unique(expand[asset["quads"][part == asset.header["parts"].index("lashes")]])
    offset = template[vertex] - template[asset["lash_bound"][vertex]]
    length = np.linalg.norm(offset, axis=1)
    above = offset[:, 1] > -0.0005
    for card in (above, ~above):
        length[card] = length[card] / max(float(np.quantile(length[card], 0.95)), 1e-9)
    out = np.zeros(len(template), np.float32)
    out[vertex] = np.clip(length, 0, 1)
    return out[expand]


@lru_cache(maxsize=2)
def atlas_texels(size: int) -> Texels:
    """Walk the atlas at ``size`` x ``size`` (about 0.4 s at 1024, then cached)."""
    asset = load_head_asset()
    corner = triangles(asset["quads"])
    expand = asset["expand"]
    values = np.concatenate(
        [asset["template"][expand], load_paint()["cavity"][expand, None] / 255, _lash_distance()[:, None]],
        axis=1,
    )
    uv = asset["uv"].astype(np.float64) * size
    number = triangle_ids(uv[corner], size, max(2, round(PADDING * size / 1024)))
    covered = number >= 0
    row, column = (i.astype(np.int32) for i in np.nonzero(covered))
    number = number[covered]
    plane = np.concatenate([uv[corner], np.ones((len(corner), 3, 1))], axis=2)
    maps = np.linalg.solve(plane, values[corner]).astype(np.float32)
    found = np.empty((len(row), values.shape[1]), np.float32)
    x, y = column + np.float32(0.5), row + np.float32(0.5)
    for k in range(values.shape[1]):
        slope = maps[:, :, k]
        found[:, k] = slope[number, 0] * x + slope[number, 1] * y + slope[number, 2]
    return Texels(
        size=size,
        covered=covered,
        row=row,
        column=column,
        triangle=number,
        part=np.repeat(asset["quad_part"], 2)[number].astype(np.uint8),
        position=found[:, :3],
        cavity=np.clip(found[:, 3], 0, 1),
        lash=np.clip(found[:, 4], 0, 1),
    )
