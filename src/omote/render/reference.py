"""The rasteriser in plain numpy: slow, short, and what the kernels are compared with."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SUBPIXELS = 4096
GUARD_BAND = 16384.0


def rasterize_reference(
    screen: Array, faces: Array, size: tuple[int, int], *, cull: bool = False
) -> tuple[Array, Array]:
    """The definition of `omote.render.rasterize`: same arguments, same result, one triangle at a time.

    Edge functions are 64-bit integers at every pixel of a triangle's box (Pineda 1988), with the top-left rule.
    """
    width, height = size
    best = np.zeros((height, width), np.int64)
    weights = np.zeros((height, width, 2), np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        screen = np.asarray(screen, np.float32)
        usable = (np.abs(screen[:, :2]) < GUARD_BAND).all(1) & (screen[:, 2] > 0) & (screen[:, 2] < 1e30)
    snapped = np.floor(np.where(usable[:, None], screen[:, :2], 0).astype(np.float64) * SUBPIXELS + 0.5)
    points, w = snapped.astype(np.int64), screen[:, 2].astype(np.float64)

    for triangle, corners in enumerate(np.asarray(faces)):
        a, b, c = corners
        area = _edge(points[a], points[b], *points[c])
        if not usable[corners].all() or area == 0 or (cull and area > 0):
            continue
        if area < 0:  # a front face, since y points down: wind it positively
            b, c = c, b
        low = np.maximum(-(-(points[corners].min(0) - SUBPIXELS // 2) // SUBPIXELS), 0)
        high = np.minimum((points[corners].max(0) - SUBPIXELS // 2) // SUBPIXELS, (width - 1, height - 1))
        if (low > high).any():
            continue
        columns, rows = np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1)[:, None]
        x, y = columns * SUBPIXELS + SUBPIXELS // 2, rows * SUBPIXELS + SUBPIXELS // 2
        edges = [_edge(points[p], points[q], x, y) for p, q in ((b, c), (c, a), (a, b))]
        owned = [_owns_its_edge(points[p], points[q]) for p, q in ((b, c), (c, a), (a, b))]
        inside = np.logical_and.reduce(
            [e > 0 if not own else e >= 0 for e, own in zip(edges, owned, strict=True)]
        )
        share = [e / abs(area) for e in edges]
        depth = w[a] + (w[b] - w[a]) * share[1] + (w[c] - w[a]) * share[2]
        key = (depth.astype(np.float32).view(np.int32).astype(np.int64) << 32) | (0xFFFFFFFF - triangle)
        here = np.s_[low[1] : high[1] + 1, low[0] : high[0] + 1]
        seen = inside & (key > best[here])
        best[here][seen] = key[seen]
        first, second = (1, 2) if area > 0 else (2, 1)
        projected = (
            np.stack([share[first] * w[corners[1]], share[second] * w[corners[2]]], -1) / depth[..., None]
        )
        weights[here][seen] = projected[seen]
    return np.where(best > 0, 0xFFFFFFFF - (best & 0xFFFFFFFF), -1).astype(np.int32), weights


def _edge(p: Array, q: Array, x: Any, y: Any) -> Any:
    """Twice the signed area of (p, q, (x, y)); above 0 to the right of p -> q, seen with y down."""
    return (q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0])


def _owns_its_edge(p: Array, q: Array) -> bool:
    """Top (horizontal, going right) and left (going up) edges own the pixel centres on them."""
    return bool(q[1] < p[1] or (q[1] == p[1] and q[0] > p[0]))
