"""The three stages train, fall, are resumed exactly, and leave networks that can be read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.small_liveportrait import TINY as NETWORK
from tests.training.liveportrait.few_clips import TINY, make_clips

from omote.cli import main
from omote.drive.liveportrait.networks import load_nets
from omote.errors import InputError, WeightsError
from omote.models.liveportrait import BASE_FILES, LivePortraitNets
from omote.models.liveportrait.checkpoint import read_config, save_nets
from omote.models.liveportrait.ratios import RatioNet
from omote.training.curves import Log
from omote.training.datasets.clips import Clip
from omote.training.liveportrait import (
    MODEL,
    PRESETS,
    LivePortraitOptions,
    ratio_start,
    recipe,
    run,
    train_liveportrait,
)
from omote.training.liveportrait.base import BaseTask, psnr
from omote.training.liveportrait.networks import start
from omote.training.liveportrait.ratio_start import ratio_errors, ready_ratios
from omote.training.liveportrait.refine import RetargetingTask, StitchingTask
from omote.training.schedule import Budget


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    monkeypatch.setattr(Log, "draw", lambda self: None)
    torch.set_num_threads(1)


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    return make_clips(tmp_path / "clips")


def options(tmp_path: Path, **changes: Any) -> LivePortraitOptions:
    made = LivePortraitOptions(
        (tmp_path / "clips",), tmp_path / "crops", preset="tiny", repeats=2, validation=2
    )
    return replace(made, **changes)


def train(tmp_path: Path, folder: str, steps: int, **changes: Any) -> Path:
    engine = recipe("tiny", Budget(steps=steps), precision="float32", report_every=1, validate_every=1000)
    train_liveportrait(options(tmp_path, **changes), engine, tmp_path / folder)
    return tmp_path / folder


def entries(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "log.jsonl").read_text().split("\n") if line]
    clocks = ("seconds", "images_per_second")
    return [{k: v for k, v in entry.items() if k not in clocks} for entry in found]


def state(folder: Path) -> dict[str, torch.Tensor]:
    held = torch.load(folder / "last.pt", weights_only=True)
    return {**held["net"], **{f"critic {k}": v for k, v in held["opponent"]["net"].items()}}


def test_a_kill_in_the_middle_changes_nothing(tmp_path: Path, clips: list[Clip], monkeypatch: Any) -> None:
    whole = train(tmp_path, "whole", 2)
    real, seen = BaseTask.loss, []

    def cut_off(self: BaseTask, net: Any, batch: Any, step: int) -> Any:
        seen.append(step)
        if step == 1 and len(seen) == 2:
            raise RuntimeError("power cut")
        return real(self, net, batch, step)

    monkeypatch.setattr(BaseTask, "loss", cut_off)
    engine = recipe(
        "tiny", Budget(steps=2), precision="float32", report_every=1, validate_every=1000, checkpoint_s=0.0
    )
    with pytest.raises(RuntimeError, match="power cut"):
        train_liveportrait(options(tmp_path), engine, tmp_path / "cut")
    train_liveportrait(options(tmp_path), engine, tmp_path / "cut")
    assert seen == [0, 1, 1]
    assert entries(tmp_path / "cut") == entries(whole)
    one, two = state(whole), state(tmp_path / "cut")
    assert one.keys() == two.keys()
    assert [name for name, value in one.items() if not torch.equal(value, two[name])] == []
    terms = {
        "image",
        "equivariance",
        "prior",
        "pose",
        "expression",
        "guide",
        "adversarial",
        "features",
        "critic",
    }
    assert terms <= entries(whole)[0].keys()
    with pytest.raises(InputError, match="repeats 2 -> 3"):
        train_liveportrait(options(tmp_path, repeats=3), engine, whole)


def test_losses_fall_and_the_keypoints_find_the_landmarks(tmp_path: Path, clips: list[Clip]) -> None:
    task = BaseTask(start(NETWORK, 0), options(tmp_path, adversarial=False), clips)
    batch = next(iter(task.batches(0, 0, 0, 1)))
    optimizer = torch.optim.Adam(task.net.parameters(), 6e-3)
    losses = []
    for _ in range(12):
        found = task.loss(task.net, batch, 0)
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
        losses.append({name: float(value.detach()) for name, value in found.items()})
    assert losses[-1]["loss"] < 0.8 * losses[0]["loss"]
    assert losses[-1]["guide"] < 0.8 * losses[0]["guide"]
    assert losses[-1]["image"] < losses[0]["image"]


def test_processes_share_a_pass(tmp_path: Path, clips: list[Clip]) -> None:
    task = BaseTask(start(NETWORK, 0), options(tmp_path, batch=2, repeats=3), clips)
    alone = list(task.batches(0, 0, 0, 1))
    shared = [list(task.batches(0, 0, rank, 2)) for rank in (0, 1)]
    assert len(alone) == 4  # three people, three pairs each, in batches of two
    assert [len(part) for part in shared] == [2, 2]
    assert torch.equal(shared[1][1]["source"], alone[3]["source"])
    assert torch.equal(next(iter(task.batches(0, 1, 1, 2)))["source"], alone[3]["source"])
    assert len(list(task.validation())) == 1
    with pytest.raises(InputError, match="fewer than a batch"):
        BaseTask(task.net.nets, options(tmp_path, batch=64), clips)  # type: ignore[arg-type]


def test_psnr_by_hand() -> None:
    assert psnr(torch.full((1, 3, 4, 4), 0.6), torch.full((1, 3, 4, 4), 0.5)).item() == pytest.approx(
        20, abs=1e-3
    )


def test_saved_networks_have_published_names_and_are_read_back(tmp_path: Path) -> None:
    nets = start(NETWORK, 1)
    save_nets(tmp_path / "nets", nets, {"step": 7})
    save_nets(tmp_path / "nets", nets, {"step": 8})
    again = load_nets(tmp_path / "nets")
    assert again.config == NETWORK
    assert (again.config.input_size, again.config.output_size) == (32, 64)
    one, two = nets.state_dict(), again.state_dict()
    assert [name for name, value in one.items() if not torch.equal(value, two[name])] == []
    names = {path.name for path in (tmp_path / "nets").iterdir()}
    files = {f"{name}.safetensors" for name in (*BASE_FILES, "stitching_retargeting_module")}
    assert names == files | {"omote.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["nets"]
    with pytest.raises(WeightsError, match="holds no"):
        load_nets(tmp_path)
    (tmp_path / "nets" / "omote.json").write_text(
        '{"format": "omote liveportrait 1", "config": {"motion": 3}}'
    )
    with pytest.raises(WeightsError, match=r"omote\.json"):
        read_config(tmp_path / "nets" / "omote.json")


@pytest.mark.parametrize("seed", [-1, 1 << 31])
def test_seeds_that_cannot_be_are_refused(tmp_path: Path, seed: int) -> None:
    with pytest.raises(InputError, match="--seed"):
        options(tmp_path, seed=seed)


def test_stitching_trains_its_network_alone(tmp_path: Path, clips: list[Clip]) -> None:
    base = train(tmp_path, "base", 1) / MODEL
    run_folder = train(tmp_path, "seam", 1, stage="stitching", base=base)
    found = [e for e in entries(run_folder) if e["kind"] == "validation"][-1]
    assert {"shoulders", "shoulders_plain"} <= found.keys()
    before, after = load_nets(base), load_nets(run_folder / MODEL)
    assert not torch.equal(before.stitching.mlp[-1].weight, after.stitching.mlp[-1].weight)
    for part in (*BASE_FILES, "eye", "lip"):
        for name, value in before.get_submodule(part).state_dict().items():
            assert torch.equal(value, after.get_submodule(part).state_dict()[name]), (part, name)
    task = StitchingTask(before, options(tmp_path, stage="stitching", base=base), clips)
    batch = next(iter(task.batches(0, 0, 0, 1)))
    task.loss(task.net.train(), batch, 0)["shoulders"].backward()
    gradient = before.stitching.mlp[-1].weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0
    assert before.warping_module.third.conv.weight.grad is None
    assert not before.warping_module.training


def test_retargeting_has_a_gradient_through_the_measured_ratio(
    tmp_path: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ratio_start, "STEPS", 2)
    monkeypatch.setattr(run, "ready_ratios", lambda *a, **k: ready_ratios(*a, **k, steps=2))
    base = train(tmp_path, "base", 1) / MODEL
    run_folder = train(tmp_path, "eyes", 1, stage="retargeting", base=base)
    assert (run_folder / "ratios.safetensors").exists()
    found = [e for e in entries(run_folder) if e["kind"] == "validation"][-1]
    assert {"eye_ratio", "eye_ratio_still", "lip_ratio", "lip_outside"} <= found.keys()
    before, after = load_nets(base), load_nets(run_folder / MODEL)
    assert not torch.equal(before.eye.mlp[-1].weight, after.eye.mlp[-1].weight)
    assert torch.equal(before.stitching.mlp[-1].weight, after.stitching.mlp[-1].weight)
    task = RetargetingTask(after, options(tmp_path, stage="retargeting", base=base), clips, RatioNet())
    batch = next(iter(task.batches(0, 0, 0, 1)))
    task.loss(task.net.train(), batch, 3)["eye_ratio"].backward()
    gradient = after.eye.mlp[-1].weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0
    assert after.lip.mlp[-1].weight.grad is None  # the two are trained independently


def test_ratios_are_learnt_from_landmarks(tmp_path: Path, clips: list[Clip]) -> None:
    net = ready_ratios(tmp_path / "r", clips, 0, steps=12)
    again = ready_ratios(tmp_path / "r", [], 0)
    one, two = net.state_dict(), again.state_dict()
    assert [name for name, value in one.items() if not torch.equal(value, two[name])] == []
    task = StitchingTask(
        LivePortraitNets(NETWORK), options(tmp_path, stage="stitching", base=tmp_path), clips
    )
    batch = next(iter(task.validation()))
    trained = ratio_errors(net, batch, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    plain = ratio_errors(RatioNet(), batch, torch.Generator().manual_seed(0))
    assert float(sum(trained.values())) < 0.5 * float(sum(plain.values()))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--stage", "stitching"], "needs trained networks"),
        (["--base", "x"], "the stage base trains these networks itself"),
        (["--vgg", "missing.pth", "--preset", "small", "--batch", "1"], "there is no such file"),
        (["--batch", "0"], "must be at least 1"),
        (["--minutes", "0"], "above 0"),
    ],
)
def test_what_cannot_be_trained_is_one_line_and_exit_code_2(
    tmp_path: Path, given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_clips(tmp_path / "clips", 3, frames=1, size=128)
    command = ["train", "liveportrait", "--data", str(tmp_path / "clips"), "-o", str(tmp_path / "run")]
    assert main([*command, *given]) == 2
    shown = capsys.readouterr().err.strip().splitlines()
    assert said in shown[-1]
    assert not (tmp_path / "run" / MODEL).exists()


def test_clips_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "train",
        "clips",
        "-o",
        str(tmp_path),
        "--clips",
        "1",
        "--frames",
        "2",
        "--size",
        "32",
        "--jobs",
        "1",
    ]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rendered"] == 1
    assert main(command) == 0
    assert "0 of them new" in capsys.readouterr().out
