"""Products of bytes: what they give, and when they are used."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from omote.models import quantised
from omote.models.compiled import as_array
from omote.models.packed import Conv
from omote.models.quantised import (
    ByteConv,
    ByteProducts,
    Range,
    Stage,
    coded_tensor,
    coded_weight,
    multiplies_bytes,
    room_for,
)

needs_bytes = pytest.mark.skipif(not multiplies_bytes(), reason="the processor has no products of bytes")


def noise(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def decoded(x: Tensor, range: Range) -> Tensor:
    return (x.float() - range.zero) * range.step


def rounded_weight(weight: Tensor) -> Tensor:
    made, steps = coded_weight(weight)
    return made.float() * steps.view(-1, *[1] * (weight.ndim - 1))


def watched(x: Tensor) -> Range:
    range = Range()
    range.see(x)
    return range


def test_zero_is_a_byte_and_bounds_are_held() -> None:
    for low, high in ((-1.0, 3.0), (0.0, 2.0), (-5.0, 0.0)):
        range = Range(low, high)
        x = torch.tensor([low, 0.0, high])
        assert float(range.rounded(torch.zeros(1))) == 0
        assert range.rounded(x).numpy() == pytest.approx(x.numpy(), abs=range.step / 2 + 1e-6)
        assert 0 <= range.zero <= 255


def test_a_range_gives_rare_numbers_up_where_that_errs_less() -> None:
    x = noise(100_000)
    x[1] = 8.0
    range = watched(x)
    assert range.bounds[1] < 8
    whole = Range(float(x.min()), 8.0)
    error, other = (float((r.rounded(x) - x).square().mean()) for r in (range, whole))
    assert error < other
    assert watched(torch.rand(1000)).bounds[0] == 0  # nothing below zero


def test_a_range_is_that_of_what_was_seen_last() -> None:
    range = watched(torch.tensor([0.0, 1.0]))
    assert range.bounds == (0.0, 1.0)
    range.see(torch.tensor([0.0, 0.5]))
    range.see(torch.tensor([0.0, 0.25]))
    assert range.bounds == (0.0, 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_are_coded_as_their_range_says(dtype: torch.dtype) -> None:
    x = (3 * noise(2, 5, 6, 7)).to(dtype).contiguous(memory_format=torch.channels_last)
    range = Range(-2.0, 4.0)
    made = coded_tensor(x, range)
    assert made.dtype == torch.uint8
    assert made.shape == x.shape
    assert decoded(made, range).numpy() == pytest.approx(
        range.rounded(x.float()).numpy(), abs=1.01 * range.step
    )
    inside = (x > -1.99) & (x < 3.99)
    apart = (decoded(made, range) - x.float())[inside].abs().max()
    assert float(apart) <= range.step * 0.502
    assert made.min() == 0
    assert made.max() == 255
    assert coded_tensor(made, range) is made


def test_each_output_has_steps_of_its_own() -> None:
    weight = noise(3, 4, 3, 3) * torch.tensor([1.0, 100.0, 0.0]).view(-1, 1, 1, 1)
    coded, steps = coded_weight(weight)
    assert coded.dtype == torch.int8
    assert coded.flatten(1).abs().amax(1).tolist() == [127, 127, 0]
    assert (rounded_weight(weight) - weight).flatten(1).abs().amax(1).numpy() == pytest.approx(
        0, abs=float(steps.max()) / 2
    )


@needs_bytes
@pytest.mark.parametrize("bounds", [(-1.0, 3.0), (0.0, 2.0)])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(
    ("size", "kernel", "padding"),
    [
        ((2, 20, 9, 8), (3, 3), None),
        ((1, 20, 9, 8), (1, 1), None),
        ((1, 20, 9, 8), (2, 2), [(1, 0), (0, 1)]),
        ((1, 20, 5, 9, 8), (3, 3, 3), None),
        ((2, 20, 3, 4, 4), (3, 2, 2), [(1, 1), (1, 0), (0, 1)]),
    ],
)
def test_a_convolution_of_bytes_is_that_of_what_they_stand_for(
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    padding: list[tuple[int, int]] | None,
    relu: bool,
    bounds: tuple[float, float],
) -> None:
    x, weight, bias = noise(*size), noise(6, size[1], *kernel, seed=1) / 10, noise(6, seed=2)
    range, stage = Range(*bounds), Stage("bytes")
    activation = "relu" if relu else "none"
    full = Conv(weight, bias, torch.float32, padding=padding, activation=activation)
    conv = ByteConv(weight, bias, full, stage, dtype=torch.float32, padding=padding, relu=relu, range=range)
    exact = Conv(rounded_weight(weight), bias, torch.float32, padding=padding, activation=activation)
    assert conv(x).numpy() == pytest.approx(exact(range.rounded(x)).numpy(), abs=2e-2 * range.step)
    assert conv(coded_tensor(x, range)).numpy() == pytest.approx(conv(x).numpy())
    if not relu:
        plus = noise(*conv(x).shape, seed=3)
        assert conv(x, plus.clone()).numpy() == pytest.approx((conv(x) + plus).numpy(), abs=1e-5)
    # What is packed for one range serves another of the same size.
    range.see(5 * x)
    wanted = exact(range.rounded(5 * x))
    assert conv(5 * x).numpy() == pytest.approx(wanted.numpy(), abs=2e-2 * range.step)
    # In other stages it is the one it stands for.
    stage.now = "full"
    assert torch.equal(conv(x), full(x))


@needs_bytes
@pytest.mark.parametrize("dims", [2, 3])
def test_results_come_in_the_codes_of_those_that_take_them(dims: int) -> None:
    size = (1, 8, *[6] * dims)
    x, weight, bias = noise(*size), noise(6, 8, *[3] * dims, seed=1) / 5, noise(6, seed=2)
    full = Conv(weight, bias, torch.float32, activation="relu")
    conv = ByteConv(weight, bias, full, Stage("bytes"), dtype=torch.float32, relu=True, range=watched(x))
    wanted = conv(x)
    ranges = [watched(part) for part in wanted.split(3, 1)]
    conv.give_to(ranges)
    made = conv(x)
    assert made.dtype == torch.uint8
    for part, range, right in zip(made.split(3, 1), ranges, wanted.split(3, 1), strict=True):
        assert range.zero == 0
        assert decoded(part, range).numpy() == pytest.approx(
            range.rounded(right).numpy(), abs=1.01 * range.step
        )


@needs_bytes
def test_several_products_of_bytes_are_those_of_what_they_stand_for() -> None:
    x, weight = noise(3, 10, 16), noise(3, 16, 5, seed=1)
    ranges = [watched(scale * x[0]) for scale in (1, 2, 3)]
    products = ByteProducts(weight, torch.float32, ranges)
    coded = torch.stack([coded_tensor(one, range) for one, range in zip(x, ranges, strict=True)])
    wanted = [
        range.rounded(one) @ rounded_weight(matrix.T).T
        for one, range, matrix in zip(x, ranges, weight, strict=True)
    ]
    assert torch.stack(products(coded)).numpy() == pytest.approx(torch.stack(wanted).numpy(), abs=1e-3)


@needs_bytes
def test_layers_that_come_early_are_left_as_they_are() -> None:
    stage = Stage("bytes", first=2)
    weight, x = noise(4, 4, 3, 3), noise(1, 4, 5, 5)
    full = Conv(weight, None, torch.float32)
    layers = [
        ByteConv(weight, None, full, stage, dtype=torch.float32, range=watched(x), place=place)
        for place in (1, 2, None)
    ]
    assert [layer.takes_bytes for layer in layers] == [False, True, True]
    assert [torch.equal(layer(x), full(x)) for layer in layers] == [True, False, False]
    kinds = [room_for(layer, (1, 5, 5, 4), torch.bfloat16)[0].dtype for layer in (*layers, full)]
    assert kinds == [torch.bfloat16, torch.uint8, torch.uint8, torch.bfloat16]


def test_watching_changes_nothing_and_notes_what_is_seen() -> None:
    stage = Stage("watch")
    weight, x = noise(4, 4, 3, 3), noise(1, 4, 5, 5)
    full = Conv(weight, None, torch.float32)
    layer = ByteConv(weight, None, full, stage, dtype=torch.float32)
    assert torch.equal(layer(x), full(x))
    low, high = layer.range.bounds
    assert float(x.min()) <= low < 0 < high <= float(x.max())


def test_processors_and_torches_without_them_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Without:
        """No such operation."""

    ask = quantised.multiplies_bytes.__wrapped__
    with monkeypatch.context() as patch:
        patch.setattr(torch.cpu, "_is_vnni_supported", lambda: False, raising=False)
        assert ask() is False
    with monkeypatch.context() as patch:
        patch.setattr(torch.cpu, "_is_vnni_supported", lambda: True, raising=False)
        patch.setattr(quantised, "_ops", Without)
        assert ask() is False


def test_bytes_are_rounded_and_cut_off() -> None:
    x = torch.tensor([[-9.0, -0.26, -0.24, 0.0, 0.24, 0.26, 990.0]])
    made = torch.empty(1, 7, dtype=torch.uint8)
    quantised.encode(as_array(x), np.array([2, 10], np.float32), as_array(made))
    assert made.tolist() == [[0, 9, 10, 10, 10, 11, 255]]
