"""W for use: the arithmetic of `omote.models.liveportrait.warping`, arranged for speed.

Exact, but for rounding: batch normalisation is folded into the convolution before it; convolutions of enlarged volumes
are computed on the small ones; each candidate motion is a shift, so that sampling with it is three small matrix
products; the motions' weighted mean is the grid plus the weighted mean of the shifts; heatmaps are products of one
factor an axis, and what would be a denormal number, which processors multiply many times more slowly, is zero; what
depends on the source alone is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from omote.models.compiled import as_array, use_torch_threads
from omote.models.liveportrait.blocks import DownBlock3d, UpBlock3d
from omote.models.liveportrait.fast.convolutions import (
    Conv,
    DeepConv,
    SingleConv,
    fold_norm,
)
from omote.models.liveportrait.fast.enlarged import EnlargedConv
from omote.models.liveportrait.fast.volumes import look_at_motions, sample_deformed
from omote.models.liveportrait.fast.winograd import picture_conv
from omote.models.liveportrait.warping import WarpingModule
from omote.models.quantised import ByteConv, Range, Stage, coded_tensor, room_for


@dataclass(frozen=True)
class Volume:
    """A source's features, with what the warping module makes of them alone.

    Attributes:
        features: (B, D, H, W, C) float32.
        compressed: (B, D, H, c, W) float32.
    """

    features: Tensor
    compressed: Tensor


class FastWarping:
    """Warps like ``module.eval()`` does.

    Args:
        module: its weights are copied.
        dtype: of the large convolutions: float32 or bfloat16; places, samples and the last two layers stay float32.
        stage: of a network that may multiply bytes; not those layers, whose errors all of the generator magnifies.
    """

    def __init__(self, module: WarpingModule, dtype: torch.dtype, stage: Stage | None = None) -> None:
        self.dtype, self.config = dtype, module.config
        dense = module.dense_motion_network
        weight, bias = fold_norm(dense.compress.weight, dense.compress.bias, dense.norm)
        self._compress = Conv(weight, bias, torch.float32, activation="relu")
        hourglass = dense.hourglass
        self._down = [
            _convolution(cast(DownBlock3d, block), dtype, stage) for block in hourglass.encoder.down_blocks
        ]
        # What a level holds is looked at on the way down, and once more on the way up.
        ranges = [conv.range if isinstance(conv, ByteConv) else None for conv in self._down]
        ups = zip(hourglass.decoder.up_blocks, [None, *reversed(ranges[1:])], strict=True)
        self._up = [_up(cast(UpBlock3d, block), dtype, stage, range) for block, range in ups]
        self._join = _convolution(hourglass.decoder, dtype, stage, ranges[0])
        assert dense.mask.bias is not None  # noqa: S101 - for the type checker
        self._mask = DeepConv(dense.mask.weight, dense.mask.bias, dtype, stage)
        if isinstance(self._join, ByteConv):
            self._join.give_to([self._mask.range])
        self._occlusion = None
        depth = module.config.dense_motion_params.reshape_depth
        if dense.occlusion is not None:
            flat = dense.occlusion.weight  # (1, C D, 7, 7): a kernel as deep as the volume
            assert dense.occlusion.bias is not None  # noqa: S101 - for the type checker
            flat = flat.unflatten(1, (-1, depth))
            taken = None if stage is None else self._mask.range
            self._occlusion = SingleConv(flat, dense.occlusion.bias, dtype, taken)
        weight, bias = fold_norm(module.third.conv.weight, module.third.conv.bias, module.third.norm)
        weight = weight.unflatten(1, (-1, depth)).transpose(1, 2).flatten(1, 2)  # channel d C + c, as sampled
        self._third = picture_conv(weight, bias, torch.float32)
        self._fourth = Conv(module.fourth.weight, module.fourth.bias, torch.float32)

    def prepare(self, feature_3d: Tensor) -> Volume:
        """What depends on the source alone, of features (B, C, D, H, W)."""
        features = feature_3d.float()
        compressed = self._compress(features)
        return Volume(features.movedim(1, -1).contiguous(), compressed.movedim(1, -2).contiguous())

    def __call__(self, volume: Volume, kp_driving: Tensor, kp_source: Tensor) -> Tensor:
        """(B, 256, H, W) float32, the feature map for the generator; see `WarpingModule.forward`.

        Args:
            volume: of `prepare`, of B sources or of 1 for all.
            kp_driving: (B, K, 3) float32.
            kp_source: (B, K, 3) or (1, K, 3) float32.
        """
        use_torch_threads()
        count = len(kp_driving)
        kp_source = kp_source.expand(count, -1, -1)
        features, compressed = (
            part.expand(count, -1, -1, -1, -1) for part in (volume.features, volume.compressed)
        )
        joined = self._hourglass(self._looked(compressed, kp_driving, kp_source))
        warped = self._sampled(features, self._mask(joined), kp_source - kp_driving)
        out = self._fourth(F.leaky_relu_(self._third(warped), 0.01))
        if self._occlusion is None:
            return out
        return out * self._occlusion(joined).sigmoid()

    def _looked(self, compressed: Tensor, driving: Tensor, source: Tensor) -> Tensor:
        """(B, (K + 1) (c + 1), D, H, W): of each motion a heatmap and the sampled, compressed features."""
        *before, channels, width = compressed.shape
        all_channels = (driving.shape[1] + 1) * (channels + 1)
        seen, code = room_for(self._down[0], (*before, width, all_channels), self.dtype)
        for *inputs, out in zip(compressed, driving, source, seen, strict=True):
            look_at_motions(*map(as_array, inputs), code, as_array(out))
        return seen.movedim(-1, 1)

    def _hourglass(self, x: Tensor) -> Tensor:
        levels = []
        for conv in self._down:
            if isinstance(conv, ByteConv) and conv.takes_bytes:
                x = coded_tensor(x, conv.range)
            levels.append((x, conv))
            x = _halved(conv(x))
        for up in self._up:
            level, conv = levels.pop()
            *size, channels = level.movedim(1, -1).shape
            both, code = room_for(conv, (*size, up.out_channels + channels), self.dtype)
            up.write(x, code, both)
            both[..., up.out_channels :] = level.movedim(1, -1)
            x = both.movedim(-1, 1)
        return self._join(x)

    def _sampled(self, features: Tensor, parts: list[Tensor], shifts: Tensor) -> Tensor:
        """(B, D C, H, W) trilinear samples of the features, zero outside; channel d C + c."""
        count, depth, height, width, channels = features.shape
        warped = torch.empty(count, height, width, depth * channels)
        for feature, *some, shift, out in zip(features, *parts, shifts, warped, strict=True):
            inputs = (as_array(feature), tuple(map(as_array, some)))
            sample_deformed(*inputs, *map(as_array, (self._mask.bias, shift, out)))
        return warped.movedim(-1, 1)


def _convolution(
    block: Any, dtype: torch.dtype, stage: Stage | None, range: Range | None = None
) -> Conv | ByteConv:
    """The convolution of a block that has ``conv`` and ``norm``, with its ReLU."""
    weight, bias = fold_norm(block.conv.weight, block.conv.bias, block.norm)
    full = Conv(weight, bias, dtype, activation="relu")
    if stage is None:
        return full
    return ByteConv(weight, bias, full, stage, dtype=dtype, relu=True, range=range)


def _up(block: UpBlock3d, dtype: torch.dtype, stage: Stage | None, range: Range | None) -> EnlargedConv:
    weight, bias = fold_norm(block.conv.weight, block.conv.bias, block.norm)
    return EnlargedConv(weight, bias, 2, dtype, "relu", stage, range)


def _halved(x: Tensor) -> Tensor:
    """(B, C, D, H, W) -> (B, C, D, H / 2, W / 2), means over 2 x 2 cells."""
    flat = x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return F.avg_pool2d(flat, 2).unflatten(0, (len(x), -1)).transpose(1, 2)
