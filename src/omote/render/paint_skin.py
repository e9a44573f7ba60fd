"""The skin layers of the procedural albedo: tone, blood, freckles, lips, lids, brows, stubble of the scalp.

Everything is placed by position on the template (metres, head space) or by the atlas, so that it moves with the skin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy.spatial import cKDTree

from omote.render.texels import Texels, load_paint
from omote.rigs.asset import SIDES, load_head_asset

if TYPE_CHECKING:
    from omote.render.albedo import AlbedoParams

BLOOD: tuple[tuple[tuple[float, float, float], tuple[float, float, float], float], ...] = (
    ((0.040, -0.036, 0.012), (0.021, 0.017, 0.030), 0.55),  # cheeks
    ((0.000, -0.041, 0.040), (0.014, 0.011, 0.014), 0.50),  # tip of the nose
    ((0.015, -0.045, 0.026), (0.008, 0.008, 0.012), 0.50),  # wings of the nose
    ((0.080, -0.020, -0.065), (0.012, 0.032, 0.040), 0.55),  # ears
    ((0.000, -0.108, 0.018), (0.016, 0.009, 0.020), 0.30),  # chin
    ((0.000, 0.012, 0.022), (0.012, 0.012, 0.020), 0.15),  # between the brows
)
"""(centre with x >= 0, sigma, strength) of redder skin, both sides; metres."""

BROW_LINE = np.array(
    [
        [0.0110, 0.0120],
        [0.0180, 0.0158],
        [0.0270, 0.0188],
        [0.0365, 0.0205],
        [0.0450, 0.0190],
        [0.0530, 0.0135],
    ],
    np.float32,
)
"""Middle of the left brow from its head to its tail, template x, y in metres."""
BROW_HALF = np.array([0.0034, 0.0043, 0.0042, 0.0036, 0.0026, 0.0010], np.float32)
"""Half height at those points."""
LID_REACH = 0.016
"""Metres from a lid rim beyond which nothing belongs to the lid."""
BROW_MAP = (512, 128)
"""Texels of the hair picture, along and across."""


def blend(colour: np.ndarray, target: np.ndarray, amount: np.ndarray) -> None:
    """Move colour (N, 3) towards target (3,) or (N, 3) by amount (N,) 0..1, in place."""
    colour += amount[:, None] * (target - colour)


def cloud(texels: Texels, inside: np.ndarray, cells: int, seed: int) -> np.ndarray:
    """(N,) smooth noise of unit variance with ``cells`` x ``cells`` random values over the atlas."""
    grid = np.random.default_rng(seed).standard_normal((cells, cells)).astype(np.float32)
    wide = Image.fromarray(grid).resize((texels.size, texels.size), Image.Resampling.BICUBIC)
    return np.asarray(wide)[texels.covered][inside]


def _blob(position: np.ndarray, centre: tuple[float, ...], sigma: tuple[float, ...]) -> np.ndarray:
    """(N,) Gaussian about a centre and its mirror image."""
    distance = (np.abs(position[:, 0]) - centre[0]) ** 2 / sigma[0] ** 2
    for k in (1, 2):
        distance += (position[:, k] - centre[k]) ** 2 / sigma[k] ** 2
    return np.exp(-0.5 * distance)


def _smooth(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def paint(texels: Texels, inside: np.ndarray, params: AlbedoParams) -> np.ndarray:
    """(N, 3) float32 sRGB of the skin texels ``inside`` (N of them)."""
    position = texels.position[inside]
    base = params.skin_rgb()
    colour = np.broadcast_to(base, position.shape).copy()
    bright = float(base.mean())
    mottle = np.zeros(len(position), np.float32)
    for cells, amount in ((36, 0.45), (150, 0.35), (600, 0.45)):
        mottle += amount * cloud(texels, inside, cells, params.seed * 31 + cells)
    colour *= 1 + 0.018 * mottle[:, None] * np.array([0.8, 1.1, 1.2], np.float32)
    red = base * np.array([0.99, 0.72, 0.70], np.float32)
    blood = cloud(texels, inside, 60, params.seed + 5) * 0.06
    for centre, sigma, strength in BLOOD:
        blood += strength * _blob(position, centre, sigma)
    blend(colour, red, np.clip(blood, 0, 0.8) * (0.35 + 0.45 * bright))
    under = _blob(position, (0.029, -0.0145, 0.012), (0.013, 0.0045, 0.02))
    blend(colour, base * np.array([0.84, 0.72, 0.76], np.float32), 0.42 * under)
    front = _smooth(position[:, 2], 0.0, 0.03)
    jaw = _blob(position, (0.0, -0.100, 0.015), (0.030, 0.016, 0.03)) * front
    blend(colour, base * np.array([0.90, 0.90, 0.92], np.float32), 0.20 * jaw)
    _freckle(texels, inside, colour, position, params)
    if params.hair > 0:
        _crop(texels, inside, colour, position, params)
    near_eye = (
        (np.abs(np.abs(position[:, 0]) - 0.0315) < 0.036)
        & (np.abs(position[:, 1]) < 0.036)
        & (position[:, 2] > -0.03)
    )
    _lids(colour, position, near_eye, base, params)
    _lips(texels, inside, colour, params)
    _brows(colour, position, near_eye, params, texels.size)
    hidden = texels.cavity[inside]
    deep = _smooth(hidden, 0.55, 0.95) * (position[:, 2] > 0.0) * (position[:, 1] > -0.054)  # nostrils
    colour *= 1 - np.minimum(0.16 * hidden, 0.12)[:, None] * np.array([0.7, 1.0, 1.0], np.float32)
    blend(colour, base * np.array([0.30, 0.16, 0.14], np.float32), 0.85 * deep)
    return colour


def _freckle(
    texels: Texels, inside: np.ndarray, colour: np.ndarray, position: np.ndarray, params: AlbedoParams
) -> None:
    """Small brown dots, most over the nose and cheeks, and a few moles."""
    rng = np.random.default_rng(params.seed + 11)
    size = texels.size
    picture = Image.new("L", (size, size))
    draw = ImageDraw.Draw(picture)
    count = int(2600 * params.freckles)
    places = rng.random((count, 2)) * [0.5, 0.42] + [0.25, 0.28]
    shades, radii = rng.uniform(50, 170, count), rng.gamma(4.0, 0.00024, count)
    for (x, y), shade, radius in zip(places * size, shades, np.minimum(radii, 0.0022) * size, strict=True):
        draw.ellipse((x - radius, y - radius * 0.9, x + radius, y + radius * 0.9), fill=int(shade))
    for x, y in rng.random((5, 2)) * [0.6, 0.55] + [0.2, 0.15]:
        radius = rng.uniform(0.0008, 0.0016)
        draw.ellipse(
            [(x - radius) * size, (y - radius) * size, (x + radius) * size, (y + radius) * size],
            fill=int(230 * min(1, 3 * params.freckles)),
        )
    soft = picture.filter(ImageFilter.GaussianBlur(0.0006 * size))
    spots = np.asarray(soft, np.float32)[texels.row[inside], texels.column[inside]] / 255
    where = 0.25 + 0.75 * np.minimum(
        1,
        _blob(position, (0.030, -0.026, 0.02), (0.02, 0.014, 0.03))
        + _blob(position, (0, -0.03, 0.03), (0.012, 0.018, 0.03)),
    )
    blend(colour, params.skin_rgb() * np.array([0.68, 0.53, 0.42], np.float32), 0.75 * spots * where)


def _crop(
    texels: Texels, inside: np.ndarray, colour: np.ndarray, position: np.ndarray, params: AlbedoParams
) -> None:
    """The shade of cropped hair on the scalp, with a soft hairline in front of the ears and over the forehead."""
    x, y, z = position.T
    line = (
        0.062 - 0.55 * np.maximum(0, np.abs(x) - 0.035) + 0.002 * cloud(texels, inside, 90, params.seed + 3)
    )
    back = 0.046 - 1.9 * np.maximum(0, -z - 0.012)
    top = _smooth(y - np.where(z > -0.012, line, np.maximum(np.minimum(line, back), -0.085)), -0.004, 0.010)
    near_ear = 1 - _smooth(np.hypot((y + 0.022) / 0.036, (z + 0.062) / 0.032), 0.85, 1.1)
    ears = np.maximum(_smooth(np.abs(x), 0.070, 0.076) * near_ear, _smooth(np.abs(x), 0.077, 0.080))
    grain = 0.86 + 0.14 * np.clip(cloud(texels, inside, 700, params.seed + 4), -1.5, 1.5)
    blend(
        colour,
        np.asarray(params.brows, np.float32) * 0.9,
        np.clip(params.hair * 0.8 * top * (1 - ears) * grain, 0, 1),
    )


def rim_curves() -> list[np.ndarray]:
    """Dense polylines (M, 3) of the outer lid rims: left upper, left lower, right upper, right lower."""
    asset = load_head_asset()
    curves = []
    for side in SIDES:
        for half in (0, 1):
            loop = asset["template"][asset[f"rim_{side}"][-1][:, half]]
            at = np.linspace(0, len(loop) - 1, 160)
            curves.append(
                np.stack([np.interp(at, np.arange(len(loop)), loop[:, k]) for k in range(3)], axis=1)
            )
    return curves


def _lids(
    colour: np.ndarray, position: np.ndarray, near: np.ndarray, base: np.ndarray, params: AlbedoParams
) -> None:
    """Redder lids and a thin dark line where the lashes grow."""
    upper_l, lower_l, upper_r, lower_r = rim_curves()
    own, points = colour[near], position[near]
    upper, lower = (
        cKDTree(np.concatenate(pair)).query(points, distance_upper_bound=LID_REACH)[0].astype(np.float32)
        for pair in ([upper_l, upper_r], [lower_l, lower_r])
    )
    nearest = np.minimum(upper, lower)
    blend(own, base * np.array([0.90, 0.74, 0.72], np.float32), 0.45 * np.exp(-((nearest / 0.0055) ** 2)))
    blend(own, base * np.array([0.95, 0.70, 0.68], np.float32), 0.55 * np.exp(-((nearest / 0.0016) ** 2)))
    lash = np.asarray(params.lashes, np.float32)
    blend(own, lash, 0.80 * np.exp(-((upper / 0.00065) ** 2)))
    blend(own, lash, 0.28 * np.exp(-((lower / 0.0005) ** 2)))
    colour[near] = own


def _lips(texels: Texels, inside: np.ndarray, colour: np.ndarray, params: AlbedoParams) -> None:
    """Lip colour through the baked mask, with fine upright creases."""
    stored = load_paint()
    x0, y0, width, height = (float(v) for v in stored["lips_box"])
    u = (texels.column[inside] + 0.5) / texels.size
    v = (texels.row[inside] + 0.5) / texels.size
    on = (u > x0) & (u < x0 + width) & (v > y0) & (v < y0 + height)
    rows, columns = stored["lips"].shape
    mask = _bilinear(
        stored["lips"].astype(np.float32) / 255, (u[on] - x0) / width * columns, (v[on] - y0) / height * rows
    )
    amount = _smooth(mask, 0.45, 0.85)
    rng = np.random.default_rng(params.seed + 17)
    across = np.interp(np.arange(1024) / 1024, np.linspace(0, 1, 90), rng.standard_normal(90))
    crease = across[
        np.clip(((u[on] - x0) / width + 0.012 * np.sin(60 * (v[on] - y0))) * 1023, 0, 1023).astype(int)
    ]
    lip = params.lip_rgb() * (1 - 0.035 * crease[:, None].astype(np.float32))
    own = colour[on]
    blend(own, lip, 0.88 * amount)
    colour[on] = own


def _bilinear(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(N,) samples of image (h, w) at pixel coordinates with centres at +0.5."""
    x = np.clip(x - 0.5, 0, image.shape[1] - 1.001)
    y = np.clip(y - 0.5, 0, image.shape[0] - 1.001)
    column, row = x.astype(int), y.astype(int)
    fx, fy = x - column, y - row
    top = image[row, column] * (1 - fx) + image[row, column + 1] * fx
    bottom = image[row + 1, column] * (1 - fx) + image[row + 1, column + 1] * fx
    return top * (1 - fy) + bottom * fy


def brow_picture(seed: int, thickness: float, size: tuple[int, int]) -> np.ndarray:
    """(h, w) 0..1 coverage of brow hairs: along from head to tail, across from below to above; ``size`` (w, h)."""
    rng = np.random.default_rng(seed)
    width, height = BROW_MAP
    picture = Image.new("L", (width * 2, height * 2))
    draw = ImageDraw.Draw(picture)
    count = int(520 * thickness)
    at = rng.beta(1.15, 1.25, count)
    across = np.clip(rng.normal(0, 0.42, count), -0.95, 0.95)
    # Hairs rise at the head, lie along the brow in the middle and meet from both sides towards the tail.
    rise = np.interp(at, [0, 0.12, 0.35, 0.7, 1], [1.35, 0.95, 0.35, 0.10, 0.0]) + rng.normal(0, 0.10, count)
    rise -= np.interp(at, [0.15, 0.6, 1], [0, 0.30, 0.45]) * np.maximum(0, across)
    rise += np.interp(at, [0.15, 0.6, 1], [0, 0.20, 0.30]) * np.maximum(0, -across)
    length = rng.uniform(0.10, 0.17, count) * np.interp(at, [0, 0.2, 1], [0.75, 1, 0.75])
    step = np.linspace(0, 1, 5)[:, None]
    turn = rise * (1 - 0.35 * step)
    x = ((at + length * step * np.cos(turn)) * 0.86 + 0.035) * width * 2
    y = (0.5 - (across * 0.5 + 1.65 * length * step * np.sin(turn)) * 0.68) * height * 2
    shades, widths = rng.uniform(120, 235, count).astype(int), rng.integers(3, 6, count)
    for points, shade, stroke in zip(np.stack([x, y], axis=2).swapaxes(0, 1), shades, widths, strict=True):
        draw.line(points.ravel().tolist(), fill=int(shade), width=int(stroke), joint="curve")
    hairs = np.asarray(picture.resize(size, Image.Resampling.BOX), np.float32) / 255
    shade = (
        np.asarray(
            picture.filter(ImageFilter.GaussianBlur(14)).resize(size, Image.Resampling.BOX), np.float32
        )
        / 255
    )
    return np.clip(0.80 * hairs + 0.45 * shade, 0, 1)


def _brows(
    colour: np.ndarray, position: np.ndarray, near: np.ndarray, params: AlbedoParams, texels_wide: int
) -> None:
    """Hair-like strokes along the brow ridge."""
    if params.brow_thickness <= 0:
        return
    at = np.linspace(0, 1, 400)
    knots = np.linspace(0, 1, len(BROW_LINE))
    line = np.stack(
        [
            np.interp(at, knots, np.convolve(np.pad(BROW_LINE[:, k], 1, "edge"), [0.1, 0.8, 0.1], "valid"))
            for k in (0, 1)
        ],
        axis=1,
    )
    half = np.interp(at, knots, BROW_HALF)
    step = np.gradient(line, axis=0)
    up = np.stack([-step[:, 1], step[:, 0]], axis=1) / np.linalg.norm(step, axis=1, keepdims=True)
    size = (int(np.clip(texels_wide // 5, 32, BROW_MAP[0])), int(np.clip(texels_wide // 20, 8, BROW_MAP[1])))
    for sign, seed in ((1.0, 1), (-1.0, 2)):
        picture = brow_picture(params.seed * 7 + seed, params.brow_thickness, size)
        own = near & (position[:, 0] * sign > 0) & (position[:, 1] > 0.002)
        where = np.flatnonzero(own)
        points = position[where][:, :2] * [sign, 1]
        distance, nearest = cKDTree(line).query(points, distance_upper_bound=0.012)
        found = np.isfinite(distance)
        where, points, nearest = where[found], points[found], nearest[found]
        offset = points - line[nearest]
        across = np.einsum("nc,nc->n", offset, up[nearest]) / half[nearest]
        along = at[nearest] + np.einsum("nc,nc->n", offset, step[nearest]) / np.linalg.norm(
            step[nearest], axis=1
        ) ** 2 / len(at)
        height, width = picture.shape[0], picture.shape[1]
        x = (along * 0.86 + 0.035) * width
        y = height * (0.5 - across * 0.5 * 0.68)
        inside = (x > 0) & (x < width) & (y > 0) & (y < height)
        hair = np.where(inside, _bilinear(picture, x, y), 0).astype(np.float32)
        part = colour[where]
        blend(part, np.asarray(params.brows, np.float32), 0.92 * hair)
        colour[where] = part
