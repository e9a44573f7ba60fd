"""Training an inversion network: what it is shown, what it learns, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.small_networks import small_hiera, small_mesh, small_unwrapped
from tests.training.few_controls import FewControls
from torch import Tensor

from omote.cli import main
from omote.commands.train import TrainInversionArgs
from omote.controls import Control, ControlSpace
from omote.errors import FormatError, InputError, WeightsError
from omote.models.inversion import InversionConfig, InversionNet, load_checkpoint, read_description
from omote.models.inversion.mesh import USUAL_POSE, Belief
from omote.rigs.facs import load_rig
from omote.rigs.surface_points import face_points
from omote.rigs.symmetry import symmetry_note
from omote.training.curves import Log
from omote.training.datasets.shards import DatasetInfo, array_bytes, write_info, write_shard
from omote.training.datasets.synthetic import SynthOptions, make_shard
from omote.training.inversion import (
    InversionOptions,
    InversionTask,
    make_net,
    paper_recipe,
    shipped_recipe,
    train_inversion,
)
from omote.training.schedule import Budget, LearningRate

SPACE = ControlSpace("two", (Control("bright", 0.0, 1.0), Control("head_tilt", 0.0, 1.0)))


UNKNOWN = {"identity": np.ones(1, np.float32), "pose": np.full(7, np.nan, np.float32)}


class TwoRig(torch.nn.Module):
    """A rig of two controls and one identity; a vertex for each."""

    name, space, identity_space, landmarks = "two", SPACE, ("size",), None

    def forward(self, controls: Tensor, identity: Tensor) -> Tensor:
        moved = 0.01 * controls * (1 + identity)
        return torch.stack([moved, torch.zeros_like(moved), torch.zeros_like(moved)], -1)


def config(**changes: Any) -> InversionConfig:
    return small_hiera(SPACE, "two", **{"align": "center", **changes})


def samples(split: str, epoch: int) -> Iterator[dict[str, Any]]:
    """Grey pictures; the first control is how bright the RGB is, the second how bright the normals are."""
    chance = np.random.default_rng([split == "train", epoch])
    for _ in range(32 if split == "train" else 16):
        controls = chance.random(2).astype(np.float32)
        rgb, normal = (np.full((64, 64, 3), 255 * value, np.uint8) for value in controls)
        eyes = {
            "eyes_rgb": np.zeros((2, 48, 64, 3), np.uint8),
            "eyes_normal": np.zeros((2, 48, 64, 3), np.uint8),
        }
        yield {"rgb": rgb, "normal": normal, **eyes, "controls": controls, **UNKNOWN}


def believed(controls: Tensor) -> Belief:
    """What a network without a mesh believes."""
    return Belief(controls, controls[:, :0], controls[:, :0])


def options(**changes: Any) -> InversionOptions:
    return replace(InversionOptions(data=(), batch=8, workers=0, validation=16), **changes)


def task(net: InversionNet | None = None, **changes: Any) -> InversionTask:
    made = net or make_net(config(), seed=0)
    return InversionTask(made, TwoRig(), options(**changes), samples)  # type: ignore[arg-type]


def train(folder: Path, net: InversionNet | None = None, steps: int = 60, **changes: Any) -> Any:
    engine = shipped_recipe(
        Budget(steps=steps), rate=LearningRate(3e-3, warmup=5, cosine=True), precision="float32", ema=0.9
    )
    made = net or make_net(config(modality_dropout=(0.0, 0.0)), seed=0)
    return train_inversion(made, TwoRig(), options(**changes), engine, folder, samples=samples)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _without_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Log, "draw", lambda self: None)


def test_it_learns_what_the_pictures_show(tmp_path: Path) -> None:
    train(tmp_path)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().split("\n") if line]
    last = min((e for e in entries if e["kind"] == "validation"), key=lambda e: e["loss"])
    assert last["correlation"] > 0.8
    assert last["mae"] < 0.15
    net = load_checkpoint(tmp_path / "model.safetensors", SPACE, rig="two")
    batch = next(iter(task(net).validation()))
    found = net(**{name: batch[name] for name in ("rgb", "normal", "eyes_rgb", "eyes_normal")})
    assert (found - batch["controls"]).abs().mean().item() == pytest.approx(last["mae"], abs=0.02)
    assert read_description(tmp_path / "model.safetensors")[1]["step"] == last["step"]


def test_the_loss_is_the_sum_of_its_terms() -> None:
    made = task(mesh_weight=0.5)
    batch = next(iter(made.batches(0, 0, 0, 1)))

    def perfect_but(**_: Any) -> list[Belief]:
        return [believed(batch["controls"] + torch.tensor([0.2, 0.1]))]

    found = made.loss(perfect_but, batch, 0)  # type: ignore[arg-type]
    assert found["controls"].item() == pytest.approx((0.04 + 0.01) / 2, rel=1e-4)
    # 0.01 m * 0.2 * (1 + 1) = 0.4 cm in one of six coordinates; the turn of the head is given
    assert found["mesh"].item() == pytest.approx(0.4 / 6, rel=1e-4)
    assert found["loss"].item() == pytest.approx(0.025 + 0.5 * 0.4 / 6, rel=1e-4)
    alone = task(loss="mesh", mesh_weight=0.5).loss(perfect_but, batch, 0)  # type: ignore[arg-type]
    assert alone["loss"].item() == pytest.approx(0.5 * 0.6 / 6, rel=1e-4)
    only = task(loss="controls").loss(perfect_but, batch, 0)  # type: ignore[arg-type]
    assert only["loss"].item() == pytest.approx(0.025, rel=1e-4)
    assert "mesh" not in only


def test_every_third_mesh_weighs_three_times() -> None:
    every, third = task(), task(mesh_every=3)
    batch = next(iter(every.batches(0, 0, 0, 1)))

    def wrong(**_: Any) -> list[Belief]:
        return [believed(batch["controls"] + 0.2)]

    whole = [float(every.loss(wrong, batch, step)["loss"]) for step in range(6)]  # type: ignore[arg-type]
    spread = [float(third.loss(wrong, batch, step)["loss"]) for step in range(6)]  # type: ignore[arg-type]
    assert sum(spread) == pytest.approx(sum(whole), rel=1e-4)
    assert spread[1] == pytest.approx(0.04, rel=1e-4)


def test_whole_batches_go_without_a_modality() -> None:
    made = task(make_net(config(modality_dropout=(0.25, 0.5)), seed=0))
    batch = next(iter(made.batches(0, 0, 0, 1)))
    seen = []

    def look(**images: Tensor | None) -> list[Belief]:
        seen.append(tuple(name for name, image in images.items() if image is not None))
        return [believed(batch["controls"])]

    for step in range(400):
        made.loss(look, batch, step)  # type: ignore[arg-type]
    shares = {kind: seen.count(kind) / 400 for kind in set(seen)}
    assert shares == {
        ("rgb", "normal", "eyes_rgb", "eyes_normal"): pytest.approx(0.25, abs=0.06),
        ("normal", "eyes_normal"): pytest.approx(0.25, abs=0.06),
        ("rgb", "eyes_rgb"): pytest.approx(0.5, abs=0.06),
    }


def test_each_process_takes_its_own_batches() -> None:
    made = task()
    whole = [b["controls"] for b in made.batches(2, 0, 0, 1)]
    shared = [[b["controls"] for b in made.batches(2, 1, rank, 2)] for rank in (0, 1)]
    assert len(whole) == 4
    assert [len(part) for part in shared] == [1, 1]
    assert torch.equal(shared[0][0], whole[2])
    assert torch.equal(shared[1][0], whole[3])


def test_correlation_is_pooled_over_all_batches() -> None:
    made = task()
    net = made.net.eval()
    batches = list(made.validation())
    assert [len(b["controls"]) for b in batches] == [8, 8]
    parts = [made.measure(net, b) for b in batches]
    means = {name: sum(p[name].item() for p in parts) / 2 for name in parts[0]}
    names = ("rgb", "normal", "eyes_rgb", "eyes_normal")
    predicted = torch.cat([net(**{n: b[n] for n in names}) for b in batches]).detach().numpy()
    truth = torch.cat([b["controls"] for b in batches]).numpy()
    summary = made.summary(means)
    assert summary["correlation"] == pytest.approx(
        np.corrcoef(predicted.ravel(), truth.ravel())[0, 1], abs=1e-4
    )
    assert {"mae", "mae_rgb", "mae_normal", "correlation_rgb"} <= set(summary)


def write_data(folder: Path, count: int = 24, space: ControlSpace = SPACE) -> None:
    """Three shards as `omote synth` writes them."""
    info = DatasetInfo(
        "two", space.name, space.names, ("size",), "paper", 64, 0, count, 8, "camera", 0, False
    )
    write_info(folder, info)
    import cv2

    for number in range(count // 8):
        stored = []
        for index, sample in enumerate(list(samples("train", number))[:8]):
            members = {f"{n}.png": cv2.imencode(".png", sample[n])[1].tobytes() for n in ("rgb", "normal")}
            arrays = {"controls": sample["controls"], "identity": sample["identity"]}
            arrays["landmarks"] = np.full((478, 2), np.nan, np.float32)
            members["json"] = b'{"head_rotation": [0, 0, 0]}'
            members |= {f"{n}.npy": array_bytes(a) for n, a in arrays.items()}
            stored.append((f"{8 * number + index:08d}", members))
        write_shard(folder / f"shard-{number:06d}.tar", iter(stored))


def stored(folder: Path, **changes: Any) -> InversionTask:
    return InversionTask(make_net(config(), seed=0), TwoRig(), options(data=(folder,), **changes))  # type: ignore[arg-type]


def test_data_of_other_normals_or_that_is_trained_on_is_refused(tmp_path: Path) -> None:
    write_data(tmp_path / "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match=r"a: is trained on: to validate on it would flatter"):
        stored(tmp_path / "a", validate_on=(tmp_path / "b" / ".." / "a",))
    write_data(tmp_path / "c")
    twice = (tmp_path / "c", tmp_path / "c", tmp_path / "a")  # one that counts twice hides none
    with pytest.raises(InputError, match=r"a: is trained on"):
        InversionTask(
            make_net(config(), seed=0),
            TwoRig(),  # type: ignore[arg-type]
            options(data=twice, validate_on=(tmp_path / "a",)),
        )
    stored(tmp_path / "a", validate_on=(tmp_path / "c", tmp_path / "c"))
    about = tmp_path / "a" / "dataset.json"
    about.write_text(about.read_text().replace('"camera"', '"tangent"'))
    with pytest.raises(InputError, match="normals of the kind 'tangent', the network is for 'camera'"):
        stored(tmp_path / "a")


def test_shards_are_read_ahead_and_listed_anew(tmp_path: Path) -> None:
    write_data(tmp_path, 16)
    made = stored(tmp_path, workers=1)
    first = [b["controls"] for b in made.batches(0, 0, 0, 1)]
    assert [tuple(c.shape) for c in first] == [(8, 2)]  # one shard of two is held out
    assert torch.equal(first[0], next(stored(tmp_path).batches(0, 0, 0, 1))["controls"])
    (tmp_path / "shard-000002.tar").write_bytes((tmp_path / "shard-000000.tar").read_bytes())
    assert len(list(made.batches(1, 0, 0, 1))) == 2
    assert sum(len(b["controls"]) for b in made.validation()) == 8


@pytest.mark.parametrize("one_sided", [(), ("smirk",)])
def test_pictures_are_mirrored_where_the_rig_is_symmetric(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    one_sided: tuple[str, ...],
) -> None:
    write_data(tmp_path, 16)
    asked: list[dict[str, Any]] = []

    def data(folders: Any, store: Any, **options: Any) -> SimpleNamespace:
        asked.append(options)
        return SimpleNamespace()

    monkeypatch.setattr("omote.training.datasets.loader.InversionData", data)
    monkeypatch.setattr("omote.training.inversion.asymmetric_controls", lambda rig: one_sided)
    with caplog.at_level("WARNING", "omote.training"):
        made = stored(tmp_path)
    assert [entry.getMessage() for entry in caplog.records] == [symmetry_note(one_sided)] * bool(one_sided)
    made.samples("train", 0)
    made.samples("validation", 0)
    assert [options["space"] for options in asked] == [None if one_sided else SPACE, None]


@pytest.mark.parametrize("one_sided", [(), ("smirk",)])
def test_the_shipped_preset_reads_both_ways_where_the_rig_is_symmetric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_sided: tuple[str, ...]
) -> None:
    monkeypatch.setattr("omote.rigs.symmetry.asymmetric_controls", lambda rig: one_sided)
    monkeypatch.setattr(TwoRig, "identity_space", ())
    monkeypatch.setattr("omote.rigs.surface_points.face_points", lambda rig: range(40))
    made = TrainInversionArgs((), tmp_path, preset="shipped")._network(TwoRig())  # type: ignore[arg-type]
    assert made.both_ways == (not one_sided)


def test_bad_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no dataset\.json"):
        stored(tmp_path)
    other = ControlSpace("other", (Control("a", 0.0, 1.0), Control("b", 0.0, 1.0)))
    write_data(tmp_path / "other", 8, other)
    with pytest.raises(InputError, match="made with the rig 'two', not with 'two', or with another version"):
        stored(tmp_path / "other")
    write_data(tmp_path / "empty", 0)
    with pytest.raises(InputError, match="no complete shard"):
        next(stored(tmp_path / "empty").batches(0, 0, 0, 1))
    write_data(tmp_path / "cut", 16)
    shard = tmp_path / "cut" / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:5000])
    for workers in (0, 1):
        with pytest.raises(FormatError, match=r"shard-000000.tar.*damaged"):
            list(stored(tmp_path / "cut", workers=workers).batches(0, 0, 0, 1))


def test_a_mesh_is_prepared_learnt_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendered heads whose jaw and mouth move, read at 100 points; crops are cached."""
    rig = FewControls()
    synth = SynthOptions(recipe="paper", count=24, seed=2, size=96, per_shard=12, vertices=False)
    write_info(tmp_path / "data", synth.describe(rig))
    for number in (0, 1):
        make_shard(rig, synth, tmp_path / "data", number)
    monkeypatch.setattr(
        "omote.training.mesh_start.face_points", lambda which: face_points(which, 40)
    )  # 60 in the mouth beside
    small = small_unwrapped(rig.space, "few", points=100, size=48, mesh_axes=16, modality_dropout=(0.0, 0.0))
    chosen = options(
        data=(tmp_path / "data",), batch=4, validation=12, loss="controls", cache=tmp_path / "cache"
    )

    def go_on(steps: int) -> list[dict[str, Any]]:
        engine = shipped_recipe(
            Budget(steps=steps), rate=LearningRate(3e-3, warmup=2, cosine=False), precision="float32", ema=0.0
        )
        net = make_net(small, seed=0)
        where = train_inversion(net, rig, chosen, engine, tmp_path / "run")  # type: ignore[arg-type]
        assert where.step == steps
        lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
        return [e for line in lines if line and (e := json.loads(line))["kind"] == "validation"]

    first = go_on(6)
    assert len(list((tmp_path / "cache").glob("*/shard-*"))) == 2
    shard = tmp_path / "data" / "shard-000000.tar"
    stored = shard.stat()
    shard.write_bytes(bytes(stored.st_size))  # it is not read again
    os.utime(shard, ns=(stored.st_atime_ns, stored.st_mtime_ns))
    last = go_on(18)
    assert last[: len(first)] == first
    assert last[-1]["step"] == 18
    assert min(e["loss"] for e in last) < 0.85 * first[0]["loss"]
    net = load_checkpoint(tmp_path / "run" / "model.safetensors", rig.space, rig="few")
    assert net.mesh is not None
    assert net.mesh.is_ready
    assert net.mesh.rest.shape == (100, 3)


def test_the_steps_of_a_mesh_are_taught() -> None:
    net = make_net(small_mesh(SPACE, "two", identity=1), seed=0)
    batch = {
        "controls": torch.rand(4, 2),
        "identity": torch.ones(4, 1),
        "pose": torch.tensor([USUAL_POSE] * 4),
    }

    def believes(**_: Any) -> list[Belief]:
        right = Belief(batch["controls"], batch["identity"], batch["pose"])
        return [right._replace(controls=right.controls + 0.3), right._replace(identity=right.identity + 1)]

    # One of two steps is wrong by 0.3; the other by one coefficient, a tenth of 0.15 squared over two controls.
    wanted = (0.09 + 0.15**2 * 0.1 / 2) / 2
    for loss, controls in (("both", 0.09), ("mesh", 0.0)):
        found = task(net, loss=loss).loss(believes, batch, 0)  # type: ignore[arg-type]
        assert found["steps"].item() == pytest.approx(wanted - (0.09 - controls) / 2, rel=1e-4)
        assert found["controls"].item() == found["mesh"].item() == 0  # those are of the last step
        assert found["loss"].item() == pytest.approx(found["steps"].item())


def test_a_network_of_other_controls_is_refused() -> None:
    net = make_net(replace(config(), rig="facs", controls=("x", "y")), seed=0)
    with pytest.raises(InputError, match="controls of the rig 'facs', not of 'two'"):
        task(net)


def test_without_pretrained_weights_nothing_stays_frozen(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    wanted = config(pretrained="facebook/no-such-net", frozen_stages=3)
    net = make_net(wanted, seed=0)
    assert (net.config.frozen_stages, net.config.pretrained) == (0, None)
    assert all(p.requires_grad for p in net.parameters())
    assert "random weights" in caplog.text
    with pytest.raises(WeightsError, match="hub cannot be reached"):
        make_net(wanted, seed=0, must_have=True)


def test_the_rig_is_measured_with_denormal_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """scipy's trees crash the process without them; the steps themselves go without."""
    alive: dict[str, bool] = {}

    def note(name: str) -> None:
        alive[name] = bool(np.float32(1e-40) * np.float32(0.5) > 0)

    def measured(rig: Any) -> tuple[str, ...]:
        note("rig")
        return ()

    whole = InversionTask.loss

    def stepped(self: InversionTask, *given: Any) -> Any:
        note("step")
        return whole(self, *given)

    monkeypatch.setattr("omote.training.inversion.asymmetric_controls", measured)
    monkeypatch.setattr(InversionTask, "loss", stepped)
    train(tmp_path, steps=1)
    note("after")
    assert alive == {"rig": True, "step": False, "after": True}


def test_pretrained_weights_need_a_backbone() -> None:
    with pytest.raises(InputError, match="no backbone"):
        make_net(small_mesh(SPACE, "two", pretrained="facebook/some-net"), seed=0, must_have=True)


def test_random_stages_are_not_frozen_and_zero_is_no_batch(tmp_path: Path) -> None:
    made = TrainInversionArgs((tmp_path,), tmp_path, pretrained="none")
    network = made._network(load_rig())
    assert (network.pretrained, network.frozen_stages) == (None, 0)
    assert replace(made, frozen_stages=2)._network(load_rig()).frozen_stages == 2
    assert replace(made, modality_dropout=0.2)._network(load_rig()).modality_dropout == (0.2, 0.2)
    with pytest.raises(InputError, match="at least 1, got 0"):
        replace(made, batch=0)._options()


def test_the_published_recipe() -> None:
    recipe = paper_recipe()
    assert (recipe.budget.epochs, recipe.rate.peak, recipe.ema, recipe.clip) == (200, 1e-4, 0.0, None)
    assert (recipe.rate.warmup, recipe.rate.cosine, recipe.weight_decay) == (0, False, 0.01)
    assert (InversionOptions(data=()).batch, InversionOptions(data=()).mesh_samples) == (32, None)


def test_options_that_make_no_training_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for changes in (
        {"batch": 0},
        {"seed": -1},
        {"seed": 1 << 31},
        {"loss": "pixels"},
        {"mesh_every": 0},
        {"workers": -1},
    ):
        with pytest.raises(InputError):
            options(**changes)
    assert (
        main(["train", "inversion", "--data", str(tmp_path), "-o", str(tmp_path / "run"), "--lr", "0"]) == 2
    )
    assert "--lr: must be above 0" in capsys.readouterr().err
    assert main(["train", "show", str(tmp_path)]) == 2
    assert "no training was run here" in capsys.readouterr().err


def test_show_tells_of_the_validations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, steps=4)
    assert main(["train", "show", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [v["step"] for v in told["validations"]] == [4]
    assert told["latest"] is None
    assert main(["train", "show", str(tmp_path)]) == 0
    assert "correlation" in capsys.readouterr().out
