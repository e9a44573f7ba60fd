"""A rig taken apart into linear morph targets that replay it.

A glTF viewer knows ``base + sum_i weight_i * delta_i`` and nothing else. A rig is not linear: signed controls
have different ends, some shapes act only together with another, corrections depend on products. This module
finds, by evaluating the rig and without knowing how it is made,

- one target per control, named as the control (weight = control value);
- ``<name>_neg`` where the negative end is not the reverse of the positive one (weight = how far below
  neutral);
- for a control that does nothing alone (lips_together acts on the open jaw) the shape it adds at the full
  gate; its weight is then the product of the two controls;
- ``combo_<a>__<b>`` for pairs whose product the rig uses (see :func:`combinations_of`), where the take has
  both;
- ``residual_00`` ...: principal components of what is still missing over the take, so that playback is within
  ``tolerance`` of the rig. They belong to the take: set them to zero when posing by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from omote.export.evaluate import Evaluate, TakeVertices
from omote.export.residuals import LINEAR, fit_residuals, reach

if TYPE_CHECKING:
    from omote.controls import ControlSpace

STILL = 1e-7  # metres: a shape that moves no vertex further than this does nothing


@dataclass(frozen=True)
class Target:
    """One morph target.

    Its weight is the control's offset from neutral, or ``max(0, sign * offset)`` where sign is not 0, times
    the offset of its partner where it has one.
    """

    name: str
    control: int
    sign: int = 0
    partner: int | None = None


@dataclass(frozen=True)
class MorphSet:
    """Targets and their weights over a take.

    Attributes:
        names: N target names.
        base: (V, 3) metres, the identity at rest.
        deltas: (N, V, 3) metres per unit of weight.
        weights: (T, N).
        error: largest distance in metres between replay and rig over the take.
        linear_error: the same without the residual targets.
        gates: control -> the control it acts together with.
        products: those of them whose weight is a product.
    """

    names: tuple[str, ...]
    base: np.ndarray
    deltas: np.ndarray
    weights: np.ndarray
    error: float
    linear_error: float
    residuals: int
    gates: dict[str, str] = field(default_factory=dict)
    products: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Probe:
    """The rig with one control at a time at its ends: vertices (C, V, 3) each, and the neutral (V, 3)."""

    base: np.ndarray
    high: np.ndarray
    low: np.ndarray


def probe(evaluate: Evaluate, space: ControlSpace) -> Probe:
    """Evaluate every control alone at its high and its low end."""
    neutral, low, high = (np.asarray(a, np.float32) for a in (space.neutral, space.low, space.high))
    count = len(neutral)
    at_high, at_low = np.tile(neutral, (count, 1)), np.tile(neutral, (count, 1))
    np.fill_diagonal(at_high, high)
    np.fill_diagonal(at_low, low)
    base = evaluate(neutral[None])[0]
    signed = np.flatnonzero(low < neutral)
    ends = np.repeat(base[None], count, axis=0)
    if len(signed):
        ends[signed] = evaluate(at_low[signed])
    return Probe(base, evaluate(at_high), ends)


def _find_gate(
    evaluate: Evaluate, space: ControlSpace, probed: Probe, control: int
) -> tuple[int, np.ndarray, bool] | None:
    """The control that makes a silent one act, the shape added with both full, and whether they multiply.

    Jaw opening is tried first. FACS ``lips_together_*`` multiply ``jaw_open``: at half of both they add a
    quarter. ARKit's ``mouthClose`` is relative to ``jawOpen``: at half of both it adds a half, so its weight
    is its own value.
    """
    names = space.names
    order = sorted(range(len(names)), key=lambda i: (names[i] not in ("jaw_open", "jawOpen"), i))
    for block in (order[:1], order[1:]):
        values = np.tile(np.asarray(space.neutral, np.float32), (len(block), 1))
        values[np.arange(len(block)), block] = np.asarray(space.high, np.float32)[block]
        values[:, control] = space.high[control]
        added = evaluate(values) - probed.high[block]
        strength = [reach(a) if i != control else 0.0 for i, a in zip(block, added, strict=True)]
        best = int(np.argmax(strength))
        if strength[best] > 1e-4:
            half = np.asarray(space.neutral, np.float32)[None].copy()
            half[0, block[best]] = (space.high[block[best]] + half[0, block[best]]) / 2
            alone = evaluate(half)[0]
            half[0, control] = (space.high[control] + half[0, control]) / 2
            share = float(np.vdot(evaluate(half)[0] - alone, added[best]) / np.vdot(added[best], added[best]))
            return block[best], added[best], share < 0.375
    return None


def multiplied(targets: Sequence[Target], gates: Mapping[str, str]) -> dict[str, str]:
    """Of the gates (shape -> control) those whose weight is a product; ARKit's ``mouthClose`` is its own."""
    return {t.name: gates[t.name] for t in targets if t.name in gates and t.partner is not None}


def linear_targets(
    evaluate: Evaluate, space: ControlSpace, probed: Probe, combinations: Sequence[tuple[str, str]] = ()
) -> tuple[list[Target], np.ndarray, dict[str, str]]:
    """The targets of a rig, without residuals.

    Returns:
        targets, deltas (N, V, 3) per unit of weight, and the gates (control name -> control name).
    """
    neutral, low, high = (np.asarray(a, np.float64) for a in (space.neutral, space.low, space.high))
    targets: list[Target] = []
    deltas: list[np.ndarray] = []
    negatives: list[tuple[Target, np.ndarray]] = []
    gates: dict[str, str] = {}
    for i, name in enumerate(space.names):
        up, down = probed.high[i] - probed.base, probed.low[i] - probed.base
        if max(reach(up), reach(down)) <= STILL:
            gate = _find_gate(evaluate, space, probed, i)
            if gate is not None:
                other, added, multiply = gate
                targets.append(Target(name, i, partner=other if multiply else None))
                deltas.append(
                    added / (high[i] - neutral[i]) / (high[other] - neutral[other] if multiply else 1.0)
                )
                gates[name] = space.names[other]
                continue
        per_unit = up / max(high[i] - neutral[i], 1e-12)
        split = low[i] < neutral[i] and reach(down - per_unit * (low[i] - neutral[i])) > LINEAR
        targets.append(Target(name, i, sign=1 if split else 0))
        deltas.append(per_unit)
        if split:
            negatives.append((Target(f"{name}_neg", i, sign=-1), down / (neutral[i] - low[i])))
    for target, delta in negatives:
        targets.append(target)
        deltas.append(delta)
    done = {frozenset((name, gate)) for name, gate in gates.items()}
    for first, second in combinations:
        if frozenset((first, second)) in done:
            continue
        i, j = space.index(first), space.index(second)
        values = neutral[None].astype(np.float32).copy()
        values[0, [i, j]] = high[[i, j]]
        added = evaluate(values)[0] - probed.high[i] - probed.high[j] + probed.base
        if reach(added) > LINEAR:
            targets.append(Target(f"combo_{first}__{second}", i, sign=1, partner=j))
            deltas.append(added / ((high[i] - neutral[i]) * (high[j] - neutral[j])))
    return targets, np.stack(deltas).astype(np.float32), gates


def target_weights(targets: Sequence[Target], space: ControlSpace, values: np.ndarray) -> np.ndarray:
    """Weights (T, N) of the targets for control values (T, C)."""
    offset = np.asarray(values, np.float64) - np.asarray(space.neutral, np.float64)
    out = np.empty((len(offset), len(targets)))
    for k, target in enumerate(targets):
        weight = offset[:, target.control]
        if target.sign:
            weight = np.maximum(target.sign * weight, 0.0)
        if target.partner is not None:
            other = offset[:, target.partner]
            weight = weight * (np.maximum(other, 0.0) if target.sign else other)
        out[:, k] = weight
    return out.astype(np.float32)


def replay(base: np.ndarray, deltas: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``base + sum_i w_i d_i``: (V, 3), (N, V, 3), (T, N) -> (T, V, 3)."""
    moved = weights @ deltas.reshape(len(deltas), -1)
    return base + moved.reshape(len(weights), *base.shape)


def build_morphs(
    evaluate: Evaluate,
    space: ControlSpace,
    values: np.ndarray,
    vertices: TakeVertices,
    *,
    probed: Probe,
    keep: np.ndarray,
    combinations: Sequence[tuple[str, str]] = (),
    tolerance: float = 1e-4,
    max_residuals: int = 32,
) -> MorphSet:
    """Take the rig apart for one take.

    Args:
        evaluate: control values (B, C) -> vertices (B, V, 3).
        space: the space of ``values``.
        values: (T, C) control values of the take.
        vertices: the rig over the take.
        probed: from :func:`probe`.
        combinations: pairs of control names that get a target of their own.
        keep: (K,) the vertices that are to be morphed (rigid parts are left out); the result has only these.
        tolerance: metres; residual targets are added until playback is this close.
        max_residuals: at most so many; 0 turns them off.
    """
    acting = values > np.asarray(space.neutral) + 1e-6
    pairs = [(a, b) for a, b in combinations if (acting[:, space.index(a)] & acting[:, space.index(b)]).any()]
    targets, deltas, gates = linear_targets(evaluate, space, probed, pairs)
    weights = target_weights(targets, space, values)
    base, deltas = probed.base[keep], np.ascontiguousarray(deltas[:, keep])
    deltas[np.abs(deltas) < STILL / 4] = 0.0

    def missing(block: slice) -> np.ndarray:
        return vertices(block)[:, keep] - replay(base, deltas, weights[block])

    extra = fit_residuals(missing, len(values), len(keep), tolerance=tolerance, limit=max_residuals)
    count = len(extra.deltas)
    return MorphSet(
        names=(*(target.name for target in targets), *(f"residual_{k:02d}" for k in range(count))),
        base=base,
        deltas=np.concatenate([deltas, extra.deltas]),
        weights=np.concatenate([weights, extra.weights], axis=1),
        error=extra.error,
        linear_error=extra.linear_error,
        residuals=count,
        gates=gates,
        products=multiplied(targets, gates),
    )


def combinations_of(rig: Any, space: ControlSpace) -> tuple[tuple[str, str], ...]:
    """Pairs of controls whose product the rig uses, where it tells; the residuals take care of others.

    Looks at ``rig.combinations`` (pairs of names) or ``rig.activations`` (for each shape its factors,
    (control, sign) each). Pairs with a negative factor or of more than two controls are left out.
    """
    if rig.space != space:
        return ()
    pairs = [tuple(pair) for pair in getattr(rig, "combinations", ()) or ()]
    for factors in getattr(rig, "activations", ()) or ():
        if len(factors) == 2 and all(sign > 0 for _, sign in factors):
            pairs.append(tuple(space.names[i] for i, _ in factors))
    return tuple(
        dict.fromkeys((p[0], p[1]) for p in pairs if len(p) == 2 and p[0] in space and p[1] in space)
    )
