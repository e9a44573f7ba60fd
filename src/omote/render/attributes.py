"""Per-vertex values seen at each pixel: visibility and perspective-correct interpolation in one pass."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

from omote.checks import check_shape
from omote.render.rasterize import kernels, workspace


@cache
def _kernels() -> Any:
    kernels()  # initialises Warp
    from omote.render import warp_attributes

    return warp_attributes


def draw_attributes(
    screen: np.ndarray[Any, Any],
    faces: np.ndarray[Any, Any],
    values: np.ndarray[Any, Any],
    size: tuple[int, int],
    *,
    cull: bool = False,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Rasterise a mesh and interpolate values over it (CPU).

    Args:
        screen: (V, 3) x px, y px, 1/depth, as `omote.render.rasterize.rasterize` takes it.
        faces: (F, 3) vertex indices; they are not checked.
        values: (V, K) what to interpolate.
        size: (width, height) pixels.
        cull: leave out triangles seen from behind.

    Returns:
        triangle_id (H, W) int32, -1 where nothing is seen; (K, H, W) float32 values, 0 where nothing is seen.

    Raises:
        InputError: if values are not one row a vertex.
    """
    import warp as wp

    k, view = _kernels(), kernels().array_view
    width, height = size
    device = torch.device("cpu")
    points = torch.from_numpy(np.ascontiguousarray(screen, np.float32))
    attributes = torch.from_numpy(np.ascontiguousarray(values, np.float32))
    check_shape("values", attributes, len(points), None)
    space = workspace(device, size, len(points), len(faces))
    space.draw(points, torch.from_numpy(np.ascontiguousarray(faces)), cull=cull)
    count = attributes.shape[1]
    triangle_id = torch.empty(height, width, dtype=torch.int32)
    planes = torch.empty(count, height, width)
    inputs = [space.planes_view, width, height, 1, 1, count, space.keys_view, space.faces_view]
    inputs += [view(attributes.view(-1), wp.float32), view(triangle_id.view(-1), wp.int32)]
    inputs.append(view(planes.view(-1), wp.float32))
    wp.launch(k.interpolate_pixels, dim=(1, 1), inputs=inputs, device="cpu")
    return triangle_id.numpy(), planes.numpy()
