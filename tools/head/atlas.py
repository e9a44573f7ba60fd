"""Our own texture atlas: MakeHuman's islands cover a whole body, so the face gets a hundred texels. Here it
gets most of them.

Each connected island keeps its shape and orientation; the skin of the head is turned upright and magnified
towards the face by one monotone function per axis, which cannot fold a triangle that is small against the
magnification.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

HEAD_BOX = (0.005, 0.005, 0.99, 0.755)
BOXES: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "neck": ((0.005, 0.768, 0.28, 0.145),),
    "mouth": ((0.295, 0.768, 0.215, 0.155),),
    "eye_front": ((0.52, 0.768, 0.11, 0.11), (0.637, 0.768, 0.11, 0.11)),
    "eye_back": ((0.85, 0.875, 0.055, 0.055), (0.91, 0.875, 0.055, 0.055)),
    "tongue": ((0.755, 0.768, 0.085, 0.16),),
    "eye_socket": ((0.85, 0.768, 0.068, 0.1), (0.925, 0.768, 0.068, 0.1)),
    "teeth_upper": ((0.005, 0.92, 0.2, 0.075),),
    "teeth_lower": ((0.215, 0.93, 0.19, 0.065),),
    "lashes": (
        (0.42, 0.93, 0.1, 0.045),
        (0.53, 0.93, 0.1, 0.045),
        (0.64, 0.93, 0.1, 0.045),
        (0.75, 0.935, 0.1, 0.045),
    ),
}
"""(x, y, width, height) of the place of each kind of island; those with several are filled from the subject's
left."""
FACE_SPREAD = 0.09
"""Half width of the magnified zone across, in MakeHuman's UV units (ears at 0.14)."""
FACE_ROW, FACE_ROWS = 0.88, 0.07
"""Centre and half height of the magnified zone, between brows and chin."""


def islands(quads: np.ndarray, count: int) -> np.ndarray:
    """(V,) number of the connected island of each vertex."""
    first, second = quads[:, [0, 1, 2]].ravel(), quads[:, [1, 2, 3]].ravel()
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _magnify(x: np.ndarray, centre: float, width: float, gain: float) -> np.ndarray:
    """Monotone x whose slope is 1 + gain exp(-((x - centre) / width)^2)."""
    grid = np.linspace(x.min(), x.max(), 4001)
    slope = 1 + gain * np.exp(-(((grid - centre) / width) ** 2))
    return np.interp(x, grid, np.concatenate([[0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(grid))]))


def _place(uv: np.ndarray, box: tuple[float, float, float, float], *, stretch: bool = False) -> np.ndarray:
    low, size = uv.min(0), np.ptp(uv, axis=0)
    room = np.array(box[2:])
    scale = room / size if stretch else np.full(2, (room / size).min())
    return np.array(box[:2]) + (room - size * scale) / 2 + (uv - low) * scale


def layout(
    uv: np.ndarray, quads: np.ndarray, quad_part: np.ndarray, parts: tuple[str, ...], position: np.ndarray
) -> np.ndarray:
    """(V, 2) new UVs, origin top-left.

    Args:
        uv: (V, 2) MakeHuman's UVs, origin top-left.
        quads: (Q, 4) with vertices split at seams; quad_part: (Q,) indices into ``parts``.
        position: (V, 3) any frame with +x to the subject's left, +z towards the front.
    """
    island = islands(quads, len(uv))
    out = np.zeros_like(uv)
    free = {kind: list(boxes) for kind, boxes in BOXES.items()}
    used = np.unique(island[quads[:, 0]])
    for number in sorted(used, key=lambda n: -position[island == n, 0].mean()):
        inside = island == number
        name = parts[int(np.bincount(quad_part[island[quads[:, 0]] == number]).argmax())]
        own = uv[inside]
        if name == "skin" and inside.sum() > 1000:
            x = _magnify(1 - own[:, 1], 1 - (own[:, 1].min() + own[:, 1].max()) / 2, FACE_SPREAD, 2.0)
            y = _magnify(own[:, 0], FACE_ROW, FACE_ROWS, 1.6)
            out[inside] = _place(np.stack([x, y], axis=1), HEAD_BOX, stretch=True)
            continue
        kind = "neck" if name == "skin" else name
        if kind.startswith("eye_") and kind != "eye_socket":
            middle = position[np.unique(quads[quad_part == parts.index(name)]), 2].mean()
            kind = "eye_front" if position[inside, 2].mean() > middle else "eye_back"
        out[inside] = _place(own, free[kind].pop(0))
    return out
