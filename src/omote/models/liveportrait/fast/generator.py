"""G for use: the arithmetic of `omote.models.liveportrait.generator`, arranged for speed.

Exact, but for rounding: the spectral norm is folded into the weights; scale and shift of a SPADE layer come from one
convolution, the scale's one included; the first layers of all SPADE layers at the input's resolution are one
convolution; those at higher resolutions are computed on the input's (`EnlargedConv`); instance normalisation comes
before the enlargement, which does not change it, and enlarged pictures are never stored.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from omote.models.liveportrait.fast.convolutions import Conv, EnlargedConv
from omote.models.liveportrait.generator import Spade, SpadeGenerator, SpadeResBlock

_LEAK = 0.2


class FastGenerator:
    """Draws like ``generator.eval()`` does.

    Args:
        generator: its weights are copied.
        dtype: float32 or bfloat16.
    """

    def __init__(self, generator: SpadeGenerator, dtype: torch.dtype) -> None:
        self.dtype = dtype
        blocks = [
            cast(SpadeResBlock, generator.get_submodule(f"G_middle_{index}"))
            for index in range(generator.config.num_middle_blocks)
        ]
        self._hidden = generator.config.spade_hidden
        self._fc = Conv(generator.fc.weight, generator.fc.bias, dtype)
        shared = [spade for block in blocks for spade in (block.norm_0, block.norm_1)]
        weight, bias = _joined(shared)
        self._shared = Conv(weight, bias, dtype, activation="relu")
        self._middle = [_Block(block, dtype) for block in blocks]
        self._up = [_Enlarging(block, 2**step, dtype) for step, block in enumerate(_ups(generator), 1)]
        self._shuffle = generator.config.upscale
        image = generator.conv_img[0] if self._shuffle > 1 else generator.conv_img  # type: ignore[index]
        self._image = Conv(image.weight, image.bias, dtype)  # type: ignore[arg-type]

    def __call__(self, feature: Tensor) -> Tensor:
        """(B, 3, ...) RGB in 0..1, float32; see `SpadeGenerator.forward`."""
        seg = feature.to(self.dtype).contiguous(memory_format=torch.channels_last)
        x = self._fc(seg)
        hidden = self._shared(seg).split(self._hidden, 1)
        for index, block in enumerate(self._middle):
            x = block(x, hidden[2 * index], hidden[2 * index + 1])
        for up in self._up:
            x = up(x, seg)
        image = self._image(F.leaky_relu_(x, _LEAK)).float()
        if self._shuffle > 1:
            image = F.pixel_shuffle(image.contiguous(), self._shuffle)
        return image.sigmoid_()


class _Modulation:
    """What a SPADE layer makes of its hidden map: 1 + gamma and beta."""

    def __init__(self, spade: Spade, dtype: torch.dtype) -> None:
        gamma, beta = spade.mlp_gamma, spade.mlp_beta
        assert gamma.bias is not None and beta.bias is not None  # noqa: S101, PT018 - for the type checker
        self._conv = Conv(
            torch.cat([gamma.weight, beta.weight]), torch.cat([gamma.bias + 1, beta.bias]), dtype
        )

    def __call__(self, normed: Tensor, hidden: Tensor, *, activated: bool = True) -> Tensor:
        """The modulated map (B, C, H, W); ``normed`` (B, C, h, w) is enlarged to it."""
        scale, shift = self._conv(hidden).movedim(1, -1).chunk(2, -1)
        small = normed.movedim(1, -1)
        factor = scale.shape[1] // small.shape[1]
        cells = (len(small), small.shape[1], factor, small.shape[2], factor, small.shape[3])
        scale, shift = (part.unflatten(2, cells[3:5]).unflatten(1, cells[1:3]) for part in (scale, shift))
        made = torch.addcmul(shift, small[:, :, None, :, None], scale)
        if activated:
            made = F.leaky_relu_(made, _LEAK)
        return made.flatten(3, 4).flatten(1, 2).movedim(-1, 1)


class _Block:
    """A residual block of one resolution and width."""

    def __init__(self, block: SpadeResBlock, dtype: torch.dtype) -> None:
        self._modulations = [_Modulation(spade, dtype) for spade in (block.norm_0, block.norm_1)]
        self._convs = [Conv(conv.weight, conv.bias, dtype) for conv in (block.conv_0, block.conv_1)]

    def __call__(self, x: Tensor, *hidden: Tensor) -> Tensor:
        inner = self._convs[0](self._modulations[0](_normalised(x), hidden[0]))
        return self._convs[1](self._modulations[1](_normalised(inner), hidden[1]), plus=x)


class _Enlarging:
    """Nearest enlargement by 2, then a residual block that narrows."""

    def __init__(self, block: SpadeResBlock, factor: int, dtype: torch.dtype) -> None:
        spades = [block.norm_0, block.norm_1, block.norm_s]
        weight, bias = _joined(spades)
        self._shared = EnlargedConv(weight, bias, factor, dtype, "relu")
        self._modulations = [_Modulation(spade, dtype) for spade in spades]
        self._convs = [
            Conv(conv.weight, conv.bias, dtype) for conv in (block.conv_0, block.conv_1, block.conv_s)
        ]
        self._count, self._factor = len(spades), factor

    def __call__(self, x: Tensor, seg: Tensor) -> Tensor:
        height, width = seg.shape[2:]
        share = self._shared.out_channels // self._count
        size = (len(seg), height * self._factor, width * self._factor, share)
        hidden = self._shared(seg, [seg.new_empty(size) for _ in range(self._count)])
        normed = _normalised(x)  # the same before and after enlarging by nearest neighbours
        shortcut = self._convs[2](self._modulations[2](normed, hidden[2], activated=False))
        inner = self._convs[0](self._modulations[0](normed, hidden[0]))
        return self._convs[1](self._modulations[1](_normalised(inner), hidden[1]), plus=shortcut)


def _joined(spades: list[Spade]) -> tuple[Tensor, Tensor]:
    """The first convolutions of several SPADE layers as one."""
    convs = [cast(torch.nn.Conv2d, spade.mlp_shared[0]) for spade in spades]
    return torch.cat([conv.weight for conv in convs]), torch.cat([cast(Tensor, conv.bias) for conv in convs])


def _ups(generator: SpadeGenerator) -> list[SpadeResBlock]:
    return [generator.up_0, generator.up_1]


def _normalised(x: Tensor) -> Tensor:
    """Each channel of each image with mean 0 and spread 1; channels last."""
    if len(x) == 1:  # then a batch's statistics are an image's, and channels need not lie together
        return F.batch_norm(x, None, None, training=True, eps=1e-5)
    return torch.cat([_normalised(image) for image in x.split(1)])
