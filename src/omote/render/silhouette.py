"""Anti-aliased outlines, with the gradient that visibility alone lacks: how coverage changes with motion.

Between two neighbouring pixel centres of which one is foreground, the outline crosses at the share s of the
way from the foreground centre. Coverage shifts by s − 1/2: beyond the middle the background pixel gains, before
it the foreground pixel loses (compare analytic anti-aliasing in Laine et al. 2020). Steep edges act on
horizontal pairs only and flat edges on vertical pairs only, else every motion would count twice. Only outlines
against the background, not self-occlusion.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]


def antialias_silhouette(
    image: Tensor, triangle_id: Tensor, screen: Tensor, faces: Tensor, *, weld: Any = None
) -> Tensor:
    """Blend pixels along the outline by the exact position of its edges.

    Args:
        image: (H, W, C) colours multiplied by alpha, or a mask, with the background's values where nothing is seen.
        triangle_id: (H, W) int32 visibility, -1 for the background.
        screen: (V, 3) x px, y px, 1/depth; gradients flow to x and y.
        faces: (F, 3) vertex indices.
        weld: (V,) canonical vertices, so that texture seams are no borders.

    Returns:
        (H, W, C), equal to ``image`` away from the outline.
    """
    height, width, channels = image.shape
    edges = _outline_edges(screen.detach().cpu().numpy(), faces.cpu().numpy(), weld)
    covered = (triangle_id >= 0).cpu().numpy()
    flat = image.reshape(-1, channels)
    change = torch.zeros_like(flat)
    for axis in (0, 1):  # 0: steep edges, horizontal pairs; 1: flat edges, vertical pairs
        found = _crossings(screen.detach().cpu().numpy(), edges, covered, axis)
        if not len(found[0]):
            continue
        ends, line, foreground, background, sign = (torch.as_tensor(a, device=image.device) for a in found)
        # where the edge meets the line through the pixel centres, along the pair's direction
        a, b = screen[ends[:, 0]], screen[ends[:, 1]]
        along, across = (0, 1) if axis == 0 else (1, 0)
        position = a[:, along] + (line.to(screen) - a[:, across]) * (b[:, along] - a[:, along]) / (
            b[:, across] - a[:, across]
        )
        centre = (foreground % width if axis == 0 else foreground // width).to(screen) + 0.5
        shift = ((position - centre) * sign.to(screen) - 0.5).to(image)[:, None]
        difference = flat[foreground] - flat[background]
        change = change.index_add(0, background, shift.clamp_min(0) * difference)
        change = change.index_add(0, foreground, shift.clamp_max(0) * difference)
    return (flat + change).view(height, width, channels)


def _outline_edges(screen: Array, faces: Array, weld: Any) -> Array:
    """Edges (E, 2) between a front and a back face, or at a border, of which all vertices are in view."""
    joined = faces if weld is None else np.asarray(weld)[faces]
    first, second, corners = _mesh_edges(np.ascontiguousarray(joined, np.int64).tobytes())
    x, y, w = screen.T
    a, b, c = faces.T
    area = (x[b] - x[a]) * (y[c] - y[a]) - (y[b] - y[a]) * (x[c] - x[a])
    front: Array = np.less(area, 0)
    in_view = np.where(np.isfinite(screen.sum(1)), w, -1.0)
    usable: Array = np.min(in_view[faces], axis=1) > 0
    outline = ((second < 0) | (front[first] != front[second])) & usable[first]
    chosen = faces[first[outline]]
    start = corners[outline]
    rows = np.arange(len(chosen))
    return np.stack([chosen[rows, start], chosen[rows, (start + 1) % 3]], -1)


@lru_cache(maxsize=4)
def _mesh_edges(face_bytes: bytes) -> tuple[Array, Array, Array]:
    """Every edge once: a face it belongs to, the other face or -1, and the corner of the first face it starts at."""
    faces = np.frombuffer(face_bytes, np.int64).reshape(-1, 3)
    pairs = np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2)
    face, corner = np.divmod(np.arange(len(pairs)), 3)
    pairs = np.sort(pairs, 1)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    pairs, face, corner = pairs[order], face[order], corner[order]
    starts = np.flatnonzero(np.r_[True, (pairs[1:] != pairs[:-1]).any(1)])[: len(pairs)]
    counts = np.diff(np.r_[starts, len(pairs)])
    other = np.full(len(starts), -1)
    other[counts == 2] = face[starts[counts == 2] + 1]  # edges of three or more faces count as borders
    real = pairs[starts, 0] != pairs[starts, 1]
    return face[starts][real], other[real], corner[starts][real]


def _crossings(screen: Array, edges: Array, covered: Array, axis: int) -> tuple[Array, ...]:
    """Where edges pass between a covered and an empty pixel: one crossing, the outermost, for each pair of pixels.

    Returns:
        edge ends (N, 2), the coordinate of the line through the centres (N,), flat indices of the foreground and the
        background pixel (N,), and +1 or -1, the direction from foreground to background.
    """
    height, width = covered.shape
    along, across, length, lines = (0, 1, width, height) if axis == 0 else (1, 0, height, width)
    a, b = screen[edges[:, 0]].astype(np.float64), screen[edges[:, 1]].astype(np.float64)
    delta = np.abs(b - a)
    mine = delta[:, 1] >= delta[:, 0] if axis == 0 else delta[:, 1] < delta[:, 0]
    low = np.ceil(np.minimum(a[:, across], b[:, across]) - 0.5).clip(0, lines)
    high = np.ceil(np.maximum(a[:, across], b[:, across]) - 0.5).clip(
        0, lines
    )  # half open: no line counts twice
    count = np.where(mine, high - low, 0).astype(np.int64)
    edge = np.repeat(np.arange(len(edges)), count)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    index = low[edge].astype(np.int64) + step
    line = index + 0.5
    slope = (b[edge, along] - a[edge, along]) / (b[edge, across] - a[edge, across])
    position = a[edge, along] + (line - a[edge, across]) * slope
    before = np.floor(position - 0.5)
    inside = (before >= 0) & (before < length - 1)
    edge, index, position, line = edge[inside], index[inside], position[inside], line[inside]
    before = before[inside].astype(np.int64)
    first = index * width + before if axis == 0 else before * width + index
    second = first + (1 if axis == 0 else width)
    flat = covered.reshape(-1)
    outline = flat[first] != flat[second]
    edge, first, second, position, line, before = (
        v[outline] for v in (edge, first, second, position, line, before)
    )
    forward = flat[first]
    share = np.where(forward, position - before - 0.5, before + 1.5 - position)
    order = np.lexsort((share, first))
    last = np.r_[first[order][1:] != first[order][:-1], True][: len(order)]
    keep = order[last]
    forward, first, second = forward[keep], first[keep], second[keep]
    return (
        edges[edge[keep]],
        line[keep],
        np.where(forward, first, second),
        np.where(forward, second, first),
        np.where(forward, 1, -1),
    )
