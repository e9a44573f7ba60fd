"""The baked head: arrays of ``assets/head.npz`` as they are stored, dequantised, and nothing else."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from omote.errors import FormatError

FORMAT = 1
SIDES = ("L", "R")


@dataclass(frozen=True)
class HeadAsset:
    """What ``tools/head/bake.py`` wrote. V: vertices, U: the same welded along UV seams, I: identity, S: shapes.

    ``arrays`` holds the remaining arrays by name: ``template`` (U, 3) metres, ``identity`` (I, U, 3),
    ``shape`` (S, U, 3), ``gradient`` (I, N, 3, 3), ``expand`` (V,) welded index of each
    vertex, ``uv`` (V, 2), ``quads`` (Q, 4), ...
    """

    header: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]


@cache
def load_head_asset() -> HeadAsset:
    """Read the head that ships with the package (about 50 ms, then cached).

    Raises:
        FormatError: if the file is missing, damaged or of another format.
    """
    path = resources.files("omote") / "assets" / "head.npz"
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise FormatError(
            f"the embedded head cannot be read ({error})", where=str(path), remedy="Reinstall omote."
        ) from error
    header = json.loads(arrays.pop("header").tobytes())
    if header.get("format") != FORMAT:
        raise FormatError(
            f"format {header.get('format')}, expected {FORMAT}", where=str(path), remedy="Reinstall omote."
        )
    for name in ("identity", "shape", "gradient"):
        field = arrays[name].astype(np.float32)
        arrays[name] = field * arrays.pop(f"{name}_scale").reshape(-1, *[1] * (field.ndim - 1))
    arrays["node_weight"] = arrays["node_weight"].astype(np.float32)
    arrays["node_weight"] /= arrays["node_weight"].sum(1, keepdims=True)
    for name in ("expand", "weld", "quads", "mirror", "node_index", "tongue_vertex", "lash_bound"):
        arrays[name] = arrays[name].astype(np.int64)
    for side in SIDES:
        for name in ("closure_{}_row", "closure_{}_column", "rim_{}", "ball_{}"):
            key = name.format(side)
            arrays[key] = arrays[key].astype(np.int64)
    return HeadAsset(header, arrays)


def triangles(quads: np.ndarray) -> np.ndarray:
    """(2Q, 3) triangles of quads (Q, 4); triangles 2q and 2q + 1 come from quad q."""
    return np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], axis=1).reshape(-1, 3)
