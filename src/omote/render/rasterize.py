"""Which triangle does each pixel see, and where on it: the visibility step that everything else builds on.

Not differentiable; `omote.render.buffers` recomputes barycentrics from the vertices at the fixed triangle ids.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omote.checks import check_shape
from omote.errors import InputError
from omote.render.memory import Arena

MAX_SIZE = 8192  # px a side; keeps pixel indices and edge functions exact
_KEPT_WORKSPACES = 6
_local = threading.local()


@contextmanager
def _without_line(text: str) -> Iterator[None]:
    """Keep native code from writing lines with ``text`` to stderr; what else it writes comes after."""
    with tempfile.TemporaryFile() as caught:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            rest = b"".join(line for line in caught if text.encode() not in line)
            if rest:
                os.write(2, rest)


@cache
def kernels() -> Any:
    """The Warp kernels, initialised quietly at first use; compiled once a machine, which takes seconds."""
    import warp

    level = warp.config.log_level
    warp.config.log_level = warp.LOG_ERROR
    try:
        with _without_line("Could not find or load the NVIDIA CUDA driver"):
            warp.init()
        from omote.render import warp_kernels
    finally:
        warp.config.log_level = max(level, warp.LOG_WARNING)
    return warp_kernels


class Workspace:
    """Buffers and prepared launches for one image size and one mesh size on one device."""

    def __init__(
        self, device: torch.device, size: tuple[int, int], vertex_count: int, face_count: int
    ) -> None:
        import warp as wp

        self._k = kernels()
        width, height = size
        self.size = size
        self.screen = torch.empty(vertex_count, 3, dtype=torch.float32, device=device)
        self.faces = torch.empty(face_count, 3, dtype=torch.int32, device=device)
        self.layer = torch.zeros(max(face_count, 1), dtype=torch.uint8, device=device)
        self.snapped = torch.empty(vertex_count, 3, dtype=torch.int32, device=device)
        self.planes = torch.empty(face_count, 3, 3, dtype=torch.float64, device=device)
        self.keys = torch.zeros(height * width, dtype=torch.int64, device=device)
        view = self._k.array_view
        self.planes_view = view(self.planes, wp.mat33d)
        self.keys_view = view(self.keys, wp.int64)
        self.faces_view = view(self.faces, wp.vec3i)
        snapped = view(self.snapped, wp.vec3i)
        # CUDA: a thread per item. CPU: one thread walks all items.
        serial = device.type == "cpu"
        self.threads = (1, 1) if serial else (height, width)
        vertex_threads = 1 if serial else max(vertex_count, 1)
        face_threads = 1 if serial else max(face_count, 1)

        def prepare(kernel: Any, dim: Any, inputs: list[Any]) -> Any:
            return wp.launch(kernel, dim=dim, inputs=inputs, device=self.planes_view.device, record_cmd=True)

        self._snap = prepare(
            self._k.snap_vertices, vertex_threads, [view(self.screen, wp.vec3), vertex_threads, snapped]
        )
        self._draw = prepare(
            self._k.draw_triangles,
            face_threads,
            [
                *(snapped, self.faces_view, view(self.layer, wp.uint8), -1, 0),
                *(width, height, face_threads, self.keys_view, self.planes_view),
            ],
        )
        blank = view(torch.empty(1, dtype=torch.int32, device=device), wp.int32)
        blank_weights = view(torch.empty(1, 2, dtype=torch.float32, device=device), wp.vec2)
        self._resolve = prepare(
            self._k.resolve_pixels,
            self.threads,
            [self.planes_view, width, height, *self.threads, self.keys_view, blank, blank_weights],
        )

    def draw(
        self, screen: Tensor, faces: Tensor, *, cull: bool = False, layer: tuple[Tensor, int] | None = None
    ) -> None:
        """Fill ``keys`` and ``planes``. ``layer`` = ((F,) uint8, value): draw only the faces that have this value."""
        self.screen.copy_(screen)
        self.faces.copy_(faces)
        if layer is not None:
            self.layer.copy_(layer[0])
        self._draw.set_param_at_index(3, -1 if layer is None else layer[1])
        self._draw.set_param_at_index(4, int(cull))
        if len(self.faces) and len(self.screen):
            self._snap.launch()
            self._draw.launch()

    def resolve(self) -> tuple[Tensor, Tensor]:
        """Triangle ids and barycentrics of what was drawn; clears the keys."""
        import warp as wp

        width, height = self.size
        arena = Arena(self.keys.device, height, width, 3)
        triangle_id, weights = arena.image().view(torch.int32), arena.image(2)
        self._resolve.set_param_at_index(6, self._k.array_view(triangle_id.view(-1), wp.int32))
        self._resolve.set_param_at_index(7, self._k.array_view(weights.view(-1, 2), wp.vec2))
        self._resolve.launch()
        return triangle_id, weights


def workspace(
    device: torch.device, size: tuple[int, int], vertex_count: int, face_count: int, use: str = ""
) -> Workspace:
    """A cached workspace of this thread; ``use`` tells apart two that are needed at once."""
    kept: OrderedDict[Any, Workspace] = _local.__dict__.setdefault("kept", OrderedDict())
    key = (str(device), size, vertex_count, face_count, use)
    space = kept.pop(key, None) or Workspace(device, size, vertex_count, face_count)
    kept[key] = space
    while len(kept) > _KEPT_WORKSPACES:
        kept.popitem(last=False)
    return space


def rasterize(
    screen: Any,
    faces: Any,
    size: tuple[int, int],
    *,
    cull: bool = False,
) -> tuple[Any, Any]:
    """Visibility of a triangle mesh at pixel centres.

    Vertices are snapped to 1/4096 px. A pixel is covered if its centre (+0.5) is inside; centres on an edge go to
    the triangle whose top or left edge it is, so adjacent triangles never leave a gap and never both cover. The
    largest w wins, as float32; equal depths go to the lower index. Triangles with a vertex at w <= 0 (behind the
    camera), a non-finite vertex, or one beyond ±16384 px are dropped whole, not clipped. The result is the same on
    every run and device.

    Args:
        screen: (V, 3) x px (right), y px (down), w = 1/depth, depth > 0 metres along the view axis (w = 1: affine).
        faces: (F, 3) vertex indices, counter-clockwise seen from the front.
        size: (width, height) pixels, each 1..8192.
        cull: leave out triangles seen from behind.

    Returns:
        triangle_id (H, W) int32, -1 where nothing is seen; barycentrics (H, W, 2) float32, the perspective-correct
        weights of vertices 1 and 2 (vertex 0 has the rest), 0 where nothing is seen. Numpy in, numpy out; else tensors.

    Raises:
        InputError: shapes, a size out of range, or face indices that are not vertices.
    """
    as_numpy = not isinstance(screen, Tensor)
    points, triangles = _tensors(screen, faces)
    width, height = _checked_size(size)
    space = workspace(points.device, (width, height), len(points), len(triangles))
    space.draw(points, triangles, cull=cull)
    triangle_id, weights = space.resolve()
    return (triangle_id.numpy(), weights.numpy()) if as_numpy else (triangle_id, weights)


def _checked_size(size: tuple[int, int]) -> tuple[int, int]:
    width, height = (int(n) for n in size)
    if not (1 <= width <= MAX_SIZE and 1 <= height <= MAX_SIZE):
        what = f"got {width} × {height} px, expected 1 to {MAX_SIZE} a side"
        raise InputError(what, where="render size", remedy="Render smaller or with less supersampling.")
    return width, height


def _tensors(screen: Any, faces: Any) -> tuple[Tensor, Tensor]:
    """Detached tensors, checked."""
    points = screen.detach() if isinstance(screen, Tensor) else torch.from_numpy(np.ascontiguousarray(screen))
    triangles = faces if isinstance(faces, Tensor) else torch.from_numpy(np.ascontiguousarray(faces))
    triangles = triangles.to(points.device)
    check_shape("screen", points, "V", 3)
    check_shape("faces", triangles, "F", 3)
    if len(triangles):
        low, high = (int(n) for n in torch.aminmax(triangles))
        if low < 0 or high >= len(points):
            raise InputError(
                f"indices run from {low} to {high} but there are {len(points)} vertices", where="faces"
            )
    return points, triangles
