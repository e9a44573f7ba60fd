"""Convolutions of 3 x 3 taps with fewer products, after Winograd (Lavin & Gray, arXiv 1509.09308).

A tile of 4 x 4 results is computed from 6 x 6 pixels with 36 products for each pair of channels instead of 144, and the
products of all tiles are 36 products of large matrices. Those are float32 for pictures in bfloat16, too, as their
rounding errors would grow too large; without AMX that is still faster than the processor's own way in bfloat16.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from omote.models.compiled import as_array
from omote.models.liveportrait.fast.loops import give_tiles, take_tiles
from omote.models.packed import Conv
from omote.models.processor import has_amx
from omote.models.products import Products

_WIDE = {
    torch.float32: 128,
    torch.bfloat16: 512,
}  # channels from which it is faster; with AMX in float32 alone

# At the points 0, 1, -1, 2, -2 and infinity: of pixels, of taps and of products.
_TAKE = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
_TAPS = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6] * 3,
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
_GIVE = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32
)


class TiledConv:
    """A convolution of 3 x 3 taps, stride 1, zeros around, by Winograd's products.

    Args:
        weight: (out, in, 3, 3) float32.
        bias: (out,).
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        taps = torch.from_numpy(_TAPS)
        made = torch.einsum("px,qy,oixy->pqio", taps, taps, weight.detach().double())
        self._products = Products(made.flatten(0, 1).float(), torch.float32)  # (36, in, out)
        self._bias = bias.detach().float()

    def __call__(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        """(B, out, H, W), channels last, of (B, in, H, W).

        Args:
            x: float32 or bfloat16, and so is the result.
            plus: added; of the result's shape and dtype.
        """
        pixels = x.movedim(1, -1).contiguous()
        count, height, width, channels = pixels.shape
        high, wide = (-(-size // len(_GIVE)) for size in (height, width))
        tiles = torch.empty(len(_TAKE) ** 2, count * high * wide, channels)
        take_tiles(as_array(pixels), _TAKE, as_array(tiles))
        made = self._products(tiles)
        del tiles
        out = torch.empty(count, height, width, len(self._bias), dtype=x.dtype)
        added = (x.new_empty(0, 0, 0, 0) if plus is None else plus.movedim(1, -1)).contiguous()
        give_tiles(tuple(map(as_array, made)), *map(as_array, (self._bias, added)), _GIVE, as_array(out))
        return out.movedim(-1, 1)


def picture_conv(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Conv | TiledConv:
    """The faster of both kinds of convolution for a picture's 3 x 3 or 1 x 1 taps."""
    wide = min(weight.shape[:2]) >= _WIDE[dtype] and not (dtype == torch.bfloat16 and has_amx())
    if wide and weight.shape[2:] == (3, 3) and bias is not None:
        return TiledConv(weight, bias)
    return Conv(weight, bias, dtype)
