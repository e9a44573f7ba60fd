"""M for use: the arithmetic of `omote.models.liveportrait.motion`, arranged for speed.

Exact, but for rounding: pictures keep their channels last; activations and sums are computed with the products that
they follow; what weighs channels by their response takes two passes. Always float32, as less is seen as jitter.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numba import prange
from torch import Tensor, nn

from omote.models.compiled import as_array, loop, use_torch_threads
from omote.models.liveportrait.motion import NORM_EPS, SILENT, Block, MotionExtractor
from omote.models.products import Product


class FastMotion:
    """Sees like ``extractor.eval()`` does, in float32 on the CPU.

    Args:
        extractor: its weights are copied where that is faster.
    """

    def __init__(self, extractor: MotionExtractor) -> None:
        self._extractor = extractor
        stages = cast("list[nn.Sequential]", list(extractor.detector.stages))
        self._stages = [[_Block(cast(Block, block)) for block in stage] for stage in stages]

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """See `MotionExtractor.forward`."""
        self._extractor.check(image)
        use_torch_threads()
        detector, x = self._extractor.detector, image
        for halving, blocks in zip(detector.downsample_layers, self._stages, strict=True):
            rows = halving(x).movedim(1, -1).contiguous()
            for block in blocks:
                rows = block(rows)
            x = rows.movedim(-1, 1)
        return detector.told(x)


class _Block:
    """A block of ConvNeXt V2, (B, H, W, C) to the same."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._up, self._down = (
            Product(linear.weight, linear.bias, torch.float32, fuse=True)
            for linear in (block.pwconv1, block.pwconv2)
        )
        self._gamma, self._beta = (
            as_array(part.detach().flatten()) for part in (block.grn.gamma, block.grn.beta)
        )

    def __call__(self, x: Tensor) -> Tensor:
        inner = self._block.norm(self._block.dwconv(x.movedim(-1, 1)).movedim(1, -1))
        inner = self._up.gelu(inner)
        _weigh(as_array(inner.flatten(1, 2)), self._gamma, self._beta)
        return self._down.plus(inner, x)


@loop
def _weigh(x: Any, gamma: Any, beta: Any) -> None:
    """`omote.models.liveportrait.motion.GlobalResponseNorm`, in place.

    Args:
        x: (B, pixels, C) float32.
        gamma: (C,).
        beta: (C,).
    """
    count, pixels, channels = x.shape
    parts = min(8, pixels)
    sums = np.zeros((count, parts, channels), np.float32)
    for job in prange(count * parts):
        image, part = divmod(np.int64(job), parts)
        total = sums[image, part]
        for n in range(part * pixels // parts, (part + 1) * pixels // parts):
            pixel = x[image, n]
            for c in range(channels):
                total[c] += pixel[c] * pixel[c]
    factors = np.empty((count, channels), np.float32)
    for image in range(count):
        mean = 0.0
        for c in range(channels):
            response = 0.0
            for part in range(parts):
                response += sums[image, part, c]
            factors[image, c] = np.sqrt(max(response, SILENT))
            mean += factors[image, c]
        mean = mean / channels + NORM_EPS
        for c in range(channels):
            factors[image, c] = gamma[c] * factors[image, c] / mean + 1
    for job in prange(count * pixels):
        image, n = divmod(np.int64(job), pixels)
        pixel, factor = x[image, n], factors[image]
        for c in range(channels):
            pixel[c] = pixel[c] * factor[c] + beta[c]
