"""What linear targets miss over a take, as a few more targets with baked weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from omote.export.evaluate import batches

LINEAR = 1e-6  # metres: what counts as exactly linear
MAX_SAMPLES = 384  # frames kept in memory


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
    moving = np.abs(samples).max(axis=(0, 2)) > 0.1 * tolerance
    flat = np.ascontiguousarray(samples[:, moving], dtype=np.float64).reshape(len(samples), -1)
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
    out = np.zeros((low, *samples.shape[1:]))
    directions = projected[:low] / np.maximum(np.linalg.norm(projected[:low], axis=1, keepdims=True), 1e-18)
    out[:, moving] = directions.reshape(low, -1, 3)
    return out


def fit_residuals(
    missing: Callable[[slice | np.ndarray], np.ndarray], frames: int, *, tolerance: float, limit: int
) -> Residuals:
    """Targets that bring playback within ``tolerance`` of the rig at every frame, if ``limit`` of them can.

    Args:
        missing: frames (a slice or indices) -> what the linear targets miss there, (B, V, 3) metres.
        frames: T.
        tolerance: metres. One frame is made exact: that takes one target.
        limit: at most so many targets; 0 for none.
    """
    goal = LINEAR if frames == 1 else tolerance
    worst = np.zeros(frames)
    every = max(1, -(-frames // MAX_SAMPLES))
    samples: list[np.ndarray] = []
    for block in batches(frames):
        found = missing(block)
        worst[block] = per_frame(found)
        samples.extend(found[i] for i in range(len(found)) if (block.start + i) % every == 0)
    linear_error = float(worst.max(initial=0.0))
    vertices = samples[0].shape[0]
    if linear_error <= goal or limit <= 0:
        none = np.zeros((0, vertices, 3), np.float32)
        return Residuals(none, np.zeros((frames, 0), np.float32), linear_error, linear_error)
    kept = np.stack(samples) if every == 1 else None
    for _ in range(3):
        basis = components(np.stack(samples) if kept is None else kept, 0.7 * goal, limit)
        basis[np.abs(basis) < 1e-4 * np.abs(basis).max(axis=(1, 2), keepdims=True)] = 0.0
        flat = basis.reshape(len(basis), -1)
        solve = np.linalg.pinv(flat @ flat.T)
        scores = np.zeros((frames, len(basis)))
        for block in batches(frames):
            found = missing(block) if kept is None else kept[block]
            rows = found.reshape(len(found), -1)
            scores[block] = rows @ flat.T @ solve
            worst[block] = per_frame((rows - scores[block] @ flat).reshape(found.shape))
        if kept is not None or worst.max() <= goal or len(basis) >= limit:
            break
        samples.extend(missing(np.argsort(worst)[-32:]))
    scale = np.maximum(np.abs(scores).max(axis=0), 1e-12)
    deltas = (basis * scale[:, None, None]).astype(np.float32)
    return Residuals(deltas, (scores / scale).astype(np.float32), float(worst.max()), linear_error)
