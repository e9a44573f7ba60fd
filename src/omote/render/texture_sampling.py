"""Albedo as a texture, per vertex, or one colour, in linear light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omote.checks import check_shape
from omote.errors import InputError
from omote.render.shading import srgb_to_linear

DEFAULT_ALBEDO = (0.72, 0.68, 0.65)  # sRGB clay


@dataclass(frozen=True)
class Albedo:
    """A colour source in linear light. Build it once and reuse it: converting a large texture takes long.

    Args:
        linear: (Ht, Wt, 3) texture, (V, 3) vertex colours or (3,) one colour; linear RGB, float.
    """

    linear: Tensor

    def __post_init__(self) -> None:
        check_shape("albedo", self.linear, "...", 3)
        if self.linear.ndim > 3:
            raise InputError(
                f"got {self.linear.ndim} axes", where="albedo", remedy="Expected (H, W, 3), (V, 3) or (3,)."
            )

    @classmethod
    def from_srgb(cls, colours: Any) -> Albedo:
        """From sRGB values: uint8 0..255 or float 0..1, array or tensor; differentiable for float tensors."""
        if isinstance(colours, Albedo):
            return colours
        values = colours if isinstance(colours, Tensor) else torch.from_numpy(np.array(colours))
        if values.dtype == torch.uint8:
            table = srgb_to_linear(torch.arange(256, device=values.device) / 255)
            return cls(table[values.long()])
        return cls(srgb_to_linear(values if values.is_floating_point() else values.float()))

    def to(self, like: Tensor) -> Albedo:
        """The same in the dtype and on the device of ``like``."""
        return (
            self
            if self.linear.dtype == like.dtype and self.linear.device == like.device
            else Albedo(self.linear.to(like))
        )


def sample_texture(texture: Tensor, uv: Tensor) -> Tensor:
    """Bilinear samples of a texture (Ht, Wt, C) at uv (N, 2): (N, C), differentiable in both.

    uv (0, 0) is the texture's upper left corner and (1, 1) its lower right one; texel centres lie at (j + 0.5) / Wt.
    Outside 0..1 the border repeats.
    """
    check_shape("texture", texture, "Ht", "Wt", None)
    check_shape("uv", uv, "N", 2)
    image = texture.permute(2, 0, 1)[None]
    grid = (uv * 2 - 1)[None, None]
    sampled = torch.nn.functional.grid_sample(
        image, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[0, :, 0].T
