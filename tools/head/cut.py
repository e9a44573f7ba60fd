"""Cut the head out of the body mesh: which quads, which parts, and one vertex per UV seam side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from . import makehuman as mh
from .atlas import layout

PARTS = ("skin", "eye_socket", "mouth", "eye_L", "eye_R", "teeth_upper", "teeth_lower", "tongue", "lashes")
NECK_LOOP = (1522, 8205)
"""Two neighbouring vertices of the edge loop at the base of the neck, where the head ends."""
CROWN = 8.0
"""Every body vertex above this height (dm) belongs to the head."""

_GROUP_PART = {
    "helper-l-eye": "eye_L",
    "helper-r-eye": "eye_R",
    "helper-upper-teeth": "teeth_upper",
    "helper-lower-teeth": "teeth_lower",
    "helper-tongue": "tongue",
    "helper-l-eyelashes-1": "lashes",
    "helper-l-eyelashes-2": "lashes",
    "helper-r-eyelashes-1": "lashes",
    "helper-r-eyelashes-2": "lashes",
}
EYE_VERTICES = {"L": slice(14598, 14670), "R": slice(14670, 14742)}


def head_weight() -> np.ndarray:
    """(V,) skin weight of the head bone and everything that hangs on it (face bones, eyes, tongue, jaw)."""
    trunk: tuple[str, ...] = (
        "neck",
        "spine",
        "root",
        "clavicle",
        "shoulder",
        "pelvis",
        "breast",
        "arm",
        "leg",
        "finger",
        "toe",
        "foot",
    )
    trunk += ("wrist", "metacarpal", "hand", "thigh", "calf")
    weights = mh.bone_weights()
    total = sum(
        w for bone, w in weights.items() if not bone.startswith(trunk) and not any(t in bone for t in trunk)
    )
    total = np.asarray(total)
    for group in _GROUP_PART:  # helpers ride on the head as a whole
        mesh = mh.base_mesh()
        total[np.unique(mesh.quads[mesh.quad_group == group])] = 1.0
    return np.clip(total, 0.0, 1.0)


LID_LOOPS = ((7748, 7765), (13352, 13359), (6785, 6838))
"""Two neighbouring vertices of the left eye's three rim loops: inner edge, middle and outer edge of the lid margin.

Each loop has 28 vertices; loop[i] on the upper lid (i = 21..27, 0..6) meets loop[(13 - i) % 28] on the lower lid.
"""


@cache
def lid_loops() -> list[dict[str, np.ndarray]]:
    """The three rim loops, inner to outer, each {"L": (28,), "R": (28,)} base-mesh vertices."""
    mirror = mh.mirror_vertices()
    left = [np.array(mh.edge_loop(*pair)) for pair in LID_LOOPS]
    return [{"L": loop, "R": mirror[loop]} for loop in left]


def _spread(quads: np.ndarray, inside: np.ndarray, barrier: np.ndarray) -> np.ndarray:
    """(Q,) grow a set of quads over shared vertices, never across the barrier vertices (V,)."""
    reached = np.zeros(len(barrier), bool)
    while True:
        reached[quads[inside]] = True
        grown = inside | np.any((reached & ~barrier)[quads], axis=1)
        if np.array_equal(grown, inside):
            return inside
        inside = grown


def _above(quads: np.ndarray, loop: np.ndarray, crown: np.ndarray) -> np.ndarray:
    """(Q,) true for body quads on the crown's side of the neck loop."""
    barrier = np.zeros(len(crown), bool)
    barrier[loop] = True
    return _spread(quads, np.all(crown[quads], axis=1), barrier)


def _enclosed(quads: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """(Q,) true for the quads behind an inner rim loop: the eye socket, found by walking away from the lids."""
    count = int(quads.max()) + 1
    on_loop = np.zeros(count, bool)
    on_loop[loop] = True
    touching = np.any(on_loop[quads], axis=1)
    outer = {int(v) for side in lid_loops()[1].values() for v in side}
    inside = touching & ~np.any(np.isin(quads, list(outer)), axis=1)
    return _spread(quads, inside, on_loop)


@dataclass(frozen=True)
class HeadCut:
    """source (V,) base-mesh vertex of each head vertex; uv (V, 2); quads (Q, 4); quad_part (Q,); weld (V,).

    ``body_uv`` (V, 2) is where MakeHuman's own textures hold the vertex; both UVs have their origin at the top left.
    """

    source: np.ndarray
    uv: np.ndarray
    body_uv: np.ndarray
    quads: np.ndarray
    quad_part: np.ndarray
    weld: np.ndarray


def _inside_mouth(uv: np.ndarray) -> np.ndarray:
    mask = np.asarray(Image.open(mh.data_folder() / "mpfb2/textures/mpfb_inside-mouth.jpg").convert("L"))
    height, width = mask.shape
    column = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    row = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    return mask[row, column] > 127


def cut_head() -> HeadCut:
    """Select head quads, name their parts, split vertices along UV seams (uv origin becomes top-left)."""
    mesh = mh.base_mesh()
    group_part = np.array([_GROUP_PART.get(g, "skin" if g == "body" else "") for g in mesh.quad_group])
    body = mesh.quad_group == "body"
    keep = (group_part != "") & ~body
    keep[body] = _above(mesh.quads[body], np.array(mh.edge_loop(*NECK_LOOP)), mesh.vertices[:, 1] > CROWN)
    quads, quad_uv, part = mesh.quads[keep], mesh.quad_uv[keep], group_part[keep]

    part = np.where((part == "skin") & _inside_mouth(mesh.uv[quad_uv].mean(1)), "mouth", part)
    for loop in lid_loops()[0].values():
        part = np.where(_enclosed(quads, loop), "eye_socket", part)

    corners = np.stack([quads.ravel(), quad_uv.ravel()], axis=1)
    unique, inverse = np.unique(corners, axis=0, return_inverse=True)
    source = unique[:, 0]
    first = {int(s): i for i, s in reversed(list(enumerate(source)))}
    weld = np.array([first[int(s)] for s in source])
    codes = np.array([PARTS.index(p) for p in part])
    body_uv = mesh.uv[unique[:, 1]] * [1, -1] + [0, 1]
    quads = inverse.reshape(-1, 4)
    uv = layout(body_uv, quads, codes, PARTS, mesh.vertices[source])
    return HeadCut(source, uv, body_uv, quads, codes, weld)


def triangles(quads: np.ndarray) -> np.ndarray:
    """(2Q, 3): triangles 2q and 2q + 1 come from quad q."""
    return np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], axis=1).reshape(-1, 3)
