"""Where networks come from: folders, the cache, seeds; and what is said where they are not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from omote.drive.liveportrait import networks
from omote.drive.liveportrait.networks import check_weights, choose_processor, load_nets
from omote.errors import InputError, WeightsError
from omote.models.liveportrait import LivePortraitNets
from omote.models.liveportrait.checkpoint import DESCRIPTION, save_nets

from .liveportrait_small import SMALL, small_nets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Small networks in the community's layout, with their sizes."""
    save_nets(tmp_path / "nets", small_nets(4), {})
    return tmp_path / "nets"


def same(first: LivePortraitNets, second: LivePortraitNets) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_a_folder_of_either_layout_gives_the_networks(folder: Path, tmp_path: Path) -> None:
    check_weights(folder)
    found = load_nets(folder)
    assert same(found, small_nets(4))
    assert not found.training
    assert not any(weight.requires_grad for weight in found.parameters())
    official = tmp_path / "tree"
    for name, held in small_nets(4).to_published("official").items():
        place = official / "liveportrait" / ("retargeting_models" if "retarget" in name else "base_models")
        place.mkdir(parents=True, exist_ok=True)
        torch.save(held, place / f"{name}.pth")
    (official / DESCRIPTION).write_bytes((folder / DESCRIPTION).read_bytes())
    assert same(load_nets(official), small_nets(4))


def test_a_file_that_is_missing_is_named(folder: Path) -> None:
    (folder / "spade_generator.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"holds no spade_generator\.safetensors or \.pth"):
        check_weights(folder)
    with pytest.raises(WeightsError, match="there is no such folder"):
        load_nets(folder / "nothing")


def test_weights_of_other_sizes_name_the_first_tensor(folder: Path) -> None:
    (folder / DESCRIPTION).unlink()
    with pytest.raises(WeightsError, match=r"appearance_feature_extractor: the tensor .* has shape"):
        load_nets(folder)


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
    check_weights("seeded:12")
    for wrong in ("seeded:", "seeded:x", "seeded:-1", "seeded:99999999999"):
        with pytest.raises(InputError, match="is no seed"):
            check_weights(wrong)


def test_the_processor_is_one_that_gives_exact_pictures_here() -> None:
    chosen = choose_processor()
    if not torch.cuda.is_available():
        assert (chosen.device.type, chosen.dtype) == ("cpu", torch.float32)
    assert chosen.dtype != torch.float16
