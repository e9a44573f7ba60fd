"""The network arranged for speed against the plain one: same values in float32, nearly the same in bfloat16."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.models.small_networks import small_hiera

from omote.models.inversion import FastInversion, InversionNet
from omote.models.products import Product


def network(**changes: Any) -> InversionNet:
    torch.manual_seed(0)
    small = {"size": 128, "embed_dim": 16, "depths": (1, 2, 2, 1), "heads": (1, 2, 4, 8), "hidden": 32}
    return InversionNet(small_hiera(**{**small, "eye_features": 128, **changes})).eval()


def images(batch: int = 3) -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(1)
    shapes = {
        "rgb": (3, 128, 128),
        "normal": (3, 128, 128),
        "eyes_rgb": (2, 3, 48, 64),
        "eyes_normal": (2, 3, 48, 64),
    }
    return {name: torch.randn(batch, *shape, generator=chance) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    "changes",
    [{}, {"patch_stride": 4}, {"place_features": 0}, {"eye_branch": False, "modalities": ("normal",)}],
)
def test_in_float32_it_is_the_plain_network(changes: dict[str, Any]) -> None:
    net, given = network(**changes), images()
    fast = FastInversion(net, torch.float32)
    assert torch.allclose(fast(**given), net(**given), atol=2e-6)
    part = {name: given[name] for name in ("normal", "eyes_normal")}
    assert torch.allclose(fast(**part), net(**part), atol=2e-6)


def test_in_bfloat16_controls_stay_close() -> None:
    net, given = network(), images()
    wanted = net(**given)
    found = FastInversion(net, torch.bfloat16)(**given)
    assert found.dtype == torch.float32
    error = (found - wanted).abs()
    assert error.max().item() < 0.02
    assert error.mean().item() < 0.002
    assert wanted.std().item() > 0.02  # there is something to get wrong


def test_the_resnet_works_too() -> None:
    net, given = network(backbone="resnet50", size=64, modalities=("rgb",)), images()
    rgb = given["rgb"][..., :64, :64]
    assert torch.allclose(FastInversion(net, torch.float32)(rgb=rgb), net(rgb=rgb), atol=1e-5)


def test_the_plain_network_stays_as_it_was() -> None:
    net, given = network(), images()
    before = net(**given)
    FastInversion(net, torch.bfloat16)(**given)
    assert torch.equal(net(**given), before)
    assert all(p.dtype == torch.float32 and p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("fused", [True, False])
def test_products_with_what_follows(fused: bool) -> None:
    torch.manual_seed(0)
    weight, bias = 0.2 * torch.randn(24, 16), torch.randn(24)
    x, other = torch.randn(2, 5, 16), torch.randn(2, 5, 24)
    product = Product(weight, bias, torch.bfloat16)
    if not fused:
        product.fused, product.weight = False, weight.bfloat16()
    plain = torch.nn.functional.linear(x, weight, bias)
    x16, other16 = x.bfloat16(), other.bfloat16()
    assert torch.allclose(product.alone(x16).float(), plain, atol=0.03)
    assert torch.allclose(product.gelu(x16).float(), torch.nn.functional.gelu(plain), atol=0.03)
    assert torch.allclose(product.plus(x16, other16).float(), plain + other, atol=0.05)
