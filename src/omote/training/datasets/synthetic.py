"""Render training data for rig inversion: pictures, normals, masks, controls, landmarks, vertices.

Source of the recipe "paper": arXiv 2510.13933 (fixed resolution and camera, one three-point light, controls as in
`omote.training.datasets.expressions`, small rigid movements against misalignment). The recipe "wild" is ours.
Each sample depends on its own index and the seed alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omote.errors import InputError
from omote.geometry.cameras import project
from omote.geometry.rotations import axis_angle_to_matrix
from omote.performance import Camera
from omote.rigs.facs import FacsRig
from omote.rigs.surface_points import CENTRE, SPAN, average_head
from omote.training.datasets import looks
from omote.training.datasets.expressions import RECIPES, Expression, sample_expression
from omote.training.datasets.shapes import other_hand, seen_faces
from omote.training.datasets.shards import DatasetInfo, array_bytes, is_whole, write_shard

if TYPE_CHECKING:
    from omote.rigs.protocol import Rig

Array = np.ndarray
Chance = np.random.Generator

CHUNK = 16
"""Heads that the rig deforms at once; samples are grouped by index, so that results do not depend on the run."""
DISTANCE = 0.9
"""The paper recipe's camera: metres to the head; it looks at `CENTRE` and spans `SPAN` there."""
GREY = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class SynthOptions:
    """What to render.

    Attributes:
        recipe: "paper" or "wild".
        count: samples; seed: of everything random; size: side of the pictures, px.
        identities: heads in all; 0: each sample has its own (ignored by rigs without an identity).
        normals: "camera" (the image plane is the tangent plane: what any scan can be rendered to) or "tangent" (in
            the tangent frames of the same head without expression).
        per_shard: samples in a shard; vertices: store them too (64 kB a sample for the embedded rig).
    """

    recipe: str = "wild"
    count: int = 22_575
    seed: int = 0
    size: int = 512
    identities: int = 0
    normals: str = "camera"
    per_shard: int = 512
    vertices: bool = True

    def __post_init__(self) -> None:
        checks = (
            (self.recipe in RECIPES, f"recipe {self.recipe!r}", f"Choose {' or '.join(RECIPES)}."),
            (self.normals in ("camera", "tangent"), f"normals {self.normals!r}", "Choose camera or tangent."),
            (1 <= self.count <= 10_000_000, f"count {self.count}", "Choose 1 to 10,000,000."),
            (64 <= self.size <= 2048, f"size {self.size}", "Choose 64 to 2048 px."),
            (0 <= self.identities, f"identities {self.identities}", "Choose 0 (all differ) or more."),
            (1 <= self.per_shard <= 100_000, f"{self.per_shard} samples a shard", "Choose 1 to 100,000."),
            (0 <= self.seed < 2**31, f"seed {self.seed}", "Choose 0 to 2147483647."),
        )
        for good, what, remedy in checks:
            if not good:
                raise InputError(f"{what} is not possible", where="synth", remedy=remedy)

    def describe(self, rig: Rig, rig_sha256: str = "") -> DatasetInfo:
        """What ``dataset.json`` says.

        Args:
            rig: what is rendered.
            rig_sha256: see `DatasetInfo`.
        """
        return DatasetInfo(
            rig=rig.name,
            space=rig.space.name,
            controls=tuple(rig.space.names),
            identity=tuple(rig.identity_space),
            recipe=self.recipe,
            size=self.size,
            seed=self.seed,
            count=self.count,
            per_shard=self.per_shard,
            normals=self.normals,
            identities=self.identities,
            vertices=self.vertices,
            rig_sha256=rig_sha256,
        )


@dataclass(frozen=True)
class Rendered:
    """One sample.

    Attributes:
        rgb, normal: (S, S, 3) uint8; normal is encoded (`omote.render.encode_normals`).
        mask: (S, S) uint8, 255 on the head.
        expression: controls and their kind; identity (I,).
        landmarks: (478, 2) px, NaN for rigs without; vertices: (V, 3) metres, camera space (a foreign rig is brought
            to where the average head is, and to its size).
        camera: of both pictures; rotation (3,) axis-angle of the head in it.
        quality: of the JPEG that ``rgb`` is to be stored as; None: losslessly.
    """

    rgb: Array
    normal: Array
    mask: Array
    expression: Expression
    identity: Array
    landmarks: Array
    vertices: Array
    camera: Camera
    rotation: Array
    quality: int | None


@dataclass(frozen=True)
class _Plan:
    """What is drawn before rendering, all from the sample's own generator."""

    rng: Chance
    expression: Expression
    identity: Array
    rotation: Array
    shift: Array
    distance: float
    span: float


def render_samples(
    rig: Rig, options: SynthOptions, start: int = 0, stop: int | None = None
) -> Iterator[Rendered]:
    """Render samples ``start`` to ``stop`` (default: all) in order.

    Args:
        rig: see `omote.rigs.protocol.Rig`.
        options: what to render.
        start: index of the first sample.
        stop: index after the last; default ``options.count``.
    """
    import torch

    stop = options.count if stop is None else stop
    head = average_head(rig)
    for first in range(start - start % CHUNK, stop, CHUNK):
        plans = [_plan(rig, options, index) for index in range(first, first + CHUNK)]
        controls = torch.from_numpy(np.stack([plan.expression.controls for plan in plans]))
        identity = torch.from_numpy(np.stack([plan.identity for plan in plans]))
        rest = torch.from_numpy(np.broadcast_to(rig.space.neutral, controls.shape).copy())
        with torch.no_grad():
            posed, neutral = (
                head.apply(rig(values, identity).numpy()).astype(np.float32) for values in (controls, rest)
            )
        for offset, plan in enumerate(plans):
            if start <= first + offset < stop:
                yield _render(rig, options, plan, posed[offset], neutral[offset])


def _plan(rig: Rig, options: SynthOptions, index: int) -> _Plan:
    rng = np.random.default_rng([options.seed, index])
    wild = options.recipe == "wild"
    expression = sample_expression(rig.space, options.recipe, index, rng)
    head = rng
    if options.identities:
        head = np.random.default_rng([options.seed, 1 << 32, index % options.identities])
    identity = head.normal(0, 1.0 if wild else 0.8, len(rig.identity_space)).astype(np.float32)
    if wild:
        turn = np.clip(rng.normal(0, 1, 3), -2.6, 2.6) * np.radians((8, 13, 6))
        shift = rng.normal(0, 1, 3) * (0.010, 0.010, 0)
        distance, span = float(np.exp(rng.uniform(np.log(0.35), np.log(1.8)))), rng.uniform(0.27, 0.34)
    else:
        turn, shift = np.radians(rng.normal(0, 2.0, 3)), rng.normal(0, 0.003, 3)
        distance, span = DISTANCE, SPAN
    return _Plan(rng, expression, identity, turn.astype(np.float32), shift.astype(np.float32), distance, span)


def _render(rig: Rig, options: SynthOptions, plan: _Plan, posed: Array, neutral: Array) -> Rendered:
    from omote.render import encode_normals, render_mesh

    rng, size, wild = plan.rng, options.size, options.recipe == "wild"
    if wild and rng.random() < 0.6:
        eyes = np.empty((0, 3)) if rig.landmarks is None else rig.landmarks.apply(neutral)[[468, 473]]
        posed = other_hand(posed, neutral, eyes, rng)
    turn = axis_angle_to_matrix(plan.rotation.astype(np.float64)).astype(np.float32)
    place = plan.shift - np.array([0, 0, plan.distance], np.float32)

    def in_camera(points: Array) -> Array:
        moved: Array = (points - CENTRE) @ turn.T + place
        return moved

    vertices = in_camera(posed)
    camera = Camera(size * plan.distance / plan.span, (size / 2, size / 2), (size, size))
    faces = seen_faces(rig, rng if wild else None)
    uv = None if rig.uv is None else rig.uv.numpy()
    albedo: Any
    if isinstance(rig, FacsRig):
        albedo = looks.random_albedo(rng) if wild else looks.usual_skin()
    else:
        albedo = looks.own_albedo(getattr(rig, "colours", None), rng if wild else None)
    tangent = options.normals == "tangent"
    if tangent and uv is None:
        raise InputError(
            "tangent-space normals need texture coordinates", where=rig.name, remedy="--normals camera"
        )
    buffers = render_mesh(
        vertices,
        faces,
        camera,
        uv=uv,
        albedo=albedo,
        weld=None if rig.weld is None else rig.weld.numpy(),
        lights=looks.random_lights(rng) if wild else "three-point",
        background=looks.random_background(rng, size) if wild else np.array(GREY, np.float32),
        supersample=2 if size <= 512 else 1,
        frame_vertices=in_camera(neutral) if tangent else None,
        tangent_normals=tangent,
    )
    rgb = np.rint(np.clip(buffers.rgb, 0, 1) * 255).astype(np.uint8)
    normal = encode_normals(buffers.normal_tangent if tangent else buffers.normal_camera, buffers.alpha)
    mask = np.rint(buffers.alpha * 255).astype(np.uint8)
    if rig.landmarks is None:
        landmarks = np.full((478, 2), np.nan, np.float32)
    else:
        landmarks = np.asarray(project(camera, rig.landmarks.apply(vertices)), np.float32)
    quality = None
    if wild:
        if rig.landmarks is not None:
            rgb, normal, mask = looks.occlude(rgb, normal, mask, landmarks, rng)
        rgb, normal = looks.photograph(rgb, rng), looks.weathered_normals(normal, mask, rng)
        quality = int(rng.integers(45, 97))
    return Rendered(
        rgb, normal, mask, plan.expression, plan.identity, landmarks, vertices, camera, plan.rotation, quality
    )


def members(sample: Rendered, info: DatasetInfo, index: int) -> dict[str, bytes]:
    """The files of one sample, by extension."""
    facts = {
        "index": index,
        "seed": info.seed,
        "recipe": info.recipe,
        "kind": sample.expression.kind,
        "focal": round(sample.camera.focal, 4),
        "principal": sample.camera.principal,
        "size": sample.camera.size,
        "head_rotation": [round(float(r), 6) for r in sample.rotation],
    }
    if sample.quality is None:
        picture = {"rgb.png": _encoded(sample.rgb, ".png")}
    else:
        picture = {"rgb.jpg": _encoded(sample.rgb, ".jpg", sample.quality)}
    files = {
        **picture,
        "normal.png": _encoded(sample.normal, ".png"),
        "mask.png": _encoded(sample.mask, ".png"),
        "controls.npy": array_bytes(sample.expression.controls),
        "identity.npy": array_bytes(sample.identity),
        "landmarks.npy": array_bytes(sample.landmarks),
        "json": json.dumps(facts).encode(),
    }
    if info.vertices:
        files["vertices.npy"] = array_bytes(sample.vertices)
    return files


def _encoded(picture: Array, kind: str, quality: int = 0) -> bytes:
    import cv2

    settings = [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 2]
    _, content = cv2.imencode(kind, picture[..., ::-1] if picture.ndim == 3 else picture, settings)
    encoded: bytes = content.tobytes()
    return encoded


def make_shard(rig: Rig, options: SynthOptions, folder: Path, number: int, on_sample: Any = None) -> int:
    """Render shard ``number`` into ``folder``; a complete one is left as it is, one that was cut off is replaced.

    Args:
        rig: what is rendered.
        options: of the whole data set.
        folder: of its shards.
        number: which shard, from 0.
        on_sample: called with (done, total) after each sample.

    Returns:
        Samples rendered.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    info = options.describe(rig)
    path = folder / info.shard_names()[number]
    if is_whole(path):
        return 0
    start = number * options.per_shard
    stop = min(options.count, start + options.per_shard)

    def files() -> Iterator[tuple[str, dict[str, bytes]]]:
        for index, sample in enumerate(render_samples(rig, options, start, stop), start):
            yield f"{index:08d}", members(sample, info, index)
            if on_sample is not None:
                on_sample(index + 1 - start, stop - start)

    return write_shard(path, files())
