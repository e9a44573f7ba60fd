"""Samples of a photo at scattered places, filtered to the size of the texels that they are for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_ROW = 4096
_LEVELS = 5


def photo_colours(picture: Floats, spots: Floats, footprint: Floats) -> Floats:
    """Colours of a photo where texels lie: an area average where a texel covers several pixels, else bicubic.

    Args:
        picture: (H, W, 3) sRGB 0..1.
        spots: (n, 2) pixels, centres at +0.5.
        footprint: (n,) pixels that a texel's side covers.

    Returns:
        (n, 3) sRGB 0..1. Between the halvings of the picture (each a box average) values are interpolated, as in
        trilinear mip-mapping (Williams 1983).
    """
    import cv2

    level = np.clip(np.log2(np.maximum(footprint, 1e-3)), 0, _LEVELS - 1)
    level[level < 0.15] = 0
    out = np.zeros((len(spots), 3), np.float32)
    x0, y0 = np.maximum(np.floor(spots.min(0)).astype(int) - 64, 0) if len(spots) else (0, 0)
    x1, y1 = np.ceil(spots.max(0)).astype(int) + 64 if len(spots) else (1, 1)
    reduced, corner = picture[y0:y1, x0:x1], np.array([x0, y0], np.float32)
    for k in range(int(np.ceil(level.max(initial=0))) + 1):
        if k:
            height, width = reduced.shape[0] // 2 * 2, reduced.shape[1] // 2 * 2
            if min(height, width) < 4:
                break
            reduced = cv2.resize(
                reduced[:height, :width], (width // 2, height // 2), interpolation=cv2.INTER_AREA
            )
        share = np.maximum(1 - np.abs(level - k), 0)
        used = np.flatnonzero(share)
        if not len(used):
            continue
        rows = -(-len(used) // _ROW)
        grid = np.zeros((rows * _ROW, 2), np.float32)
        grid[: len(used)] = (spots[used] - corner) / 2**k - 0.5
        how = cv2.INTER_LINEAR if k else cv2.INTER_CUBIC
        found = cv2.remap(reduced, grid.reshape(rows, _ROW, 2), None, how, None, cv2.BORDER_REPLICATE)
        out[used] += found.reshape(-1, 3)[: len(used)] * share[used, None]
    return np.clip(out, 0, 1)
