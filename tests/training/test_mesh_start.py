"""What a mesh reader knows before it is trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from omote.training.mesh_start import _Normal


def test_without_a_ridge_it_is_least_squares() -> None:
    rng = np.random.default_rng(0)
    known, wanted = rng.normal(2, 1, (60, 4)), rng.normal(1, 1, (60, 3))
    normal = _Normal.of(*(torch.tensor(part, dtype=torch.float32) for part in (known, wanted)))
    weight, bias = normal.solution(0.0)
    truth = np.linalg.lstsq(np.column_stack([known, np.ones(60)]), wanted, rcond=None)[0]
    assert weight.numpy() == pytest.approx(truth[:4], abs=1e-4)
    assert bias.numpy() == pytest.approx(truth[4], abs=1e-4)
    change = normal.change(0.0, torch.tensor(known, dtype=torch.float32)).numpy()
    assert change == pytest.approx(known @ truth[:4] + truth[4], abs=1e-4)


def test_a_ridge_holds_back_the_weights_and_not_the_mean() -> None:
    rng = np.random.default_rng(1)
    known = torch.tensor(rng.normal(0, 1, (80, 4)), dtype=torch.float32)
    wanted = known @ torch.ones(4, 2) + 7
    weight, bias = _Normal.of(known, wanted).solution(1e6)
    assert weight.abs().max().item() < 1e-4
    assert bias.numpy() == pytest.approx(wanted.mean(0).numpy(), abs=1e-3)
    # For one unit input of variance 1, a ridge of the number of samples halves the weight.
    one = torch.tensor([[1.0], [-1.0]]).repeat(20, 1)
    weight, bias = _Normal.of(one, 3 * one + 2).solution(1.0)
    assert weight.item() == pytest.approx(1.5)
    assert bias.item() == pytest.approx(2)


def test_sums_of_halves_are_the_sums_of_all() -> None:
    known, wanted = torch.randn(30, 3), torch.randn(30, 2)
    halves = _Normal.of(known[:10], wanted[:10]) + _Normal.of(known[10:], wanted[10:])
    for a, b in zip(halves.solution(0.1), _Normal.of(known, wanted).solution(0.1), strict=True):
        assert a.numpy() == pytest.approx(b.numpy(), abs=1e-5)
    whole = _Normal.of(known, wanted)
    error = (whole.change(0.1, known) - wanted)[:, :1].square().mean().item()
    assert whole.error(0.1, known, wanted, 1) == pytest.approx(error)
