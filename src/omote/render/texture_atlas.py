"""The atlas as a surface: where each texel lies in its triangle, its mirror partner, and vertices tied across seams."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.render.texels import Texels, atlas_texels
from omote.rigs.asset import load_head_asset, triangles

Floats = NDArray[np.float32]
_SAMPLED = 512
"""Texels a side that are gathered at vertices; more say nothing new about low frequencies."""


@dataclass(frozen=True)
class AtlasMap:
    """The N covered texels of an atlas on the mesh of V vertices, U welded ones.

    Attributes:
        texels: the texels, in row order.
        corners: (F, 3) vertices of each triangle.
        expand: (V,) welded vertex of each vertex.
        place: (N,) each texel's index in the flattened picture.
        nearest: (N, 3) vertices of each texel's triangle.
        weights: (N, 3) barycentrics of each texel; padding lies on the border of its island.
        mirror: (N, 2) texel coordinates (centres at +0.5) of the point on the other side of the face.
        part_names: what ``texels.part`` counts.
    """

    texels: Texels
    corners: NDArray[np.int64]
    expand: NDArray[np.int64]
    place: NDArray[np.int64]
    nearest: NDArray[np.int32]
    weights: Floats
    mirror: Floats
    part_names: tuple[str, ...]

    @property
    def size(self) -> int:
        """Width and height of the atlas, texels."""
        return self.texels.size

    def part(self, *names: str) -> NDArray[np.bool_]:
        """(N,) which texels belong to one of the named parts."""
        return np.isin(self.texels.part, [self.part_names.index(name) for name in names])

    def at_texels(self, values: np.ndarray, chosen: np.ndarray | None = None) -> Floats:
        """Vertex values (V, C) or welded ones (U, C) at texels (N,), or at the ``chosen`` ones (n,): (n, C)."""
        if len(values) != len(self.expand):
            values = values[self.expand]
        import torch

        corner = self.nearest if chosen is None else self.nearest[chosen]
        weights = self.weights if chosen is None else self.weights[chosen]
        found = torch.nn.functional.embedding_bag(
            torch.from_numpy(corner),
            torch.from_numpy(np.ascontiguousarray(values, np.float32)),
            per_sample_weights=torch.from_numpy(weights),
            mode="sum",
        )
        return np.asarray(found.numpy(), np.float32)

    @property
    def sampled(self) -> NDArray[np.int64]:
        """(n,) the texels that `at_vertices` gathers, an even choice of them."""
        return _splat(self.size)[0]

    def at_vertices(self, values: np.ndarray, amount: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weighted means of texel values at the welded vertices.

        Args:
            values: (n, C) at the `sampled` texels.
            amount: (n,) weights >= 0.

        Returns:
            (U, C) means (0 where nothing counts), and (U,) the weight behind them, 1 for a vertex all of whose
            surroundings have weight 1.
        """
        _, splat, full = _splat(self.size)
        mass = splat @ amount
        sums = splat @ (values * amount[:, None])
        return sums / np.maximum(mass, 1e-6)[:, None], mass / full

    def image(self, values: np.ndarray) -> Floats:
        """(size, size[, C]) float32 picture of texel values (N[, C]), 0 outside the islands."""
        picture = np.zeros((self.size * self.size, *values.shape[1:]), np.float32)
        picture[self.place] = values
        return picture.reshape(self.size, self.size, *values.shape[1:])

    def values(self, picture: np.ndarray) -> Floats:
        """(N[, C]) the texels of a picture (size, size[, C]); inverse of `image`."""
        return np.asarray(picture.reshape(self.size * self.size, *picture.shape[2:])[self.place], np.float32)

    def mirrored(self, picture: Floats) -> Floats:
        """(N[, C]) a picture (size, size[, C]) as the other side of the face has it."""
        import cv2

        grid = self.image(self.mirror - 0.5)
        turned = cv2.remap(picture, grid, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return self.values(turned)


@lru_cache(maxsize=3)
def atlas_map(size: int) -> AtlasMap:
    """The atlas at ``size`` x ``size`` (about 0.7 s at 1024 and 0.2 s at 512, then cached)."""
    asset, texels = load_head_asset(), atlas_texels(size)
    corners = triangles(asset["quads"])
    uv = asset["uv"].astype(np.float64) * size
    plane = np.concatenate([uv[corners], np.ones((len(corners), 3, 1))], axis=2)
    inverse = np.linalg.inv(plane).astype(np.float32)[texels.triangle]
    x, y = (i.astype(np.float32) + np.float32(0.5) for i in (texels.column, texels.row))
    weights = inverse[:, 0] * x[:, None] + inverse[:, 1] * y[:, None] + inverse[:, 2]
    np.clip(weights, 0, 1, out=weights)
    weights /= weights.sum(1, keepdims=True)
    partner = _mirror_uv(corners, asset["expand"], asset["mirror"]).astype(np.float32) * np.float32(size)
    mirror = np.einsum("nk,nkc->nc", weights, partner[texels.triangle])
    return AtlasMap(
        texels=texels,
        corners=corners,
        expand=asset["expand"],
        place=texels.row.astype(np.int64) * size + texels.column,
        nearest=corners.astype(np.int32)[texels.triangle],
        weights=weights,
        mirror=np.asarray(mirror, np.float32),
        part_names=tuple(asset.header["parts"]),
    )


def _mirror_uv(corners: np.ndarray, expand: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """(F, 3, 2) UV of each triangle's corners on the mirrored quad."""
    asset = load_head_asset()
    quads = asset["quads"]
    welded = expand[quads]
    place = {tuple(sorted(row)): i for i, row in enumerate(welded.tolist())}
    twin = np.array([place[tuple(sorted(row))] for row in mirror[welded].tolist()])
    twin_quads = quads[np.repeat(twin, 2)]
    same = expand[twin_quads][:, None] == mirror[expand[corners]][:, :, None]
    return np.asarray(asset["uv"][np.take_along_axis(twin_quads, same.argmax(2), 1)])


@lru_cache(maxsize=3)
def _splat(size: int) -> tuple[NDArray[np.int64], Any, np.ndarray]:
    """Texels that are gathered (n,), the (U, n) sparse weights, and (U,) their sums."""
    from scipy.sparse import csr_array

    atlas = atlas_map(size)
    step = max(1, size // _SAMPLED)
    chosen = np.flatnonzero((atlas.texels.row % step == 0) & (atlas.texels.column % step == 0))
    rows = atlas.expand[atlas.corners[atlas.texels.triangle[chosen]]].ravel()
    columns = np.repeat(np.arange(len(chosen)), 3)
    shape = (int(atlas.expand.max()) + 1, len(chosen))
    splat = csr_array((atlas.weights[chosen].ravel(), (rows, columns)), shape)
    return chosen, splat, np.maximum(splat.sum(1), 1e-3)


@lru_cache(maxsize=1)
def welded_edges() -> np.ndarray:
    """(E, 2) edges of the welded quads, and of each lash vertex to the lid that it grows from."""
    asset = load_head_asset()
    welded = asset["expand"][asset["quads"]]
    pairs = np.concatenate([np.stack([welded[:, k], welded[:, (k + 1) % 4]], 1) for k in range(4)])
    lash = asset.header["parts"].index("lashes")
    hairs = np.unique(asset["expand"][asset["quads"][asset["quad_part"] == lash]])
    bound = np.stack([hairs, asset["lash_bound"][hairs]], 1)
    return np.unique(np.sort(np.concatenate([pairs, bound]), axis=1), axis=0)
