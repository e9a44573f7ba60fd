"""Packed convolutions against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from omote.models.packed import Activation, Conv


@pytest.mark.usefixtures("packing")
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("activation", "leak"), [("none", 0.0), ("relu", 0.0), ("leaky_relu", 0.2)])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_convolution_is_torch_s(activation: Activation, leak: float, dims: int, stride: int) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(6, 4, *[3] * dims), torch.randn(6), torch.randn(2, 4, *[5] * dims)
    plain = (F.conv2d if dims == 2 else F.conv3d)(x, weight, bias, stride=stride, padding=1)
    added = torch.randn_like(plain)
    act = {"none": lambda t: t, "relu": F.relu, "leaky_relu": lambda t: F.leaky_relu(t, leak)}[activation]
    conv = Conv(weight, bias, torch.float32, stride=stride, activation=activation, leak=leak)
    assert conv(x).numpy() == pytest.approx(act(plain).numpy(), abs=1e-5)
    assert conv(x, plus=added).numpy() == pytest.approx(act(plain + added).numpy(), abs=1e-5)
    assert conv(x[:1]).numpy() == pytest.approx(act(plain[:1]).numpy(), abs=1e-5)  # another size
