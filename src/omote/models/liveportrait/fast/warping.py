"""W for use: the arithmetic of `omote.models.liveportrait.warping`, arranged for speed.

Exact, but for rounding: batch normalisation is folded into the convolution before it; convolutions of enlarged volumes
are computed on the small ones; each candidate motion is a shift, so that sampling with it is three small matrix
products; the motions' weighted mean is the grid plus the weighted mean of the shifts; heatmaps are products of one
factor an axis, and what would be a denormal number, which processors multiply many times more slowly, is zero; what
depends on the source alone is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from omote.models.liveportrait.blocks import DownBlock3d, UpBlock3d
from omote.models.liveportrait.fast.convolutions import (
    Conv,
    DeepConv,
    EnlargedConv,
    SingleConv,
    fold_norm,
)
from omote.models.liveportrait.warping import WarpingModule, identity_grid

_VARIANCE = 0.01
_LEAST = 1e-20  # of a heatmap: far below what changes any sum in float32


@dataclass(frozen=True)
class Volume:
    """A source's features, with what the warping module makes of them alone.

    Attributes:
        rows: (B, D H W + 1, C) float32, place by place in the order h, w, d; the last row is zero.
        compressed: (B, c, D, H, W) float32.
        size: (D, H, W).
    """

    rows: Tensor
    compressed: Tensor
    size: tuple[int, int, int]


class FastWarping:
    """Warps like ``module.eval()`` does.

    Args:
        module: its weights are copied.
        dtype: of the large convolutions: float32 or bfloat16; places and samples stay float32.
    """

    def __init__(self, module: WarpingModule, dtype: torch.dtype) -> None:
        self.dtype, self.config = dtype, module.config
        dense = module.dense_motion_network
        weight, bias = fold_norm(dense.compress.weight, dense.compress.bias, dense.norm)
        self._compress = Conv(weight, bias, torch.float32, activation="relu")
        hourglass = dense.hourglass
        self._down = [_down(cast(DownBlock3d, block), dtype) for block in hourglass.encoder.down_blocks]
        self._up = [_up(cast(UpBlock3d, block), dtype) for block in hourglass.decoder.up_blocks]
        weight, bias = fold_norm(
            hourglass.decoder.conv.weight, hourglass.decoder.conv.bias, hourglass.decoder.norm
        )
        self._join = Conv(weight, bias, dtype, activation="relu")
        assert dense.mask.bias is not None  # noqa: S101 - for the type checker
        self._mask = DeepConv(dense.mask.weight, dense.mask.bias, dtype)
        self._occlusion = None
        depth = module.config.dense_motion_params.reshape_depth
        if dense.occlusion is not None:
            flat = dense.occlusion.weight  # (1, C D, 7, 7): a kernel as deep as the volume
            assert dense.occlusion.bias is not None  # noqa: S101 - for the type checker
            self._occlusion = SingleConv(flat.unflatten(1, (-1, depth)), dense.occlusion.bias, dtype)
        weight, bias = fold_norm(module.third.conv.weight, module.third.conv.bias, module.third.norm)
        weight = weight.unflatten(1, (-1, depth)).transpose(1, 2).flatten(1, 2)  # channel d C + c, as sampled
        self._third = Conv(weight, bias, dtype, activation="leaky_relu", leak=0.01)
        self._fourth = Conv(module.fourth.weight, module.fourth.bias, dtype)

    def prepare(self, feature_3d: Tensor) -> Volume:
        """What depends on the source alone, of features (B, C, D, H, W)."""
        depth, height, width = feature_3d.shape[2:]
        rows = feature_3d.float().permute(0, 3, 4, 2, 1).flatten(1, 3)
        return Volume(F.pad(rows, (0, 0, 0, 1)), self._compress(feature_3d.float()), (depth, height, width))

    def __call__(self, volume: Volume, kp_driving: Tensor, kp_source: Tensor) -> Tensor:
        """(B, 256, H, W) the feature map for the generator; see `WarpingModule.forward`.

        Args:
            volume: of `prepare`, of B sources or of 1 for all.
            kp_driving: (B, K, 3) float32.
            kp_source: (B, K, 3) or (1, K, 3) float32.
        """
        count = len(kp_driving)
        kp_source = kp_source.expand(count, -1, -1)
        shifts = kp_source - kp_driving
        joined = self._hourglass(self._looked(volume, kp_driving, kp_source, shifts))
        mask = self._mask(joined).softmax(-1)  # (B, D, H, W, K + 1)
        grid = identity_grid(torch.Size(volume.size), kp_driving)
        deformation = grid + (mask[..., 1:].flatten(1, 3) @ shifts).view(*mask.shape[:-1], 3)
        warped = self._sampled(volume, deformation)
        out = self._fourth(self._third(warped))
        if self._occlusion is None:
            return out
        return out * self._occlusion(joined).sigmoid()

    # ---- what the hourglass looks at ---------------------------------------------------------------------------------

    def _looked(self, volume: Volume, driving: Tensor, source: Tensor, shifts: Tensor) -> Tensor:
        """(B, 5 (K + 1), D, H, W): of each motion a heatmap and the sampled, compressed features."""
        still = shifts.new_zeros(len(shifts), 1, 3)
        sampled = _shifted(volume.compressed, torch.cat([still, shifts], 1))  # (B, K + 1, D, H, W, c)
        heat = _heatmaps(driving, volume.size) - _heatmaps(source, volume.size)
        heat = F.pad(heat, (0, 0, 0, 0, 0, 0, 1, 0))
        both = torch.cat([heat[..., None], sampled], -1).to(self.dtype)
        return both.permute(0, 2, 3, 4, 1, 5).flatten(4).movedim(-1, 1)

    def _hourglass(self, x: Tensor) -> Tensor:
        levels = [x]
        for conv in self._down:
            levels.append(_halved(conv(levels[-1])))
        x = levels.pop()
        for up in self._up:
            (enlarged,) = up(x)
            both = [part.movedim(1, -1) for part in (enlarged, levels.pop())]
            x = torch.cat(both, -1).movedim(-1, 1)
        return self._join(x)

    # ---- warping -----------------------------------------------------------------------------------------------------

    def _sampled(self, volume: Volume, deformation: Tensor) -> Tensor:
        """(B, D C, H, W) trilinear samples of the features, zero outside; channel d C + c."""
        depth, height, width = volume.size
        place = deformation.permute(0, 2, 3, 1, 4)  # h, w, d
        size = place.new_tensor([width, height, depth])
        at = ((place + 1) * size - 1) / 2
        low = at.floor()
        part = at - low
        low = low.long()
        index, weight = [], []
        for corner in range(8):
            step = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2])
            near = low + step
            share = torch.where(step.bool(), part, 1 - part).prod(-1)
            inside = ((near >= 0) & (near < size)).all(-1)
            x, y, z = near.unbind(-1)
            index.append(torch.where(inside, (y * width + x) * depth + z, height * width * depth))
            weight.append(share)
        indices, weights = (torch.stack(parts, -1).flatten(1, -2) for parts in (index, weight))
        made = []
        for number in range(len(indices)):
            rows = volume.rows[number if len(volume.rows) > 1 else 0]
            found = F.embedding_bag(
                indices[number], rows, mode="sum", per_sample_weights=weights[number].contiguous()
            )
            made.append(found.view(height, width, -1))
        return torch.stack(made).to(self.dtype).movedim(-1, 1)


def _down(block: DownBlock3d, dtype: torch.dtype) -> Conv:
    return Conv(*fold_norm(block.conv.weight, block.conv.bias, block.norm), dtype, activation="relu")


def _up(block: UpBlock3d, dtype: torch.dtype) -> EnlargedConv:
    return EnlargedConv(*fold_norm(block.conv.weight, block.conv.bias, block.norm), 2, dtype, "relu")


def _halved(x: Tensor) -> Tensor:
    """(B, C, D, H, W) -> (B, C, D, H / 2, W / 2), means over 2 x 2 cells."""
    flat = x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return F.avg_pool2d(flat, 2).unflatten(0, (len(x), -1)).transpose(1, 2)


def _axis(size: int, like: Tensor) -> Tensor:
    return torch.linspace(-1, 1, size, dtype=like.dtype, device=like.device)


def _heatmaps(keypoints: Tensor, size: tuple[int, int, int]) -> Tensor:
    """(B, K, D, H, W) Gaussians."""
    factors = []
    for axis, count in zip((2, 1, 0), size, strict=True):  # depth is z
        away = _axis(count, keypoints) - keypoints[..., axis, None]
        factors.append(torch.exp(-0.5 * away**2 / _VARIANCE))
    z, y, x = factors
    made = z[..., :, None, None] * y[..., None, :, None] * x[..., None, None, :]
    return torch.where(made > _LEAST, made, 0.0)


def _shifted(features: Tensor, shifts: Tensor) -> Tensor:
    """(B, N, D, H, W, c) trilinear samples of features (B or 1, c, D, H, W), moved by each shift (B, N, 3)."""
    sizes = features.shape[2:]
    along = [
        _between(_axis(count, shifts) + shifts[..., axis, None], count)
        for axis, count in zip((2, 1, 0), sizes, strict=True)
    ]
    features = features.expand(len(shifts), *features.shape[1:])
    made = torch.einsum("bcdhw,bnxw->bncdhx", features, along[2])
    made = torch.einsum("bncdhx,bnyh->bncdyx", made, along[1])
    return torch.einsum("bncdyx,bnzd->bnzyxc", made, along[0])


def _between(place: Tensor, count: int) -> Tensor:
    """(..., P, count) linear weights of an axis's samples at places (..., P); zero outside, as align_corners=False."""
    at = ((place + 1) * count - 1) / 2
    index = torch.arange(count, dtype=place.dtype, device=place.device)
    return (1 - (at[..., None] - index).abs()).clamp_min(0)
