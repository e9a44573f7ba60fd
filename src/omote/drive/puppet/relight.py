"""The photo's light: estimated on the fitted head, and what it does as the head turns in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omote.render.texture_light import harmonic_basis

Array = NDArray[np.float32]

_RIDGE = (0.0, 0.02, 0.12)
"""Penalty of each band of harmonics relative to the evidence: the photo shows only normals that face it."""
_DARKEST, _BRIGHTEST = 0.65, 1.2
"""Bounds of the change of brightness, linear light."""
_ROUNDS = 4
_FLOOR = 0.12
"""Least light, relative to the mean: what comes from all around."""


@dataclass(frozen=True)
class Light:
    """Irradiance as second-order spherical harmonics of the normal, relative to its mean over the seen skin.

    Ramamoorthi and Hanrahan, "An Efficient Representation for Irradiance Environment Maps", 2001: nine coefficients
    describe diffuse light to about one percent.

    Attributes:
        coefficients: (9,) of `omote.render.texture_light.harmonic_basis`.
    """

    coefficients: Array

    @classmethod
    def estimate(cls, colours: Array, normals: Array, weight: Array) -> Light:
        """From skin that is taken to have one reflectance; what differs from that (brows, lips, beard) is left out.

        Args:
            colours: (N, 3) sRGB 0..255.
            normals: (N, 3) unit, camera space.
            weight: (N,) 0..1.
        """
        level = ((colours / 255.0) ** 2.2) @ np.array((0.2126, 0.7152, 0.0722))
        basis = harmonic_basis(normals)
        mean = float(np.average(level, weights=weight + 1e-9))
        target = level / max(mean, 1e-6)
        ridge = np.array([_RIDGE[0]] + [_RIDGE[1]] * 3 + [_RIDGE[2]] * 5) * float(weight.sum())
        robust = weight.astype(np.float64)
        counted = weight > 0.1 * float(weight.max())
        coefficients = np.zeros(9)
        for _ in range(_ROUNDS):
            weighted = basis * robust[:, None]
            coefficients = np.linalg.solve(weighted.T @ basis + np.diag(ridge + 1e-9), weighted.T @ target)
            error = target - basis @ coefficients
            scale = max(1.48 * float(np.median(np.abs(error[counted]))), 1e-3)
            robust = weight / (1 + (error / (2 * scale)) ** 2) ** 2
        return cls(coefficients.astype(np.float32))

    def on(self, normals: Array) -> Array:
        """(N,) irradiance of unit normals (N, 3), linear light."""
        out: Array = np.maximum(harmonic_basis(normals) @ self.coefficients, _FLOOR)
        return out

    def change(self, before: Array, now: Array) -> Array:
        """(N,) factor of sRGB brightness for irradiance ``before`` (N,) and normals ``now`` (N, 3)."""
        ratio = np.clip(self.on(now) / before, _DARKEST, _BRIGHTEST)
        out: Array = (ratio ** (1 / 2.2)).astype(np.float32)
        return out
