"""Convolutions in the order in which the processor multiplies, with what follows them fused in.

oneDNN takes weights that were put into its own order once, and adds bias, activation and a second summand before the
result leaves the cache. Where torch was built without it, the plain operations do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Activation = Literal["none", "relu", "leaky_relu"]


_SMALL = 64  # places of a volume's slice up to which its convolution is one product of matrices

Padding = Sequence[tuple[int, int]]


class Conv:
    """A convolution of 2 or 3 dimensions, stride 1, then an activation.

    Args:
        weight: (out, in, ...) float32; out and in of one group.
        bias: (out,).
        dtype: of weights and activations: float32 or bfloat16.
        padding: zeros before and after, for each dimension; default: half the kernel.
        activation: what follows.
        leak: of "leaky_relu".
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
        *,
        padding: Padding | None = None,
        activation: Activation = "none",
        leak: float = 0.2,
    ) -> None:
        dims = weight.ndim - 2
        self.dtype, self.out_channels, self.activation, self.leak = dtype, len(weight), activation, leak
        self._layout = torch.channels_last if dims == 2 else torch.channels_last_3d
        self._kernel = weight.shape[2:]
        self._padding = list(padding or [(n // 2, n // 2) for n in self._kernel])
        self._ones, self._around = [1] * dims, [max(both) for both in self._padding]
        self._weight = weight.detach().to(dtype).contiguous(memory_format=self._layout)
        self._bias = None if bias is None else bias.detach().to(dtype).contiguous()
        self._packed: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        """The result (B, out, ...), channels last.

        Args:
            x: (B, in, ...) of the dtype.
            plus: added before the activation; of the result's shape.
        """
        x = x.contiguous(memory_format=self._layout)
        if x.ndim == 5 and x.shape[3] * x.shape[4] <= _SMALL and plus is None:
            return self._as_product(x)
        made = self._convolved(x, plus) if _can_pack() else self._plain(x, plus)
        # Zeros can only be asked for on both sides alike: what the larger number made too much is cut off.
        for axis, (before, after) in enumerate(self._padding, 2):
            if before != after:
                around = max(before, after)
                made = made.narrow(axis, around - before, made.shape[axis] - 2 * around + before + after)
        return made

    def _convolved(self, x: Tensor, plus: Tensor | None) -> Tensor:
        shape = tuple(x.shape)
        packed = self._packed.get(shape)
        if packed is None:
            packed = _ops()._reorder_convolution_weight(
                self._weight, self._around, self._ones, self._ones, 1, list(shape)
            )
            # One size at a time: the weights of a large one are many megabytes.
            self._packed = {shape: packed}
        where = (self._around, self._ones, self._ones, 1)
        if plus is None:
            scalars = [self.leak] if self.activation == "leaky_relu" else []
            made: Tensor = _ops()._convolution_pointwise(
                x, packed, self._bias, *where, self.activation, scalars, ""
            )
            return made
        plus = plus.contiguous(memory_format=self._layout)
        made = _ops()._convolution_pointwise.binary(
            x, plus, packed, self._bias, *where, "add", 1.0, None, [], None
        )
        return self._activated(made)

    def _plain(self, x: Tensor, plus: Tensor | None) -> Tensor:
        convolve: Any = F.conv2d if x.ndim == 4 else F.conv3d
        made: Tensor = convolve(x, self._weight, self._bias, padding=self._around)
        return self._activated(made if plus is None else made + plus)

    def _as_product(self, x: Tensor) -> Tensor:
        """Of a volume so flat that a convolution would hold more edge than inside: its patches as rows."""
        sides = [side for both in reversed(self._padding) for side in both]
        padded = F.pad(x.movedim(1, -1), (0, 0, *sides))  # (B, D, H, W, in)
        made = [n - k + 1 for n, k in zip(padded.shape[1:4], self._kernel, strict=True)]
        steps = padded.stride()
        seen = padded.as_strided(
            (len(x), *made, *self._kernel, x.shape[1]), (*steps[:4], *steps[1:4], steps[4])
        )
        rows = seen.reshape(-1, self._kernel.numel() * x.shape[1])
        weight = self._weight.movedim(1, -1).flatten(1)
        return self._activated(F.linear(rows, weight, self._bias).view(len(x), *made, -1).movedim(-1, 1))

    def _activated(self, x: Tensor) -> Tensor:
        if self.activation == "none":
            return x
        return F.relu_(x) if self.activation == "relu" else F.leaky_relu_(x, self.leak)


class DeepConv:
    """A convolution of volumes with few outputs: slice by slice, a kernel's slices as further outputs, then their sum.

    Processors multiply with 154 outputs several times faster than with 22.

    Args:
        weight: (out, in, k, k', k''), odd.
        bias: (out,).
        dtype: of weights and activations; sums are float32.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        self._deep, self._bias = weight.shape[2], bias.detach().float()
        self._conv = Conv(weight.movedim(2, 0).flatten(0, 1), None, dtype)  # output k O + o

    def __call__(self, x: Tensor) -> Tensor:
        """(B, D, H, W, out) float32 of (B, in, D, H, W)."""
        slices = self._conv(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(x), -1))
        parts = slices.movedim(2, -1).unflatten(-1, (self._deep, -1))  # (B, D, H, W, k, out)
        depth, half = parts.shape[1], self._deep // 2
        made = parts[..., half, :] + self._bias
        for tap in range(self._deep):
            away = tap - half  # what slice d + away gives to slice d
            first, last = max(0, -away), min(depth, depth - away)
            if away and first < last:
                made[:, first:last] += parts[:, first + away : last + away, ..., tap, :]
        return made


class SingleConv:
    """A convolution with one output, over volumes and as deep as they are: its taps as outputs, then their sum.

    Args:
        weight: (1, in, D, k, k).
        bias: (1,).
        dtype: of weights and activations; sums are float32.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        self._size = weight.shape[3:]
        # (D, in, k k): what a place gives to its neighbours rather than what it takes from them, so turned round
        self._weight = weight.detach()[0].flip(2, 3).permute(1, 0, 2, 3).flatten(2).to(dtype)
        self._bias = bias.detach().float()

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) float32 of (B, in, D, H, W)."""
        rows = x.movedim(1, -1).flatten(2, 3)  # (B, D, H W, in)
        taps = torch.stack([torch.bmm(one, self._weight).float().sum(0) for one in rows])
        padding = (self._size[0] // 2, self._size[1] // 2)
        return F.fold(taps.transpose(1, 2), x.shape[3:], self._size, padding=padding) + self._bias


class EnlargedConv:
    """A 3-tap convolution of a picture enlarged by nearest neighbours, computed on the small picture.

    Within a cell of equal pixels the taps of a kernel that fall on the same small pixel are summed beforehand: of the
    ``factor`` rows of a cell, the first sees the cell above and its own, the last its own and the one below, those
    between their own alone; columns likewise. The zeros around the picture stay where they were.

    Args:
        weight: (out, in, 3, 3) or, with a depth that is not enlarged, (out, in, 3, 3, 3).
        bias: (out,).
        factor: 2 or more.
        dtype: see `Conv`.
        activation: see `Conv`.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, factor: int, dtype: torch.dtype, activation: Activation
    ) -> None:
        self.factor, self.out_channels, self._deep = factor, len(weight), weight.ndim == 5
        parts = ["first", "last"] if factor == 2 else ["first", "middle", "last"]
        self._parts: list[tuple[str, str, Conv]] = []
        for row in parts:
            for column in parts:
                merged = _merged(_merged(weight, -2, row), -1, column)
                padding = [(weight.shape[2] // 2,) * 2] if self._deep else []
                padding += [_sides(row), _sides(column)]
                conv = Conv(merged, bias, dtype, padding=padding, activation=activation)
                self._parts.append((row, column, conv))

    def __call__(self, x: Tensor, into: Sequence[Tensor] | None = None) -> list[Tensor]:
        """The result, (B, out, ..., factor H, factor W), channels last.

        Args:
            x: (B, in, ..., H, W), the small picture.
            into: tensors that share the result's channels among them, in order; default: one with all.
        """
        height, width = x.shape[-2:]
        shape = [len(x), *x.shape[2:-2], height, self.factor, width, self.factor]
        if into is None:
            into = [x.new_empty([*shape, self.out_channels])]
        for row, column, conv in self._parts:
            made = conv(x).movedim(1, -1)[..., :, None, :, None, :]
            first = 0
            for target in into:
                some = made[..., first : first + target.shape[-1]]
                cells = target.view(*shape, target.shape[-1])
                cells[..., :, _span(row, self.factor), :, _span(column, self.factor), :] = some
                first += target.shape[-1]
        whole = [len(x), *x.shape[2:-2], height * self.factor, width * self.factor]
        return [target.view(*whole, target.shape[-1]).movedim(-1, 1) for target in into]


def _merged(weight: Tensor, axis: int, part: str) -> Tensor:
    a, b, c = weight.unbind(axis)
    taps = {"first": [a, b + c], "middle": [a + b + c], "last": [a + b, c]}[part]
    return torch.stack(taps, axis)


def _sides(part: str) -> tuple[int, int]:
    """Zeros before and after: of the cell above (or left) only the first row sees something."""
    return {"first": (1, 0), "middle": (0, 0), "last": (0, 1)}[part]


def _span(part: str, factor: int) -> slice:
    return {"first": slice(0, 1), "middle": slice(1, factor - 1), "last": slice(factor - 1, factor)}[part]


def fold_norm(weight: Tensor, bias: Tensor | None, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the batch normalisation (in evaluation) that follows it."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    before = norm.running_mean if bias is None else norm.running_mean - bias
    return weight * scale.view(-1, *[1] * (weight.ndim - 1)), norm.bias - before * scale


def _ops() -> Any:
    return torch.ops.mkldnn


@cache
def _can_pack() -> bool:
    """Whether this torch has the operations, with the result that is expected."""
    x, w = torch.arange(16.0).view(1, 1, 4, 4), torch.ones(1, 1, 3, 3)
    ones = [1, 1]
    with torch.autocast("cpu", enabled=False):  # wherever it is first asked
        try:
            packed = _ops()._reorder_convolution_weight(w, ones, ones, ones, 1, [1, 1, 4, 4])
            made = _ops()._convolution_pointwise(
                x, packed, None, ones, ones, ones, 1, "leaky_relu", [0.2], ""
            )
            added = _ops()._convolution_pointwise.binary(
                x, x, packed, None, ones, ones, ones, 1, "add", 1.0, None, [], None
            )
        except (AttributeError, RuntimeError, NotImplementedError, TypeError):
            return False
        plain = F.conv2d(x, w, padding=1)
    return torch.allclose(made, plain) and torch.allclose(added, plain + x)
