"""Loops over the places of W's volume, compiled; see `omote.models.liveportrait.fast.loops`.

A volume is (D, H, W, channels). What is sampled outside it is zero, and places are those of align_corners=False.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from omote.models.compiled import coded, loop, part, real, stored

_VARIANCE = 0.01  # of a keypoint's heatmap
_LEAST = (
    1e-20  # of a factor of it: below lie denormal numbers, which processors multiply many times more slowly
)


@part
def _along(count: int, index: int) -> float:
    """The place of a voxel along an axis, -1 to 1: end points are the centres of the first and the last."""
    return -1.0 + 2.0 * index / (count - 1) if count > 1 else -1.0


@part
def _bell(count: int, index: int, centre: float) -> float:
    away = _along(count, index) - centre
    found = np.exp(-0.5 * away * away / _VARIANCE)
    return found if found > _LEAST else 0.0


@part
def _between(place: float, count: int) -> tuple[int, float]:
    """The voxel before a place, and how far it lies behind it."""
    at = ((place + 1) * count - 1) / 2
    low = np.floor(at)
    return int(low), at - low


@part
def _aside(count: int, shift: float, left: Any, share: Any) -> None:
    """Of every voxel along an axis the one before its place, from 0, with one of zeros on either side, and how far."""
    for w in range(count):
        at, behind = _between(_along(count, w) + shift, count)
        inside = -1 <= at < count
        left[w] = np.uint32(at + 1 if inside else 0)  # of the zeros, and nothing of what is beside them
        share[w] = np.float32(behind) if inside else np.float32(0)


@part
def _add_heat(line: Any, peak: float, across: Any) -> None:
    """Add a keypoint's heat in a row of voxels."""
    if abs(peak) > _LEAST:
        for w in range(len(line)):
            line[w] += np.float32(peak) * across[w]


@loop
def look_at_motions(features: Any, driving: Any, source: Any, code: Any, seen: Any) -> None:
    """Of each candidate motion a heatmap and the features sampled with it; the first motion is rest.

    Args:
        features: (D, H, c, W) float32.
        driving: (K, 3) float32 keypoints x, y, z.
        source: (K, 3) float32.
        code: of the result, see `omote.models.quantised.Range`.
        seen: (D, H, W, (K + 1) (1 + c)): motion by motion.
    """
    depth, height, channels, width = features.shape
    motions = len(driving) + 1
    rate, zero = code[0], code[1]
    left, shares = np.empty((motions, width), np.uint32), np.empty((motions, width), np.float32)
    there, here = np.zeros((motions, width), np.float32), np.zeros((motions, width), np.float32)
    for n in range(motions):
        _aside(width, source[n - 1, 0] - driving[n - 1, 0] if n > 0 else 0.0, left[n], shares[n])
        for w in range(width if n > 0 else 0):
            there[n, w] = _bell(width, w, driving[n - 1, 0])
            here[n, w] = _bell(width, w, source[n - 1, 0])
    for job in prange(depth * height):
        d, h = divmod(np.int64(job), height)
        line = np.zeros((channels, width + 2), np.float32)  # zero before and behind
        rows = np.empty((motions * (1 + channels), width), np.float32)
        for n in range(motions):
            shift_y, shift_z = 0.0, 0.0
            if n > 0:
                shift_y = source[n - 1, 1] - driving[n - 1, 1]
                shift_z = source[n - 1, 2] - driving[n - 1, 2]
            z, part_z = _between(_along(depth, d) + shift_z, depth)
            y, part_y = _between(_along(height, h) + shift_y, height)
            line[:] = 0
            for corner in range(4):
                near_z, near_y = z + corner // 2, y + corner % 2
                share = np.float32(
                    (part_z if corner // 2 else 1 - part_z) * (part_y if corner % 2 else 1 - part_y)
                )
                if 0 <= near_z < depth and 0 <= near_y < height and share > 0:
                    for c in range(channels):
                        row, source_row = line[c], features[near_z, near_y, c]
                        for w in range(width):
                            row[w + 1] += share * source_row[w]
            first = n * (1 + channels)
            rows[first] = 0
            if n > 0:
                peak = _bell(depth, d, driving[n - 1, 2]) * _bell(height, h, driving[n - 1, 1])
                _add_heat(rows[first], peak, there[n])
                peak = _bell(depth, d, source[n - 1, 2]) * _bell(height, h, source[n - 1, 1])
                _add_heat(rows[first], -peak, here[n])
            for c in range(channels):
                row, out_row, before, share_row = line[c], rows[first + 1 + c], left[n], shares[n]
                for w in range(width):
                    one, other = row[before[w]], row[before[w] + np.uint32(1)]
                    out_row[w] = one + share_row[w] * (other - one)
        for w in range(width):
            out = seen[d, h, w]
            for c in range(len(rows)):
                out[c] = coded(rows[c, w], out, rate, zero)


PARITIES = ("odd", "even", "change")
"""Of rows or columns: what `DeepConv` convolves apart; "change" is the odd less the even."""


@loop
def split_parities(x: Any, codes: Any, made: Any) -> None:
    """Even and odd rows and columns apart, and their differences; zero beyond the last.

    Args:
        x: (N, H, W, C).
        codes: (9, 2) of what is made, see `omote.models.quantised.Range`; where x is bytes, of their steps.
        made: 3 x 3 times (N, H / 2, W / 2, C), by `PARITIES` of rows and of columns.
    """
    count, height, width, channels = x.shape
    rows, columns = made[0].shape[1:3]
    for job in prange(count * rows):
        image, i = divmod(np.int64(job), rows)
        seen = np.zeros((3, 3, channels), np.float32)
        for j in range(columns):
            for r in range(2):
                for s in range(2):
                    one, y, z = seen[1 - r, 1 - s], 2 * i + r, 2 * j + s
                    if y < height and z < width:
                        pixel = x[image, y, z]
                        for c in range(channels):
                            one[c] = real(pixel[c])
                    else:
                        one[:] = 0
            for r in range(2):
                for c in range(channels):
                    seen[r, 2, c] = seen[r, 0, c] - seen[r, 1, c]
            for s in range(3):
                for c in range(channels):
                    seen[2, s, c] = seen[0, s, c] - seen[1, s, c]
            for k in range(9):
                one, out = seen[k // 3, k % 3], made[k][image, i, j]
                rate, zero = codes[k, 0], codes[k, 1]
                for c in range(channels):
                    out[c] = coded(one[c], out, rate, zero)


@part
def read_parities(parts: Any, d: int, h: int, j: int, even: Any, odd: Any) -> None:
    """Of `DeepConv`'s results two neighbours, of an even column and an odd one.

    Args:
        parts: see `sample_deformed`.
        d: slice.
        h: row.
        j: of the pair of columns.
        even: (k (K + 1),).
        odd: likewise.
    """
    i = h // 2
    q_q, q_p, q_change, q_next = (
        parts[0][d, i, j],
        parts[1][d, i, j],
        parts[2][d, i, j],
        parts[1][d, i, j + 1],
    )
    below = i + h % 2
    one, two, three, four = parts[3][d, below], parts[4][d, below], parts[5][d, below], parts[4][d, below]
    p_q, p_p, p_change, p_next = one[j], two[j], three[j], four[j + 1]
    if h % 2:
        for n in range(len(even)):
            by_q = real(q_q[n]) + real(p_q[n])
            by_p = real(q_p[n]) + real(p_p[n])
            by_next = real(q_next[n]) + real(p_next[n])
            even[n] = real(q_change[n]) + real(p_change[n]) + by_q + by_p
            odd[n] = by_q + by_next
    else:
        c_q, c_p, c_change, c_next = (
            parts[6][d, i, j],
            parts[7][d, i, j],
            parts[8][d, i, j],
            parts[7][d, i, j + 1],
        )
        for n in range(len(even)):
            by_q = real(c_q[n]) + real(q_q[n]) + real(p_q[n])
            by_p = real(c_p[n]) + real(q_p[n]) + real(p_p[n])
            by_next = real(c_next[n]) + real(q_next[n]) + real(p_next[n])
            even[n] = real(c_change[n]) + real(q_change[n]) + real(p_change[n]) + by_q + by_p
            odd[n] = by_q + by_next


@loop
def sample_deformed(features: Any, parts: Any, bias: Any, shifts: Any, warped: Any) -> None:
    """Weigh the candidate motions of each place, and sample the features where they lead.

    Args:
        features: (D, H, W, C) float32.
        parts: 3 x 3 times (D, rows, columns, k (K + 1)), of `DeepConv`: of slices their shares in the weights of k.
        bias: (K + 1,) float32, of the weights before their softmax.
        shifts: (K, 3) float32: source less driving keypoints.
        warped: (H, W, D C).
    """
    depth, height, width, channels = features.shape
    motions = len(bias)
    taps = parts[0].shape[3] // motions
    for job in prange(height):
        h = np.int64(job)
        logits = np.empty((depth, width, motions), np.float32)
        pair = np.empty((2, taps * motions), np.float32)
        sample = np.empty(channels, np.float32)
        for d in range(depth):
            for w in range(width):
                logits[d, w] = bias
        for d in range(depth):
            for w in range(width):
                if w % 2 == 0:
                    read_parities(parts, d, h, w // 2, pair[0], pair[1])
                given = pair[w % 2]
                for tap in range(taps):
                    near = d - tap + taps // 2
                    if 0 <= near < depth:
                        found = logits[near, w]
                        for n in range(motions):
                            found[n] += given[tap * motions + n]
        for place in range(width * depth):
            w, d = divmod(place, depth)
            weights, out = logits[d, w], warped[h, w]
            top = weights[0]
            for n in range(1, motions):
                top = max(top, weights[n])
            total, x, y, z = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for n in range(motions):
                weight = np.exp(weights[n] - top)
                total += weight
                if n > 0:
                    x += weight * shifts[n - 1, 0]
                    y += weight * shifts[n - 1, 1]
                    z += weight * shifts[n - 1, 2]
            low_x, part_x = _between(_along(width, w) + x / total, width)
            low_y, part_y = _between(_along(height, h) + y / total, height)
            low_z, part_z = _between(_along(depth, d) + z / total, depth)
            sample[:] = 0
            for corner in range(8):
                near_x, near_y, near_z = low_x + corner % 2, low_y + corner // 2 % 2, low_z + corner // 4
                if 0 <= near_x < width and 0 <= near_y < height and 0 <= near_z < depth:
                    share = np.float32(
                        (part_x if corner % 2 else 1 - part_x)
                        * (part_y if corner // 2 % 2 else 1 - part_y)
                        * (part_z if corner // 4 else 1 - part_z)
                    )
                    for c in range(channels):
                        sample[c] += share * features[near_z, near_y, near_x, c]
            for c in range(channels):
                out[d * channels + c] = stored(sample[c], out)
