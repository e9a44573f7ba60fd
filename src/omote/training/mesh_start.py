"""What a mesh reader knows before it is trained: the rig's points, axes to see them on, and straight steps.

The straight part of each step is the ridge regression of "Supervised Descent Method and its Applications to Face
Alignment" (Xiong & De la Torre, CVPR 2013, equation 9): solved for at once, where gradient descent would need an hour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from omote.errors import InputError
from omote.models.inversion.mesh import Belief, MeshReader, MeshStep
from omote.models.inversion.network import InversionNet
from omote.models.inversion.unwrapped import UnwrappedReader
from omote.rigs.surface_points import face_grid, face_points, linear_points, points_inside
from omote.training.datasets.loader import collate
from omote.training.datasets.poses import POSE_MIRROR

if TYPE_CHECKING:
    from omote.rigs.protocol import Rig

FOR_STEPS = 24_000
"""Samples that the straight steps are solved from."""
_FOR_AXES = 6000
_BATCH = 64
_LEAST = 0.03  # of the mean spread: what varies less is not magnified further
_LEAST_UNWRAPPED = 0.05
_RIDGES = (0.003, 0.01, 0.03, 0.1, 0.3)  # of the number of samples

Sample = dict[str, Any]
Tell = Callable[[str], None]


@torch.no_grad()
def prepare_mesh(
    net: InversionNet,
    rig: Rig,
    samples: Iterable[dict[str, Any]],
    *,
    count: int = FOR_STEPS,
    tell: Tell | None = None,
) -> None:
    """Set everything that is not trained.

    Args:
        net: reads a mesh.
        rig: whose surface it reads.
        samples: of the training set.
        count: how many of them are used, and kept meanwhile (100 kB each at 128 px).
        tell: told what is being done.

    Raises:
        InputError: the network reads no mesh, or another number of points than the rig has.
    """
    say = tell or (lambda what: None)
    mesh = place_mesh(net, rig)
    say("reading samples")
    names = ("controls", "identity", "pose", *mesh.modalities)
    kept = [{name: sample[name] for name in names} for sample in islice(samples, count)]
    say("finding axes")
    mesh.whiten(_looks(mesh, kept[:_FOR_AXES]), _LEAST)
    for name in mesh.steps[0].straight:  # type: ignore[union-attr]
        say(f"solving for {name.replace('_', ' and ')}")
        _solve(mesh, name, kept)
    if net.unwrapped is not None:
        say("finding axes of the unwrapped face")
        net.unwrapped.whiten(_unwrapped(mesh, net.unwrapped, kept[:_FOR_AXES]), _LEAST_UNWRAPPED)


def place_mesh(net: InversionNet, rig: Rig) -> MeshReader:
    """Set the rig's points, and the map of its skin if the face is unwrapped; the reader.

    Args:
        net: reads a mesh.
        rig: whose surface it reads.

    Raises:
        InputError: the network reads no mesh, or another number of points than the rig has.
    """
    mesh = net.mesh
    if mesh is None:
        raise InputError("reads no mesh", where="network")
    chosen = face_points(rig)
    if len(chosen) != len(mesh.rest):
        what = f"reads {len(mesh.rest)} points, the rig '{rig.name}' has {len(chosen)}"
        raise InputError(what, where="network", remedy="Give its configuration as many mesh_points.")
    mesh.place(linear_points(rig, lambda vertices: vertices[chosen]))
    if net.unwrapped is not None:
        skin = mesh.rest.numpy()[: len(chosen) - points_inside(rig)]
        net.unwrapped.place(*face_grid(skin, net.config.grid))
        if net.config.both_ways:
            net.unwrapped.set_mirror(*mirror_of(rig))
    return mesh


def mirror_of(rig: Rig) -> tuple[np.ndarray, np.ndarray]:
    """Indices (S,) and signs (S,): a mirrored belief, in the mesh reader's units, is ``belief[:, index] * sign``.

    Args:
        rig: that can be mirrored (`omote.rigs.symmetry.can_be_mirrored`).
    """
    controls, identity = len(rig.space), getattr(rig, "identity_mirror", torch.zeros(0)).numpy()
    beside = np.arange(controls, controls + len(identity) + len(POSE_MIRROR))
    index = np.concatenate([rig.space.mirror_indices, beside])
    return index, np.concatenate([rig.space.mirror_signs, identity, POSE_MIRROR]).astype(np.float32)


def _batches(
    mesh: MeshReader, samples: Sequence[Sample]
) -> Iterable[tuple[slice, dict[str, Tensor], Belief]]:
    """Where a batch is, its pictures, and the truth."""
    for first in range(0, len(samples), _BATCH):
        batch = collate(samples[first : first + _BATCH])
        pose = torch.where(batch["pose"].isfinite(), batch["pose"], mesh.usual_pose)
        truth = Belief(batch["controls"], batch["identity"], pose)
        yield slice(first, first + len(pose)), mesh.surfaces(batch), truth


def _looks(mesh: MeshReader, samples: Sequence[Sample]) -> dict[str, Tensor]:
    """What is seen of samples (N, 3 M) of each modality, half of them as at first, half as they are."""
    found: dict[str, list[Tensor]] = {}
    for _, images, truth in _batches(mesh, samples):
        first = mesh.at_first(len(truth.pose))
        known = torch.arange(len(truth.pose))[:, None] % 2 == 0
        parts = (torch.where(known, a, b) for a, b in zip(truth, first, strict=True))
        for name, seen in mesh.look(images, Belief(*parts)).items():
            found.setdefault(name, []).append(seen)
    return {name: torch.cat(parts) for name, parts in found.items()}


def _unwrapped(mesh: MeshReader, reader: UnwrappedReader, samples: Sequence[Sample]) -> dict[str, Tensor]:
    """What is seen along the skin of samples (N, P) of each modality, where the mesh reader finds it."""
    found: dict[str, list[Tensor]] = {}
    for _, images, truth in _batches(mesh, samples):
        nothing = truth.pose.new_zeros(len(truth.pose), mesh.extra)
        seen = reader.unwrap(mesh, images, mesh.within(mesh(images, nothing)[-1]))
        for name, part in reader.coarse(seen).items():
            found.setdefault(name, []).append(part)
    return {name: torch.cat(parts) for name, parts in found.items()}


def _solve(mesh: MeshReader, name: str, samples: Sequence[Sample]) -> None:
    """The straight part of all steps for one set of modalities.

    What a step is solved from is what the step before believes of samples that it was not solved from: as in use.
    """
    shown = name.split("_")
    truth = torch.cat([mesh.units(truth) for _, _, truth in _batches(mesh, samples)])
    state = mesh.units(mesh.at_first(len(samples)))
    half = torch.arange(len(samples)) % 2 == 0
    for step in mesh.steps:
        assert isinstance(step, MeshStep)  # noqa: S101 - for the type checker
        rows = []
        for where, images, _ in _batches(mesh, samples):
            belief = mesh.within(mesh.belief(state[where]))
            seen = mesh.seen({m: images[m] for m in shown}, belief)
            rows.append(torch.cat([*seen.values(), mesh.units(belief)], 1))
        known = torch.cat(rows)
        state = known[:, -state.shape[1] :]
        wanted = truth - state
        halves = [_Normal.of(known[part], wanted[part]) for part in (half, ~half)]
        controls = mesh.counts[0]
        best = min(_RIDGES, key=lambda ridge: halves[0].error(ridge, known[~half], wanted[~half], controls))
        changed = torch.empty_like(state)
        for part, other in ((half, halves[1]), (~half, halves[0])):
            changed[part] = other.change(best, known[part])
        state = state + changed
        layer = step.straight[name]
        weight, bias = (halves[0] + halves[1]).solution(best)
        layer.weight.copy_(weight.T)  # type: ignore[operator]
        layer.bias.copy_(bias)  # type: ignore[operator]


class _Normal:
    """The sums of a ridge regression: (P + 1, P + 1) of inputs with a one, (P + 1, N) of inputs and results."""

    def __init__(self, square: Tensor, mixed: Tensor, count: int) -> None:
        self.square, self.mixed, self.count = square, mixed, count

    @classmethod
    def of(cls, known: Tensor, wanted: Tensor) -> _Normal:
        """Of (S, P) inputs and (S, N) results."""
        ones = torch.cat([known, torch.ones(len(known), 1)], 1)
        return cls(ones.T @ ones, ones.T @ wanted, len(known))

    def __add__(self, other: _Normal) -> _Normal:
        return _Normal(self.square + other.square, self.mixed + other.mixed, self.count + other.count)

    def solution(self, ridge: float) -> tuple[Tensor, Tensor]:
        """Weight (P, N) and bias (N,); the bias is not held back."""
        damped = self.square.double()
        held = torch.full((len(damped),), ridge * self.count, dtype=torch.float64)
        held[-1] = 0
        found = torch.linalg.solve(damped + held.diag(), self.mixed.double()).float()
        return found[:-1], found[-1]

    def change(self, ridge: float, known: Tensor) -> Tensor:
        """(S, N) for inputs (S, P)."""
        weight, bias = self.solution(ridge)
        return known @ weight + bias

    def error(self, ridge: float, known: Tensor, wanted: Tensor, first: int) -> float:
        """Mean squared error of the ``first`` results on other samples."""
        return float((self.change(ridge, known) - wanted)[:, :first].square().mean())
