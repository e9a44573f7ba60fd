"""Pictures made smaller without aliasing, as the first order motion model (arXiv 2003.00196) and its heirs do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omote.errors import InputError

SCALES = (1.0, 0.5, 0.25, 0.125)


def smoothing_kernel(scale: float) -> Tensor:
    """(k,) Gaussian weights that sum to 1: sigma (1 / scale - 1) / 2, k = 2 round(4 sigma) + 1.

    Args:
        scale: below 1.

    Raises:
        InputError: a scale of 1 or above, or not above 0.
    """
    if not 0 < scale < 1:
        raise InputError(f"a scale must be between 0 and 1, got {scale}")
    sigma = (1 / scale - 1) / 2
    reach = round(4 * sigma)
    weights = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    return weights / weights.sum()


class AntiAlias(nn.Module):
    """Blurs (zeros around the picture), then keeps every (1 / scale)-th pixel; at scale 1 nothing changes.

    Args:
        scale: 1, or one over a whole number.
    """

    kernel: Tensor

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.step = round(1 / scale)
        if self.step > 1:
            self.register_buffer("kernel", smoothing_kernel(scale), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H / step, W / step), rounded up."""
        if self.step == 1:
            return image
        channels, reach = image.shape[1], len(self.kernel) // 2
        weights = self.kernel.to(image).expand(channels, 1, -1)
        # The Gaussian is a product, and rows or columns that would be thrown away are not computed.
        down = F.conv2d(image, weights[..., None], stride=(self.step, 1), padding=(reach, 0), groups=channels)
        return F.conv2d(down, weights[:, :, None], stride=(1, self.step), padding=(0, reach), groups=channels)


class Pyramid(nn.Module):
    """A picture at several scales.

    Args:
        scales: see `AntiAlias`.
    """

    def __init__(self, scales: Sequence[float] = SCALES) -> None:
        super().__init__()
        self.levels = nn.ModuleList(AntiAlias(scale) for scale in scales)

    def forward(self, image: Tensor) -> Iterator[Tensor]:
        """(B, C, H, W) at each scale in turn."""
        for level in self.levels:
            yield level(image)
