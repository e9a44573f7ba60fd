"""What an inversion network is trained to make small (arXiv 2510.13933, §3.3): errors of controls and of the mesh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from omote.errors import InputError
from omote.models.inversion.mesh import CONTROL_SPREAD, POSE_SPREAD, Belief

if TYPE_CHECKING:
    from omote.rigs.protocol import Rig

LOSSES = ("controls", "mesh", "both")

MESH_WEIGHT = 0.1
"""What the mesh term, in centimetres (the unit of Maya, where the paper's rig lives), is multiplied by. The paper does
not give it. Measured on the embedded rig with errors of 0.1 in all controls but the head's, the gradients of both terms
are then of the same size (0.0064 against 0.0051); as errors shrink, the mesh term, being absolute, gains."""

IDENTITY_WEIGHT = 0.1
"""What identity coefficients count beside controls, both in units of their spread, in reading the mesh."""

_CENTIMETRES = 100.0


def control_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of (B, C) controls, a scalar."""
    return (predicted.float() - target.float()).square().mean()


def mesh_loss(
    rig: Rig, predicted: Tensor, target: Tensor, identity: Tensor, *, given: Tensor | None = None
) -> Tensor:
    """Mean absolute difference, per coordinate, of the vertices that two sets of controls make, centimetres, a scalar.

    Args:
        rig: differentiable in its controls.
        predicted: (B, C) controls; the gradient flows to these.
        target: (B, C) controls.
        identity: (B, I), the true identity of each sample: both meshes have it.
        given: (K,) indices of controls that both meshes take from ``target``. A turn of the head moves every vertex by
            centimetres: its gradient is 60 times that of any other control, and would drown the face.
    """
    predicted, target = predicted.float(), target.float()
    if given is not None and given.numel():
        predicted = predicted.index_copy(1, given, target[:, given])
    with torch.no_grad():
        wanted = rig.forward(target, identity.float())
    made = rig.forward(predicted, identity.float())
    return _CENTIMETRES * (made - wanted).abs().mean()


def pick_samples(count: int, most: int | None, generator: torch.Generator) -> Tensor:
    """(N,) indices of at most ``most`` of ``count`` samples, drawn without replacement; all of them for None.

    Raises:
        InputError: ``most`` is below 1.
    """
    if most is not None and most < 1:
        raise InputError(f"the mesh loss needs at least 1 sample, got {most}")
    if most is None or most >= count:
        return torch.arange(count)
    return torch.randperm(count, generator=generator)[:most]


def step_loss(
    beliefs: Sequence[Belief], controls: Tensor, identity: Tensor, pose: Tensor, *, of_controls: bool = True
) -> Tensor:
    """Mean squared error of what each step believes (`omote.models.inversion.mesh`), squared control units, a scalar.

    Args:
        beliefs: of the head, if there is one, and of each step.
        controls: (B, C) true.
        identity: (B, I) true.
        pose: (B, 7) true, NaN where it is not known.
        of_controls: whether errors of the controls count.
    """
    terms = []
    for belief in beliefs:
        term = control_loss(belief.controls, controls) * of_controls
        if belief.pose.shape[1]:
            who = (belief.identity.float() - identity).square().sum(1)
            spread = pose.new_tensor(POSE_SPREAD)
            where = ((belief.pose.float() - pose.nan_to_num()) / spread).square() * pose.isfinite()
            around = (IDENTITY_WEIGHT * who + where.sum(1)).mean() / controls.shape[1]
            term = term + CONTROL_SPREAD**2 * around
        terms.append(term)
    return torch.stack(terms).mean()
