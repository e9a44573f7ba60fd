"""W, the warping module: moves the source's volume of features as the keypoints say, and flattens it to a map.

Shapes: B batch, K keypoints, C channels and D depth of the volume, H and W its height and width.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omote.checks import check_shape
from omote.errors import InputError
from omote.models.liveportrait.blocks import DownBlock3d, SameBlock2d, ShallowConv3d, UpBlock3d, to_map
from omote.models.liveportrait.config import DenseMotionConfig, WarpingConfig

_HEATMAP_VARIANCE = 0.01


@dataclass(frozen=True)
class Warped:
    """What the warping module gives.

    Attributes:
        out: (B, 256, H, W) the feature map for the generator.
        occlusion_map: (B, 1, H, W) in 0..1, how much of the source is seen; None where it is not estimated.
        deformation: (B, D, H, W, 3) where each place of the driving frame comes from: x, y, z in -1..1.
    """

    out: Tensor
    occlusion_map: Tensor | None
    deformation: Tensor


class WarpingModule(nn.Module):
    """W of LivePortrait (arXiv 2407.03168), as face vid2vid (arXiv 2011.15126) has it, without Jacobians.

    Args:
        config: sizes; default: published.
    """

    def __init__(self, config: WarpingConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or WarpingConfig()
        self.dense_motion_network = DenseMotionNetwork(
            config.dense_motion_params,
            num_kp=config.num_kp,
            feature_channel=config.reshape_channel,
            estimate_occlusion_map=config.estimate_occlusion_map,
        )
        self.third = SameBlock2d(config.max_features, config.out_channels, F.leaky_relu)
        self.fourth = nn.Conv2d(config.out_channels, config.out_channels, 1)

    def forward(
        self,
        feature_3d: Tensor,
        kp_driving: Tensor,
        kp_source: Tensor,
        *,
        keep: dict[str, Tensor] | None = None,
    ) -> Warped:
        """Warp a source's features. Driving keypoints come before the source's, as published.

        Args:
            feature_3d: (B, C, D, H, W) of F; H and W multiples of 2**num_blocks (32), published (B, 32, 16, 64, 64).
            kp_driving: (B, K, 3) in about -1..1.
            kp_source: (B, K, 3).
            keep: intermediate results are put in here: ``hourglass_input``, ``hourglass_output``, ``mask``,
                ``warped_feature_2d``. Without it they are freed as soon as they have been used.

        Raises:
            InputError: other shapes.
        """
        config, dense = self.config, self.config.dense_motion_params
        check_shape("feature_3d", feature_3d, "B", config.reshape_channel, dense.reshape_depth, "H", "W")
        check_shape("kp_driving", kp_driving, feature_3d.shape[0], config.num_kp, 3)
        check_shape("kp_source", kp_source, feature_3d.shape[0], config.num_kp, 3)
        unit, (height, width) = 2**dense.num_blocks, feature_3d.shape[3:]
        if height % unit or width % unit or not height or not width:
            what = f"got a height and width of {height} x {width}, expected multiples of {unit}"
            raise InputError(what, where="feature_3d")
        deformation, occlusion_map = self.dense_motion_network(feature_3d, kp_driving, kp_source, keep=keep)
        warped = to_map(F.grid_sample(feature_3d, deformation, align_corners=False))
        if keep is not None:
            keep["warped_feature_2d"] = warped
        out = self.fourth(self.third(warped))
        if occlusion_map is not None:
            out = out * occlusion_map
        return Warped(out, occlusion_map, deformation)


class DenseMotionNetwork(nn.Module):
    """Predicts for every place of the volume how much it follows each keypoint.

    Args:
        config: sizes.
        num_kp: keypoints.
        feature_channel: channels of the volume.
        estimate_occlusion_map: whether an occlusion map is predicted, too.
    """

    def __init__(
        self, config: DenseMotionConfig, *, num_kp: int, feature_channel: int, estimate_occlusion_map: bool
    ) -> None:
        super().__init__()
        self.hourglass = Hourglass(config, in_channels=(num_kp + 1) * (config.compress + 1))
        self.mask = ShallowConv3d(self.hourglass.out_channels, num_kp + 1, 7)
        self.compress = nn.Conv3d(feature_channel, config.compress, 1)
        self.norm = nn.BatchNorm3d(config.compress)
        self.occlusion = (
            nn.Conv2d(self.hourglass.out_channels * config.reshape_depth, 1, 7, padding=3)
            if estimate_occlusion_map
            else None
        )

    def forward(
        self,
        feature_3d: Tensor,
        kp_driving: Tensor,
        kp_source: Tensor,
        *,
        keep: dict[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """From what `WarpingModule` takes: the deformation (B, D, H, W, 3) and the occlusion map (B, 1, H, W)."""
        motions = candidate_motions(kp_driving, kp_source, feature_3d.shape[2:])
        features = F.relu(self.norm(self.compress(feature_3d)))
        hourglass_input = torch.cat(
            [
                _heatmaps(kp_driving, kp_source, feature_3d.shape[2:]).unsqueeze(2),
                _sample_with_each(features, motions),
            ],
            2,
        ).flatten(1, 2)  # five channels of the first motion, five of the second ...
        hourglass_output = self.hourglass(hourglass_input)
        if keep is not None:
            keep["hourglass_input"] = hourglass_input
            keep["hourglass_output"] = hourglass_output
        del hourglass_input, features
        mask = self.mask(hourglass_output).softmax(1)
        if keep is not None:
            keep["mask"] = mask
        deformation = (mask.unsqueeze(-1) * motions).sum(1)
        occlusion_map = None
        if self.occlusion is not None:
            occlusion_map = self.occlusion(to_map(hourglass_output)).sigmoid()
        return deformation, occlusion_map


class Hourglass(nn.Module):
    """A U-net over volumes whose depth stays; what goes in is joined to what comes out."""

    def __init__(self, config: DenseMotionConfig, *, in_channels: int) -> None:
        super().__init__()
        widths = [
            min(config.max_features, config.block_expansion * 2**step)
            for step in range(config.num_blocks + 1)
        ]
        self.out_channels = widths[0] + in_channels
        self.encoder = _Encoder([in_channels, *widths[1:]])
        self.decoder = _Decoder(widths, self.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, D, H, W) -> (B, out_channels, D, H, W)."""
        found: Tensor = self.decoder(self.encoder(x))
        return found


class _Encoder(nn.Module):
    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.down_blocks = nn.ModuleList(DownBlock3d(before, after) for before, after in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = [x]
        for block in self.down_blocks:
            levels.append(block(levels[-1]))
        return levels


class _Decoder(nn.Module):
    def __init__(self, widths: list[int], out_channels: int) -> None:
        super().__init__()
        last = len(widths) - 2
        self.up_blocks = nn.ModuleList(
            # all but the deepest block see the encoder's level beside what the block below gave
            UpBlock3d(widths[step + 1] * (1 if step == last else 2), widths[step])
            for step in reversed(range(last + 1))
        )
        self.conv = nn.Conv3d(out_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm3d(out_channels)

    def forward(self, levels: list[Tensor]) -> Tensor:
        x = levels.pop()
        for block in self.up_blocks:
            x = torch.cat([block(x), levels.pop()], 1)
        return F.relu(self.norm(self.conv(x)))


def identity_grid(size: torch.Size, like: Tensor) -> Tensor:
    """The place of each voxel, (D, H, W, 3) as x, y, z from -1 to 1.

    The end points are the centres of the first and last voxel, though `grid_sample` is later called with the other
    convention (align_corners=False): even a grid at rest resamples slightly. It is published so, and the weights were
    trained with it.
    """
    axes = [torch.linspace(-1, 1, n, dtype=like.dtype, device=like.device) for n in size]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, z], -1)


def candidate_motions(kp_driving: Tensor, kp_source: Tensor, size: torch.Size) -> Tensor:
    """(B, K + 1, D, H, W, 3): rest, and for each keypoint the shift that takes the driver's to the source's place."""
    grid = identity_grid(size, kp_driving)[None, None]
    moved = grid - kp_driving[:, :, None, None, None] + kp_source[:, :, None, None, None]
    return torch.cat([grid.expand(len(moved), -1, -1, -1, -1, -1), moved], 1)


def _heatmaps(kp_driving: Tensor, kp_source: Tensor, size: torch.Size) -> Tensor:
    """(B, K + 1, D, H, W): Gaussians at the driving keypoints less those at the source's; zero for rest."""
    grid = identity_grid(size, kp_driving)[None, None]

    def gaussians(keypoints: Tensor) -> Tensor:
        squares = ((grid - keypoints[:, :, None, None, None]) ** 2).sum(-1)
        return torch.exp(-0.5 * squares / _HEATMAP_VARIANCE)

    return F.pad(gaussians(kp_driving) - gaussians(kp_source), (0, 0, 0, 0, 0, 0, 1, 0))


def _sample_with_each(features: Tensor, motions: Tensor) -> Tensor:
    """(B, C, D, H, W) sampled with (B, N, D, H, W, 3) -> (B, N, C, D, H, W)."""
    count = motions.shape[1]
    repeated = features.unsqueeze(1).expand(-1, count, -1, -1, -1, -1).flatten(0, 1)
    sampled = F.grid_sample(repeated, motions.flatten(0, 1), align_corners=False)
    return sampled.unflatten(0, (-1, count))
