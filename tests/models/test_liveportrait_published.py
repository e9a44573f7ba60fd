"""Published checkpoints of LivePortrait: both layouts, both ways, and what is wrong with a file in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.models.small_liveportrait import SMALL, small_nets

from omote.errors import WeightsError
from omote.models.liveportrait import BASE_FILES, RETARGETING_FILE, LivePortraitNets
from omote.weights import load_safetensors, load_torch_checkpoint

Files = dict[str, dict[str, Any]]


@pytest.fixture
def files() -> Files:
    return small_nets().to_published()


def assert_same(a: LivePortraitNets, b: LivePortraitNets) -> None:
    first, second = a.state_dict(), b.state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("layout", ["official", "community"])
def test_round_trip(layout: Literal["official", "community"]) -> None:
    nets = small_nets()
    again = LivePortraitNets.from_published(nets.to_published(layout), SMALL)
    assert_same(nets, again)
    assert not again.training


def test_round_trip_through_files(tmp_path: Path) -> None:
    nets = small_nets()
    official, community = nets.to_published("official"), nets.to_published("community")
    for name in official:
        torch.save(official[name], tmp_path / f"{name}.pth")
        save_file(community[name], tmp_path / f"{name}.safetensors")
    read = {name: load_torch_checkpoint(tmp_path / f"{name}.pth") for name in official}
    assert_same(nets, LivePortraitNets.from_published(read, SMALL))
    read = {name: load_safetensors(tmp_path / f"{name}.safetensors") for name in official}
    assert_same(nets, LivePortraitNets.from_published(read, SMALL))


def test_the_official_layout(files: Files) -> None:
    assert set(files) == {*BASE_FILES, RETARGETING_FILE}
    assert set(files[RETARGETING_FILE]) == {"retarget_shoulder", "retarget_mouth", "retarget_eye"}
    assert list(files[RETARGETING_FILE]["retarget_mouth"]) == [
        "module.mlp.0.weight",
        "module.mlp.0.bias",
        "module.mlp.2.weight",
        "module.mlp.2.bias",
    ]
    assert files[RETARGETING_FILE]["retarget_eye"]["module.mlp.0.weight"].shape == (8, 18)
    assert next(iter(files["appearance_feature_extractor"])) == "first.conv.weight"


def test_the_community_layout() -> None:
    flat = small_nets().to_published("community")[RETARGETING_FILE]
    assert flat["retarget_shoulder_module.mlp.0.weight"].shape == (7, 30)
    assert flat["retarget_mouth_module.mlp.2.bias"].shape == (15,)
    assert flat["retarget_eye_module.mlp.4.bias"].shape == (15,)


def test_what_else_the_files_hold_is_passed_over(files: Files) -> None:
    files[RETARGETING_FILE] |= {"optimizer": {"state": {}}, "epoch": 7}
    files["landmark"] = {}
    assert_same(small_nets(), LivePortraitNets.from_published(files, SMALL))


def test_bare_names_and_both_prefixes_are_understood(files: Files) -> None:
    held = files[RETARGETING_FILE]
    held["retarget_eye"] = {k.removeprefix("module."): v for k, v in held["retarget_eye"].items()}
    assert_same(small_nets(), LivePortraitNets.from_published(files, SMALL))
    files[RETARGETING_FILE] = {
        f"{key}_module.module.{name.removeprefix('module.')}": value
        for key, tensors in held.items()
        for name, value in tensors.items()
    }
    assert_same(small_nets(), LivePortraitNets.from_published(files, SMALL))


def test_the_weights_are_copied_and_made_float32(files: Files) -> None:
    given = files["spade_generator"]["fc.weight"].half()
    files["spade_generator"]["fc.weight"] = given
    nets = LivePortraitNets.from_published(files, SMALL)
    assert nets.spade_generator.fc.weight.dtype == torch.float32
    given.zero_()
    assert nets.spade_generator.fc.weight.abs().max() > 0


def missing(files: Files) -> None:
    del files["warping_module"]["dense_motion_network.mask.bias"]


def mis_shaped(files: Files) -> None:
    files["motion_extractor"]["detector.fc_kp.weight"] = torch.zeros(72, 10)


def unexpected(files: Files) -> None:
    files["spade_generator"]["G_middle_6.conv_0.bias"] = torch.zeros(16)


def no_tensor(files: Files) -> None:
    files["appearance_feature_extractor"]["second.bias"] = np.zeros(12)


def whole_numbers(files: Files) -> None:
    files["appearance_feature_extractor"]["second.bias"] = torch.zeros(12, dtype=torch.int64)


def not_finite(files: Files) -> None:
    files["appearance_feature_extractor"]["second.bias"][3] = float("nan")


def no_eye(files: Files) -> None:
    del files[RETARGETING_FILE]["retarget_eye"]


def short_mouth(files: Files) -> None:
    del files[RETARGETING_FILE]["retarget_mouth"]["module.mlp.2.bias"]


def wide_shoulder(files: Files) -> None:
    files[RETARGETING_FILE]["retarget_shoulder"]["module.mlp.0.weight"] = torch.zeros(7, 31)


def no_file(files: Files) -> None:
    del files["motion_extractor"]


def a_list(files: Any) -> None:
    files["spade_generator"] = [1, 2]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (missing, ("warping_module", "dense_motion_network.mask.bias is missing", "expected shape (6,)")),
        (mis_shaped, ("motion_extractor", "detector.fc_kp.weight has shape (72, 10), expected (15, 10)")),
        (unexpected, ("spade_generator", "G_middle_6.conv_0.bias is unexpected")),
        (no_tensor, ("appearance_feature_extractor", "second.bias is a ndarray", "shape (12,)")),
        (whole_numbers, ("second.bias is torch.int64, expected torch.float32",)),
        (not_finite, ("appearance_feature_extractor", "second.bias has values that are not finite")),
        (no_eye, (RETARGETING_FILE, "retarget_eye")),
        (short_mouth, (RETARGETING_FILE, "retarget_mouth", "mlp.2.bias is missing", "(15,)")),
        (wide_shoulder, (RETARGETING_FILE, "mlp.0.weight has shape (7, 31), expected (7, 30)")),
        (no_file, ("motion_extractor: is missing",)),
        (a_list, ("spade_generator", "is a list")),
    ],
)
def test_what_is_wrong_is_named(files: Files, damage: Any, words: tuple[str, ...]) -> None:
    damage(files)
    with pytest.raises(WeightsError) as caught:
        LivePortraitNets.from_published(files, SMALL)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_animals_load_like_people(files: Files) -> None:
    """The animals' files have the same names and shapes: nothing but their folder tells them apart."""
    assert_same(
        small_nets(5), LivePortraitNets.from_published({**files, **small_nets(5).to_published()}, SMALL)
    )
