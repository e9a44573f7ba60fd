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


class Conv:
    """A convolution of 2 or 3 dimensions, stride 1, then an activation.

    Args:
        weight: (out, in, ...) float32; out and in of one group.
        bias: (out,).
        dtype: of weights and activations: float32 or bfloat16.
        padding: zeros on both sides of each dimension; default: half the kernel.
        activation: what follows.
        leak: of "leaky_relu".
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
        *,
        padding: Sequence[int] | None = None,
        activation: Activation = "none",
        leak: float = 0.2,
    ) -> None:
        dims = weight.ndim - 2
        self.dtype, self.out_channels, self.activation, self.leak = dtype, len(weight), activation, leak
        self._layout = torch.channels_last if dims == 2 else torch.channels_last_3d
        self._ones, self._padding = [1] * dims, list(padding or [n // 2 for n in weight.shape[2:]])
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
        if not _can_pack():
            return self._plain(x, plus)
        shape = tuple(x.shape)
        packed = self._packed.get(shape)
        if packed is None:
            packed = _ops()._reorder_convolution_weight(
                self._weight, self._padding, self._ones, self._ones, 1, list(shape)
            )
            self._packed = {
                shape: packed
            }  # one size at a time: the weights of a large one are many megabytes
        where = (self._padding, self._ones, self._ones, 1)
        scalars = [self.leak] if self.activation == "leaky_relu" else []
        if plus is None:
            made: Tensor = _ops()._convolution_pointwise(
                x, packed, self._bias, *where, self.activation, scalars, ""
            )
            return made
        made = _ops()._convolution_pointwise.binary(
            x,
            plus.contiguous(memory_format=self._layout),
            packed,
            self._bias,
            *where,
            "add",
            1.0,
            None,
            [],
            None,
        )
        return self._activated(made)

    def _plain(self, x: Tensor, plus: Tensor | None) -> Tensor:
        convolve: Any = F.conv2d if x.ndim == 4 else F.conv3d
        made: Tensor = convolve(x, self._weight, self._bias, padding=self._padding)
        return self._activated(made if plus is None else made + plus)

    def _activated(self, x: Tensor) -> Tensor:
        if self.activation == "none":
            return x
        return F.relu_(x) if self.activation == "relu" else F.leaky_relu_(x, self.leak)


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
                # One zero is put on both sides; what a shorter kernel sees beyond its own side is cut off again.
                padding = [weight.shape[2] // 2] if self._deep else []
                padding += [n // 2 for n in merged.shape[-2:]]
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
            made = conv(x).movedim(1, -1)
            made = made[..., _cut(row, height, made.shape[-3]), :, :]
            made = made[..., _cut(column, width, made.shape[-2]), :][..., :, None, :, None, :]
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


def _cut(part: str, size: int, made: int) -> slice:
    """Of a result that an even kernel made one longer: without its last, or without its first place."""
    if made == size:
        return slice(None)
    return slice(0, size) if part == "first" else slice(1, size + 1)


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
