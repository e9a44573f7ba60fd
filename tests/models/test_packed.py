"""Packed convolutions against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from omote.errors import InputError
from omote.models.packed import Activation, Conv


@pytest.mark.usefixtures("packing")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("activation", "leak"), [("none", 0.0), ("relu", 0.0), ("leaky_relu", 0.2)])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_convolution_is_torch_s(
    activation: Activation, leak: float, dims: int, stride: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    shapes = (6, 4, *[3] * dims), (6,), (2, 4, *[5] * dims)
    weight, bias, x = (torch.randn(*shape).to(dtype).float() for shape in shapes)
    plain = (F.conv2d if dims == 2 else F.conv3d)(x, weight, bias, stride=stride, padding=1)
    added = torch.randn_like(plain).to(dtype).float()
    act = {"none": lambda t: t, "relu": F.relu, "leaky_relu": lambda t: F.leaky_relu(t, leak)}[activation]
    conv = Conv(weight, bias, dtype, stride=stride, activation=activation, leak=leak)

    def close(made: torch.Tensor, wanted: torch.Tensor) -> bool:
        far = 1e-5 if dtype == torch.float32 else 0.01 * float(wanted.abs().max())
        assert made.dtype == dtype
        return bool((made.float() - wanted).abs().max() < far)

    x, added = x.to(dtype), added.to(dtype)
    assert close(conv(x), act(plain))
    assert close(conv(x, plus=added), act(plain + added.float()))
    assert close(conv(x[:1]), act(plain[:1]))  # another size


def test_uneven_zeros_and_a_stride_are_refused() -> None:
    with pytest.raises(InputError, match="needs as many zeros before as after"):
        Conv(torch.zeros(2, 2, 3, 3), None, torch.float32, stride=2, padding=((1, 0), (1, 1)))
