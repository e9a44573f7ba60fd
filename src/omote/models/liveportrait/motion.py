"""M, the motion extractor: an image becomes canonical keypoints, head pose, expression, scale and translation."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omote.checks import check_shape
from omote.errors import InputError
from omote.models.liveportrait.config import MotionConfig

NORM_EPS = 1e-6
SILENT = 1e-24  # squared response
_SMALLEST_SIDE = 32
"""The backbone halves the image five times."""


class MotionExtractor(nn.Module):
    """M of LivePortrait (arXiv 2407.03168).

    Args:
        config: sizes; default: published.
    """

    def __init__(self, config: MotionConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MotionConfig()
        self.detector = ConvNeXtV2(config)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """What the face does, as the network says it.

        Args:
            image: (B, 3, H, W) RGB in 0..1; H and W at least 32, published 256.

        Returns:
            ``pitch``, ``yaw``, ``roll`` (B, num_bins) logits over bins of 3 degrees; ``t`` (B, 3) translation;
            ``exp`` (B, 3 num_kp) expression offsets; ``scale`` (B, 1); ``kp`` (B, 3 num_kp) canonical keypoints. The
            offsets and keypoints are keypoint-major: x, y, z of the first, then of the second.

        Raises:
            InputError: another shape.
        """
        self.check(image)
        found: dict[str, Tensor] = self.detector(image)
        return found

    @staticmethod
    def check(image: Tensor) -> None:
        """Refuse what `forward` cannot look at."""
        check_shape("image", image, "B", 3, "H", "W")
        height, width = image.shape[2:]
        if min(height, width) < _SMALLEST_SIDE:
            what = f"got {height} x {width} pixels, expected at least {_SMALLEST_SIDE} each way"
            raise InputError(what, where="image")


class ConvNeXtV2(nn.Module):
    """ConvNeXt V2 (arXiv 2301.00808) with LivePortrait's heads in place of its classifier."""

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        dims, points = config.dims, 3 * config.num_kp
        stem = nn.Sequential(nn.Conv2d(3, dims[0], 4, stride=4), _ChannelNorm(dims[0]))
        self.downsample_layers = nn.ModuleList([stem])
        for before, after in pairwise(dims):
            halving = nn.Sequential(_ChannelNorm(before), nn.Conv2d(before, after, 2, stride=2))
            self.downsample_layers.append(halving)
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(depth)))
            for width, depth in zip(dims, config.depths, strict=True)
        )
        self.norm = nn.LayerNorm(dims[-1], eps=NORM_EPS)
        self.fc_kp = nn.Linear(dims[-1], points)
        self.fc_scale = nn.Linear(dims[-1], 1)
        self.fc_pitch = nn.Linear(dims[-1], config.num_bins)
        self.fc_yaw = nn.Linear(dims[-1], config.num_bins)
        self.fc_roll = nn.Linear(dims[-1], config.num_bins)
        self.fc_t = nn.Linear(dims[-1], 3)
        self.fc_exp = nn.Linear(dims[-1], points)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> the seven heads, each (B, n)."""
        x = image
        for halving, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(halving(x))
        return self.told(x)

    def told(self, x: Tensor) -> dict[str, Tensor]:
        """The heads, of what the last stage gives (B, C, H, W)."""
        pooled = self.norm(x.mean((2, 3)))
        names = ("pitch", "yaw", "roll", "t", "exp", "scale", "kp")
        return {name: getattr(self, f"fc_{name}")(pooled) for name in names}


class _ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=NORM_EPS)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """Depthwise 7 x 7 convolution and a pointwise network with global response normalisation, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.grn = GlobalResponseNorm(4 * width)
        self.pwconv2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        inner = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        inner = self.pwconv2(self.grn(F.gelu(self.pwconv1(inner))))
        return x + inner.permute(0, 3, 1, 2)


class GlobalResponseNorm(nn.Module):
    """Weighs each channel by its response over the image, relative to the mean channel (arXiv 2301.00808, §3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, width))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        # A sum of squares, as torch's norm over pixels is slow on CPUs; a silent channel has no gradient there either.
        response = x.square().sum((1, 2), keepdim=True).clamp_min(SILENT).sqrt()
        relative = response / (response.mean(-1, keepdim=True) + NORM_EPS)
        return torch.addcmul(self.beta, x, self.gamma * relative + 1)
