"""The light in a photo, as seen on skin, and its removal from a texture.

Light is a second-order spherical-harmonic function of the normal (Ramamoorthi and Hanrahan 2001), fitted to the seen
skin under the prior that skin has one colour. What that cannot tell apart, the brightness of light and skin, is settled
by keeping the mean colour of the skin.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.geometry.meshes import vertex_normals
from omote.render.shading import SH_SCALE, Lights
from omote.render.texture_atlas import AtlasMap, atlas_map, welded_edges
from omote.render.texture_skin import haired, skin_likeness
from omote.rigs.asset import load_head_asset, triangles

Floats = NDArray[np.float32]

RATIO = (0.62, 1.5)
"""Bounds of the shading that is divided out, linear light relative to the mean of the skin."""
_RIDGE = np.array([0, *(0.003,) * 3, *(0.06,) * 5])
"""Pull of each harmonic to 0, as a share of the evidence: half of all normals are never seen."""
_TINT = 0.5
"""How much of the light's change of colour, as against brightness, is removed: blushing is no light."""
_CEILING = 0.94
"""Linear light to which nothing is brightened: clipped channels would change its colour."""
_SHINE = 1.10
"""Brightness over that of the skin around from which a spot counts as a highlight."""
_SMOOTHING = 12
"""Times that normals are averaged with their neighbours': folds and nostrils are not where light is read or removed."""
_LEAST = 300
"""Seen texels of skin (at 512) without which no light is estimated."""


def estimate_light(colour: Floats, confidence: Floats, vertices_cam: np.ndarray) -> Lights | None:
    """Ambient light that explains the skin's shading.

    Args:
        colour: (S, S, 3) sRGB texture as `omote.render.texture.unproject` gives it.
        confidence: (S, S) 0..1.
        vertices_cam: (V, 3) metres, camera space, the head as it was in the photo.

    Returns:
        `Lights` in camera space whose mean over the seen skin is 1 in each channel, or None where too little skin is
        seen.
    """
    found = _fit(atlas_map(len(colour)), colour, confidence, vertices_cam)
    if found is None:
        return None
    import torch

    return Lights.from_harmonics(torch.from_numpy(found / np.array(SH_SCALE)[:, None]).float())


def remove_light(
    colour: Floats, confidence: Floats, vertices_cam: np.ndarray, strength: float = 1.0
) -> Floats:
    """The texture (S, S, 3) sRGB with its low-frequency shading divided out and highlights softened.

    Args:
        colour: (S, S, 3) sRGB.
        confidence: (S, S) 0..1.
        vertices_cam: (V, 3) metres, camera space, as in the photo.
        strength: 0 leaves the texture as it is, 1 removes all that the harmonics explain.
    """
    atlas = atlas_map(len(colour))
    coefficients = _fit(atlas, colour, confidence, vertices_cam)
    if coefficients is None or strength <= 0:
        return colour
    shade = harmonic_basis(_normals(vertices_cam)) @ coefficients
    grey = shade.mean(1, keepdims=True)
    shade = grey + _TINT * (shade - grey)
    ratio = np.clip(shade, *RATIO) ** -strength
    gain = atlas.at_texels(ratio)
    gain[atlas.part("eye_L", "eye_R", "teeth_upper", "teeth_lower", "tongue")] = 1  # in the shade of others
    values = to_linear(atlas.values(colour))
    most = np.maximum(_CEILING / np.maximum(values.max(1, keepdims=True), 1e-4), 1.0)
    values *= np.minimum(gain, most)
    values = _soften(atlas, to_srgb(values), atlas.values(confidence), strength)
    return atlas.image(values)


def _fit(atlas: AtlasMap, colour: Floats, confidence: Floats, vertices_cam: np.ndarray) -> np.ndarray | None:
    """(9, 3) coefficients of the plain basis: robust ridge regression, scaled to a mean of 1 over the seen skin."""
    values, amount = atlas.values(colour), atlas.values(confidence)
    amount = amount * atlas.part("skin") * (1 - haired(atlas.size))
    amount *= skin_likeness(atlas, values, amount)
    chosen = atlas.sampled[amount[atlas.sampled] > 0.3]
    if len(chosen) < _LEAST * (min(atlas.size, 512) / 512) ** 2:
        return None
    basis = harmonic_basis(atlas.at_texels(_normals(vertices_cam), chosen))
    target, weight = to_linear(values[chosen]).astype(np.float64), amount[chosen].astype(np.float64)
    robust = weight
    for _ in range(5):
        weighted = basis * robust[:, None]
        ridge = np.diag(_RIDGE * robust.sum())
        coefficients = np.linalg.solve(weighted.T @ basis + ridge, weighted.T @ target)
        explained = basis @ coefficients
        away = np.abs(target - explained).mean(1) / np.maximum(explained.mean(1), 1e-3)
        robust = weight / (1 + (away / max(2.0 * float(np.median(away)), 0.02)) ** 2)
    mean = (weight[:, None] * explained).sum(0) / weight.sum()
    return np.asarray(coefficients / np.maximum(mean, 1e-4))


def harmonic_basis(normals: np.ndarray) -> np.ndarray:
    """(n, 9) float64: 1, x, y, z, xy, xz, yz, x² - y², 3z² - 1 of normals (n, 3), which are made unit."""
    x, y, z = (
        (normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)).astype(np.float64).T
    )
    return np.stack([np.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], 1)


def _normals(vertices_cam: Any) -> Floats:
    """(U, 3) normals of the welded head, smoothed."""
    asset = load_head_asset()
    normals = vertex_normals(np.asarray(vertices_cam, np.float32), triangles(asset["quads"]), asset["weld"])
    welded = np.zeros((int(asset["expand"].max()) + 1, 3))
    welded[asset["expand"]] = normals
    mean = _neighbour_mean()
    for _ in range(_SMOOTHING):
        welded = mean @ welded
        welded /= np.maximum(np.linalg.norm(welded, axis=1, keepdims=True), 1e-9)
    return np.asarray(welded, np.float32)


@cache
def _neighbour_mean() -> Any:
    """(U, U) sparse: the mean of a welded vertex and its neighbours."""
    from scipy.sparse import coo_array, diags_array, eye_array

    pairs = welded_edges()
    rows, columns = np.concatenate([pairs, pairs[:, ::-1]]).T
    count = int(load_head_asset()["expand"].max()) + 1
    near = coo_array((np.ones(len(rows)), (rows, columns)), (count, count)).tocsr() + eye_array(count)
    return (diags_array(1 / np.asarray(near.sum(1)).ravel()) @ near).tocsr()


def _soften(atlas: AtlasMap, values: Floats, confidence: Floats, strength: float) -> Floats:
    """Press down what is much brighter than the skin around it, and give it the colour of that skin."""
    import cv2

    share = confidence * atlas.part("skin") * skin_likeness(atlas, values, confidence)
    step = max(1, atlas.size // 128)
    own = atlas.image(np.concatenate([values * share[:, None], share[:, None]], 1))
    small = cv2.resize(own, (atlas.size // step,) * 2, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 3.0)
    wide = atlas.values(cv2.resize(small, (atlas.size, atlas.size), interpolation=cv2.INTER_LINEAR))
    around = wide[:, :3] / np.maximum(wide[:, 3:], 1e-3)
    near = np.maximum(around.mean(1), 0.05)
    bright = np.maximum(values.mean(1), 1e-3)
    usual = near * _SHINE
    excess = np.maximum(bright / near - _SHINE, 0) * (wide[:, 3] > 0.02) * atlas.part("skin") * strength
    pressed = np.where(excess > 0, bright + 0.55 * strength * (usual - bright), bright)
    lower = values * (pressed / bright)[:, None]
    toned = around * (pressed / near)[:, None]
    return np.asarray(lower + (toned - lower) * np.minimum(3 * excess, 0.6)[:, None], np.float32)


def to_linear(encoded: np.ndarray) -> Floats:
    """SRGB 0..1 to linear light, by table (1/4096)."""
    table = np.linspace(0, 1, 4097, dtype=np.float32)
    table = np.where(table <= 0.04045, table / 12.92, ((table + 0.055) / 1.055) ** 2.4).astype(np.float32)
    return np.asarray(table[(np.clip(encoded, 0, 1) * 4096 + 0.5).astype(np.int32)], np.float32)


def to_srgb(linear: np.ndarray) -> Floats:
    """Linear light to sRGB 0..1; what is brighter than 1 stays 1."""
    values = np.clip(linear, 0, 1)
    bright = 1.055 * np.maximum(values, 0.0031308) ** np.float32(1 / 2.4) - 0.055
    return np.asarray(np.where(values <= 0.0031308, values * 12.92, bright), np.float32)
