"""Linear layers as packed products of oneDNN, alone or with what follows them."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


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


class Product:
    """A linear layer, alone or with what follows it, in one operation of oneDNN (that torch's own compiler uses).

    Its weights are put into the order in which the processor multiplies them once, not at each call; and in bfloat16
    `torch.nn.functional.linear` would first spread the bias over the result.

    Args:
        weight: (K, N).
        bias: (K,), or none.
        dtype: float32 or bfloat16.
        fuse: whether to; default: in bfloat16. In float32 it is faster where there are dozens of rows at least.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, *, fuse: bool | None = None
    ) -> None:
        self.weight = weight.detach().to(dtype).contiguous().clone()
        self.bias = None if bias is None else bias.detach().to(dtype).clone()
        self.dtype = dtype
        self.fused = (dtype == torch.bfloat16 if fuse is None else fuse) and _can_fuse()
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


class Products:
    """Products with several matrices, which are large.

    Args:
        weight: (n, in, out).
        dtype: float32 or bfloat16.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype) -> None:
        # On AMD's processors MKL, which multiplies stacks of matrices for torch, took up to twice as long as oneDNN.
        self._parts = [Product(one.T, None, dtype, fuse=True) for one in weight]

    def __call__(self, x: Tensor) -> list[Tensor]:
        """(rows, out) of each matrix, of (n, rows, in)."""
        return [part.alone(one) for part, one in zip(self._parts, x, strict=True)]


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
