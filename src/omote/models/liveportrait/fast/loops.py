"""Loops over pixels between the large products, compiled: each reads its inputs and writes its result once.

Arrays hold float32, the bits of bfloat16 or bytes, see `omote.models.compiled`; sums are float32 or float64.
Pictures are (B, H, W, C). Each function writes into its last argument.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from omote.models.compiled import coded, loop, part, real, stored


@loop
def measure(x: Any, epsilon: float, sums: Any, found: Any) -> None:
    """Each channel's mean, and one over its spread.

    Args:
        x: (B, H, W, C).
        epsilon: added to the variance.
        sums: (B, parts, 2, C) float64, room to work in.
        found: (B, 2, C) float32.
    """
    count, height, width, channels = x.shape
    parts = sums.shape[1]
    for job in prange(count * parts):
        image, part = divmod(np.int64(job), parts)
        sums[image, part] = 0
        total, square = sums[image, part, 0], sums[image, part, 1]
        for row in range(part * height // parts, (part + 1) * height // parts):
            for column in range(width):
                pixel = x[image, row, column]
                for c in range(channels):
                    value = np.float64(real(pixel[c]))
                    total[c] += value
                    square[c] += value * value
    pixels = height * width
    for image in range(count):
        for c in range(channels):
            total_c, square_c = 0.0, 0.0
            for part in range(parts):
                total_c += sums[image, part, 0, c]
                square_c += sums[image, part, 1, c]
            mean = total_c / pixels
            found[image, 0, c] = mean
            found[image, 1, c] = 1 / np.sqrt(max(square_c / pixels - mean * mean, 0.0) + epsilon)


@loop
def modulate(x: Any, statistics: Any, change: Any, leak: float, code: Any, made: Any) -> None:
    """Normalise, scale, shift, and multiply what is negative by ``leak``.

    Args:
        x: (B, h, w, C), enlarged by nearest neighbours to the result's size.
        statistics: (B, 2, C) of `measure`.
        change: (B, H, W, 2 C) scale, then shift.
        leak: 1 leaves everything as it is.
        code: of the result, see `omote.models.quantised.Range`.
        made: (B, H, W, C).
    """
    count, height, width, channels = made.shape
    rate, zero = code[0], code[1]
    factor = height // x.shape[1]
    slope = np.float32(leak)
    for job in prange(count * height):
        image, row = divmod(np.int64(job), height)
        mean, scale = statistics[image, 0], statistics[image, 1]
        for column in range(width):
            pixel, by = x[image, row // factor, column // factor], change[image, row, column]
            out = made[image, row, column]
            for c in range(channels):
                value = (real(pixel[c]) - mean[c]) * scale[c] * real(by[c]) + real(by[channels + c])
                out[c] = coded(value if value > 0 else value * slope, out, rate, zero)


@loop
def spread(small: Any, row: Any, column: Any, factor: int, code: Any, made: Any) -> None:
    """Put what every pixel of a small picture stands for into its cell of the enlarged one.

    Args:
        small: (N, h, w, C).
        row: (2,) first row of a cell that is alike, and the one after the last.
        column: (2,) likewise.
        factor: rows and columns of a cell.
        code: of the result, see `omote.models.quantised.Range`.
        made: (N, factor h, factor w, C or more): into the first C channels.
    """
    count, height, width, channels = small.shape
    rate, zero = code[0], code[1]
    for job in prange(count * height):
        image, i = divmod(np.int64(job), height)
        for j in range(width):
            pixel = small[image, i, j]
            for r in range(row[0], row[1]):
                for s in range(column[0], column[1]):
                    out = made[image, factor * i + r, factor * j + s]
                    for c in range(channels):
                        out[c] = coded(real(pixel[c]), out, rate, zero)


# The rows that a cell of four sees: its first, middle and last, the last of the cell before, the first of the next,
# and none. What each of the four products looks at, twice: one of them less another. See `CellConv`.
CELL_ROWS = np.array([[0, 1, 2, 2, 0], [0, 0, 0, -1, 1]])  # kind; how many cells away
CELL_TERMS = np.array([[0, 1, 1, 2, 3, 0, 2, 4], [5, 5, 5, 5, 0, 1, 1, 2]])  # this, less that


@loop
def look_at_cells(parts: Any, first: int, top: int, near: Any, terms: Any, codes: Any, seen: Any) -> None:
    """What the products of `CellConv` look at.

    Args:
        parts: (3, 3, H, W, all) by the kind of row and of column.
        first: of the channels that count.
        top: first row of cells that is looked at.
        near: `CELL_ROWS`; given, not looked up, so that its length is unknown when this is compiled: it is unrolled
            otherwise, which takes ten seconds.
        terms: `CELL_TERMS`.
        codes: (4, 4, 2) of what is seen, see `omote.models.quantised.Range`; where parts are bytes, of their steps.
        seen: (4, 4, rows, W, 4 C): products along rows, along columns; two rows of two columns of channels.
    """
    height, width, channels = parts.shape[2], parts.shape[3], seen.shape[4] // 4
    for job in prange(seen.shape[2]):
        i = np.int64(job)
        rows = np.zeros((6, 6, channels), np.float32)
        mixed = np.zeros((6, channels), np.float32)
        for j in range(width):
            for r in range(near.shape[1]):
                y = top + i + near[1, r]
                for s in range(near.shape[1]):
                    x = j + near[1, s]
                    inside = 0 <= y < height and 0 <= x < width
                    source = parts[near[0, r], near[0, s], y if inside else 0, x if inside else 0]
                    row = rows[r, s]
                    if inside:
                        for c in range(channels):
                            row[c] = real(source[first + c])
                    else:
                        row[:] = 0
            for k in range(terms.shape[1]):
                for s in range(near.shape[1]):
                    plus, minus, difference = rows[terms[0, k], s], rows[terms[1, k], s], mixed[s]
                    for c in range(channels):
                        difference[c] = plus[c] - minus[c]
                for m in range(terms.shape[1]):
                    plus, minus = mixed[terms[0, m]], mixed[terms[1, m]]
                    start = (2 * (k % 2) + m % 2) * channels
                    out = seen[k // 2, m // 2, i, j, start : start + channels]
                    rate, zero = codes[k // 2, m // 2, 0], codes[k // 2, m // 2, 1]
                    for c in range(channels):
                        out[c] = coded(plus[c] - minus[c], out, rate, zero)


@loop
def modulate_cells(
    x: Any, statistics: Any, products: Any, bias: Any, top: int, leak: float, code: Any, made: Any
) -> None:
    """`modulate` by the results of `CellConv`, which are put together here.

    Args:
        x: (h, w, C), enlarged by nearest neighbours to the result's size.
        statistics: (2, C) of `measure`.
        products: 4 x 4 times (rows W / 4, 2 C).
        bias: (2 C,) float32.
        top: first row of cells that is made.
        leak: see `modulate`.
        code: see `modulate`.
        made: (H, W, C).
    """
    _, width, channels = made.shape
    rate, zero = code[0], code[1]
    side = 4
    factor, wide = width // x.shape[1], width // side
    slope = np.float32(leak)
    mean, scale = statistics[0], statistics[1]
    for job in prange(len(products[0]) // wide):
        i = np.int64(job)
        for j in range(wide):
            place = i * wide + j
            for row in range(side):
                base_row, more_rows = row // 2, row == 0 or row == 3
                for column in range(side):
                    base, more = column // 2, column == 0 or column == 3
                    one = products[side * base_row + base][place]
                    two = products[side * (base_row + 2) + base][place]
                    three = products[side * base_row + base + 2][place]
                    four = products[side * (base_row + 2) + base + 2][place]
                    down, right = side * (top + i) + row, side * j + column
                    pixel, out = x[down // factor, right // factor], made[down, right]
                    along, across = np.float32(more_rows), np.float32(more)
                    both = along * across
                    for c in range(channels):
                        d = channels + c
                        by = (
                            real(one[c])
                            + along * real(two[c])
                            + across * real(three[c])
                            + both * real(four[c])
                        )
                        to = (
                            real(one[d])
                            + along * real(two[d])
                            + across * real(three[d])
                            + both * real(four[d])
                        )
                        value = (real(pixel[c]) - mean[c]) * scale[c] * (by + bias[c]) + to + bias[d]
                        out[c] = coded(value if value > 0 else value * slope, out, rate, zero)


_CHUNK = 128  # channels at a time, so that a tile stays in the nearest cache


@part
def _mix(matrix: Any, tile: Any, columns: int, mixed: Any, many: int) -> None:
    """Of a tile (t, columns, channels) what the matrix's rows make of its rows; the two axes change places."""
    rows, size = matrix.shape
    for r in range(rows):
        for s in range(columns):
            out = mixed[s, r]
            out[:] = 0
            for k in range(size):
                by, source = matrix[r, k], tile[k, s]
                if by != 0:
                    for c in range(many):
                        out[c] += by * source[c]


@loop
def take_tiles(x: Any, matrix: Any, tiles: Any) -> None:
    """What the products of `TiledConv` look at.

    Args:
        x: (B, H, W, C) float32 or bfloat16; zero outside.
        matrix: (t, t) float32, applied along both axes of a tile of t x t pixels, which overlap by 2.
        tiles: (t t, B h w, C) float32 for h x w tiles that cover the picture.
    """
    count, height, width, channels = x.shape
    size = len(matrix)
    side = size - 2
    high, wide = (height + side - 1) // side, (width + side - 1) // side
    for job in prange(count * high):
        image, i = divmod(np.int64(job), high)
        pixels = np.empty((size, size, _CHUNK), np.float32)
        mixed = np.empty((size, size, _CHUNK), np.float32)
        for j in range(wide):
            place = (image * high + i) * wide + j
            for first in range(0, channels, _CHUNK):
                many = min(_CHUNK, channels - first)
                for r in range(size):
                    for s in range(size):
                        row, column, pixel = i * side + r - 1, j * side + s - 1, pixels[r, s]
                        if 0 <= row < height and 0 <= column < width:
                            source = x[image, row, column, first : first + many]
                            for c in range(many):
                                pixel[c] = real(source[c])
                        else:
                            pixel[:] = 0
                _mix(matrix, pixels, size, mixed, many)
                _mix(matrix, mixed, size, pixels, many)
                for r in range(size):
                    for s in range(size):
                        tiles[r * size + s, place, first : first + many] = pixels[r, s, :many]


@loop
def give_tiles(tiles: Any, bias: Any, plus: Any, matrix: Any, made: Any) -> None:
    """The results of `TiledConv`, of its products.

    Args:
        tiles: t t times (B h w, C) float32.
        bias: (C,) float32.
        plus: (B, H, W, C) that is added, or empty.
        matrix: (n, t) float32, applied along both axes.
        made: (B, H, W, C).
    """
    count, height, width, channels = made.shape
    side, size = matrix.shape
    high, wide = (height + side - 1) // side, (width + side - 1) // side
    for job in prange(count * high):
        image, i = divmod(np.int64(job), high)
        products = np.empty((size, size, _CHUNK), np.float32)
        mixed = np.empty((size, size, _CHUNK), np.float32)
        for j in range(wide):
            place = (image * high + i) * wide + j
            for first in range(0, channels, _CHUNK):
                many = min(_CHUNK, channels - first)
                for r in range(size):
                    for s in range(size):
                        product = products[r, s]
                        source = tiles[r * size + s][place, first : first + many]
                        product[:many] = source
                _mix(matrix, products, size, mixed, many)
                _mix(matrix, mixed, side, products, many)
                more = bias[first : first + many]
                for r in range(side):
                    for s in range(side):
                        product = products[r, s]
                        row, column = i * side + r, j * side + s
                        if row >= height or column >= width:
                            continue
                        out = made[image, row, column, first : first + many]
                        if plus.size:
                            other = plus[image, row, column, first : first + many]
                            for c in range(many):
                                out[c] = stored(product[c] + more[c] + real(other[c]), out)
                        else:
                            for c in range(many):
                                out[c] = stored(product[c] + more[c], out)
