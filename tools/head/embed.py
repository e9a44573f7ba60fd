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
from omote.rigs.constants import pupil_rotation
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
SMOOTHING = 1e-4
"""Of the thin-plate warp; single landmarks are noisy by a millimetre or two, the warp is not."""

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


def observe(
    rig: FacsRig, draw: Draw, find: Callable[[np.ndarray], np.ndarray | None], seed: int
) -> list[Observation]:
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


def locate_all(rig: FacsRig, seen: list[Observation]) -> tuple[np.ndarray, np.ndarray]:
    """Best surface sample of each of the 468 mesh landmarks: template point (468, 3) and its median error (468,) px."""
    triangle, weight = surface_samples(rig)
    rest = on_surface(rig, rig.template[rig.expand].numpy(), triangle, weight)
    faces = rig.faces.numpy()
    found = np.stack([o.landmarks for o in seen]).astype(np.float32)
    screen = np.stack([project(o.vertices) for o in seen]).astype(np.float32)
    facing = np.stack([_facing(rig, o.vertices) for o in seen]).astype(np.float32)
    frontal = [i for i, o in enumerate(seen) if np.abs(_facing_z(o.vertices, rig)) > 0.9]
    used = np.unique(triangle)
    middles = np.stack([screen[i][faces[used]].mean(1) for i in frontal])
    best, error = np.zeros((468, 3)), np.zeros(468)
    for k in range(468):
        coarse = np.median(np.linalg.norm(middles - found[frontal][:, None, k], axis=2), axis=0)
        (near,) = np.nonzero(np.isin(triangle, used[np.argsort(coarse)[:120]]))
        at = np.einsum("vnjc,nj->vnc", screen[:, faces[triangle[near]]], weight[near].astype(np.float32))
        miss = np.linalg.norm(at - found[:, None, k], axis=2)
        # A view counts for a point that faces it; the cost is saturated, so slipping views do not pull.
        seen_by = np.clip(facing[:, triangle[near]] * 2, 0.05, 1)
        cost = (seen_by * (1 - np.exp(-((miss / 6) ** 2)) + 0.02 * np.minimum(miss, 30) / 6)).sum(
            0
        ) / seen_by.sum(0)
        # The mean of the best samples, not the single best: the cost is flat at its bottom.
        order = np.argsort(cost)[:24]
        share = np.exp(-(cost[order] - cost[order[0]]) / 0.004)
        best[k] = share @ rest[near[order]] / share.sum()
        error[k] = np.median(miss[:, order[0]])
    return best, error


def _facing_z(vertices: np.ndarray, rig: FacsRig) -> float:
    """Cosine between the face's forward axis and the camera's, from the eyes and the chin's plane."""
    left, right = (
        vertices[np.unique(rig.faces[rig.face_part == rig.part_names.index(f"eye_{s}")])].mean(0)
        for s in "LR"
    )
    across = (left - right) / np.linalg.norm(left - right)
    return float(np.hypot(across[0], across[1]))


def _facing(rig: FacsRig, vertices: np.ndarray) -> np.ndarray:
    """(F,) cosine between each triangle's normal and the direction to the camera."""
    a, b, c = (vertices[rig.faces.numpy()[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    middle = (a + b + c) / 3
    return -np.einsum("fc,fc->f", normal, middle / np.linalg.norm(middle, axis=1, keepdims=True))


def symmetric_and_smooth(points: np.ndarray) -> np.ndarray:
    """(468, 3) points made mirror-symmetric, then replaced by a smooth thin-plate warp of the canonical model."""
    permutation = mirror_permutation()[:468]
    points = (points + (points * [-1.0, 1.0, 1.0])[permutation]) / 2
    canonical = canonical_vertices() * 0.01
    return RBFInterpolator(canonical, points, kernel="thin_plate_spline", smoothing=SMOOTHING)(canonical)


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
            distance = float(np.linalg.norm(weights @ template[ids] - point))
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
        radius = np.linalg.norm(template[np.unique(ball)] - centre, axis=1).mean()
        turned = pupil_rotation(side)
        for dx, dy in ((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)):
            rest = IRIS_RADIUS * np.array([dx, dy, np.sqrt((radius / IRIS_RADIUS) ** 2 - dx**2 - dy**2)])
            target = centre[:2] + (turned @ rest)[:2] + 1e-6
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


def embed(
    rig: FacsRig, draw: Draw, find: Callable[[np.ndarray], np.ndarray | None], seed: int
) -> dict[str, np.ndarray]:
    seen = observe(rig, draw, find, seed) + observe(rig, draw, find, seed + 1)
    points, _ = locate_all(rig, seen)
    smooth = symmetric_and_smooth(points)
    corners, barycentric = snap(rig, smooth)
    iris_corners, iris_barycentric = iris_points(rig)
    corners, barycentric = (
        np.concatenate([corners, iris_corners]),
        np.concatenate([barycentric, iris_barycentric]),
    )
    miss = np.stack(
        [
            np.linalg.norm(
                project(np.einsum("kjc,kj->kc", o.vertices[corners], barycentric)) - o.landmarks, axis=1
            )
            for o in seen
        ]
    )
    spread = np.median(miss, axis=0)
    weight = np.clip(3.0 / np.maximum(spread, 3.0), 0.25, 1.0)
    print(
        f"{len(seen)} of {2 * len(EXPRESSIONS) * len(VIEWS)} renders detected; "
        f"median error {np.median(miss):.2f} px, worst landmark {spread.max():.1f} px"
    )
    return {
        "vertices": corners.astype(np.int16),
        "barycentric": barycentric.astype(np.float32),
        "weight": weight.astype(np.float32),
    }


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
            torch.as_tensor(vertices, dtype=torch.float32),
            rig.faces,
            camera,
            uv=rig.uv,
            albedo=albedo,
            weld=rig.weld,
            background=(0.55, 0.58, 0.62),
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
    np.savez_compressed(arguments.output, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
