"""Loops over the places of W's volume, compiled; see `omote.models.liveportrait.fast.loops`.

A volume is (D, H, W, channels). What is sampled outside it is zero, and places are those of align_corners=False.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from omote.models.compiled import loop, part, real, stored

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


@loop
def look_at_motions(features: Any, driving: Any, source: Any, seen: Any) -> None:
    """Of each candidate motion a heatmap and the features sampled with it; the first motion is rest.

    Args:
        features: (D, H, W, c) float32.
        driving: (K, 3) float32 keypoints x, y, z.
        source: (K, 3) float32.
        seen: (D, H, W, (K + 1) (1 + c)): motion by motion.
    """
    depth, height, width, channels = features.shape
    motions = len(driving) + 1
    for job in prange(depth * height):
        d, h = divmod(np.int64(job), height)
        line = np.empty((width + 2, channels), np.float32)  # zero before and behind
        for n in range(motions):
            shift_x, shift_y, shift_z = 0.0, 0.0, 0.0
            if n > 0:
                shift_x = source[n - 1, 0] - driving[n - 1, 0]
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
                    for w in range(width):
                        for c in range(channels):
                            line[w + 1, c] += share * features[near_z, near_y, w, c]
            there, here = 0.0, 0.0
            if n > 0:
                there = _bell(depth, d, driving[n - 1, 2]) * _bell(height, h, driving[n - 1, 1])
                here = _bell(depth, d, source[n - 1, 2]) * _bell(height, h, source[n - 1, 1])
            first = n * (1 + channels)
            for w in range(width):
                out = seen[d, h, w]
                heat = 0.0
                if there > _LEAST:
                    heat += there * _bell(width, w, driving[n - 1, 0])
                if here > _LEAST:
                    heat -= here * _bell(width, w, source[n - 1, 0])
                out[first] = stored(np.float32(heat), out)
                x, part_x = _between(_along(width, w) + shift_x, width)
                share = np.float32(part_x)
                left, right = min(max(x, -1), width), min(max(x + 1, -1), width)
                for c in range(channels):
                    value = (1 - share) * line[left + 1, c] + share * line[right + 1, c]
                    out[first + 1 + c] = stored(value, out)


@loop
def sample_deformed(features: Any, slices: Any, bias: Any, shifts: Any, warped: Any) -> None:
    """Weigh the candidate motions of each place, and sample the features where they lead.

    Args:
        features: (D, H, W, C) float32.
        slices: (D, H, W, k (K + 1)): what `DeepConv` gives: of each slice its share in the weights of k slices.
        bias: (K + 1,) float32, of the weights before their softmax.
        shifts: (K, 3) float32: source less driving keypoints.
        warped: (H, W, D C).
    """
    depth, height, width, channels = features.shape
    motions = len(bias)
    taps = slices.shape[3] // motions
    for job in prange(height * width):
        h, w = divmod(np.int64(job), width)
        logits = np.empty(motions, np.float32)
        sample = np.empty(channels, np.float32)
        out = warped[h, w]
        for d in range(depth):
            logits[:] = bias
            for tap in range(taps):
                near = d + tap - taps // 2
                if 0 <= near < depth:
                    given = slices[near, h, w]
                    for n in range(motions):
                        logits[n] += real(given[tap * motions + n])
            top = logits[0]
            for n in range(1, motions):
                top = max(top, logits[n])
            total, x, y, z = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for n in range(motions):
                weight = np.exp(logits[n] - top)
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
