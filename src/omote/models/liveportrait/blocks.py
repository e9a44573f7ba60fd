"""The convolutional blocks that appearance extractor and warping module share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SameBlock2d(nn.Module):
    """3 x 3 convolution, batch normalisation, activation; the size stays."""

    def __init__(
        self, in_channels: int, out_channels: int, activation: Callable[[Tensor], Tensor] = F.relu
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)
        self._activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H, W)."""
        return self._activation(self.norm(self.conv(x)))


class DownBlock2d(SameBlock2d):
    """`SameBlock2d`, then the mean over 2 x 2 cells."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / 2, W / 2)."""
        return F.avg_pool2d(super().forward(x), 2)


class _Block3d(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm3d(out_channels)


class DownBlock3d(_Block3d):
    """3 x 3 x 3 convolution, batch normalisation, ReLU, then the mean over 2 x 2 cells of each depth."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, D, H, W) -> (B, out, D, H / 2, W / 2)."""
        return F.avg_pool3d(F.relu(self.norm(self.conv(x))), (1, 2, 2))


class UpBlock3d(_Block3d):
    """Nearest enlargement of each depth by 2, 3 x 3 x 3 convolution, batch normalisation, ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, D, H, W) -> (B, out, D, 2 H, 2 W)."""
        enlarged = F.interpolate(x, scale_factor=(1.0, 2.0, 2.0), mode="nearest")
        return F.relu(self.norm(self.conv(enlarged)))


class ShallowConv3d(nn.Conv3d):
    """A convolution of an odd cubic kernel, done in two dimensions where every depth sees all depths.

    They are channels then. In training the small preset, the gradients of the 7 x 7 x 7 kernel of the masks took a
    third of each step; so they take a fifth of that.
    """

    def __init__(self, in_channels: int, out_channels: int, side: int) -> None:
        super().__init__(in_channels, out_channels, side, padding=side // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, D, H, W) -> (B, out, D, H, W)."""
        count, channels, depth, height, width = x.shape
        reach = self.kernel_size[0] // 2
        if depth > reach + 1:
            return super().forward(x)
        assert self.bias is not None  # noqa: S101 - for the type checker
        at = torch.arange(depth, device=x.device)
        planes = self.weight[:, :, at - at[:, None] + reach]  # (out, in, D made, D seen, side, side)
        flat = planes.transpose(1, 2).reshape(
            self.out_channels * depth, channels * depth, *self.kernel_size[1:]
        )
        made = F.conv2d(
            x.flatten(1, 2), flat, self.bias.repeat_interleave(depth), padding=self.kernel_size[1] // 2
        )
        return made.view(count, self.out_channels, depth, height, width)


class ResBlock3d(nn.Module):
    """Twice (batch normalisation, ReLU, 3 x 3 x 3 convolution), added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # The published order of the tensors: both convolutions, then both normalisations.
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm3d(channels)
        self.norm2 = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> the same shape."""
        inner = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(inner)))


def to_volume(feature: Tensor, depth: int) -> Tensor:
    """(B, C * depth, H, W) -> (B, C, depth, H, W), channel-major: 2-D channel = depth * c + d."""
    batch, channels, height, width = feature.shape
    return feature.view(batch, channels // depth, depth, height, width)


def to_map(volume: Tensor) -> Tensor:
    """(B, C, D, H, W) -> (B, C * D, H, W), the inverse of `to_volume`."""
    return torch.flatten(volume, 1, 2)
