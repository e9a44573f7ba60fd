"""Light on surfaces: three-point light, spherical harmonics of order 2, a small Blinn highlight, and the sRGB curve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from omote.checks import check_shape
from omote.errors import InputError

# Cosine-convolved real spherical harmonics (Ramamoorthi and Hanrahan 2001) in the order and scale DECA made common:
# 1, x, y, z, xy, xz, yz, x² − y², 3z² − 1.
SH_SCALE = (
    1 / math.sqrt(4 * math.pi),
    *(2 * math.pi / 3 * math.sqrt(3 / (4 * math.pi)),) * 3,
    *(math.pi / 4 * 3 * math.sqrt(5 / (12 * math.pi)),) * 3,
    math.pi / 4 * 1.5 * math.sqrt(5 / (12 * math.pi)),
    math.pi / 4 * 0.5 * math.sqrt(5 / (4 * math.pi)),
)


@dataclass(frozen=True)
class Lights:
    """Directional lights with a highlight, over an ambient light in spherical harmonics. Linear light, camera space.

    Args:
        directions: (L, 3) from the surface towards each light; any length above 0.
        colours: (L, 3) linear RGB; a surface facing the light reflects albedo × colour.
        harmonics: (9, 3) coefficients of the ambient light; see `spherical_harmonics`.
        specular: strength of the highlight.
        shininess: Blinn exponent.
    """

    directions: Tensor
    colours: Tensor
    harmonics: Tensor
    specular: float | Tensor = 0.0
    shininess: float = 20.0

    def __post_init__(self) -> None:
        check_shape("lights.directions", self.directions, "L", 3)
        check_shape("lights.colours", self.colours, len(self.directions), 3)
        check_shape("lights.harmonics", self.harmonics, 9, 3)

    @property
    def requires_grad(self) -> bool:
        """Whether any of its tensors asks for a gradient."""
        parts = (self.directions, self.colours, self.harmonics, self.specular)
        return any(isinstance(part, Tensor) and part.requires_grad for part in parts)

    def to(self, like: Tensor) -> Lights:
        """The same lights in the dtype and on the device of ``like``."""
        specular = self.specular.to(like) if isinstance(self.specular, Tensor) else self.specular
        directions, colours, harmonics = (p.to(like) for p in (self.directions, self.colours, self.harmonics))
        return Lights(directions, colours, harmonics, specular, self.shininess)

    @classmethod
    def hemisphere(cls, sky: Any, ground: Any) -> Lights:
        """Ambient light only: linear RGB ``sky`` (3,) on upward normals, ``ground`` (3,) on downward ones."""
        above, below = torch.as_tensor(sky), torch.as_tensor(ground)
        harmonics = torch.zeros(9, 3, dtype=above.dtype)
        harmonics[0] = (above + below) / 2 / SH_SCALE[0]
        harmonics[2] = (above - below) / 2 / SH_SCALE[2]
        return cls(torch.zeros(0, 3), torch.zeros(0, 3), harmonics)

    @classmethod
    def three_point(cls, *, key: float = 0.95, fill: float = 0.24, rim: float = 0.7) -> Lights:
        """The studio set: warm key up on the image's right, cool fill on the left, rim light behind."""
        directions = torch.tensor([[0.55, 0.65, 0.85], [-0.9, 0.15, 0.65], [-0.45, 0.75, -0.75]])
        tints = torch.tensor([[1.0, 0.95, 0.88], [0.86, 0.93, 1.0], [0.95, 0.97, 1.0]])
        colours = tints * torch.tensor([[key], [fill], [rim]])
        ambient = cls.hemisphere([0.21, 0.22, 0.24], [0.10, 0.09, 0.08])
        return cls(directions, colours, ambient.harmonics, specular=0.08, shininess=20.0)

    @classmethod
    def flat(cls) -> Lights:
        """No shading: the picture shows the albedo."""
        return cls.hemisphere([1.0, 1.0, 1.0], [1.0, 1.0, 1.0])

    @classmethod
    def from_harmonics(cls, coefficients: Any) -> Lights:
        """Only (9, 3) spherical-harmonic coefficients, as DECA and DiffusionRig estimate them."""
        harmonics = torch.as_tensor(coefficients)
        return cls(harmonics.new_zeros(0, 3), harmonics.new_zeros(0, 3), harmonics)


def lights_by_name(lights: Lights | str) -> Lights:
    """Find a preset: "three-point", "hemisphere" or "flat"; Lights pass through."""
    if isinstance(lights, Lights):
        return lights
    presets = {
        "three-point": Lights.three_point,
        "hemisphere": lambda: Lights.hemisphere([0.9, 0.92, 0.95], [0.4, 0.38, 0.36]),
        "flat": Lights.flat,
    }
    if lights not in presets:
        raise InputError(f"unknown preset {lights!r}", where="lights", remedy=f"Known: {', '.join(presets)}.")
    return presets[lights]()


def spherical_harmonics(normals: Tensor, coefficients: Tensor) -> Tensor:
    """Ambient light on unit normals (..., 3) for (9, 3) coefficients: (..., 3) linear RGB, not clamped.

    sum_k coefficients[k] SH_SCALE[k] b_k(n) with b = 1, x, y, z, xy, xz, yz, x² − y², 3z² − 1 (order 2).
    """
    x, y, z = normals.unbind(-1)
    basis = torch.stack([torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], -1)
    return basis @ (coefficients * coefficients.new_tensor(SH_SCALE)[:, None])


def shade(albedo: Tensor, normals: Tensor, towards_viewer: Tensor, lights: Lights) -> Tensor:
    """Reflected light: albedo × (ambient + diffuse) + Blinn highlight.

    Args:
        albedo: (N, 3) linear RGB.
        normals: (N, 3) unit, camera space.
        towards_viewer: (N, 3) unit, from the surface to the camera.
        lights: what shines.

    Returns:
        (N, 3) linear RGB, at least 0, differentiable in everything.
    """
    light = spherical_harmonics(normals, lights.harmonics)
    highlight = torch.zeros_like(light)
    if len(lights.directions):
        directions = torch.nn.functional.normalize(lights.directions, dim=-1)
        facing = (normals @ directions.T).clamp_min(0)
        light = light + facing @ lights.colours
        halfway = torch.nn.functional.normalize(towards_viewer[:, None] + directions, dim=-1)
        cosine = (normals[:, None] * halfway).sum(-1)
        lobe = torch.where(facing > 0, cosine.clamp_min(1e-4) ** lights.shininess, 0.0)
        highlight = lights.specular * (lobe @ lights.colours)
    return (albedo * light + highlight).clamp_min(0)


def srgb_to_linear(encoded: Tensor) -> Tensor:
    """SRGB values 0..1 to linear light 0..1 (IEC 61966-2-1), any shape."""
    bright = ((encoded.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(encoded <= 0.04045, encoded / 12.92, bright)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Linear light to sRGB values (IEC 61966-2-1), any shape; inverse of `srgb_to_linear`, not clamped."""
    bright = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, linear * 12.92, bright)
