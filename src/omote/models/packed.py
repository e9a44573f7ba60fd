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

from omote.errors import InputError
from omote.models.products import Product

Activation = Literal["none", "relu", "leaky_relu"]
Padding = Sequence[tuple[int, int]]

_SMALL = 64  # places of a volume's slice up to which its convolution is one product of matrices


class Conv:
    """A convolution of 2 or 3 dimensions, then an activation.

    Args:
        weight: (out, in, ...) float32; out and in of one group.
        bias: (out,).
        dtype: of weights and activations: float32 or bfloat16.
        stride: of all dimensions.
        padding: zeros before and after, for each dimension; default: half the kernel.
        activation: what follows.
        leak: of "leaky_relu".

    Raises:
        InputError: a stride, and other numbers of zeros before than after.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
        *,
        stride: int = 1,
        padding: Padding | None = None,
        activation: Activation = "none",
        leak: float = 0.2,
    ) -> None:
        dims = weight.ndim - 2
        if stride > 1 and any(before != after for before, after in padding or ()):
            raise InputError("a convolution with a stride needs as many zeros before as after")
        self.activation, self.leak = activation, leak
        self._layout = torch.channels_last if dims == 2 else torch.channels_last_3d
        self._kernel = weight.shape[2:]
        self._padding = list(padding or [(n // 2, n // 2) for n in self._kernel])
        self._ones, self._around = [1] * dims, [max(both) for both in self._padding]
        self._stride = [stride] * dims
        self._weight = weight.detach().to(dtype).contiguous(memory_format=self._layout)
        self._bias = None if bias is None else bias.detach().to(dtype).contiguous()
        self._packed: dict[tuple[int, ...], Tensor] = {}
        self._product: Product | None = None

    def __call__(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        """The result (B, out, ...), channels last.

        Args:
            x: (B, in, ...) of the dtype.
            plus: added before the activation; of the result's shape.
        """
        x = x.contiguous(memory_format=self._layout)
        if x.ndim == 5 and self._stride == self._ones and x.shape[3] * x.shape[4] <= _SMALL and plus is None:
            return self._as_product(x)
        made = self._convolved(x, plus) if _can_pack(self._weight.dtype) else self._plain(x, plus)
        return trimmed(made, self._padding)

    def _convolved(self, x: Tensor, plus: Tensor | None) -> Tensor:
        shape = tuple(x.shape)
        packed = self._packed.get(shape)
        if packed is None:
            packed = _ops()._reorder_convolution_weight(
                self._weight, self._around, self._stride, self._ones, 1, list(shape)
            )
            # One size at a time: the weights of a large one are many megabytes.
            self._packed = {shape: packed}
        where = (self._around, self._stride, self._ones, 1)
        if plus is None:
            scalars = [self.leak] if self.activation == "leaky_relu" else []
            made: Tensor = _ops()._convolution_pointwise(
                x, packed, self._bias, *where, self.activation, scalars, ""
            )
            return made
        plus = plus.contiguous(memory_format=self._layout)
        after = self.activation if self.activation == "relu" else None  # the others are not fused with a sum
        made = _ops()._convolution_pointwise.binary(
            x, plus, packed, self._bias, *where, "add", 1.0, after, [], None
        )
        return made if after else self._activated(made)

    def _plain(self, x: Tensor, plus: Tensor | None) -> Tensor:
        convolve: Any = F.conv2d if x.ndim == 4 else F.conv3d
        made: Tensor = convolve(x, self._weight, self._bias, stride=self._stride, padding=self._around)
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
        if self._product is None:
            weight = self._weight.movedim(1, -1).flatten(1)
            self._product = Product(weight, self._bias, weight.dtype, fuse=True)
        return self._activated(self._product.alone(rows).view(len(x), *made, -1).movedim(-1, 1))

    def _activated(self, x: Tensor) -> Tensor:
        if self.activation == "none":
            return x
        return F.relu_(x) if self.activation == "relu" else F.leaky_relu_(x, self.leak)


def trimmed(x: Tensor, padding: Padding) -> Tensor:
    """What a convolution with that padding gives, of what it gave with the larger number of zeros on both sides.

    oneDNN can only be asked for as many before as after.
    """
    for axis, (before, after) in enumerate(padding, 2):
        if before != after:
            around = max(before, after)
            x = x.narrow(axis, around - before, x.shape[axis] - 2 * around + before + after)
    return x


def _ops() -> Any:
    return torch.ops.mkldnn


@cache
def _can_pack(dtype: torch.dtype) -> bool:
    """Whether this torch and this processor have the operations, with the result that is expected."""
    x, w = torch.arange(-8.0, 8.0, dtype=dtype).view(1, 1, 4, 4), torch.ones(1, 1, 3, 3, dtype=dtype)
    ones = [1, 1]
    with torch.autocast("cpu", enabled=False):  # wherever it is first asked
        try:
            packed = _ops()._reorder_convolution_weight(w, ones, ones, ones, 1, [1, 1, 4, 4])
            made = _ops()._convolution_pointwise(
                x, packed, None, ones, ones, ones, 1, "leaky_relu", [0.25], ""
            )
            added = _ops()._convolution_pointwise.binary(
                x, -4 * x, packed, None, ones, ones, ones, 1, "add", 1.0, "relu", [], None
            )
        except (AttributeError, RuntimeError, NotImplementedError, TypeError):
            return False
        plain = F.conv2d(x.float(), w.float(), padding=1)
    wanted = F.leaky_relu(plain, 0.25), (plain - 4 * x.float()).relu()
    return all(torch.allclose(a.float(), b, atol=0.25) for a, b in zip((made, added), wanted, strict=True))
