"""Heads that no sculptor of the rig made: smooth random changes of a head and of how it deforms.

They keep a network from learning one sculptor's hand, so that it can read rigs and scans made by others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from omote.rigs.protocol import Rig

Array = np.ndarray
Chance = np.random.Generator

BUMPS, WIDTH = 10, 0.045
"""Random centres on the head, and how far each reaches, metres."""
EYE_REACH = 0.025
SHAPE_SPREAD, STYLE_SPREAD = 0.0022, 0.13
"""Standard deviations: of the head's own shape, metres; of the entries of the matrix that deforms displacements."""


def other_hand(posed: Array, neutral: Array, eyes: Array, rng: Chance) -> Array:
    """The same expression on a slightly other head, its displacements bent by another sculptor's taste.

    posed' = neutral + s(neutral) + (I + A(neutral)) (posed - neutral), with smooth random fields s (metres) and
    A (3 x 3): sums of Gaussians around random points of the head.

    Args:
        posed: (V, 3) metres, head space.
        neutral: the same head without expression.
        eyes: (N, 3) centres of the eyes: A fades out towards them, so that lids still meet and eyeballs stay round.
        rng: seeded for the sample.

    Returns:
        (V, 3) metres.
    """
    centres = neutral[rng.integers(len(neutral), size=BUMPS)]
    square = ((neutral[:, None] - centres[None]) ** 2).sum(-1)
    near = np.exp(-square / (2 * WIDTH**2)).astype(np.float32)
    shift = near @ rng.normal(0, SHAPE_SPREAD, (BUMPS, 3)).astype(np.float32)
    apart = ((neutral[:, None] - eyes[None]) ** 2).sum(-1).min(1, initial=np.inf)
    faded = near * (1 - np.exp(-apart / (2 * EYE_REACH**2)))[:, None].astype(np.float32)
    style = faded @ rng.normal(0, STYLE_SPREAD, (BUMPS, 9)).astype(np.float32)
    moved = posed - neutral
    bent = moved + np.einsum("vrc,vc->vr", style.reshape(-1, 3, 3), moved)
    result: Array = (neutral + shift + bent).astype(np.float32)
    return result


def seen_faces(rig: Rig, rng: Chance | None) -> Array:
    """(F', 3) triangles of a rig to draw: sometimes without lashes, teeth or tongue, as many heads are.

    Args:
        rig: with ``part_names`` and ``face_part``, else all its triangles are drawn.
        rng: None draws everything.
    """
    faces: Array = rig.faces.numpy()
    names = getattr(rig, "part_names", ())
    if rng is None or not names:
        return faces
    left_out: set[str] = set()
    if rng.random() < 0.4:
        left_out.add("lashes")
    if rng.random() < 0.12:
        left_out.update(("teeth_upper", "teeth_lower", "tongue"))
    if not left_out:
        return faces
    kept = [i for i, name in enumerate(names) if name not in left_out]
    return faces[np.isin(rig.face_part.numpy(), kept)]  # type: ignore[attr-defined]
