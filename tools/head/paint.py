"""Bake what the painted skin needs: ``python -m tools.head.paint`` writes ``src/omote/assets/head_paint.npz``.

- ``lips``: MakeHuman's CC0 lip mask, resampled from its body texture into our atlas (a crop; ``lips_box`` says where).
- ``cavity``: per vertex 0 (open) .. 255 (no sky): the share of the upper hemisphere that the head itself hides.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import warp as wp
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, map_coordinates

from . import makehuman as mh
from .bake import ASSET
from .cut import PARTS, HeadCut, cut_head, triangles

PAINT = Path(ASSET).with_name("head_paint.npz")
SIZE = 2048
"""Resolution of the atlas that the crop is taken from."""
RAYS, REACH = 96, 0.03
"""Rays of each vertex and how far away something still hides the sky, metres."""


def body_uv_texels(cut: HeadCut, part: str) -> tuple[np.ndarray, np.ndarray]:
    """(SIZE, SIZE, 2) MakeHuman UV of each atlas texel of one part, and which texels it covers (SIZE, SIZE)."""
    tri = triangles(cut.quads)[np.repeat(cut.quad_part == PARTS.index(part), 2)]
    image = Image.new("I", (SIZE, SIZE), -1)
    draw = ImageDraw.Draw(image)
    for i, corner in enumerate(cut.uv[tri] * SIZE - 0.5):
        draw.polygon([tuple(c) for c in corner], fill=i)
    number = np.asarray(image)
    covered = number >= 0
    row, column = np.nonzero(covered)
    corner = np.concatenate([cut.uv[tri] * SIZE - 0.5, np.ones((len(tri), 3, 1))], axis=2)
    maps = np.linalg.solve(corner, cut.body_uv[tri])
    texel = np.stack([column, row, np.ones(len(row))], axis=1)
    uv = np.zeros((SIZE, SIZE, 2))
    uv[covered] = np.einsum("ni,nij->nj", texel, maps[number[covered]])
    return uv, covered


def lips(cut: HeadCut) -> tuple[np.ndarray, np.ndarray]:
    """(h, w) uint8 lip mask and (4,) its box in the atlas: x, y, width, height."""
    mask = np.asarray(Image.open(mh.data_folder() / "mpfb2/textures/mpfb_lips.jpg").convert("L"), float) / 255
    uv, covered = body_uv_texels(cut, "skin")
    height, width = mask.shape
    where = np.stack([uv[..., 1] * height - 0.5, uv[..., 0] * width - 0.5])
    out = np.where(covered, map_coordinates(gaussian_filter(mask, 0.7), where, order=1), 0)
    grown = (
        out.copy()
    )  # the mouth slit is a hole: carry the lips a little into it, so that filtering does not thin them
    for _ in range(60):
        near = np.maximum.reduce([np.roll(grown, s, a) for s in (-1, 1) for a in (0, 1)])
        grown = np.where(covered, grown, near)
    rows, columns = np.nonzero(out > 0.3)
    top, bottom, left, right = rows.min() - 8, rows.max() + 8, columns.min() - 8, columns.max() + 8
    crop = gaussian_filter(grown, 1.0)[top:bottom, left:right]
    box = np.array([left, top, right - left, bottom - top]) / SIZE
    return np.round(np.clip(crop, 0, 1) * 255).astype(np.uint8), box.astype(np.float32)


@wp.kernel
def _hidden_share(
    mesh: wp.uint64,
    points: wp.array(dtype=wp.vec3),
    frames: wp.array(dtype=wp.mat33),
    rays: wp.array(dtype=wp.vec3),
    reach: float,
    hidden: wp.array(dtype=float),
):
    i = wp.tid()
    total = float(0.0)  # noqa: UP018 (a variable to Warp, a literal would be a constant)
    for k in range(rays.shape[0]):
        hit = wp.mesh_query_ray(mesh, points[i], frames[i] * rays[k], 4.0 * reach)
        if hit.result:
            total += wp.exp(-(hit.t / reach) * (hit.t / reach))
    hidden[i] = total / float(rays.shape[0])


def cavity() -> np.ndarray:
    """(U,) uint8 of welded vertices: cosine-weighted share of rays that hit the head within REACH."""
    with np.load(ASSET) as asset:
        template, expand, quads, part = (asset[n] for n in ("template", "expand", "quads", "quad_part"))
    own = np.isin(part, [PARTS.index(p) for p in ("skin", "mouth", "eye_socket")])
    corners = expand[triangles(quads[own])].astype(np.int32)
    normals = np.zeros_like(template)
    face_normal = np.cross(
        template[corners[:, 1]] - template[corners[:, 0]], template[corners[:, 2]] - template[corners[:, 0]]
    )
    for k in range(3):
        np.add.at(normals, corners[:, k], face_normal)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    rng = np.random.default_rng(3)
    around, height = rng.uniform(0, 2 * np.pi, RAYS), np.sqrt(rng.uniform(0, 1, RAYS))
    flat = np.sqrt(1 - height**2)
    rays = np.stack([flat * np.cos(around), flat * np.sin(around), height], axis=1).astype(np.float32)
    side = np.cross(normals, np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]]))
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
    frames = np.stack([side, np.cross(normals, side), normals], axis=2).astype(np.float32)
    hidden = wp.zeros(len(template), dtype=float, device="cpu")
    mesh = wp.Mesh(
        wp.array(template, dtype=wp.vec3, device="cpu"), wp.array(corners.ravel(), dtype=int, device="cpu")
    )
    arrays = (
        wp.array((template + 2e-4 * normals).astype(np.float32), dtype=wp.vec3, device="cpu"),
        wp.array(frames, dtype=wp.mat33, device="cpu"),
        wp.array(rays, dtype=wp.vec3, device="cpu"),
    )
    wp.launch(_hidden_share, len(template), [mesh.id, *arrays, REACH], [hidden], device="cpu")
    return np.round(255 * hidden.numpy()).astype(np.uint8)


def main() -> None:
    mask, box = lips(cut_head())
    np.savez_compressed(PAINT, lips=mask, lips_box=box, cavity=cavity())
    print(f"{PAINT}: {PAINT.stat().st_size / 1e3:.0f} kB, lips {mask.shape}")


if __name__ == "__main__":
    main()
