"""What linear targets miss over a take, as a few more targets with baked weights."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from omote.export.evaluate import batches

LINEAR = 1e-6  # metres: what counts as exactly linear
MAX_SAMPLES = 384  # frames that principal components are taken of at first
MAX_MEMORY = 1 << 29  # bytes


@dataclass(frozen=True)
class Residuals:
    """K targets: deltas (K, V, 3) metres, weights (T, K) in -1..1, errors in metres with and without them."""

    deltas: np.ndarray
    weights: np.ndarray
    error: float
    linear_error: float


def reach(delta: np.ndarray) -> float:
    """Largest vertex distance of (..., 3) displacements."""
    return float(np.sqrt(np.einsum("...i,...i->...", delta, delta).max(initial=0.0)))


def per_frame(missing: np.ndarray) -> np.ndarray:
    """Largest vertex distance of each frame: (B, V, 3) -> (B,)."""
    return np.sqrt(np.einsum("bvi,bvi->bv", missing, missing).max(axis=1, initial=0.0))


def components(samples: np.ndarray, tolerance: float, limit: int) -> np.ndarray:
    """Fewest principal directions (not centred) that leave every sample within ``tolerance``.

    Args:
        samples: (S, V, 3) metres.
        tolerance: metres, largest vertex distance.
        limit: at most so many.

    Returns:
        (K, V, 3) orthonormal directions.
    """
    flat = samples.astype(np.float64).reshape(len(samples), -1)
    values, vectors = np.linalg.eigh(flat @ flat.T)
    order = np.argsort(values)[::-1]
    order = order[values[order] > 1e-12 * max(values.max(initial=0.0), 1e-18)][:limit]
    vectors = vectors[:, order]
    projected = vectors.T @ flat
    low, high = 0, len(order)
    while low < high:  # the fewest that suffice
        middle = (low + high) // 2
        rest = flat - vectors[:, :middle] @ projected[:middle]
        if reach(rest.reshape(-1, 3)) <= tolerance:
            high = middle
        else:
            low = middle + 1
    directions = projected[:low] / np.maximum(np.linalg.norm(projected[:low], axis=1, keepdims=True), 1e-18)
    return directions.reshape(low, *samples.shape[1:])


def fit_residuals(
    missing: Callable[[slice], np.ndarray], frames: int, vertices: int, *, tolerance: float, limit: int
) -> Residuals:
    """Targets that bring playback within ``tolerance`` of the rig at every frame, if ``limit`` of them can.

    Args:
        missing: frames -> what the linear targets miss there, (B, V, 3) metres. Called once for every frame.
        frames: T.
        vertices: V.
        tolerance: metres. One frame is made exact: that takes one target.
        limit: at most so many targets; 0 for none.
    """
    goal = LINEAR if frames == 1 else tolerance
    worst = np.zeros(frames)
    largest = np.zeros(vertices)
    kept = _store((frames, vertices, 3))
    for block in batches(frames):
        found = missing(block)
        kept[block] = found
        worst[block] = per_frame(found)
        np.maximum(largest, np.abs(found).max(axis=(0, 2)), out=largest)
    linear_error = float(worst.max(initial=0.0))
    if linear_error <= goal or limit <= 0:
        none = np.zeros((0, vertices, 3), np.float32)
        return Residuals(none, np.zeros((frames, 0), np.float32), linear_error, linear_error)
    moving = largest > 0.02 * goal
    chosen = np.arange(0, frames, max(1, -(-frames // MAX_SAMPLES)))
    for _ in range(4):
        basis = components(kept[chosen][:, moving], 0.7 * goal, limit)
        basis[np.abs(basis) < 1e-4 * np.abs(basis).max(axis=(1, 2), keepdims=True)] = 0.0
        flat = basis.reshape(len(basis), -1)
        solve = np.linalg.pinv(flat @ flat.T)
        scores = np.zeros((frames, len(basis)))
        for block in batches(frames):
            rows = kept[block][:, moving].astype(np.float64).reshape(-1, flat.shape[1])
            scores[block] = rows @ flat.T @ solve
            worst[block] = per_frame((rows - scores[block] @ flat).reshape(len(rows), -1, 3))
        if worst.max() <= goal or len(basis) >= limit or len(chosen) == frames:
            break
        chosen = np.union1d(chosen, np.argsort(worst)[-48:])
    scale = np.maximum(np.abs(scores).max(axis=0), 1e-12)
    deltas = np.zeros((len(basis), vertices, 3), np.float32)
    deltas[:, moving] = basis * scale[:, None, None]
    error = max(float(worst.max()), float(np.sqrt(3) * largest[~moving].max(initial=0.0)))
    return Residuals(deltas, (scores / scale).astype(np.float32), error, linear_error)


def _store(shape: tuple[int, int, int]) -> np.ndarray:
    """Room for residuals: half floats (good to 2 micrometres) for long takes, on disk for very long ones."""
    dtype = np.float32 if shape[0] <= MAX_SAMPLES else np.float16
    if math.prod(shape) * np.dtype(dtype).itemsize <= MAX_MEMORY:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(prefix="omote-residuals-") as file:
        return np.memmap(file, dtype, "w+", shape=shape)
