"""LivePortrait's networks: sizes, conventions that are easy to get wrong, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.small_liveportrait import KEYPOINTS, SMALL, small_nets
from torch import nn

from omote.errors import InputError
from omote.models.liveportrait import (
    AppearanceFeatureExtractor,
    GeneratorConfig,
    LivePortraitConfig,
    LivePortraitNets,
    RetargetingConfig,
    SpadeGenerator,
    WarpingModule,
)
from omote.models.liveportrait.blocks import ShallowConv3d, to_map, to_volume
from omote.models.liveportrait.generator import SpectralConv2d
from omote.models.liveportrait.warping import candidate_motions, identity_grid


@pytest.fixture(scope="module")
def nets() -> LivePortraitNets:
    return small_nets().requires_grad_(False)


def keypoints(seed: int, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, KEYPOINTS, 3, generator=torch.Generator().manual_seed(seed)) - 0.5


def volume(seed: int = 3, height: int = 8, width: int = 12) -> torch.Tensor:
    return torch.rand(2, 3, 4, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "name",
    [
        "appearance_feature_extractor",
        "motion_extractor",
        "warping_module",
        "spade_generator",
        "stitching",
        "eye",
        "lip",
    ],
)
def test_the_tensors_are_the_published_ones(shared_dir: Path, name: str) -> None:
    text = (shared_dir / "parity/liveportrait/manifest.json").read_text(encoding="utf-8")
    published = json.loads(text)["networks"][name]
    with torch.device("meta"):
        network = getattr(LivePortraitNets(), name)
    own = [
        [key, list(t.shape), str(t.dtype).removeprefix("torch.")] for key, t in network.state_dict().items()
    ]
    assert own == published["tensors"]
    assert sum(p.numel() for p in network.parameters()) == published["parameters"]


@pytest.mark.parametrize("depth", [1, 3, 4, 5])
def test_depths_as_channels_give_the_same_convolution_and_gradients(depth: int) -> None:
    torch.manual_seed(depth)
    layer, volumes = ShallowConv3d(3, 2, 7), torch.randn(2, 3, depth, 5, 6, requires_grad=True)
    found = []
    for made in (layer(volumes), nn.functional.conv3d(volumes, layer.weight, layer.bias, padding=3)):
        made.square().sum().backward()
        assert volumes.grad is not None
        assert layer.weight.grad is not None
        found.append((made.detach(), volumes.grad.clone(), layer.weight.grad.clone()))
        volumes.grad = layer.weight.grad = None
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


def test_a_whole_portrait_moves_through_small_networks(nets: LivePortraitNets) -> None:
    image = torch.rand(2, 3, 64, 96)
    motion = nets.motion_extractor(image)
    sizes = {name: tuple(value.shape) for name, value in motion.items()}
    assert sizes == {
        "pitch": (2, 6),
        "yaw": (2, 6),
        "roll": (2, 6),
        "t": (2, 3),
        "exp": (2, 15),
        "scale": (2, 1),
        "kp": (2, 15),
    }
    feature = nets.appearance_feature_extractor(image)
    assert feature.shape == (2, 3, 4, 16, 24)
    warped = nets.warping_module(feature, keypoints(0), keypoints(1))
    assert warped.out.shape == (2, 8, 16, 24)
    assert warped.occlusion_map.shape == (2, 1, 16, 24)
    assert warped.deformation.shape == (2, 4, 16, 24, 3)
    picture = nets.spade_generator(warped.out)
    assert picture.shape == (2, 3, 128, 192)
    assert 0 < picture.min() < picture.max() < 1


def test_volumes_are_channel_major() -> None:
    feature = torch.arange(12.0).view(1, 12, 1, 1)
    assert to_volume(feature, 4)[0, 2, 1] == 4 * 2 + 1
    assert torch.equal(to_map(to_volume(feature, 4)), feature)


def test_each_image_of_a_batch_is_on_its_own(nets: LivePortraitNets) -> None:
    feature, driving, source = volume(), keypoints(0), keypoints(1)
    both = nets.warping_module(feature, driving, source).out
    one = nets.warping_module(feature[1:], driving[1:], source[1:]).out
    torch.testing.assert_close(both[1:], one)
    torch.testing.assert_close(nets.spade_generator(both)[1:], nets.spade_generator(one))


def test_the_grid_spans_the_centres_of_the_outer_voxels() -> None:
    grid = identity_grid(torch.Size([2, 3, 5]), torch.zeros(1))
    assert grid.shape == (2, 3, 5, 3)
    assert grid[0, 0, 0].tolist() == [-1, -1, -1]
    assert grid[1, 2, 4].tolist() == [1, 1, 1]
    assert grid[0, 1, 3].tolist() == [0.5, 0, -1], "x along the width, y along the height, z along the depth"


def test_motions_point_from_the_driver_to_the_source() -> None:
    driving, source = keypoints(0), keypoints(1)
    motions = candidate_motions(driving, source, torch.Size([2, 3, 4]))
    grid = identity_grid(torch.Size([2, 3, 4]), driving)
    assert motions.shape == (2, KEYPOINTS + 1, 2, 3, 4, 3)
    assert torch.equal(motions[0, 0], grid)
    torch.testing.assert_close(motions[1, 3], grid - driving[1, 2] + source[1, 2])


def test_equal_keypoints_leave_everything_where_it_is(nets: LivePortraitNets) -> None:
    feature, points = volume(), keypoints(0)
    kept: dict[str, torch.Tensor] = {}
    warped = nets.warping_module(feature, points, points, keep=kept)
    grid = identity_grid(feature.shape[2:], feature)
    torch.testing.assert_close(warped.deformation, grid.expand_as(warped.deformation))
    # Even so it is resampled: the grid ends at the outer centres, and is read as if it ended at the outer edges.
    resampled = nn.functional.grid_sample(feature, warped.deformation, align_corners=False)
    torch.testing.assert_close(kept["warped_feature_2d"], to_map(resampled))
    assert (resampled - feature).abs().max() > 0.1


def test_what_is_kept_of_the_warping_is_what_it_used(nets: LivePortraitNets) -> None:
    feature, driving, source = volume(), keypoints(0), keypoints(1)
    kept: dict[str, torch.Tensor] = {}
    warped = nets.warping_module(feature, driving, source, keep=kept)
    assert torch.equal(warped.out, nets.warping_module(feature, driving, source).out)
    shapes = {name: tuple(value.shape) for name, value in kept.items()}
    assert shapes == {
        "hourglass_input": (2, 18, 4, 8, 12),  # 6 motions of a heatmap and 2 compressed channels
        "hourglass_output": (2, 22, 4, 8, 12),
        "mask": (2, 6, 4, 8, 12),
        "warped_feature_2d": (2, 12, 8, 12),
    }
    torch.testing.assert_close(kept["mask"].sum(1), torch.ones(2, 4, 8, 12))
    motions = candidate_motions(driving, source, feature.shape[2:])
    expected = torch.einsum("bkdhw,bkdhwc->bdhwc", kept["mask"], motions)
    torch.testing.assert_close(warped.deformation, expected)


def test_the_hourglass_sees_a_heatmap_then_samples_for_each_motion(nets: LivePortraitNets) -> None:
    feature, driving, source = volume(), keypoints(0), keypoints(1)
    kept: dict[str, torch.Tensor] = {}
    nets.warping_module(feature, driving, source, keep=kept)
    seen = kept["hourglass_input"].unflatten(1, (6, 3))
    assert not seen[:, 0, 0].any(), "rest has no heatmap"
    grid = identity_grid(feature.shape[2:], feature).numpy()
    distances = [((grid - points[1, 4].numpy()) ** 2).sum(-1) for points in (driving, source)]
    expected = np.exp(-50 * distances[0]) - np.exp(-50 * distances[1])
    np.testing.assert_allclose(seen[1, 5, 0].numpy(), expected, atol=1e-6)
    assert (seen[:, :, 1:] >= 0).all(), "samples of what passed a ReLU"


def test_without_an_occlusion_map_nothing_is_weighed() -> None:
    torch.manual_seed(0)
    plain = WarpingModule(replace(SMALL.warping, estimate_occlusion_map=False)).eval()
    warped = plain(volume(), keypoints(0), keypoints(1))
    assert warped.occlusion_map is None
    assert not [name for name in plain.state_dict() if "occlusion" in name]


def legacy(module: SpectralConv2d, inside: int, size: int) -> nn.Module:
    """PyTorch's own spectral normalisation of the kind the published code used, with the same tensors."""
    bias = module.bias is not None
    conv = nn.Conv2d(inside, len(module.weight_orig), size, padding=size // 2, bias=bias)
    made = nn.utils.spectral_norm(conv)
    made.load_state_dict(module.state_dict())
    assert list(made.state_dict()) == list(module.state_dict())
    return made


def largest_singular_value(module: SpectralConv2d) -> float:
    return float(torch.linalg.svdvals(module.weight.detach().flatten(1))[0])


@pytest.mark.parametrize(("size", "bias"), [(3, True), (1, False)])
def test_spectral_normalisation_is_pytorchs_own(size: int, bias: bool) -> None:
    torch.manual_seed(1)
    ours = SpectralConv2d(4, 6, size, bias=bias)
    theirs = legacy(ours, 4, size)
    x = torch.randn(2, 4, 5, 7)
    for mode in (False, True, True, False):  # training refines the vectors, evaluation uses them as they are
        before = ours.weight_u.clone()
        torch.testing.assert_close(ours.train(mode)(x), theirs.train(mode)(x))
        torch.testing.assert_close(ours.weight_u, theirs.weight_u)
        assert mode or torch.equal(ours.weight_u, before)
    assert largest_singular_value(ours) == pytest.approx(1.0, abs=0.02)


def test_a_new_network_is_normalised_before_its_first_step() -> None:
    torch.manual_seed(2)
    assert largest_singular_value(SpectralConv2d(8, 8, 3)) == pytest.approx(1, abs=0.05)


def test_the_generator_without_enlargement_has_a_plain_last_layer() -> None:
    generator = SpadeGenerator(replace(SMALL.generator, upscale=1)).eval()
    assert generator.state_dict()["conv_img.weight"].shape == (3, 4, 3, 3)
    assert generator(torch.rand(1, 8, 4, 4)).shape == (1, 3, 16, 16)


def test_the_generators_steps_can_be_kept(nets: LivePortraitNets) -> None:
    feature = torch.rand(1, 8, 4, 4)
    kept: dict[str, torch.Tensor] = {}
    assert torch.equal(nets.spade_generator(feature, keep=kept), nets.spade_generator(feature))
    assert list(kept) == ["fc", "G_middle_0", "G_middle_1", "up_0", "up_1"]
    assert kept["up_1"].shape == (1, 4, 16, 16)


def test_retargeting_flattens_what_it_is_given(nets: LivePortraitNets) -> None:
    source, ratios = keypoints(0), torch.rand(2, 3)
    joined = torch.cat([source.reshape(2, -1), ratios], 1)
    assert torch.equal(nets.eye(source, ratios), nets.eye(joined))
    assert nets.stitching(source, keypoints(1)).shape == (2, 17)


def test_every_network_can_be_trained() -> None:
    trained = small_nets().train()
    image = torch.rand(2, 3, 64, 64)
    motion = trained.motion_extractor(image)
    points = motion["kp"].view(2, KEYPOINTS, 3)
    driving = points + trained.stitching(points, points)[:, :15].view(2, KEYPOINTS, 3)
    driving = driving + trained.eye(points, torch.rand(2, 3)).view_as(driving)
    driving = driving + trained.lip(points, torch.rand(2, 2)).view_as(driving)
    feature = trained.appearance_feature_extractor(image)
    trained.spade_generator(trained.warping_module(feature, driving, points).out).mean().backward()
    heads = ("fc_scale", "fc_pitch", "fc_yaw", "fc_roll", "fc_t", "fc_exp")  # not used above
    still = [name for name, p in trained.named_parameters() if p.grad is None or not p.grad.any()]
    unmoved = {name for name in still if not any(head in name for head in heads)}
    # A shift before a batch or instance normalisation, or all of a softmax's, changes nothing.
    assert not [name for name in unmoved if not name.endswith("bias")], unmoved


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda n: n.appearance_feature_extractor(torch.rand(1, 3, 64, 62)), ("64 x 62", "multiples of 4")),
        (lambda n: n.appearance_feature_extractor(torch.rand(3, 64, 64)), ("(3, 64, 64)", "(B, 3, H, W)")),
        (lambda n: n.motion_extractor(torch.rand(1, 3, 64, 31)), ("64 x 31", "at least 32")),
        (lambda n: n.motion_extractor(torch.rand(1, 1, 64, 64)), ("(1, 1, 64, 64)", "(B, 3, H, W)")),
        (lambda n: n.warping_module(volume(height=6), keypoints(0), keypoints(1)), ("6 x 12", "of 4")),
        (
            lambda n: n.warping_module(volume()[:, :, :3], keypoints(0), keypoints(1)),
            ("feature_3d", "(2, 3, 3"),
        ),
        (lambda n: n.warping_module(volume(), keypoints(0, 1), keypoints(1)), ("kp_driving", "(1, 5, 3)")),
        (lambda n: n.warping_module(volume(), keypoints(0), keypoints(1)[:, :4]), ("kp_source", "(2, 4, 3)")),
        (lambda n: n.spade_generator(torch.rand(1, 4, 8, 8)), ("(1, 4, 8, 8)", "(B, 8, H, W)")),
        (lambda n: n.lip(keypoints(0)), ("(2, 15)", "(B, 17)")),
    ],
)
def test_wrong_shapes_are_named(nets: LivePortraitNets, call: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        call(nets)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"motion": replace(SMALL.motion, num_kp=6)}, "6 keypoints"),
        ({"generator": GeneratorConfig()}, "W gives 8 channels, G takes 256"),
        ({"appearance": replace(SMALL.appearance, reshape_channel=4, max_features=16)}, "volumes of 4"),
        ({"lip": RetargetingConfig(17, (7,), 16)}, "17 numbers in and 15 out"),
        ({"input_size": 72}, "input_size must be a multiple of 16, got 72"),
        ({"input_size": 16}, "input_size must be a whole number within 32..2048"),
    ],
)
def test_networks_that_do_not_fit_together_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        replace(SMALL, **change)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("appearance", {"num_down_blocks": 0}),
        ("appearance", {"max_features": 13}),
        ("motion", {"dims": (4, 6, 8)}),
        ("motion", {"depths": (1, 1, 0, 1)}),
        ("motion", {"dims": (4, 6, 8, 10**6)}),
        ("warping", {"block_expansion": -1}),
        ("generator", {"upscale": 10**9}),
        ("lip", {"hidden_sizes": ()}),
    ],
)
def test_sizes_that_no_network_can_have_are_refused(part: str, change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"must be|need"):
        replace(getattr(SMALL, part), **change)


def test_the_published_sizes_are_the_defaults() -> None:
    config = LivePortraitConfig()
    assert (config.warping.out_channels, config.generator.in_channels) == (256, 256)
    assert (config.input_size, config.output_size) == (256, 512)
    assert config.stitching.hidden_sizes == (128, 128, 64)
    assert list(AppearanceFeatureExtractor(config.appearance).resblocks_3d._modules)[-1] == "3dr5"
