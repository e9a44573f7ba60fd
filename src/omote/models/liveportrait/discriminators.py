"""What tells made pictures from photographs while LivePortrait is trained; in use it has no part.

Published are three discriminators, of the whole image, the face and the lips (arXiv 2407.03168, §3.2), not how they are
built: they have the structure of face vid2vid's (arXiv 2011.15126), which is our choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from omote.checks import check_shape
from omote.errors import InputError

_KERNEL = 4
_LEAK = 0.2


@dataclass(frozen=True)
class DiscriminatorConfig:
    """One discriminator.

    Args:
        block_expansion: width of the first block; it doubles with each.
        num_blocks: convolutions before the last one.
        max_features: widest block.

    Raises:
        InputError: numbers below 1.
    """

    block_expansion: int = 64
    num_blocks: int = 4
    max_features: int = 512

    def __post_init__(self) -> None:
        if min(self.block_expansion, self.num_blocks, self.max_features) < 1:
            raise InputError(f"a discriminator needs numbers of at least 1, got {self}")

    @property
    def smallest(self) -> int:
        """The least side of a picture, px: nothing is padded, all blocks but the last halve the size, 2 x 2 remain."""
        side = _KERNEL + 1
        for _ in range(self.num_blocks - 1):
            side = 2 * side + _KERNEL - 1
        return side


class PatchDiscriminator(nn.Module):
    """4 x 4 convolutions without padding, normalised by their spectral norm; each patch is judged.

    Args:
        config: sizes; default: face vid2vid's.
    """

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DiscriminatorConfig()
        steps = range(config.num_blocks)
        widths = [3, *(min(config.max_features, config.block_expansion * 2**step) for step in steps)]
        self.convs = nn.ModuleList(
            spectral_norm(nn.Conv2d(before, after, _KERNEL)) for before, after in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.InstanceNorm2d(width, affine=True) for width in widths[2:])
        self.last = spectral_norm(nn.Conv2d(widths[-1], 1, 1))

    def forward(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """What it sees.

        Args:
            image: (B, 3, H, W) RGB in 0..1, no side below ``config.smallest``.

        Returns:
            What each block makes, and (B, 1, h, w): above zero where a patch looks real.

        Raises:
            InputError: another shape, or too small.
        """
        check_shape("image", image, "B", 3, "H", "W")
        if min(image.shape[2:]) < self.config.smallest:
            what = f"got {image.shape[2]} x {image.shape[3]} px, expected at least {self.config.smallest}"
            raise InputError(what, where="discriminator")
        x, features = image, []
        for index, conv in enumerate(self.convs):
            x = conv(x)
            if index:
                x = self.norms[index - 1](x)
            x = F.leaky_relu(x, _LEAK)
            if index + 1 < len(self.convs):
                x = F.avg_pool2d(x, 2)
            features.append(x)
        return features, self.last(x)


class Discriminators(nn.Module):
    """One discriminator for each region of the picture.

    Args:
        configs: by the name of the region.
    """

    def __init__(self, configs: Mapping[str, DiscriminatorConfig]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({name: PatchDiscriminator(config) for name, config in configs.items()})

    def forward(self, regions: Mapping[str, Tensor]) -> dict[str, tuple[list[Tensor], Tensor]]:
        """What each discriminator says of its region, as `PatchDiscriminator` does."""
        return {name: part(regions[name]) for name, part in self.parts.items()}
