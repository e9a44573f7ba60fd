"""What no photo shows: the other side of the face, then paint, both brought to the photo's colours without a seam.

Two pictures are joined by a membrane (Pérez, Gangnet and Blake 2003; Farbman et al. 2009): the log ratio of their
colours, known where both are, is continued harmonically over the rest. It is solved on the welded mesh, so that it
knows no UV seams.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from omote.render.albedo import paint_albedo
from omote.render.texture_atlas import AtlasMap, atlas_map, welded_edges
from omote.render.texture_eyes import fill_eyes
from omote.render.texture_skin import haired, near_lids, skin_likeness
from omote.render.texture_view import smoothstep

Floats = NDArray[np.float32]

SURE = 0.55
"""Confidence from which a seen colour is taken as it is."""
_ROUND_EYES = 2.2
"""Factor of the lids' reach within which shadows of the socket do not decide how a hidden lid is coloured."""
_FLOOR = 0.04
"""Added to colours before a ratio is taken: dark ones are noise."""
_TRUST = 3.0
"""How strongly a fully seen vertex holds its ratio against one neighbour."""
_PULL = 1e-4
"""How strongly an unseen vertex is drawn to the usual ratio: only across what has no other support."""
_MOST = 1.6
"""Largest log ratio: a factor of five."""


@lru_cache(maxsize=2)
def painted(size: int) -> Floats:
    """(N, 3) sRGB of the default paint at the covered texels."""
    return np.asarray(atlas_map(size).values(paint_albedo(size=size)) / np.float32(255), np.float32)


def fill(atlas: AtlasMap, colour: Floats, confidence: Floats) -> Floats:
    """Colours (N, 3) sRGB 0..1 of all texels, from those seen with a confidence (N,) 0..1."""
    paint = painted(atlas.size)
    eyes, lashes = atlas.part("eye_L", "eye_R"), atlas.part("lashes")
    surface = confidence * ~eyes
    own = np.concatenate([colour * surface[:, None], surface[:, None]], 1)
    twin = atlas.mirrored(atlas.image(own))
    twin_share = np.maximum(twin[:, 3] - 0.05, 0) / 0.95
    other = twin[:, :3] / np.maximum(twin[:, 3:], 1e-3)
    share = smoothstep(surface, 0.0, SURE)
    seen, known = colour, share
    if surface.any():
        matched = match(atlas, np.asarray(other, np.float32), colour, np.minimum(surface, twin_share))
        added = (1 - share) * smoothstep(twin_share, 0.0, SURE)
        seen = colour * share[:, None] + matched * added[:, None]
        known = share + added
        seen = np.asarray(seen / np.maximum(known, 1e-6)[:, None], np.float32)
    scalp = haired(atlas.size)
    skin = skin_likeness(atlas, seen, known)
    even = skin * (1 - 0.98 * near_lids(atlas.size, _ROUND_EYES))
    filled = match(atlas, paint, seen, known * (1 - scalp) * even)
    hair = match(atlas, paint, seen, known * scalp)
    filled += (hair - filled) * scalp[:, None]
    filled += (seen - filled) * known[:, None]
    balls, white = fill_eyes(atlas, colour, confidence, paint)
    filled[eyes] = balls
    inside = atlas.part("teeth_upper", "teeth_lower", "tongue")
    tinted = paint[inside] * white
    shown = smoothstep(confidence[inside], 0.2, 0.9)[:, None]
    filled[inside] = tinted + (colour[inside] - tinted) * shown
    filled[lashes] = np.minimum(filled[lashes], 1.0)
    return np.asarray(np.clip(filled, 0, 1), np.float32)


def match(atlas: AtlasMap, source: Floats, target: np.ndarray, amount: np.ndarray) -> Floats:
    """Source colours (N, 3) with low frequencies moved to those of a target (N, 3) known by an amount (N,) 0..1."""
    chosen = atlas.sampled
    ratio = np.log((target[chosen] + _FLOOR) / (source[chosen] + _FLOOR))
    means, mass = atlas.at_vertices(np.clip(ratio, -_MOST, _MOST), amount[chosen])
    gain = atlas.at_texels(np.exp(continue_harmonically(means, mass)))
    out = source + np.float32(_FLOOR)
    out *= gain
    out -= np.float32(_FLOOR)
    return np.asarray(np.clip(out, 0, 1, out=out), np.float32)


def continue_harmonically(values: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Smooth welded vertex values (U, C), held where their mass (U,) 0..1 is, harmonic elsewhere: (U, C)."""
    from scipy.sparse import coo_array, diags_array
    from scipy.sparse.linalg import splu

    count = len(values)
    pairs = welded_edges()
    rows, columns = np.concatenate([pairs, pairs[:, ::-1]]).T
    near = coo_array((np.ones(len(rows)), (rows, columns)), (count, count)).tocsr()
    held = _TRUST * np.minimum(mass, 1.0)
    usual = (values * mass[:, None]).sum(0) / max(float(mass.sum()), 1e-9)
    matrix = diags_array(np.asarray(near.sum(1)).ravel() + held + _PULL) - near
    return np.asarray(splu(matrix.tocsc()).solve(values * held[:, None] + usual * _PULL), np.float64)
