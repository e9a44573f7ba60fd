"""How a wild sample looks: skin, light, background, what is in front of the face, and what a camera does to it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from omote.render import Albedo, Lights

Array = np.ndarray
Chance = np.random.Generator

SKINS = 48
"""Painted faces that samples choose from; light and camera vary their colours further."""
TEXELS = 512
_SCANS = 0.27
"""How many heads have one colour, as untextured scans have."""


@lru_cache(maxsize=SKINS)
def painted_skin(number: int) -> Albedo:
    """One of the painted faces: skin tone, brows, iris, lips, hair and freckles drawn by its number."""
    from omote.render import Albedo
    from omote.render.albedo import AlbedoParams, paint_albedo

    rng = np.random.default_rng([7, number])
    dark = rng.random() ** 1.5
    hair = tuple(
        float(c) for c in np.array([0.42, 0.30, 0.20]) * rng.uniform(0.15, 1.6) * rng.uniform(0.9, 1.1, 3)
    )
    irises = (
        (0.36, 0.235, 0.125),
        (0.22, 0.14, 0.09),
        (0.35, 0.48, 0.60),
        (0.38, 0.45, 0.30),
        (0.30, 0.33, 0.36),
    )
    iris = tuple(float(c) for c in np.clip(np.array(irises[rng.integers(5)]) * rng.uniform(0.8, 1.2), 0, 1))
    params = AlbedoParams(
        skin=float(np.clip((number + 0.5) / SKINS * 0.6 + dark * 0.4, 0, 1)),
        brows=(hair[0], hair[1], hair[2]),
        brow_thickness=float(np.clip(rng.normal(1.0, 0.45), 0.0, 2.0)),
        iris=(iris[0], iris[1], iris[2]),
        hair=float(rng.choice((0.0, 0.3, 0.6, 1.0))),
        freckles=float(rng.choice((0.0, 0.1, 0.5))),
        seed=number,
    )
    return Albedo.from_srgb(paint_albedo(params, TEXELS))


@lru_cache(maxsize=1)
def usual_skin() -> Albedo:
    """The default painted face, of the paper's recipe."""
    from omote.render import Albedo
    from omote.render.albedo import paint_albedo

    return Albedo.from_srgb(paint_albedo(None, TEXELS))


def random_albedo(rng: Chance) -> Albedo | Array:
    """A painted face, or one colour for all (an untextured scan) one time in four."""
    if rng.random() < _SCANS:
        return _one_colour(rng)
    return painted_skin(int(rng.integers(SKINS)))


def own_albedo(colours: Array | None, rng: Chance | None) -> Albedo | Array | None:
    """What a rig of one's own wears: its colours (V, 3), clay (None) if it has none, now and then one colour for all.

    Args:
        colours: sRGB, uint8 or 0..1.
        rng: None for never.
    """
    from omote.render import Albedo

    if rng is not None and rng.random() < _SCANS:
        return _one_colour(rng)
    return None if colours is None else Albedo.from_srgb(np.asarray(colours))


def _one_colour(rng: Chance) -> Array:
    grey = rng.uniform(0.25, 0.92)
    return np.clip(grey + rng.normal(0, 0.04, 3) * rng.integers(2), 0.05, 1).astype(np.float32)


def random_lights(rng: Chance) -> Lights:
    """A studio, or one to three lights from in front over a sky of random tint."""
    import torch

    from omote.render import Lights

    if rng.random() < 0.2:
        return Lights.three_point(
            key=rng.uniform(0.6, 1.2), fill=rng.uniform(0.1, 0.5), rim=rng.uniform(0.0, 0.9)
        )
    tint = np.clip(1 + rng.normal(0, 0.09, 3), 0.7, 1.3)
    ambient = rng.uniform(0.15, 0.75)
    sky = ambient * tint * rng.uniform(0.7, 1.3)
    ground = ambient * tint * rng.uniform(0.2, 1.0)
    count = int(rng.integers(0 if ambient > 0.5 else 1, 4))
    directions = rng.normal(0, 1, (count, 3)) + (0, 0.4, 0.7)
    colours = rng.uniform(0.1, 1.0, (count, 1)) * (1.25 - ambient) / max(count, 1) ** 0.5
    colours = colours * np.clip(1 + rng.normal(0, 0.1, (count, 3)), 0.6, 1.4)
    base = Lights.hemisphere(sky.astype(np.float32), ground.astype(np.float32))
    return Lights(
        torch.from_numpy(directions.astype(np.float32).reshape(-1, 3)),
        torch.from_numpy(colours.astype(np.float32).reshape(-1, 3)),
        base.harmonics,
        specular=float(rng.uniform(0, 0.25)),
        shininess=float(rng.uniform(8, 40)),
    )


def random_background(rng: Chance, size: int) -> Array:
    """(size, size, 3) float32 sRGB: one colour, a gradient, or blurred patches."""
    import cv2

    if rng.random() < 0.45:
        return np.broadcast_to(rng.uniform(0, 1, 3).astype(np.float32), (size, size, 3))
    cells = int(rng.choice((2, 3, 6, 12)))
    coarse = rng.uniform(0, 1, (cells, cells, 3)).astype(np.float32) * rng.uniform(0.4, 1)
    picture = cv2.resize(
        coarse, (size, size), interpolation=cv2.INTER_CUBIC if rng.random() < 0.7 else cv2.INTER_AREA
    )
    return np.clip(picture, 0, 1)


def occlude(
    rgb: Array, normal: Array, mask: Array, landmarks: Array, rng: Chance
) -> tuple[Array, Array, Array]:
    """Draw strands of hair, glasses or a blob in front of the face.

    Args:
        rgb: (S, S, 3) uint8.
        normal: (S, S, 3) uint8, encoded.
        mask: (S, S) uint8 of 0 and 255; what is covered leaves it.
        landmarks: (478, 2) px.
        rng: seeded for the sample.

    Returns:
        The three pictures, changed or not.
    """
    import cv2

    scale = float(np.linalg.norm(landmarks[263] - landmarks[33]))
    cover = np.zeros(mask.shape, np.uint8)
    paint = np.zeros_like(rgb)
    if rng.random() < 0.25:
        _hair(paint, cover, landmarks, scale, rng)
    if rng.random() < 0.08:
        _glasses(paint, cover, landmarks, scale, rng)
    if rng.random() < 0.08:
        spot = landmarks[rng.integers(468)] + rng.normal(0, 0.6 * scale, 2)
        axes = tuple(int(a) for a in rng.uniform(0.1, 0.4, 2) * scale)
        colour = [int(c) for c in rng.integers(0, 256, 3)]
        for picture, ink in ((paint, colour), (cover, 255)):
            cv2.ellipse(
                picture, (int(spot[0]), int(spot[1])), axes, rng.uniform(0, 180), 0, 360, ink, -1, cv2.LINE_AA
            )
    if not cover.any():
        return rgb, normal, mask
    share = cover[..., None].astype(np.float32) / 255
    rgb = np.rint(rgb * (1 - share) + paint * share).astype(np.uint8)
    if rng.random() < 0.6:  # a scan has hair and glasses as well, with normals of their own
        rough = cv2.GaussianBlur(rng.normal(0, 1, (*mask.shape, 2)).astype(np.float32), (0, 0), 1.5)
        bump = np.dstack([np.clip(127.5 + rough * 160, 0, 255), np.full(mask.shape, 210, np.float32)])
        normal = np.rint(normal * (1 - share) + bump * share).astype(np.uint8)
        mask = np.where(cover > 127, 0, mask).astype(np.uint8)
    return rgb, normal, mask


def _hair(paint: Array, cover: Array, landmarks: Array, scale: float, rng: Chance) -> None:
    """Strands that fall from above the forehead to the sides."""
    import cv2

    top, side = landmarks[10], rng.choice((-1.0, 1.0))
    colour = rng.uniform(10, 160) * np.array([1.0, 0.8, 0.6]) ** rng.uniform(0, 1.5)
    root = top + (rng.normal(0, 0.3) * scale, -rng.uniform(0.2, 0.5) * scale)
    length, spread = rng.uniform(0.3, 1.4) * scale, rng.uniform(0.1, 0.7) * scale
    along = np.linspace(0, 1, 8)[:, None]
    for _ in range(int(rng.integers(10, 90))):
        start = root + rng.normal(0, 1, 2) * (spread, 0.1 * scale)
        lean = side * rng.uniform(0.1, 0.9)
        path = start + along * (lean * length, length) + along**2 * (side * rng.normal(0, 0.2) * scale, 0)
        ink = [int(c) for c in np.clip(colour * rng.uniform(0.6, 1.3), 0, 255)]
        line = np.rint(path * 8).astype(np.int32)
        width = int(rng.integers(1, 3))
        cv2.polylines(paint, [line], False, ink, width + 1, cv2.LINE_AA, shift=3)
        cv2.polylines(cover, [line], False, 255, width, cv2.LINE_AA, shift=3)


def _glasses(paint: Array, cover: Array, landmarks: Array, scale: float, rng: Chance) -> None:
    import cv2

    ink = [int(c) for c in rng.integers(0, 120, 3)]
    axes = tuple(int(a) for a in np.array([0.24, 0.19]) * scale * rng.uniform(0.85, 1.2, 2))
    width = max(1, int(rng.uniform(0.015, 0.04) * scale))
    centres = [landmarks[list(corners)].mean(0) for corners in ((33, 133), (263, 362))]
    for picture, colour in ((paint, ink), (cover, 255)):
        for x, y in centres:
            cv2.ellipse(picture, (int(x), int(y)), axes, 0, 0, 360, colour, width, cv2.LINE_AA)
        bridge = [np.rint(p).astype(int) for p in (landmarks[133], landmarks[362])]
        cv2.line(picture, tuple(bridge[0]), tuple(bridge[1]), colour, width, cv2.LINE_AA)


def photograph(rgb: Array, rng: Chance) -> Array:
    """Exposure, contrast, white balance, blur, low resolution and noise of a camera, on (S, S, 3) uint8."""
    import cv2

    picture = rgb.astype(np.float32) / 255
    size = rgb.shape[0]
    if rng.random() < 0.5:
        gain, gamma = rng.uniform(0.7, 1.3), rng.uniform(0.75, 1.35)
        tint = np.clip(1 + rng.normal(0, 0.06, 3), 0.8, 1.2).astype(np.float32)
        picture = np.clip(picture * gain * tint, 0, 1) ** gamma
    if rng.random() < 0.1:
        picture = np.repeat(picture.mean(-1, keepdims=True), 3, -1)
    if rng.random() < 0.2:
        small = max(64, int(size * rng.uniform(0.3, 0.8)))
        picture = cv2.resize(cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA), (size, size))
    elif rng.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < 0.5:
        picture = picture + rng.normal(0, rng.uniform(0.004, 0.03), picture.shape).astype(np.float32)
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def weathered_normals(normal: Array, mask: Array, rng: Chance) -> Array:
    """What scanning does to normals: smoothing, grain, a slight tilt of all; on encoded (S, S, 3) uint8."""
    import cv2

    values = normal.astype(np.float32) - 127.5
    if rng.random() < 0.3:
        values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.5, 2.0))
    if rng.random() < 0.4:
        grain = rng.normal(0, 1, values.shape).astype(np.float32)
        if rng.random() < 0.5:
            grain = cv2.GaussianBlur(grain, (0, 0), 1.2) * 3
        values = values + grain * rng.uniform(1, 10)
    if rng.random() < 0.3:
        values = values + np.append(rng.normal(0, 6, 2), 0).astype(np.float32)
    values /= np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-3) / 127.5
    encoded = np.rint(np.clip(values + 127.5, 0, 255)).astype(np.uint8)
    return np.where(mask[..., None] > 0, encoded, normal)
