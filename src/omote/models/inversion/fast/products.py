"""Linear layers and convolutions as packed products of oneDNN, alone or with what follows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from omote.models.convolutions import Conv
from omote.models.inversion.unwrapped import Block


def pack(module: nn.Module, dtype: torch.dtype) -> None:
    """Pack the linear layers within a module."""
    for name, part in list(module.named_children()):
        if isinstance(part, nn.Linear):
            setattr(module, name, Packed(part, dtype))
        else:
            pack(part, dtype)


class Packed(nn.Module):
    """A linear layer as a packed product."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.product = Product(linear.weight, linear.bias, dtype)
        self.weight = linear.weight

    def forward(self, x: Tensor) -> Tensor:
        """(..., N) to (..., K)."""
        return self.product.alone(x)


class Fused(nn.Module):
    """A sequence of `torch.nn.Conv2d`, `torch.nn.ReLU` and `Block`: (B, N, H, W) to the same result.

    Raises:
        TypeError: it holds something else.
    """

    def __init__(self, layers: Sequence[nn.Module], dtype: torch.dtype) -> None:
        super().__init__()
        self.layers: list[Callable[[Tensor], Tensor]] = []
        for layer, after in pairwise([*layers, None]):
            if isinstance(layer, nn.Conv2d):
                self.layers.append(_convolution(layer, dtype, relu=isinstance(after, nn.ReLU)))
            elif isinstance(layer, Block):
                self.layers.append(_Shortcut(layer, dtype))
            elif not isinstance(layer, nn.ReLU):
                raise TypeError(f"cannot fuse {type(layer).__name__}")

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H', W')."""
        for layer in self.layers:
            x = layer(x)
        return x


class _Shortcut:
    """A `Block`."""

    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        self.first, self.second = (_convolution(part, dtype) for part in (block.first, block.second))

    def __call__(self, x: Tensor) -> Tensor:
        return self.second(self.first(x), x)


def _convolution(layer: nn.Conv2d, dtype: torch.dtype, *, relu: bool = True) -> Conv:
    stride = layer.stride[0]
    return Conv(layer.weight, layer.bias, dtype, stride=stride, activation="relu" if relu else "none")


class Product:
    """A linear layer, alone or with what follows it, in one operation of oneDNN (that torch's own compiler uses).

    Its weights are put into the order in which the processor multiplies them once, not at each call; and in bfloat16
    `torch.nn.functional.linear` would first spread the bias over the result.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        self.weight, self.bias = (
            weight.detach().to(dtype).contiguous().clone(),
            bias.detach().to(dtype).clone(),
        )
        self.dtype = dtype
        self.fused = dtype == torch.bfloat16 and _can_fuse()
        if self.fused:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, None)

    def alone(self, x: Tensor) -> Tensor:
        """The product with the bias."""
        if not self.fused:
            return functional.linear(x, self.weight, self.bias)
        made: Tensor = _ops().default(x, self.weight, self.bias, "none", [], "")
        return made

    def gelu(self, x: Tensor) -> Tensor:
        """The activation of the product."""
        if not self.fused:
            return functional.gelu(functional.linear(x, self.weight, self.bias))
        made: Tensor = _ops().default(x, self.weight, self.bias, "gelu", [], "none")
        return made

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """The product added to ``other``."""
        if not self.fused:
            return functional.linear(x, self.weight, self.bias).add_(other)
        made: Tensor = _ops().binary(x, other, self.weight, self.bias, "add")
        return made


def _ops() -> Any:
    return torch.ops.mkldnn._linear_pointwise


@cache
def _can_fuse() -> bool:
    """Whether this torch has the operation, with the result that is expected."""
    x = torch.arange(6.0).reshape(1, 3, 2).to(torch.bfloat16)
    weight, bias = x[0, :2] - 1, x[0, 0]
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        made = [
            _ops().default(x, packed, bias, "none", [], ""),
            _ops().default(x, packed, bias, "gelu", [], "none"),
            _ops().binary(x, x, packed, bias, "add"),
        ]
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    plain = functional.linear(x, weight, bias)
    wanted = [plain, functional.gelu(plain), plain + x]
    return all(torch.allclose(a, b, atol=0.1, rtol=0.02) for a, b in zip(made, wanted, strict=True))
