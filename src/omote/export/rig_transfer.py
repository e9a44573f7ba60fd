"""A rig's shapes on another head: registration, deformation transfer and how well they went, in one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from omote.errors import InputError
from omote.export import evaluate as ev
from omote.export import morphs as mo
from omote.geometry.closest import Surface
from omote.geometry.deformation_transfer import DeformationTransfer
from omote.geometry.registration import HeadMesh, register, triangle_correspondence
from omote.rigs.shapes import Shape, ShapeSet

if TYPE_CHECKING:
    from omote.rigs.landmarks import LandmarkEmbedding
    from omote.rigs.protocol import Rig

Array = npt.NDArray[Any]

HeadLandmarks = tuple[Array, Array]
"""(K, 3) vertex indices and (K, 3) barycentrics."""
IRISES = slice(468, 478)
STILL = 2e-6
"""Metres: what a shape moves by less is left out."""


@dataclass(frozen=True)
class Fit:
    """How the source lies on the target, millimetres of the target.

    Attributes:
        surface_median, surface_p95: distance of the source's outer vertices from the target's surface.
        landmarks_median: distance of the landmarks from each other.
        followed: share of the target's triangles that follow triangles of the source.
        same_topology: triangle k follows triangle k; nothing was registered, and the distances are 0.
    """

    surface_median: float
    surface_p95: float
    landmarks_median: float
    followed: float
    same_topology: bool


@dataclass(frozen=True)
class Transferred:
    """The target with the source's shapes, in the order of the source's controls; shape -> the control it needs."""

    shapes: ShapeSet
    fit: Fit
    acts_only_with: dict[str, str]


Progress = Callable[[str, int, int], None]


def transfer_rig(
    source: Rig,
    target: ShapeSet,
    landmarks: tuple[HeadLandmarks, HeadLandmarks] | None,
    weights: Array | None = None,
    *,
    progress: Progress | None = None,
) -> Transferred:
    """The source's controls as shapes of the target.

    Args:
        source: any rig; its average identity is used.
        target: the neutral head in metres, head space; its own shapes, if any, are left out.
        landmarks: (K, 3) indices and (K, 3) barycentrics of corresponding points of the source and of the target; None
            where both have the same triangles.
        weights: (K,) how far to trust each pair.
        progress: called with (what is done, done, all).

    Raises:
        InputError: what `register` and `DeformationTransfer` refuse; a source whose controls move nothing.
    """
    evaluate = ev.rig_evaluator(source, np.zeros(len(source.identity_space), np.float32), source.space)
    probed = mo.probe(evaluate, source.space)
    targets, deltas, gates = mo.linear_targets(evaluate, source.space, probed)
    base = probed.base.astype(np.float64)
    faces, weld = ev.rig_array(source, "faces"), ev.rig_array(source, "weld")
    fixed = target.vertices.astype(np.float64)

    def report(what: str) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, every: progress(what, done, every)

    if landmarks is None:
        transfer = DeformationTransfer(
            base, faces, fixed, target.faces, source_weld=weld, target_weld=target.weld
        )
        fit = Fit(0.0, 0.0, 0.0, 1.0, same_topology=True)
    else:
        from omote.render.outside import outside_vertices

        ours = HeadMesh(base, faces, landmarks[0], weld, outside_vertices(base, faces, weld))
        theirs = HeadMesh(
            fixed, target.faces, landmarks[1], target.weld, outside_vertices(fixed, target.faces, target.weld)
        )
        laid = register(ours, theirs, weights, progress=report("laying the source onto the target"))
        follow = triangle_correspondence(laid.vertices, ours, theirs, size=laid.size)
        transfer = DeformationTransfer(
            base,
            faces,
            fixed,
            target.faces,
            correspondence=follow,
            fitted=laid.vertices,
            source_weld=weld,
            target_weld=target.weld,
        )
        near = laid.distance[np.isfinite(laid.distance)] * 1e3
        fit = Fit(
            surface_median=float(np.median(near)),
            surface_p95=float(np.percentile(near, 95)),
            landmarks_median=1e3 * float(np.median(laid.landmark_distance)),
            followed=float((np.diff(follow.indptr) > 0).mean()),
            same_topology=False,
        )
    made = _through(transfer, targets, deltas, gates, source.space, report("transferring shapes"))
    shapes = [
        Shape.of(target_.name, np.where(np.linalg.norm(delta, axis=1)[:, None] > STILL, delta, 0))
        for target_, delta in zip(targets, made, strict=True)
    ]
    alone = {target_.name: delta for target_, delta in zip(targets, made, strict=True)}
    shapes += _combinations(source, evaluate, base, transfer, alone)
    products = tuple(mo.multiplied(targets, gates).items())
    return Transferred(replace(target, shapes=tuple(shapes), identity=(), gates=products), fit, gates)


def _combinations(
    source: Rig, evaluate: Any, base: Array, transfer: DeformationTransfer, alone: dict[str, Array]
) -> list[Shape]:
    """The source's combination shapes: what all their factors do together, less what fewer of them do."""
    found: dict[str, tuple[str, ...]] = getattr(source, "combinations", {})
    made: dict[str, Array] = {}
    for name, factors in sorted(found.items(), key=lambda item: len(item[1])):
        values = np.array(source.space.neutral, np.float32)[None]
        values[0, [source.space.index(factor) for factor in factors]] = 1
        whole = transfer((evaluate(values)[0] - base)[None].astype(np.float64))[0]
        fewer = [delta for other, delta in made.items() if set(found[other]) < set(factors)]
        made[name] = whole - sum([alone[factor] for factor in factors], start=sum(fewer, start=0 * whole))
    return [
        Shape.of(name, np.where(np.linalg.norm(delta, axis=1)[:, None] > STILL, delta, 0).astype(np.float32))
        for name, delta in made.items()
    ]


def _through(
    transfer: DeformationTransfer,
    targets: list[mo.Target],
    deltas: Array,
    gates: dict[str, str],
    space: Any,
    progress: Callable[[int, int], None] | None,
) -> Array:
    """(N, Vt, 3): each shape at the end of its control's range, one that needs another control on top of that one."""
    neutral, low, high = (np.asarray(a, np.float64) for a in (space.neutral, space.low, space.high))
    place = {target.name: k for k, target in enumerate(targets)}
    reach = np.array(
        [
            neutral[t.control] - low[t.control] if t.sign < 0 else high[t.control] - neutral[t.control]
            for t in targets
        ]
    )
    reach = np.where(reach > 0, reach, 1.0)
    gate = [place.get(gates.get(target.name, ""), -1) for target in targets]
    full = deltas * reach[:, None, None]
    for k, other in enumerate(gate):
        if other >= 0:
            full[k] = (
                full[k] * (reach[other] if targets[k].partner is not None else 1.0)
                + deltas[other] * reach[other]
            )
    out = transfer(full, progress=progress)
    alone = out.copy()
    for k, other in enumerate(gate):
        if other >= 0:
            out[k] -= alone[other]
            if targets[k].partner is not None:
                out[k] /= reach[other]
    return np.asarray(out / reach[:, None, None], np.float32)


def neutral_of(rig: Rig) -> Array:
    """(V, 3) metres: the average head at rest."""
    evaluate = ev.rig_evaluator(rig, np.zeros(len(rig.identity_space), np.float32), rig.space)
    return evaluate(np.array(rig.space.neutral, np.float32)[None])[0]


def landmark_pairs(
    source: LandmarkEmbedding, target: LandmarkEmbedding
) -> tuple[tuple[HeadLandmarks, HeadLandmarks], Array]:
    """Corresponding landmarks of two heads and how far to trust each; irises not at all: eyes may look elsewhere."""
    trust = np.minimum(source.weight, target.weight).astype(np.float64)
    trust[IRISES] = 0
    return (
        (source.vertices, source.barycentric.astype(np.float64)),
        (target.vertices, target.barycentric.astype(np.float64)),
    ), trust


def points_on(vertices: Array, faces: Array, points: Array) -> HeadLandmarks:
    """The nearest surface points of (K, 3) points given by hand."""
    from trimesh.triangles import points_to_barycentric

    found = Surface(vertices.astype(np.float64), faces).nearest(points)
    if (found.face < 0).any():
        raise InputError("lie on no triangle", where="landmarks")
    corners = faces[found.face]
    return corners, points_to_barycentric(vertices[corners].astype(np.float64), found.point)
