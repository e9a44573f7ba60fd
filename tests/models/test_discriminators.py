"""The discriminators: shapes, spectral norm, and what is too small for them."""

from __future__ import annotations

import pytest
import torch

from omote.errors import InputError
from omote.models.liveportrait.discriminators import DiscriminatorConfig, Discriminators, PatchDiscriminator


def test_the_published_structure() -> None:
    net = PatchDiscriminator()
    assert net.config.smallest == 61
    features, patches = net(torch.rand(1, 3, 64, 64))
    # no padding: 64 - 3 = 61 -> 30; 27 -> 13; 10 -> 5; 2, not pooled
    assert [tuple(f.shape[1:]) for f in features] == [(64, 30, 30), (128, 13, 13), (256, 5, 5), (512, 2, 2)]
    assert patches.shape == (1, 1, 2, 2)
    assert len(net.norms) == 3
    assert all(norm.affine for norm in net.norms)


def test_weights_have_spectral_norm_one() -> None:
    net = PatchDiscriminator(DiscriminatorConfig(8, 2, 16)).train()
    for _ in range(30):
        net(torch.rand(1, 3, 16, 16))
    net.eval()
    for conv in (*net.convs, net.last):
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_regions_have_their_own_and_small_pictures_are_refused() -> None:
    net = Discriminators({"whole": DiscriminatorConfig(4, 3), "lip": DiscriminatorConfig(4, 2)})
    smallest = DiscriminatorConfig(4, 2).smallest
    assert smallest == 13
    says = net({"whole": torch.rand(2, 3, 32, 32), "lip": torch.rand(2, 3, smallest, smallest)})
    assert says["lip"][1].shape == (2, 1, 2, 2)
    with pytest.raises(InputError, match="at least 13"):
        net.parts["lip"](torch.rand(2, 3, 12, 12))
    with pytest.raises(InputError):
        DiscriminatorConfig(0)
