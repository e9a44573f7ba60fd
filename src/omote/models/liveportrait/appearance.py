"""F, the appearance feature extractor: an image becomes a volume of features that can be warped in three dimensions."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from omote.checks import check_shape
from omote.errors import InputError
from omote.models.liveportrait.blocks import DownBlock2d, ResBlock3d, SameBlock2d, to_volume
from omote.models.liveportrait.config import AppearanceConfig


class AppearanceFeatureExtractor(nn.Module):
    """F of LivePortrait (arXiv 2407.03168), as face vid2vid (arXiv 2011.15126) has it.

    Args:
        config: sizes; default: published.
    """

    def __init__(self, config: AppearanceConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AppearanceConfig()
        widths = [
            min(config.max_features, config.block_expansion * 2**step)
            for step in range(config.num_down_blocks + 1)
        ]
        self.first = SameBlock2d(config.image_channel, config.block_expansion)
        widths[0] = config.block_expansion
        self.down_blocks = nn.ModuleList(DownBlock2d(before, after) for before, after in pairwise(widths))
        self.second = nn.Conv2d(widths[-1], config.max_features, 1)
        self.resblocks_3d = nn.Sequential()
        for index in range(config.num_resblocks):
            self.resblocks_3d.add_module(f"3dr{index}", ResBlock3d(config.reshape_channel))

    def forward(self, image: Tensor) -> Tensor:
        """Features of a source image.

        Args:
            image: (B, 3, H, W) RGB in 0..1; H and W multiples of 2**num_down_blocks (published 256 x 256, any works).

        Returns:
            (B, reshape_channel, reshape_depth, H / 4, W / 4), published (B, 32, 16, 64, 64).

        Raises:
            InputError: another shape.
        """
        check_shape("image", image, "B", self.config.image_channel, "H", "W")
        unit = 2**self.config.num_down_blocks
        if image.shape[2] % unit or image.shape[3] % unit:
            what = f"got {image.shape[2]} x {image.shape[3]} pixels, expected multiples of {unit}"
            raise InputError(what, where="image")
        x = self.first(image)
        for block in self.down_blocks:
            x = block(x)
        volume: Tensor = self.resblocks_3d(to_volume(self.second(x), self.config.reshape_depth))
        return volume
