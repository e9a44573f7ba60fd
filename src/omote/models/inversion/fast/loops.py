"""Looking at pictures, compiled: each loop reads a picture once and writes what the next product takes.

Pictures are (B, 3, H, W) float32 as the network is given them; each of three channels is multiplied and shifted on the
way. Results hold float32 or the bits of bfloat16, see `omote.models.compiled`. Each function writes into its last
arguments.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from omote.models.compiled import loop, part, stored
from omote.models.inversion.layers import TILE
from omote.models.inversion.unwrapped import EVERY


@loop
def look_at_points(image: Any, channels: Any, head: Any, least: Any, mean: Any, made: Any) -> None:
    """What is seen of a picture at points of a head.

    Args:
        image: (B, 3, H, W).
        channels: what its channels are multiplied by (3,), and what is added (3,).
        head: the points (B, M, 3) in metres, head space; the turn (B, 3, 3) of the head; its pose (B, 7), see
            `omote.models.inversion.mesh.POSE`.
        least: (3,) for colours, which are relative to those of all points: what is added to their spread, what limits
            them, and the least depth. The first is negative for vectors, which are turned back with the head.
        mean: (3 M,) subtracted from the result.
        made: (B, 3 M).
    """
    (scale, shift), (points, turn, pose) = channels, head
    batch, count = points.shape[:2]
    for b in prange(batch):
        seen, where = np.empty((3, count), np.float32), np.empty((count, 2), np.float32)
        _project(points[b], turn[b], pose[b], least[2], where)
        total = np.float32(0)
        for m in range(count):
            _sample(image[b], where[m, 0], where[m, 1], scale, shift, seen[:, m])
            if least[0] < 0:
                _turn_back(turn[b], seen[:, m])
            total += seen[0, m] + seen[1, m] + seen[2, m]
        centre, spread, limit = np.float32(0), np.float32(1), np.float32(np.inf)
        if least[0] >= 0:
            centre, limit = total / np.float32(3 * count), least[1]
            square = np.float32(0)
            for c in range(3):
                for m in range(count):
                    square += (seen[c, m] - centre) ** 2
            spread = np.sqrt(square / np.float32(3 * count - 1)) + least[0]
        for c in range(3):
            for m in range(count):
                value = min(max((seen[c, m] - centre) / spread, -limit), limit)
                made[b, c * count + m] = stored(value - mean[c * count + m], made)


@loop
def unwrap(
    pictures: Any, channels: Any, head: Any, grid: Any, dark: Any, limits: Any, tiles: Any, coarse: Any
) -> None:
    """A face along its skin, colours relative to their mean and spread, in tiles and in coarse.

    Args:
        pictures: RGB and normals, (B, 3, H, W) each; (0, 3, H, W) of what is missing, which leaves zeros.
        channels: what their channels are multiplied by (2, 3), and what is added (2, 3).
        head: see `look_at_points`.
        grid: indices (G, 3) and weights (G, 3) of `omote.models.inversion.unwrapped.UnwrappedReader.place`.
        dark: (3,) added to the spread of colours.
        limits: (2,) the least depth, and the limit of what the coarse picture is the mean of.
        tiles: (N, h, w, 96), of (6, 4 h, 4 w); N is B, or 2 B: the mirrored ones follow.
        coarse: (N, 2, 3 h w) float32.
    """
    (rgb, normal), (scale, shift), (points, turn, pose), (index, weight) = pictures, channels, head, grid
    batch = len(points)
    for b in prange(batch):
        where = np.empty((points.shape[1], 2), np.float32)
        _project(points[b], turn[b], pose[b], limits[0], where)
        places = np.zeros((len(index), 2), np.float32)
        for g in range(len(index)):
            for k in range(3):
                for i in range(2):
                    places[g, i] += weight[g, k] * where[index[g, k], i]
        unwrapped = _seen(
            rgb[b : b + 1], normal[b : b + 1], scale, shift, places, turn[b], dark, tiles.shape[2]
        )
        for place in range(b, len(tiles), batch):
            if place > b:
                _mirror(unwrapped)
            _into_tiles(unwrapped, tiles[place])
            _into_coarse(unwrapped, limits[1], coarse[place])


@loop
def look_through(
    pictures: Any, channels: Any, places: Any, head: Any, dark: Any, nearest: Any, tiles: Any
) -> None:
    """What is seen through the window, in tiles.

    Args:
        pictures: see `unwrap`.
        channels: see `unwrap`.
        places: (G, 3) metres, head space.
        head: the turn (B, 3, 3) of the head and its pose (B, 7).
        dark: see `unwrap`.
        nearest: the least depth.
        tiles: (N, h, w, 96), see `unwrap`.
    """
    (rgb, normal), (scale, shift), (turn, pose) = pictures, channels, head
    batch = len(turn)
    for b in prange(batch):
        where = np.empty((len(places), 2), np.float32)
        _project(places, turn[b], pose[b], nearest, where)
        framed = _seen(rgb[b : b + 1], normal[b : b + 1], scale, shift, where, turn[b], dark, tiles.shape[2])
        for place in range(b, len(tiles), batch):
            if place > b:
                _mirror(framed)
            _into_tiles(framed, tiles[place])


@loop
def crop_tiles(pictures: Any, channels: Any, dark: Any, tiles: Any) -> None:
    """Crops in tiles.

    Args:
        pictures: see `unwrap`.
        channels: see `unwrap`.
        dark: see `unwrap`.
        tiles: (B, H / 4, W / 4, 96).
    """
    (rgb, normal), (scale, shift) = pictures, channels
    for b in prange(len(tiles)):
        crop = np.zeros((6, TILE * tiles.shape[1], TILE * tiles.shape[2]), np.float32)
        if len(rgb):
            _scaled(rgb[b], scale[0], shift[0], crop[:3])
            _relative(crop, dark)
        if len(normal):
            _scaled(normal[b], scale[1], shift[1], crop[3:])
        _into_tiles(crop, tiles[b])


@part
def _project(points: Any, turn: Any, pose: Any, nearest: Any, where: Any) -> None:
    """As `omote.models.inversion.mesh.MeshReader.project`."""
    size = np.exp(pose[3])
    for m in range(len(points)):
        x, y, z = points[m, 0], points[m, 1], points[m, 2]
        across = turn[0, 0] * x + turn[0, 1] * y + turn[0, 2] * z
        up = turn[1, 0] * x + turn[1, 1] * y + turn[1, 2] * z
        depth = 1 - pose[6] * (turn[2, 0] * x + turn[2, 1] * y + turn[2, 2] * z)
        depth = max(depth, nearest)
        where[m, 0] = (across * size + pose[4]) / depth + np.float32(0.5)
        where[m, 1] = (pose[5] - up * size) / depth + np.float32(0.5)


@part
def _seen(
    rgb: Any, normal: Any, scale: Any, shift: Any, where: Any, turn: Any, dark: Any, across: Any
) -> Any:
    """One picture of each modality, (1, 3, H, W), or none, at places (G, 2), ``across`` tiles a row: (6, h, w).

    Zeros for none; colours relative to their mean and spread.
    """
    seen = np.zeros((6, len(where)), np.float32)
    for g in range(len(where)):
        x, y = where[g, 0], where[g, 1]
        if len(rgb):
            _sample(rgb[0], x, y, scale[0], shift[0], seen[:3, g])
        if len(normal):
            _sample(normal[0], x, y, scale[1], shift[1], seen[3:, g])
            _turn_back(turn, seen[3:, g])
    width = TILE * across
    made = seen.reshape((6, len(where) // width, width))
    if len(rgb):
        _relative(made, dark)
    return made


@part
def _sample(image: Any, x: Any, y: Any, scale: Any, shift: Any, found: Any) -> None:
    """Between the four pixels of (3, H, W) around a place (0..1), the border's beyond it."""
    height, width = image.shape[1:]
    x, y = x * np.float32(width) - np.float32(0.5), y * np.float32(height) - np.float32(0.5)
    x = x if x > 0 else np.float32(0)  # what is no number, too
    y = y if y > 0 else np.float32(0)
    x, y = min(x, np.float32(width - 1)), min(y, np.float32(height - 1))
    left, top = int(x), int(y)
    right, low = min(left + 1, width - 1), min(top + 1, height - 1)
    x -= np.float32(left)
    y -= np.float32(top)
    for c in range(3):
        above = image[c, top, left] + x * (image[c, top, right] - image[c, top, left])
        below = image[c, low, left] + x * (image[c, low, right] - image[c, low, left])
        found[c] = (above + y * (below - above)) * scale[c] + shift[c]


@part
def _turn_back(turn: Any, vector: Any) -> None:
    x, y, z = vector[0], vector[1], vector[2]
    for i in range(3):
        vector[i] = turn[0, i] * x + turn[1, i] * y + turn[2, i] * z


@part
def _scaled(picture: Any, scale: Any, shift: Any, made: Any) -> None:
    """(C, h, w), each channel multiplied and shifted."""
    for c in range(len(picture)):
        made[c] = picture[c] * scale[c] + shift[c]


@part
def _relative(pictures: Any, dark: Any) -> None:
    """Each colour less its mean, by its spread, both of one pixel in sixteen; in place."""
    for c in range(3):
        few = pictures[c, ::EVERY, ::EVERY]
        total, square = np.float64(0), np.float64(0)
        for row in few:
            for value in row:
                total += value
                square += np.float64(value) * value
        mean = total / few.size
        spread = np.sqrt(max(square - total * mean, 0.0) / (few.size - 1)) + dark[c]
        pictures[c] = (pictures[c] - np.float32(mean)) * np.float32(1 / spread)


@part
def _mirror(pictures: Any) -> None:
    """(6, h, w), of an even width, left to right, and x of the normals; in place."""
    width = pictures.shape[2]
    for c in range(6):
        sign = np.float32(-1 if c == 3 else 1)
        for row in pictures[c]:
            for x in range(width // 2):
                row[x], row[width - 1 - x] = sign * row[width - 1 - x], sign * row[x]


@part
def _into_tiles(pictures: Any, tiles: Any) -> None:
    """Channels c * 16 + 4 * row + column of each tile, as `torch.nn.PixelUnshuffle` orders them."""
    for y in range(tiles.shape[0]):
        for x in range(tiles.shape[1]):
            for c in range(len(pictures)):
                for dy in range(TILE):
                    for dx in range(TILE):
                        value = pictures[c, TILE * y + dy, TILE * x + dx]
                        tiles[y, x, (c * TILE + dy) * TILE + dx] = stored(value, tiles)


@part
def _into_coarse(pictures: Any, limit: Any, coarse: Any) -> None:
    height, width = pictures.shape[1] // TILE, pictures.shape[2] // TILE
    most = np.float32(limit)
    for c in range(len(pictures)):
        for y in range(height):
            for x in range(width):
                total = np.float32(0)
                for dy in range(TILE):
                    for dx in range(TILE):
                        total += min(max(pictures[c, TILE * y + dy, TILE * x + dx], -most), most)
                coarse[c // 3, (c % 3 * height + y) * width + x] = total * np.float32(1 / TILE**2)
