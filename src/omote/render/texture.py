"""A face's texture from a photo: the picture laid into the rig's atlas, its light removed, its hidden parts completed.

``unproject`` takes what the photo shows, ``delight`` removes low-frequency shading, ``merge`` joins several photos,
``complete`` fills what none of them shows. `omote.render.texture_take` does all of it for captured photos and videos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.checks import check_shape
from omote.errors import InputError
from omote.geometry.meshes import face_normals
from omote.render.texture_atlas import AtlasMap, atlas_map
from omote.render.texture_fill import fill
from omote.render.texture_light import remove_light
from omote.render.texture_merge import blend
from omote.render.texture_photo import photo_colours
from omote.render.texture_skin import keep_bare, near_lids
from omote.render.texture_view import View, belongs, look, project, smoothstep
from omote.rigs.asset import load_head_asset

Floats = NDArray[np.float32]

FACING = (0.05, 0.45)
"""Cosine between a vertex's most averted face and the view below which a texel says nothing, and above which all."""
INNER_MARGIN, OUTER_MARGIN = 0.0014, 0.0035
"""Metres from an outline within the head, and from its silhouette, over which confidence rises."""
_DEPTH_SLACK, _PART_SLACK = 0.0008, 0.0003


@dataclass(frozen=True)
class PhotoTexture:
    """A picture in the rig's atlas (``uv`` has its origin at the upper left).

    Attributes:
        colour: (S, S, 3) float32 sRGB, 0..1.
        confidence: (S, S) float32, 0 (not seen in a photo) .. 1 (seen squarely).
    """

    colour: Floats
    confidence: Floats

    @property
    def size(self) -> int:
        """Width and height, texels."""
        return len(self.colour)

    def to_uint8(self) -> NDArray[np.uint8]:
        """(S, S, 3) uint8 sRGB, as `render_mesh` and the exporters take an albedo."""
        return np.asarray(np.round(np.clip(self.colour, 0, 1) * 255), np.uint8)


def unproject(image: np.ndarray, vertices_cam: np.ndarray, camera: Any, *, size: int = 1024) -> PhotoTexture:
    """Lay a photo into the atlas of the embedded head (about 0.4 s at 1024 and 0.15 s at 512, warm).

    A texel is taken where it faces the camera, lies in the picture, is not hidden by another part of the head, and
    where the pixel looks like the head rather than what is behind it. Confidence falls with foreshortening and
    towards outlines. Light is left as it is; see `delight`.

    Args:
        image: (H, W, 3) uint8 or float 0..1 sRGB.
        vertices_cam: (V, 3) metres, camera space (`omote.rigs.facs.load_rig` posed as in the photo).
        camera: ``focal`` px and ``principal`` px, as `omote.performance.Camera`, for this image's size.
        size: width and height of the atlas, 64 to 8192 texels.

    Raises:
        InputError: shapes or a size out of range.
    """
    check_shape("image", image, "H", "W", 3)
    check_shape("vertices_cam", vertices_cam, "V", 3)
    if not 64 <= size <= 8192:
        raise InputError(f"size {size} is not between 64 and 8192", remedy="1024 is the usual choice.")
    picture = np.asarray(image, np.float32) * np.float32(1 / 255 if image.dtype == np.uint8 else 1)
    vertices = np.asarray(vertices_cam, np.float32)
    atlas = atlas_map(size)
    if len(vertices) != len(atlas.expand):
        raise InputError(f"{len(vertices)} vertices, the embedded head has {len(atlas.expand)}")
    view = look(vertices, camera, (picture.shape[1], picture.shape[0]))
    confidence = np.zeros(len(atlas.texels.row), np.float32)
    colour = np.zeros((len(confidence), 3), np.float32)
    if view is not None:
        chosen, share, spots = _visible(atlas, vertices, camera, view, picture)
        confidence[chosen] = share
        colour[chosen] = photo_colours(picture, spots, _texel_pixels(atlas, vertices, camera, chosen))
        confidence = keep_bare(atlas, colour, confidence)
    return PhotoTexture(atlas.image(colour), atlas.image(confidence))


def delight(texture: PhotoTexture, vertices_cam: np.ndarray, *, strength: float = 0.8) -> PhotoTexture:
    """Divide out the photo's low-frequency shading, so that a renderer's own light does not come on top of it.

    Skin keeps its mean colour; the ratio is bounded, shadows with edges stay, highlights are softened. Best done
    before `merge` and `complete`.

    Args:
        texture: from `unproject`.
        vertices_cam: (V, 3) metres, camera space, the same as there.
        strength: 0 (none) .. 1.

    Raises:
        InputError: strength out of range.
    """
    if not 0.0 <= strength <= 1.0:
        raise InputError(f"strength {strength:g} is not in 0..1")
    colour = remove_light(texture.colour, texture.confidence, vertices_cam, strength)
    return PhotoTexture(colour, texture.confidence)


def merge(textures: Sequence[PhotoTexture]) -> PhotoTexture:
    """Join textures of one person from several photos, before `complete`.

    All are brought to the low-frequency colours of the one that shows most; the most confident wins at each place,
    softly; one that is blurred, or of three or more differs from the others, counts less.

    Args:
        textures: at least one, all of one size.

    Raises:
        InputError: none, or of different sizes.
    """
    if not textures or len({t.size for t in textures}) > 1:
        raise InputError("textures to merge must be of one size", remedy="Unproject all with the same size.")
    if len(textures) == 1:
        return textures[0]
    atlas = atlas_map(textures[0].size)
    colours = [atlas.values(t.colour) for t in textures]
    merged, confidence = blend(atlas, colours, [atlas.values(t.confidence) for t in textures])
    return PhotoTexture(atlas.image(merged), atlas.image(confidence))


def complete(texture: PhotoTexture) -> PhotoTexture:
    """Fill what the photo did not show (about 0.5 s at 1024 and 0.2 s at 512, warm).

    Skin comes from the other side of the face where that is seen, then from the procedural paint, each brought to
    the photo's colours by a smooth ratio that passes over UV seams. Eyeballs are completed in rings about the pupil.
    Teeth, tongue and lashes keep their paint, tinted to match, where they are not seen.

    Returns:
        All of the atlas coloured; the confidence is unchanged, so that it still tells what was seen.
    """
    atlas = atlas_map(texture.size)
    filled = fill(atlas, atlas.values(texture.colour), atlas.values(texture.confidence))
    colour = atlas.image(filled)
    colour[~atlas.texels.covered] = np.median(filled[atlas.part("skin")][::97], axis=0)
    return PhotoTexture(colour, texture.confidence)


def _visible(
    atlas: AtlasMap, vertices: Floats, camera: Any, view: View, picture: Floats
) -> tuple[np.ndarray, Floats, Floats]:
    """The texels that the photo shows: indices (n,), confidence (n,) > 0, photo pixels (n, 2)."""
    corner = vertices[atlas.corners]
    turned = face_normals(vertices, atlas.corners)
    facing = (turned * corner[:, 0]).sum(1) < 0
    painted = atlas.part("lashes", "eye_socket")
    chosen = np.flatnonzero(facing[atlas.texels.triangle] & ~painted)
    point = atlas.at_texels(vertices, chosen)
    spots = project(point, camera)
    spot = view.place(spots)
    height, width = view.depth.shape
    column, row = (np.floor(spot[:, k]).astype(np.int32) for k in (0, 1))
    extent = picture.shape[1::-1]
    within = (spots[:, 0] > 0.5) & (spots[:, 0] < extent[0] - 0.5)
    within &= (spots[:, 1] > 0.5) & (spots[:, 1] < extent[1] - 0.5)
    within &= (column >= 0) & (row >= 0) & (column < width) & (row < height)
    chosen, point, spots, spot = chosen[within], point[within], spots[within], spot[within]
    column, row = column[within], row[within]

    cosine = atlas.at_texels(_facing(vertices, turned, corner, atlas), chosen)[:, 0]
    slope = np.sqrt(np.maximum(1 - cosine**2, 0)) / np.maximum(cosine, 0.1)
    same = view.part[row, column] == atlas.texels.part[chosen]
    slack = np.where(same, _DEPTH_SLACK + 1.5 * view.pixel * slope, _PART_SLACK)
    shown = -point[:, 2] <= view.depth[row, column] + slack
    share = smoothstep(cosine, *FACING) * shown
    share *= smoothstep(_sample(view.inner, spot) * view.pixel, 0.2 * INNER_MARGIN, INNER_MARGIN)
    share *= 1 - near_lids(atlas.size)[chosen]
    share *= smoothstep(_sample(view.outer, spot) * view.pixel, 0.2 * OUTER_MARGIN, OUTER_MARGIN)
    share *= smoothstep(np.minimum(spots, extent - spots).min(1), 0.5, 4.0)
    share *= _sample(belongs(_window(picture, view), view), spot)
    kept = share > 1e-3
    return chosen[kept], share[kept], spots[kept]


def _facing(vertices: Floats, turned: Floats, corner: Floats, atlas: AtlasMap) -> Floats:
    """(U, 1) least cosine between the view and the normals of the faces around a welded vertex: no jagged limits."""
    middle = corner.mean(1)
    cosine = -(turned * middle).sum(1) / np.linalg.norm(middle, axis=1)
    least = np.ones(int(atlas.expand.max()) + 1, np.float32)
    np.minimum.at(least, atlas.expand[atlas.corners].ravel(), np.repeat(cosine, 3))
    return least[:, None]


def _window(picture: Floats, view: View) -> Floats:
    """(h, w, 3) the photo in the view's window."""
    import cv2

    x, y = view.origin
    width, height = view.camera.size
    how = cv2.INTER_AREA if view.scale < 1 else cv2.INTER_LINEAR
    part = picture[y : y + round(height / view.scale), x : x + round(width / view.scale)]
    return np.asarray(cv2.resize(part, (width, height), interpolation=how), np.float32)


def _sample(picture: Floats, spots: Floats) -> Floats:
    """(n,) bilinear samples of a picture (h, w) at window pixels (n, 2)."""
    import cv2

    rows = -(-len(spots) // 4096)
    grid = np.zeros((rows * 4096, 2), np.float32)
    grid[: len(spots)] = spots - 0.5
    found = cv2.remap(
        picture, grid.reshape(rows, 4096, 2), None, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE
    )
    return np.asarray(found.reshape(-1)[: len(spots)], np.float32)


def _texel_pixels(atlas: AtlasMap, vertices: Floats, camera: Any, chosen: np.ndarray) -> Floats:
    """(n,) photo pixels that a texel's side covers."""
    corner = project(vertices, camera)[atlas.corners]
    uv = load_head_asset()["uv"][atlas.corners] * atlas.size
    areas = []
    for points in (corner, uv):
        a, b = points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]
        areas.append(np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]))
    side = np.sqrt(areas[0] / np.maximum(areas[1], 1e-6)).astype(np.float32)
    return np.asarray(side[atlas.texels.triangle[chosen]], np.float32)
