"""G, the SPADE generator: a warped feature map becomes an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omote.checks import check_shape
from omote.models.liveportrait.config import GeneratorConfig

_LEAK = 0.2


class SpadeGenerator(nn.Module):
    """G of LivePortrait (arXiv 2407.03168): SPADE residual blocks (arXiv 1903.07291), then a pixel shuffle.

    Args:
        config: sizes; default: published.
    """

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GeneratorConfig()
        seg, hidden, middle = config.in_channels, config.spade_hidden, 2 * config.in_channels
        self.fc = nn.Conv2d(seg, middle, 3, padding=1)
        for index in range(config.num_middle_blocks):
            self.add_module(f"G_middle_{index}", SpadeResBlock(middle, middle, seg, hidden))
        self.up_0 = SpadeResBlock(middle, seg, seg, hidden)
        self.up_1 = SpadeResBlock(seg, config.out_channels, seg, hidden)
        self.conv_img: nn.Module
        if config.upscale > 1:
            enlarged = nn.Conv2d(config.out_channels, 3 * config.upscale**2, 3, padding=1)
            self.conv_img = nn.Sequential(enlarged, nn.PixelShuffle(config.upscale))
        else:
            self.conv_img = nn.Conv2d(config.out_channels, 3, 3, padding=1)

    def forward(self, feature: Tensor, *, keep: dict[str, Tensor] | None = None) -> Tensor:
        """The image.

        Args:
            feature: (B, in_channels, H, W) of W, published (B, 256, 64, 64).
            keep: intermediate results are put in here: ``fc``, ``G_middle_0`` ..., ``up_0``, ``up_1``. Without it they
                are freed as soon as they have been used.

        Returns:
            (B, 3, 4 upscale H, 4 upscale W) RGB in 0..1, published (B, 3, 512, 512).

        Raises:
            InputError: another shape.
        """
        check_shape("feature", feature, "B", self.config.in_channels, "H", "W")

        def kept(name: str, value: Tensor) -> Tensor:
            if keep is not None:
                keep[name] = value
            return value

        x = kept("fc", self.fc(feature))
        for index in range(self.config.num_middle_blocks):
            name = f"G_middle_{index}"
            x = kept(name, self.get_submodule(name)(x, feature))
        x = kept("up_0", self.up_0(_doubled(x), feature))
        x = kept("up_1", self.up_1(_doubled(x), feature))
        image: Tensor = self.conv_img(F.leaky_relu(x, _LEAK)).sigmoid()
        return image


class SpadeResBlock(nn.Module):
    """Twice (SPADE, leaky ReLU, convolution), added to the input; where widths differ, to its SPADE and convolution."""

    def __init__(self, in_channels: int, out_channels: int, seg_channels: int, hidden: int) -> None:
        super().__init__()
        middle = min(in_channels, out_channels)
        self._learned_shortcut = in_channels != out_channels
        self.conv_0 = SpectralConv2d(in_channels, middle, 3)
        self.conv_1 = SpectralConv2d(middle, out_channels, 3)
        if self._learned_shortcut:
            self.conv_s = SpectralConv2d(in_channels, out_channels, 1, bias=False)
        self.norm_0 = Spade(in_channels, seg_channels, hidden)
        self.norm_1 = Spade(middle, seg_channels, hidden)
        if self._learned_shortcut:
            self.norm_s = Spade(in_channels, seg_channels, hidden)

    def forward(self, x: Tensor, seg: Tensor) -> Tensor:
        """(B, in, H, W), (B, seg, h, w) -> (B, out, H, W)."""
        shortcut = self.conv_s(self.norm_s(x, seg)) if self._learned_shortcut else x
        inner = self.conv_0(F.leaky_relu(self.norm_0(x, seg), _LEAK))
        inner = self.conv_1(F.leaky_relu(self.norm_1(inner, seg), _LEAK))
        return shortcut + inner


class Spade(nn.Module):
    """Normalises each channel of each image, then scales and shifts it as the map ``seg`` says (arXiv 1903.07291)."""

    def __init__(self, channels: int, seg_channels: int, hidden: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Conv2d(seg_channels, hidden, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, seg: Tensor) -> Tensor:
        """(B, C, H, W), (B, seg, h, w) -> (B, C, H, W)."""
        shared = self.mlp_shared(F.interpolate(seg, size=x.shape[2:], mode="nearest"))
        return F.instance_norm(x, eps=1e-5) * (1 + self.mlp_gamma(shared)) + self.mlp_beta(shared)


class SpectralConv2d(nn.Module):
    """A convolution whose weight, as a matrix (out, rest), is divided by its spectral norm (arXiv 1802.05957).

    The tensors are those of the published checkpoints: ``weight_orig`` and the vectors ``weight_u``, ``weight_v``,
    which are refined by one power iteration in each training step and stay as they are in evaluation.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, in_channels: int, out_channels: int, size: int, *, bias: bool = True) -> None:
        super().__init__()
        made = nn.Conv2d(in_channels, out_channels, size)
        self._padding = size // 2
        self.bias = nn.Parameter(made.bias.detach()) if bias and made.bias is not None else None
        self.weight_orig = nn.Parameter(made.weight.detach())
        self.register_buffer("weight_u", torch.randn(out_channels))
        self.register_buffer("weight_v", torch.randn(in_channels * size**2))
        if not made.weight.is_meta:
            for _ in range(15):  # so that the first evaluation already divides by about the right number
                self._iterate()

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H, W)."""
        if self.training:
            self._iterate()
        return F.conv2d(x, self.weight, self.bias, padding=self._padding)

    @property
    def weight(self) -> Tensor:
        """(out, in, size, size) what the convolution multiplies with."""
        # Copies, as a later step changes the vectors while this step's graph may still be needed.
        u, v = self.weight_u.clone(), self.weight_v.clone()
        return self.weight_orig / torch.dot(u, _exact_product(self.weight_orig.flatten(1), v))

    @torch.no_grad()
    def _iterate(self) -> None:
        matrix = self.weight_orig.flatten(1)
        self.weight_v.copy_(F.normalize(_exact_product(matrix.T, self.weight_u), dim=0))
        self.weight_u.copy_(F.normalize(_exact_product(matrix, self.weight_v), dim=0))


def _exact_product(matrix: Tensor, vector: Tensor) -> Tensor:
    """(rows, columns), (columns,) -> (rows,), which autocast would do in bfloat16."""
    with torch.autocast(matrix.device.type, enabled=False):
        return torch.mv(matrix, vector)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
