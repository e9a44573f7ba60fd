"""Find where MediaPipe's 478 landmarks sit on the embedded head: ``python -m tools.head.embed``.

The head is rendered in several expressions and views, the landmarker runs on every render, and each landmark gets the
surface point whose robust image error, summed over all views, is least (embedded_rig.md, section 4.2). The map is made
symmetric and smoothed by a thin-plate warp of the canonical face model. Irises are placed on the eyeballs.
Writes ``src/omote/assets/landmarks.npz``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from omote.capture.landmarker import canonical_vertices, mirror_permutation
from omote.controls import FACS102
from omote.rigs.facs import FacsRig, load_rig

ASSET = Path(__file__).resolve().parents[2] / "src/omote/assets/landmarks.npz"
SIZE, FOCAL, DISTANCE = 512, 1100.0, 0.62
EXPRESSIONS: tuple[dict[str, float], ...] = (
    {},
    {"jaw_open": 0.45},
    {"corner_pull_?": 0.8, "cheek_raise_?": 0.5},
    {"lid_close_?": 1.0},
    {"lip_pucker_*": 0.8},
    {"brow_inner_up_?": 0.9, "brow_outer_up_?": 0.9, "lid_upper_raise_?": 0.7},
    {"brow_lower_?": 0.9, "lid_tighten_?": 0.6, "lip_press_*": 0.5},
    {"jaw_open": 0.25, "upper_lip_raise_?": 0.8, "lower_lip_depress_?": 0.8},
)
VIEWS = [(yaw, pitch) for yaw in (-40, -20, 0, 20, 40) for pitch in (-15, 0, 15)]
IRIS_RADIUS = 0.0058

Draw = Callable[[np.ndarray], np.ndarray]
"""Camera-space vertices (V, 3) to an image (SIZE, SIZE, 3) uint8."""


@dataclass(frozen=True)
class Observation:
    """One render: its vertices (V, 3) in camera space and the landmarks (478, 2) found in it, pixels."""

    vertices: np.ndarray
    landmarks: np.ndarray


def project(points: np.ndarray) -> np.ndarray:
    """(..., 2) pixels of camera-space points (..., 3)."""
    return SIZE / 2 + FOCAL * points[..., :2] * [1, -1] / -points[..., 2:]


def turn(yaw: float, pitch: float) -> np.ndarray:
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    return np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])


def observe(rig: FacsRig, draw: Draw, find: Callable[[np.ndarray], np.ndarray | None], seed: int) -> list[Observation]:
    """Render every expression in every view, each on a slightly different identity, and detect."""
    rng = np.random.default_rng(seed)
    seen = []
    for expression in EXPRESSIONS:
        controls = torch.zeros(1, len(FACS102))
        for pattern, value in expression.items():
            controls[0, FACS102.match(pattern)] = value
        for yaw, pitch in VIEWS:
            identity = torch.as_tensor(rng.normal(0, 0.45, (1, len(rig.identity_space))), dtype=torch.float32)
            head = rig(controls, identity)[0].numpy()
            vertices = (head + [0, 0.035, 0]) @ turn(np.radians(yaw), np.radians(pitch)).T + [0, 0, -DISTANCE]
            landmarks = find(draw(vertices))
            if landmarks is not None:
                seen.append(Observation(vertices, landmarks))
    return seen


def surface_samples(rig: FacsRig) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (N,) of the outer skin and barycentrics (N, 3) that sample them."""
    inner = [1 / 3, 1 / 3, 1 / 3], [0.66, 0.17, 0.17], [0.17, 0.66, 0.17], [0.17, 0.17, 0.66]
    corners = [0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.01, 0.01, 0.98]
    pattern = np.array([*inner, *corners, [0.45, 0.45, 0.1], [0.45, 0.1, 0.45], [0.1, 0.45, 0.45]])
    part = rig.face_part.numpy()
    skin = np.flatnonzero(part == rig.part_names.index("skin"))
    front = rig.template[rig.expand].numpy()[rig.faces.numpy()[skin]].mean(1)[:, 2] > -0.09
    skin = skin[front]
    return np.repeat(skin, len(pattern)), np.tile(pattern, (len(skin), 1))


def on_surface(rig: FacsRig, vertices: np.ndarray, triangle: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.einsum("njc,nj->nc", vertices[rig.faces.numpy()[triangle]], weight)


def locate_all(rig: FacsRig, seen: list[Observation]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best sample of each of the 468 mesh landmarks: template point (468, 3), robust error (468,) px, and all samples' points."""
    triangle, weight = surface_samples(rig)
    rest = on_surface(rig, rig.template[rig.expand].numpy(), triangle, weight)
    projections = np.stack([project(on_surface(rig, o.vertices, triangle, weight)) for o in seen]).astype(np.float32)
    normals = np.stack([_facing(rig, o.vertices)[triangle] for o in seen])
    found = np.stack([o.landmarks for o in seen]).astype(np.float32)
    best, error = np.zeros(468, int), np.zeros(468)
    for k in range(468):
        miss = np.linalg.norm(projections - found[:, None, k], axis=2)
        coarse = np.median(miss, axis=0)
        near = np.argsort(coarse)[:1500]
        # A view counts for a point that faces it; the cost is saturated, so slipping views do not pull.
        facing = np.clip(normals[:, near] * 2, 0.05, 1)
        cost = (facing * (1 - np.exp(-((miss[:, near] / 6) ** 2)))).sum(0) / facing.sum(0)
        cost += 0.02 * (facing * np.minimum(miss[:, near], 30)).sum(0) / facing.sum(0) / 6
        pick = near[np.argmin(cost)]
        best[k], error[k] = pick, np.median(miss[:, pick])
    return rest[best], error, rest


def _facing(rig: FacsRig, vertices: np.ndarray) -> np.ndarray:
    """(F,) cosine between each triangle's normal and the direction to the camera."""
    a, b, c = (vertices[rig.faces.numpy()[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    middle = (a + b + c) / 3
    return -np.einsum("fc,fc->f", normal, middle / np.linalg.norm(middle, axis=1, keepdims=True))


def symmetric_and_smooth(points: np.ndarray, error: np.ndarray, smoothing: float) -> np.ndarray:
    """(468, 3) points made mirror-symmetric and pulled towards a thin-plate warp of the canonical model."""
    permutation = mirror_permutation()[:468]
    flip = np.array([-1.0, 1.0, 1.0])
    points = (points + (points * flip)[permutation]) / 2
    canonical = canonical_vertices() * 0.01
    warp = RBFInterpolator(canonical, points, kernel="thin_plate_spline", smoothing=smoothing)
    smooth = warp(canonical)
    trust = np.clip(1.5 - np.linalg.norm(points - smooth, axis=1) / 0.003, 0.0, 0.7)[:, None]
    trust = trust * np.clip(8 / np.maximum(error, 1e-3), 0, 1)[:, None]
    return trust * points + (1 - trust) * smooth


def snap(rig: FacsRig, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Closest outer-skin triangle corners (N, 3) and barycentrics (N, 3) of template points (N, 3)."""
    template = rig.template[rig.expand].numpy().astype(np.float64)
    triangle, weight = surface_samples(rig)
    samples = on_surface(rig, template, triangle, weight)
    _, nearest = cKDTree(samples).query(points, k=40)
    corners, barycentric = np.zeros((len(points), 3), int), np.zeros((len(points), 3))
    for n, point in enumerate(points):
        least = np.inf
        for candidate in np.unique(triangle[nearest[n]]):
            ids = rig.faces.numpy()[candidate]
            weights = _closest_barycentric(template[ids], point)
            distance = np.linalg.norm(weights @ template[ids] - point)
            if distance < least:
                least, corners[n], barycentric[n] = distance, ids, weights
    return corners, barycentric


def _closest_barycentric(corner: np.ndarray, point: np.ndarray) -> np.ndarray:
    edge = np.stack([corner[1] - corner[0], corner[2] - corner[0]], axis=1)
    b, c = np.linalg.lstsq(edge, point - corner[0], rcond=None)[0]
    weights = np.clip([1 - b - c, b, c], 0, None)
    return weights / weights.sum()


def iris_points(rig: FacsRig) -> tuple[np.ndarray, np.ndarray]:
    """Corners (10, 3) and barycentrics (10, 3) of the iris centre and its four sides, right eye first."""
    template = rig.template[rig.expand].numpy().astype(np.float64)
    faces, part = rig.faces.numpy(), rig.face_part.numpy()
    corners, barycentric = [], []
    for side in ("R", "L"):
        ball = faces[part == rig.part_names.index(f"eye_{side}")]
        centre = template[np.unique(ball)].mean(0)
        for dx, dy in ((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)):
            target = centre[:2] + IRIS_RADIUS * np.array([dx, dy]) + 1e-6
            for ids in ball:
                a, b, c = template[ids]
                if (a[2] + b[2] + c[2]) / 3 < centre[2]:
                    continue
                edge = np.stack([b[:2] - a[:2], c[:2] - a[:2]], axis=1)
                if abs(np.linalg.det(edge)) < 1e-12:
                    continue
                u, v = np.linalg.solve(edge, target - a[:2])
                if u >= -1e-9 and v >= -1e-9 and u + v <= 1 + 1e-9:
                    corners.append(ids)
                    barycentric.append([1 - u - v, u, v])
                    break
    return np.array(corners), np.array(barycentric)


def embed(rig: FacsRig, draw: Draw, find: Callable[[np.ndarray], np.ndarray | None], seed: int) -> dict[str, np.ndarray]:
    seen = observe(rig, draw, find, seed)
    points, error, _ = locate_all(rig, seen)
    smooth = symmetric_and_smooth(points, error, 1e-7)
    corners, barycentric = snap(rig, smooth)
    iris_corners, iris_barycentric = iris_points(rig)
    corners, barycentric = np.concatenate([corners, iris_corners]), np.concatenate([barycentric, iris_barycentric])
    miss = np.stack(
        [np.linalg.norm(project(np.einsum("kjc,kj->kc", o.vertices[corners], barycentric)) - o.landmarks, axis=1) for o in seen]
    )
    spread = np.median(miss, axis=0)
    weight = np.clip(3.0 / np.maximum(spread, 3.0), 0.25, 1.0)
    print(f"{len(seen)} of {len(EXPRESSIONS) * len(VIEWS)} renders detected; median error {np.median(miss):.2f} px, worst landmark {spread.max():.1f} px")
    return {"vertices": corners.astype(np.int16), "barycentric": barycentric.astype(np.float32), "weight": weight.astype(np.float32)}


def tools_for(rig: FacsRig) -> tuple[Draw, Callable[[np.ndarray], np.ndarray | None]]:
    """The real renderer with the painted head, and the real detector."""
    from omote.capture.detect import FaceDetector
    from omote.performance import Camera
    from omote.render.albedo import paint_albedo
    from omote.render.scene import render_mesh

    camera = Camera(focal=FOCAL, principal=(SIZE / 2, SIZE / 2), size=(SIZE, SIZE))
    albedo = torch.as_tensor(paint_albedo().astype(np.float32) / 255)
    detector = FaceDetector(mode="image", max_faces=1)

    def draw(vertices: np.ndarray) -> np.ndarray:
        buffers = render_mesh(
            torch.as_tensor(vertices, dtype=torch.float32), rig.faces, camera, uv=rig.uv, albedo=albedo, weld=rig.weld, background=(0.55, 0.58, 0.62)
        )
        return (buffers.rgb.numpy() * 255).round().astype(np.uint8)

    def find(image: np.ndarray) -> np.ndarray | None:
        faces = detector.detect(image)
        return faces[0].landmarks[:, :2] if faces else None

    return draw, find


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, default=ASSET)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rig = load_rig()
    arrays = embed(rig, *tools_for(rig), arguments.seed)
    np.savez_compressed(arguments.output, **arrays)


if __name__ == "__main__":
    main()
