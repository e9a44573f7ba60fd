"""G for use: the arithmetic of `omote.models.liveportrait.generator`, arranged for speed.

Exact, but for rounding: the spectral norm is folded into the weights; scale and shift of a SPADE layer come from one
convolution, the scale's one included; the first layers of all SPADE layers at the input's resolution are one
convolution; those at higher resolutions are computed on the input's (`EnlargedConv`); instance normalisation comes
before the enlargement, which does not change it, and enlarged pictures are never stored.

What errs early is magnified by all that follows. So the first convolution is float32 always, and `Stage.first` says
which blocks' convolutions may multiply bytes; scales and shifts, which matter least, may everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from omote.models.compiled import as_array, use_torch_threads
from omote.models.liveportrait.fast.enlarged import CellConv, EnlargedConv
from omote.models.liveportrait.fast.loops import measure, modulate, modulate_cells
from omote.models.liveportrait.fast.winograd import picture_conv
from omote.models.liveportrait.generator import Spade, SpadeGenerator, SpadeResBlock, SpectralConv2d
from omote.models.packed import Conv
from omote.models.quantised import ByteConv, Layer, Range, Stage, room_for

_LEAK, _EPSILON = 0.2, 1e-5


class FastGenerator:
    """Draws like ``generator.eval()`` does.

    Args:
        generator: its weights are copied.
        dtype: float32 or bfloat16.
        stage: of a generator that may multiply bytes.
    """

    def __init__(self, generator: SpadeGenerator, dtype: torch.dtype, stage: Stage | None = None) -> None:
        self.dtype = dtype
        blocks = [
            cast(SpadeResBlock, generator.get_submodule(f"G_middle_{index}"))
            for index in range(generator.config.num_middle_blocks)
        ]
        self._hidden = generator.config.spade_hidden
        self._fc = picture_conv(generator.fc.weight, generator.fc.bias, torch.float32)
        shared = [spade for block in blocks for spade in (block.norm_0, block.norm_1)]
        weight, bias = _joined(shared)
        self._middle = [_Block(block, dtype, stage, place=index) for index, block in enumerate(blocks)]
        self._shared: Layer = Conv(weight, bias, dtype, activation="relu")
        if stage is not None:
            coded = ByteConv(weight, bias, self._shared, stage, dtype=dtype, relu=True)
            coded.give_to([range for block in self._middle for range in block.ranges])
            self._shared = coded
        self._up = [_Enlarging(block, 2**step, dtype, stage) for step, block in enumerate(_ups(generator), 1)]
        self._shuffle = generator.config.upscale
        image = generator.conv_img[0] if self._shuffle > 1 else generator.conv_img  # type: ignore[index]
        self._image = Conv(image.weight, image.bias, dtype)  # type: ignore[arg-type]

    def __call__(self, feature: Tensor) -> Tensor:
        """(B, 3, ...) RGB in 0..1, float32; see `SpadeGenerator.forward`."""
        use_torch_threads()
        # One at a time: several leave the caches, and save nothing.
        return torch.cat([self._drawn(one) for one in feature.split(1)])

    def _drawn(self, feature: Tensor) -> Tensor:
        seg = feature.to(self.dtype).contiguous(memory_format=torch.channels_last)
        x = self._fc(feature.float()).to(self.dtype)
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
    """A SPADE layer but for its first convolution: normalises, scales and shifts as the hidden map says."""

    def __init__(self, spade: Spade, dtype: torch.dtype, stage: Stage | None) -> None:
        weight, bias = _scale_and_shift(spade)
        self.range = Range()
        self._conv: Layer = picture_conv(weight, bias, dtype)
        if stage is not None:
            self._conv = ByteConv(weight, bias, self._conv, stage, dtype=torch.bfloat16, range=self.range)

    def __call__(
        self, x: Tensor, statistics: Tensor, hidden: Tensor, to: Layer, leak: float = _LEAK
    ) -> Tensor:
        """(B, C, H, W), channels last.

        Args:
            x: (B, C, h, w), channels last; enlarged by nearest neighbours to the hidden map's size.
            statistics: (B, 2, C) of `_measured`.
            hidden: (B, hidden, H, W).
            to: the convolution that takes it.
            leak: of the leaky ReLU that follows; 1 for none.
        """
        change = self._conv(hidden).movedim(1, -1)
        made, code = room_for(to, (*change.shape[:3], x.shape[1]), x.dtype)
        modulate(*map(as_array, (x.movedim(1, -1), statistics, change)), leak, code, as_array(made))
        return made.movedim(-1, 1)


class _CellModulation:
    """The same of a hidden map that was enlarged by four, as `EnlargedConv.parts` gives it."""

    def __init__(self, spade: Spade, first: int, dtype: torch.dtype, stage: Stage | None) -> None:
        self._conv, self._first = CellConv(*_scale_and_shift(spade), dtype, stage), first
        self.range = self._conv.range

    def __call__(
        self, x: Tensor, statistics: Tensor, hidden: Tensor, to: Layer, leak: float = _LEAK
    ) -> Tensor:
        """(B, C, 4 h, 4 w) of parts (B, 3, 3, h, w, ...); otherwise as `_Modulation`."""
        height, width = (4 * size for size in hidden.shape[3:5])
        made, code = room_for(to, (len(x), height, width, x.shape[1]), x.dtype)
        for image, some, parts, out in zip(x.movedim(1, -1), statistics, hidden, made, strict=True):
            for top, products in self._conv(parts, self._first):
                inputs = (as_array(image), as_array(some), tuple(map(as_array, products)))
                modulate_cells(*inputs, as_array(self._conv.bias), top, leak, code, as_array(out))
        return made.movedim(-1, 1)


def _scale_and_shift(spade: Spade) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that gives both 1 + gamma and beta."""
    gamma, beta = spade.mlp_gamma, spade.mlp_beta
    assert gamma.bias is not None and beta.bias is not None  # noqa: S101, PT018 - for the type checker
    return torch.cat([gamma.weight, beta.weight]), torch.cat([gamma.bias + 1, beta.bias])


def _measured(x: Tensor) -> Tensor:
    """(B, 2, C): each channel's mean and one over its spread, of (B, C, H, W), channels last."""
    parts = min(8, x.shape[2])
    sums = torch.empty(len(x), parts, 2, x.shape[1], dtype=torch.float64)
    found = torch.empty(len(x), 2, x.shape[1])
    measure(as_array(x.movedim(1, -1)), _EPSILON, as_array(sums), as_array(found))
    return found


class _Block:
    """A residual block of one resolution and width."""

    def __init__(self, block: SpadeResBlock, dtype: torch.dtype, stage: Stage | None, *, place: int) -> None:
        self._modulations = [_Modulation(spade, dtype, stage) for spade in (block.norm_0, block.norm_1)]
        self._convs = [_conv(conv, dtype, stage, place) for conv in (block.conv_0, block.conv_1)]
        self.ranges = [modulation.range for modulation in self._modulations]

    def __call__(self, x: Tensor, *hidden: Tensor) -> Tensor:
        one, other = self._convs
        inner = one(self._modulations[0](x, _measured(x), hidden[0], one))
        return other(self._modulations[1](inner, _measured(inner), hidden[1], other), plus=x)


class _Enlarging:
    """Nearest enlargement by 2, then a residual block that narrows.

    Args:
        block: its weights are copied.
        factor: how much larger the block's result is than the generator's input: 2 or 4.
        dtype: see `FastGenerator`.
        stage: see `FastGenerator`.
    """

    def __init__(self, block: SpadeResBlock, factor: int, dtype: torch.dtype, stage: Stage | None) -> None:
        spades = [block.norm_0, block.norm_1, block.norm_s]
        self._shared = EnlargedConv(*_joined(spades), factor, dtype, "relu", stage)
        self._modulations: list[_Modulation] | list[_CellModulation]
        if factor == 4:
            share = self._shared.out_channels // len(spades)
            self._modulations = [
                _CellModulation(spade, n * share, dtype, stage) for n, spade in enumerate(spades)
            ]
        else:
            self._modulations = [_Modulation(spade, dtype, stage) for spade in spades]
        self._shared.give_to([modulation.range for modulation in self._modulations])
        self._convs = [_conv(conv, dtype, stage) for conv in (block.conv_0, block.conv_1, block.conv_s)]

    def __call__(self, x: Tensor, seg: Tensor) -> Tensor:
        hidden: Sequence[Tensor]
        if isinstance(self._modulations[0], _CellModulation):
            hidden = [self._shared.parts(seg)] * 3
        else:
            hidden = self._shared(seg).chunk(3, 1)
        statistics = _measured(x)  # the same before and after enlarging by nearest neighbours
        one, other, past = self._convs
        shortcut = past(self._modulations[2](x, statistics, hidden[2], past, 1.0))
        inner = one(self._modulations[0](x, statistics, hidden[0], one))
        return other(self._modulations[1](inner, _measured(inner), hidden[1], other), plus=shortcut)


def _conv(conv: SpectralConv2d, dtype: torch.dtype, stage: Stage | None, place: int | None = None) -> Layer:
    full = picture_conv(conv.weight, conv.bias, dtype)
    if stage is None:
        return full
    return ByteConv(conv.weight, conv.bias, full, stage, dtype=dtype, place=place)


def _joined(spades: list[Spade]) -> tuple[Tensor, Tensor]:
    """The first convolutions of several SPADE layers as one."""
    convs = [cast(torch.nn.Conv2d, spade.mlp_shared[0]) for spade in spades]
    return torch.cat([conv.weight for conv in convs]), torch.cat([cast(Tensor, conv.bias) for conv in convs])


def _ups(generator: SpadeGenerator) -> list[SpadeResBlock]:
    return [generator.up_0, generator.up_1]
