"""The large networks arranged for speed do what the plain ones do."""

from __future__ import annotations

from itertools import product

import numba
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from omote.errors import InputError
from omote.models.compiled import as_array
from omote.models.liveportrait.config import DenseMotionConfig, GeneratorConfig, MotionConfig, WarpingConfig
from omote.models.liveportrait.fast import FastGenerator, FastMotion, FastWarping, winograd
from omote.models.liveportrait.fast import enlarged as cells_of_four
from omote.models.liveportrait.fast.convolutions import DeepConv, fold_norm
from omote.models.liveportrait.fast.enlarged import CellConv, EnlargedConv
from omote.models.liveportrait.fast.loops import measure, modulate, modulate_cells
from omote.models.liveportrait.fast.volumes import read_parities
from omote.models.liveportrait.fast.winograd import TiledConv, picture_conv
from omote.models.liveportrait.generator import SpadeGenerator
from omote.models.liveportrait.motion import MotionExtractor
from omote.models.liveportrait.warping import WarpingModule
from omote.models.quantised import PLAIN, Range, Stage, coded_weight, multiplies_bytes
from omote.models.seeded import fill_seeded

KEYPOINTS = 5
needs_bytes = pytest.mark.skipif(not multiplies_bytes(), reason="the processor has no products of bytes")


def warping(*, occlusion: bool = True) -> WarpingModule:
    dense = DenseMotionConfig(block_expansion=8, max_features=64, num_blocks=3, reshape_depth=8, compress=2)
    small = WarpingConfig(
        num_kp=KEYPOINTS,
        block_expansion=8,
        max_features=64,
        reshape_channel=8,
        estimate_occlusion_map=occlusion,
        dense_motion_params=dense,
    )
    net = WarpingModule(small)
    fill_seeded(net, 3)
    return net.eval()


def generator(upscale: int = 2) -> SpadeGenerator:
    small = GeneratorConfig(
        upscale=upscale,
        block_expansion=8,
        max_features=64,
        out_channels=8,
        num_middle_blocks=2,
        spade_hidden=16,
    )
    net = SpadeGenerator(small)
    fill_seeded(net, 3)
    return net.eval()


def keypoints(count: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.uniform(-0.9, 0.9, (count, KEYPOINTS, 3)).astype(np.float32))


@pytest.mark.usefixtures("packing")
@pytest.mark.parametrize("factor", [2, 4])
def test_enlarging_before_and_after_is_the_same(factor: int) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(6, 4, 3, 3), torch.randn(6), torch.randn(2, 4, 5, 3)
    wanted = F.relu(F.conv2d(F.interpolate(x, scale_factor=float(factor)), weight, bias, padding=1))
    conv = EnlargedConv(weight, bias, factor, torch.float32, "relu")
    assert conv(x).numpy() == pytest.approx(wanted.numpy(), abs=1e-5)


@pytest.mark.parametrize("factor", [1, 2, 4])  # by which the modulated picture is enlarged
def test_cells_modulate_as_their_picture_does(factor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    enlarged = EnlargedConv(torch.randn(6, 4, 3, 3), torch.randn(6), 4, torch.float32, "relu")
    weight, bias = 0.1 * torch.randn(10, 3, 3, 3), torch.randn(10)
    small = torch.randn(1, 4, 5, 3)
    change = F.conv2d(enlarged(small)[:, 2:5], weight, bias, padding=1)
    x, statistics = torch.randn(5 * 4 // factor, 3 * 4 // factor, 5), torch.rand(2, 5)
    whole = x.repeat_interleave(factor, 0).repeat_interleave(factor, 1).movedim(-1, 0)
    wanted = (whole - statistics[0, :, None, None]) * statistics[1, :, None, None] * change[0, :5] + change[
        0, 5:
    ]
    cells = CellConv(weight, bias, torch.float32)
    made, tops = torch.full((20, 12, 5), torch.nan), []
    monkeypatch.setattr(cells_of_four, "_CELLS", 6)  # two of the five rows at a time
    for top, products in cells(enlarged.parts(small)[0], 2):
        inputs = (as_array(x), as_array(statistics), tuple(map(as_array, products)), as_array(bias))
        modulate_cells(*inputs, top, 0.2, PLAIN, as_array(made))
        tops.append(top)
    assert tops == [0, 2, 4]
    assert made.movedim(-1, 0).numpy() == pytest.approx(F.leaky_relu(wanted, 0.2).numpy(), abs=1e-5)


@pytest.mark.parametrize("added", [True, False])
@pytest.mark.parametrize("size", [(8, 12), (6, 9)])  # the second leaves parts of tiles
def test_tiles_are_convolved_as_their_picture_is(size: tuple[int, int], added: bool) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(5, 200, 3, 3) / 40, torch.randn(5), torch.randn(2, 200, *size)
    plus = torch.randn(2, 5, *size) if added else None
    wanted = F.conv2d(x, weight, bias, padding=1) + (plus if plus is not None else 0)
    tiled = TiledConv(weight, bias)
    assert tiled(x, plus).numpy() == pytest.approx(wanted.numpy(), abs=1e-4)
    half, more = x.to(torch.bfloat16), None if plus is None else plus.to(torch.bfloat16)
    made, sums = tiled(half, more), tiled(half.float(), None if more is None else more.float())
    assert made.dtype == torch.bfloat16
    assert torch.equal(made, sums.to(torch.bfloat16))  # rounded once, at the end


@pytest.mark.parametrize("amx", [True, False])
def test_wide_convolutions_are_tiled_where_that_is_faster(monkeypatch: pytest.MonkeyPatch, amx: bool) -> None:
    monkeypatch.setattr(winograd, "has_amx", lambda: amx)
    for wide, dtype, tiled in (
        (128, torch.float32, True),
        (64, torch.float32, False),
        (512, torch.bfloat16, not amx),
        (256, torch.bfloat16, False),
    ):
        made = picture_conv(torch.zeros(wide, wide, 3, 3), torch.zeros(wide), dtype)
        assert isinstance(made, TiledConv) is tiled
    assert not isinstance(
        picture_conv(torch.zeros(512, 512, 1, 1), torch.zeros(512), torch.float32), TiledConv
    )


def test_bfloat16_is_read_and_rounded_as_torch_does() -> None:
    values = torch.cat([torch.randn(500) * 10.0**power for power in range(-30, 31, 10)])
    halfway = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8)])
    x = torch.cat([values, halfway]).view(1, 1, -1, 1)
    one, none = torch.ones(1, 1, x.numel(), 2), torch.tensor([[[0.0], [1.0]]])
    one[..., 1] = 0
    made = torch.empty(x.shape, dtype=torch.bfloat16)
    modulate(*map(as_array, (x, none, one)), 1.0, PLAIN, as_array(made))
    assert torch.equal(made, x.bfloat16())
    back = torch.empty(x.shape)
    modulate(*map(as_array, (made, none, one)), 1.0, PLAIN, as_array(back))
    assert torch.equal(back, made.float())


def test_means_and_spreads_are_those_of_instance_normalisation() -> None:
    x = torch.randn(2, 7, 5, 9, generator=torch.Generator().manual_seed(0)) * 3 + 20
    sums, found = torch.empty(2, 4, 2, 9, dtype=torch.float64), torch.empty(2, 2, 9)
    measure(as_array(x), 1e-5, as_array(sums), as_array(found))
    mean, scale = (part[:, None, None] for part in found.unbind(1))
    wanted = F.instance_norm(x.movedim(-1, 1)).movedim(1, -1)
    assert ((x - mean) * scale).numpy() == pytest.approx(wanted.numpy(), abs=1e-5)


def test_depth_is_not_enlarged() -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(6, 4, 3, 3, 3), torch.randn(2, 4, 3, 5, 3)
    wanted = F.conv3d(F.interpolate(x, scale_factor=(1.0, 2.0, 2.0)), weight, padding=1)
    found = EnlargedConv(weight, None, 2, torch.float32, "none")(x)
    assert found.numpy() == pytest.approx(wanted.numpy(), abs=1e-4)


def test_enlarged_volumes_are_written_beside_others() -> None:
    torch.manual_seed(0)
    conv = EnlargedConv(torch.randn(6, 4, 3, 3, 3), None, 2, torch.float32, "relu")
    x = torch.randn(2, 4, 3, 4, 5)
    wanted = conv(x).movedim(1, -1)
    numbers, bytes_ = torch.full((2, 3, 8, 10, 9), 7.0), torch.full((2, 3, 8, 10, 9), 7, dtype=torch.uint8)
    conv.write(x, PLAIN, numbers)
    assert torch.equal(numbers[..., :6], wanted)
    range = Range(-1.0, float(wanted.max()))
    conv.write(x, range.code, bytes_)
    back = (bytes_[..., :6].float() - range.zero) * range.step
    assert back.numpy() == pytest.approx(wanted.numpy(), abs=0.51 * range.step)
    assert (numbers[..., 6:] == 7).all()
    assert (bytes_[..., 6:] == 7).all()


def closeness(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Signal to noise, dB."""
    return float(10 * torch.log10(wanted.var() / (found.float() - wanted).square().mean()))


def put_together(parts: list[torch.Tensor], size: tuple[int, int, int], taps: int) -> torch.Tensor:
    """(B, O, D, H, W) of what `DeepConv` gives, as `sample_deformed` reads it."""
    count, shares = len(parts[0]), parts[0].shape[-1]
    made = torch.zeros(count, *size[:2], size[2] + 1, taps, shares // taps)
    for image, d, h, j in product(range(count), range(size[0]), range(size[1]), range((size[2] + 1) // 2)):
        pair = np.empty((2, shares), np.float32)
        read_parities(tuple(as_array(part[image]) for part in parts), d, h, j, *pair)
        made[image, d, h, 2 * j : 2 * j + 2] = torch.from_numpy(pair).view(2, taps, -1)
    padded = F.pad(made[:, :, :, : size[2]], (0, 0, 0, 0, 0, 0, 0, 0, taps // 2, taps // 2))
    return (
        torch.stack([padded[:, tap : tap + size[0], ..., tap, :] for tap in range(taps)])
        .sum(0)
        .movedim(-1, 1)
    )


@pytest.mark.parametrize("size", [(3, 8, 10), (4, 7, 5), (1, 1, 2)])
def test_even_and_odd_rows_are_convolved_apart(size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(4, 6, 5, 7, 7), torch.randn(4), torch.randn(2, 6, *size)
    found = put_together(DeepConv(weight, bias, torch.float32)(x), size, 5)
    wanted = F.conv3d(x, weight, padding=(2, 3, 3))
    assert found.numpy() == pytest.approx(wanted.numpy(), abs=1e-4)


@needs_bytes
def test_rows_apart_bear_bytes_as_well_as_rows_together() -> None:
    # Sums of neighbouring rows, in place of differences, would err several times as much where a picture is smooth.
    torch.manual_seed(0)
    size = (4, 32, 32)
    weight = torch.randn(4, 6, 5, 7, 7)
    x = F.interpolate(1 + torch.rand(1, 6, 4, 6, 6), size, mode="trilinear")
    stage = Stage("watch")
    apart = DeepConv(weight, torch.zeros(4), torch.float32, stage)
    apart(x)
    stage.now = "bytes"
    whole, steps = coded_weight(weight.movedim(2, 0).flatten(0, 1))  # of slices, as they would be multiplied
    rounded = (whole * steps.view(-1, 1, 1, 1)).unflatten(0, (5, 4)).movedim(0, 2)
    together = F.conv3d(apart.range.rounded(x), rounded, padding=(2, 3, 3))
    wanted = F.conv3d(x, weight, padding=(2, 3, 3))
    assert closeness(put_together(apart(x), size, 5), wanted) > closeness(together, wanted) - 3


@pytest.mark.parametrize("count", [1, 3])
def test_the_motion_extractor_sees_the_same(count: int) -> None:
    extractor = MotionExtractor(
        MotionConfig(depths=(1, 2, 1, 1), dims=(16, 32, 48, 64), num_kp=KEYPOINTS)
    ).eval()
    fill_seeded(extractor, 3)
    image = torch.rand(count, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    image[0, :, :, 48:] = 0
    with torch.inference_mode():
        wanted, found = extractor(image), FastMotion(extractor)(image)
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert found[name].numpy() == pytest.approx(value.numpy(), rel=1e-4, abs=1e-5)
    assert float(wanted["exp"].abs().max()) > 0.01
    with pytest.raises(InputError, match="at least 32"):
        FastMotion(extractor)(torch.zeros(1, 3, 16, 64))


def test_a_normalisation_is_folded_in() -> None:
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4).eval()
    with torch.no_grad():
        for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
            assert value is not None
            value.uniform_(0.5, 2)
    x = torch.randn(1, 3, 6, 6)
    folded = F.conv2d(x, *fold_norm(conv.weight, conv.bias, norm))
    assert folded.detach().numpy() == pytest.approx(norm(conv(x)).detach().numpy(), abs=1e-5)


@pytest.mark.usefixtures("packing")
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("upscale", [1, 2])
def test_the_generator_draws_the_same(count: int, upscale: int) -> None:
    net = generator(upscale)
    feature = torch.rand(count, 32, 16, 24, generator=torch.Generator().manual_seed(count)) * 2 - 1
    with torch.inference_mode():
        wanted = net(feature)
        exact, rough = (FastGenerator(net, dtype)(feature) for dtype in (torch.float32, torch.bfloat16))
    assert wanted.std().item() > 0.05
    assert exact.shape == wanted.shape
    assert (exact - wanted).abs().max().item() < 2e-5
    assert rough.dtype == torch.float32
    assert 10 * torch.log10(1 / (rough - wanted).square().mean()).item() > 40


@pytest.mark.usefixtures("packing")
@pytest.mark.parametrize("occlusion", [True, False])
def test_the_warping_module_warps_the_same(occlusion: bool) -> None:
    net = warping(occlusion=occlusion)
    volume = torch.rand(2, 8, 8, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1
    driving, source = keypoints(2, 1), keypoints(2, 2)
    with torch.inference_mode():
        wanted = net(volume, driving, source).out
        exact, rough = FastWarping(net, torch.float32), FastWarping(net, torch.bfloat16)
        found = exact(exact.prepare(volume), driving, source)
        about = rough(rough.prepare(volume), driving, source)
        # One source for all frames, and one frame at a time.
        shared = exact(exact.prepare(volume[:1]), driving, source[:1])
        each = [net(volume[:1], driving[i : i + 1], source[:1]).out for i in range(2)]
    assert wanted.std().item() > 0.05
    assert (found - wanted).abs().max().item() < 2e-5
    assert (about.float() - wanted).abs().max().item() < 0.05 * wanted.abs().max().item()
    assert (shared - torch.cat(each)).abs().max().item() < 2e-5


@needs_bytes
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("upscale", [1, 2])
def test_the_generator_draws_about_the_same_in_bytes(upscale: int, dtype: torch.dtype) -> None:
    net, stage = generator(upscale), Stage()
    features = torch.rand(2, 2, 32, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        wanted = net(features[1])
        fast = FastGenerator(net, dtype, stage)
        assert closeness(fast(features[1]), wanted) > (80 if dtype == torch.float32 else 25)
        stage.now = "watch"
        fast(features[0])  # another picture tells how bytes stand for numbers
        stage.now = "bytes"
        close = []
        for stage.first in (0, 1, 2):
            made = fast(features[1])
            assert made.dtype == torch.float32
            close.append(closeness(made, wanted))
    assert min(close) > 15
    assert close[2] > close[0]  # the fewer layers multiply bytes


@needs_bytes
@pytest.mark.parametrize("occlusion", [True, False])
def test_the_warping_module_warps_about_the_same_in_bytes(occlusion: bool) -> None:
    net, stage = warping(occlusion=occlusion), Stage()
    volume = torch.rand(1, 8, 8, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1
    driving, source = keypoints(3, 1), keypoints(1, 2)
    with torch.inference_mode():
        fast = FastWarping(net, torch.float32, stage)
        prepared = fast.prepare(volume)
        stage.now = "watch"
        fast(prepared, driving[:1], source)
        stage.now = "bytes"
        made = fast(prepared, driving[1:], source)
        wanted = [net(volume, driving[i : i + 1], source).out for i in (1, 2)]
    assert closeness(made, torch.cat(wanted)) > 30
    assert not torch.allclose(made, torch.cat(wanted), atol=1e-5)  # they were bytes indeed


def test_keypoints_outside_the_picture_are_sampled_as_zero() -> None:
    net = warping()
    volume = torch.rand(1, 8, 8, 16, 24)
    driving, source = keypoints(1, 1), keypoints(1, 2) + 2.5
    with torch.inference_mode():
        fast = FastWarping(net, torch.float32)
        found = fast(fast.prepare(volume), driving, source)
        assert (found - net(volume, driving, source).out).abs().max().item() < 2e-5


def test_compiled_loops_use_as_many_threads_as_torch_does() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with torch.inference_mode():
            FastGenerator(generator(), torch.float32)(torch.zeros(1, 32, 8, 8))
        assert numba.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
