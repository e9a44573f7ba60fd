"""How fast is the rasteriser? Against a numba z-buffer written for the purpose, in the same run, one thread each.

    python benchmarks/raster.py [--repeats 40]

Prints milliseconds for visibility (triangle ids and barycentrics) of the embedded head, for full renders of it, and
ends with one line of JSON. Ratios are medians of paired runs, so that a busy machine slows both sides alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numba
import numpy as np
import torch

from omote.geometry.meshes import subdivide
from omote.performance import Camera
from omote.render.albedo import paint_albedo
from omote.render.buffers import project_to_screen
from omote.render.rasterize import rasterize
from omote.render.reference import rasterize_reference
from omote.render.scene import render_mesh
from omote.render.texture_sampling import Albedo
from omote.rigs.facs import load_rig

Array = np.ndarray[Any, Any]


@numba.njit(fastmath=True, boundscheck=False)
def numba_z_buffer(screen: Array, faces: Array, cull: bool, depth: Array, ids: Array, weights: Array) -> None:
    """The peer: float32 edge functions, stepped along rows, depth test and barycentrics in one pass."""
    height, width = depth.shape
    depth[:] = 0
    ids[:] = -1
    weights[:] = 0
    half, one = np.float32(0.5), np.float32(1)
    for triangle in range(faces.shape[0]):
        a, b, c = faces[triangle]
        x0, y0, w0 = screen[a]
        x1, y1, w1 = screen[b]
        x2, y2, w2 = screen[c]
        if w0 <= 0 or w1 <= 0 or w2 <= 0:
            continue
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        if area == 0 or (cull and area > 0):
            continue
        left, right = (
            max(int(np.ceil(min(x0, x1, x2) - half)), 0),
            min(int(np.floor(max(x0, x1, x2) - half)), width - 1),
        )
        top, bottom = (
            max(int(np.ceil(min(y0, y1, y2) - half)), 0),
            min(int(np.floor(max(y0, y1, y2) - half)), height - 1),
        )
        if left > right or top > bottom:
            continue
        inverse = one / area
        one_x, one_y = (y2 - y0) * inverse, (x0 - x2) * inverse
        two_x, two_y = (y0 - y1) * inverse, (x1 - x0) * inverse
        px, py = np.float32(left) + half - x0, np.float32(top) + half - y0
        row_one, row_two = px * one_x + py * one_y, px * two_x + py * two_y
        for i in range(top, bottom + 1):
            e1, e2 = row_one, row_two
            for j in range(left, right + 1):
                e0 = one - e1 - e2
                if e0 >= 0 and e1 >= 0 and e2 >= 0:
                    w = e0 * w0 + e1 * w1 + e2 * w2
                    if w > depth[i, j]:
                        depth[i, j] = w
                        ids[i, j] = triangle
                        weights[i, j, 0] = e1 * w1 / w
                        weights[i, j, 1] = e2 * w2 / w
                e1 += one_x
                e2 += two_x
            row_one += one_y
            row_two += two_y


def head() -> tuple[torch.Tensor, torch.Tensor, Any]:
    """The embedded head in camera space (V, 3), its faces, and the rig."""
    rig = load_rig()
    with torch.no_grad():
        vertices = rig(torch.zeros(1, len(rig.space.controls)), torch.zeros(1, len(rig.identity_space)))[0]
    turn = torch.tensor([[0.94, 0.0, 0.342], [0.0, 1.0, 0.0], [-0.342, 0.0, 0.94]])
    return vertices @ turn.T + torch.tensor([0.0, 0.03, -0.62]), rig.faces, rig


def time_pair(ours: Callable[[], Any], peer: Callable[[], Any], repeats: int) -> tuple[float, float, float]:
    """Median milliseconds of each, and the median ratio of runs made one after the other."""
    ours(), peer()
    pairs = []
    for _ in range(repeats):
        start = time.perf_counter()
        ours()
        middle = time.perf_counter()
        peer()
        pairs.append((1e3 * (middle - start), 1e3 * (time.perf_counter() - middle)))
    times = np.array(pairs)
    return (
        float(np.median(times[:, 0])),
        float(np.median(times[:, 1])),
        float(np.median(times[:, 0] / times[:, 1])),
    )


def time_one(work: Callable[[], Any], repeats: int) -> float:
    """Median milliseconds."""
    return time_pair(work, lambda: None, repeats)[0]


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=40)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    vertices, faces, rig = head()
    finer = subdivide(faces.numpy(), len(vertices))
    meshes = [
        (vertices, faces),
        (torch.as_tensor(finer.apply(vertices.numpy())), torch.as_tensor(finer.faces)),
    ]

    print(f"{platform.processor() or platform.machine()}, 1 thread, {repeats} paired runs, medians\n")
    print("triangles  size  cull   omote ms  numba ms  ratio  covered  same ids as reference")
    results: dict[str, float] = {}
    for points, triangles in meshes:
        for size in (256, 512):
            camera = Camera(2.1 * size, (size / 2, size / 2), (size, size))
            screen = project_to_screen(points, camera).contiguous()
            raw, indices = screen.numpy(), triangles.numpy().astype(np.int32)
            small = torch.as_tensor(indices)
            depth, ids = np.zeros((size, size), np.float32), np.zeros((size, size), np.int32)
            weights = np.zeros((size, size, 2), np.float32)
            for cull in (False, True):
                ours, peer, ratio = time_pair(
                    lambda s=screen, f=small, n=size, c=cull: rasterize(s, f, (n, n), cull=c),
                    lambda s=raw, f=indices, c=cull, d=depth, i=ids, w=weights: numba_z_buffer(
                        s, f, c, d, i, w
                    ),
                    repeats,
                )
                found = rasterize(raw, indices, (size, size), cull=cull)[0]
                same = np.array_equal(found, rasterize_reference(raw, indices, (size, size), cull=cull)[0])
                print(
                    f"{len(indices):9d}  {size:4d}  {'yes' if cull else 'no ':4s} {ours:9.2f} {peer:9.2f} {ratio:6.2f}"
                    f"  {np.mean(found >= 0):6.1%}  {'all' if same else 'NOT ALL'}"
                )
                results[f"{len(indices) // 1000}k_{size}_{'cull' if cull else 'all'}"] = ratio
                if size == 512 and not cull and len(indices) < 20000:
                    results |= {"raster_ms_512": ours, "numba_ms_512": peer, "ratio": ratio}

    albedo = Albedo.from_srgb(paint_albedo())
    camera = Camera(2.1 * 512, (256, 256), (512, 512))
    print("\nfull render of the head, 512 px, textured, three-point light    ms")
    options: dict[str, Any] = {
        "uv": rig.uv,
        "weld": rig.weld,
        "albedo": albedo,
        "background": (0.3, 0.32, 0.35),
    }
    for n in (1, 2):
        results[f"render_ms_512_x{n}"] = time_one(
            lambda n=n: render_mesh(vertices, faces, camera, supersample=n, **options), repeats
        )
        print(f"  supersample {n}, fused {results[f'render_ms_512_x{n}']:46.1f}")
    moving = vertices.clone().requires_grad_()
    small_camera = Camera(2.1 * 256, (128, 128), (256, 256))

    def step() -> None:
        render_mesh(moving, faces, small_camera, supersample=1, **options).rgb.square().mean().backward()

    results["differentiable_ms_256"] = time_one(step, max(3, repeats // 8))
    print(f"  256 px, differentiable, forward and backward {results['differentiable_ms_256']:23.1f}")
    print(json.dumps({key: round(value, 3) for key, value in results.items()}))


if __name__ == "__main__":
    main()
