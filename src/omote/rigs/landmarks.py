"""Where MediaPipe's 478 landmarks sit on the embedded head."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from omote.errors import FormatError

COUNT = 478
IRIS_RIGHT, IRIS_LEFT = slice(468, 473), slice(473, 478)
"""The subject's right and left iris: centre, then the points at +x, top, -x, bottom."""


@dataclass(frozen=True)
class LandmarkEmbedding:
    """Surface points: landmark k = sum_j barycentric[k, j] * vertex[faces[k, j]].

    Attributes:
        vertices: (478, 3) int64 vertex indices of the triangle each landmark lies on.
        barycentric: (478, 3) float32, rows sum to 1.
        weight: (478,) float32 0..1, how well a landmark keeps to one surface point over views (the face oval slides).
    """

    vertices: np.ndarray
    barycentric: np.ndarray
    weight: np.ndarray

    def apply(self, vertices: np.ndarray) -> np.ndarray:
        """(..., 478, 3) landmark positions of vertices (..., V, 3)."""
        return np.einsum("...kjc,kj->...kc", vertices[..., self.vertices, :], self.barycentric)


@cache
def load_landmarks() -> LandmarkEmbedding:
    """Read the embedding that ships with the package.

    Raises:
        FormatError: if the file is missing or damaged.
    """
    path = resources.files("omote") / "assets" / "landmarks.npz"
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return LandmarkEmbedding(
                stored["vertices"].astype(np.int64),
                stored["barycentric"].astype(np.float32),
                stored["weight"].astype(np.float32),
            )
    except (OSError, ValueError, KeyError) as error:
        raise FormatError(
            f"the landmark embedding cannot be read ({error})", where=str(path), remedy="Reinstall omote."
        ) from error
