"""Where networks come from: folders, the cache, seeds; and what is said where they are not there."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from omote.drive.liveportrait import networks
from omote.drive.liveportrait import renderer as renderer_module
from omote.drive.liveportrait.networks import Processor, check_weights, choose_processor, load_nets
from omote.drive.liveportrait.renderer import (
    FastRenderer,
    PlainRenderer,
    Renderer,
    make_renderer,
    peak_ratio,
)
from omote.errors import InputError, WeightsError
from omote.models.liveportrait import LivePortraitNets
from omote.models.liveportrait.checkpoint import save_nets
from omote.models.processor import multiplies_bfloat16
from omote.models.quantised import multiplies_bytes
from omote.weights.sets import TRAINED_HERE

from .liveportrait_small import SMALL, small_nets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Small networks in the community's layout, with their sizes."""
    save_nets(tmp_path / "nets", small_nets(4, input_size=64), {})
    return tmp_path / "nets"


def same(first: LivePortraitNets, second: LivePortraitNets) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_a_folder_of_either_layout_gives_the_networks(folder: Path, tmp_path: Path) -> None:
    before = check_weights(folder)
    assert check_weights(folder) == before
    file = folder / "warping_module.safetensors"
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert check_weights(folder) != before, "trained on"
    found = load_nets(folder)
    assert same(found, small_nets(4))
    assert (found.config.input_size, found.config.output_size) == (64, 128)
    assert not found.training
    assert not any(weight.requires_grad for weight in found.parameters())
    official = tmp_path / "tree"
    for name, held in small_nets(4).to_published("official").items():
        place = official / "liveportrait" / ("retargeting_models" if "retarget" in name else "base_models")
        place.mkdir(parents=True, exist_ok=True)
        torch.save(held, place / f"{name}.pth")
    (official / TRAINED_HERE).write_bytes((folder / TRAINED_HERE).read_bytes())
    assert same(load_nets(official), small_nets(4))


def test_a_file_that_is_missing_is_named(folder: Path) -> None:
    (folder / "spade_generator.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"holds no spade_generator\.safetensors or \.pth"):
        check_weights(folder)
    with pytest.raises(WeightsError, match="there is no such folder"):
        load_nets(folder / "nothing")


def test_weights_of_other_sizes_name_the_first_tensor(folder: Path) -> None:
    (folder / TRAINED_HERE).unlink()
    with pytest.raises(
        WeightsError, match=r"appearance_feature_extractor: the tensor .* has shape"
    ) as caught:
        load_nets(folder)
    assert str(caught.value).startswith(f"{folder}: "), "there may be many such folders"
    with pytest.raises(WeightsError, match="this is a file, not a folder"):
        load_nets(folder / "spade_generator.safetensors")


def test_without_any_weights_the_way_to_get_them_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMOTE_HOME", str(tmp_path))
    for do in (check_weights, load_nets):
        with pytest.raises(WeightsError, match="omote weights get liveportrait"):
            do(None)


def test_seeded_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "LivePortraitNets", lambda: LivePortraitNets(SMALL))
    assert same(load_nets("seeded:4"), small_nets(4))
    assert not same(load_nets("seeded:5"), small_nets(4))
    assert check_weights("seeded:12") != check_weights("seeded:13")
    for wrong in ("seeded:", "seeded:x", "seeded:-1", "seeded:99999999999"):
        with pytest.raises(InputError, match="is no seed"):
            check_weights(wrong)


def test_the_processor_is_one_that_gives_good_pictures() -> None:
    chosen = choose_processor()
    assert chosen.dtype != torch.float16
    if not torch.cuda.is_available():
        assert chosen.device.type == "cpu"
        assert (chosen.dtype == torch.bfloat16) == multiplies_bfloat16()
    assert choose_processor(exact=True) == Processor(chosen.device, torch.float32)


def test_the_renderer_of_a_cpu_draws_what_the_plain_one_does() -> None:
    nets = small_nets(2)
    cpu = torch.device("cpu")
    exact, rough = (make_renderer(nets, Processor(cpu, dtype)) for dtype in (torch.float32, torch.bfloat16))
    plain = PlainRenderer(nets, Processor(cpu, torch.float32))
    assert isinstance(exact, FastRenderer)
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.uniform(0, 1, (2, 3, 128, 128)).astype(np.float32))
    points = torch.from_numpy(rng.uniform(-0.8, 0.8, (2, 2, 21, 3)).astype(np.float32))
    for sources in (slice(0, 2), slice(0, 1)):  # each frame its own source, and one for all
        renderers: list[Renderer] = [plain, exact, rough]
        made = [r.render(r.prepare(images[sources]), points[0, sources], points[1]) for r in renderers]
        assert made[0].std() > 0.02
        assert made[0].shape == made[1].shape == (2, 3, 256, 256)
        assert (made[0] - made[1]).abs().max() < 1e-4
        assert 10 * torch.log10(1 / (made[0] - made[2]).square().mean()) > 35


def test_many_pictures_are_drawn_with_products_of_bytes_where_they_stay_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nets = small_nets(2)
    renderer, same = (FastRenderer(nets, torch.float32, in_bytes=told) for told in (True, False))
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.uniform(0, 1, (1, 3, 128, 128)).astype(np.float32))
    points = torch.from_numpy(rng.uniform(-0.8, 0.8, (4, 1, 21, 3)).astype(np.float32))
    features = renderer.prepare(images)
    wanted = renderer.render(features, points[0], points[1])
    examples = [(features, points[0], points[2]), (features, points[0], points[3])]
    monkeypatch.setattr(renderer_module, "CLOSE", math.inf)  # never as close as that
    for one in (renderer, same):
        told: list[tuple[int, int]] = []
        one.study(examples, lambda *both, told=told: told.append(both))
        one.study([])
        if one is renderer and multiplies_bytes():
            assert told[0] == (0, 4)  # at least both pictures, both ways
            blocks = nets.spade_generator.config.num_middle_blocks
            assert told[-1] == (2 * (2 + blocks - min(2, blocks)),) * 2
            assert all(done <= count for done, count in told)
        else:
            assert not told
        assert torch.equal(one.render(features, points[0], points[1]), wanted)
    if not multiplies_bytes():
        return
    monkeypatch.setattr(renderer_module, "CLOSE", 20.0)
    renderer.study(examples)
    made = renderer.render(features, points[0], points[1])
    assert 15 < peak_ratio(made, wanted) < 90
    # The examples alone decide: not what was drawn or studied before.
    again = FastRenderer(nets, torch.float32, in_bytes=True)
    again.study(examples)
    assert torch.equal(again.render(features, points[0], points[1]), made)


def test_peak_ratios_are_those_of_the_definition() -> None:
    one = torch.full((1, 3, 4, 4), 0.5)
    assert peak_ratio(one, one) == math.inf
    assert peak_ratio(one + 0.01, one) == pytest.approx(40, abs=1e-3)
