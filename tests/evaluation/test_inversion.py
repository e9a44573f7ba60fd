"""Rig inversion measured side by side: baselines, reports, pictures and the command, on a few rendered heads."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.models.small_networks import small_hiera

from omote.cli import main
from omote.controls import FACS102
from omote.errors import FormatError, InputError, WeightsError
from omote.evaluation.inversion import evaluate
from omote.evaluation.inversion_methods import MeanControls, NearestNeighbour, Network, Sample
from omote.evaluation.inversion_report import main_table, region_table, to_json, write_report
from omote.evaluation.inversion_samples import TEST_SEED, held_out, read_samples, training_controls
from omote.media import read_image, write_image
from omote.models.inversion import InversionNet, save_checkpoint
from omote.rigs.facs import load_rig
from omote.training.datasets.shards import write_info
from omote.training.datasets.synthetic import SynthOptions, make_shard

COUNT = 5


class Oracle:
    """Knows the truth, but for a constant error."""

    def __init__(self, name: str, off: float = 0.0) -> None:
        self.name, self.off = name, off

    def predict(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """(N, C) controls."""
        return np.stack([sample.controls for sample in samples]) + np.float32(self.off)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Five held-out heads at 96 px."""
    return list(held_out(load_rig(), "paper", COUNT, size=96))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random network."""
    import torch

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("net") / "tiny.safetensors"
    save_checkpoint(path, InversionNet(small_hiera(embed_dim=16)))
    return path


def test_held_out_samples_are_the_same_each_time(samples: list[Sample]) -> None:
    again = next(iter(held_out(load_rig(), "paper", 1, size=96)))
    np.testing.assert_array_equal(again.rgb, samples[0].rgb)
    np.testing.assert_array_equal(again.controls, samples[0].controls)
    assert len({sample.identity.tobytes() for sample in samples}) == COUNT
    other = next(iter(held_out(load_rig(), "paper", 1, size=96, seed=5)))
    assert not np.array_equal(other.identity, samples[0].identity)


def test_methods_side_by_side(samples: list[Sample]) -> None:
    done: list[int] = []
    methods = [Oracle("right"), Oracle("off", 0.05), MeanControls(np.stack([s.controls for s in samples]))]
    report = evaluate(samples, methods, load_rig(), progress=done.append)
    assert report.first == "right"
    assert done[-1] == COUNT
    assert report.scores["right"].control_mae == 0
    assert report.scores["off"].control_mae == pytest.approx(0.05, abs=1e-6)
    assert report.scores["off"].within_percent == 100
    assert report.scores["mean controls"].r2 == pytest.approx(0, abs=1e-5)
    assert len(report.true) == COUNT
    assert evaluate(samples, methods[:1], load_rig(), limit=2).true.shape == (2, 102)
    index, kept = report.examples[0]
    np.testing.assert_array_equal(kept.controls, report.true[index])


def test_what_cannot_be_compared_is_refused(samples: list[Sample]) -> None:
    with pytest.raises(InputError, match="names of their own"):
        evaluate(samples, [Oracle("a"), Oracle("a")], load_rig())
    with pytest.raises(InputError, match="no held-out samples"):
        evaluate([], [Oracle("a")], load_rig())
    with pytest.raises(InputError, match="no training samples"):
        NearestNeighbour([])


def test_the_nearest_neighbour_finds_itself(samples: list[Sample]) -> None:
    nearest = NearestNeighbour(samples)
    np.testing.assert_array_equal(nearest.predict(samples[::-1]), nearest.controls[::-1])
    brighter = replace(samples[2], rgb=np.clip(samples[2].rgb * 0.8 + 20, 0, 255).astype(np.uint8))
    np.testing.assert_array_equal(nearest.predict([brighter])[0], samples[2].controls)


def test_a_network_alone_sees_one_modality(samples: list[Sample], checkpoint: Path) -> None:
    network = Network.load(checkpoint, FACS102, "facs")
    rgb, normals = network.alone()
    assert (rgb.name, normals.name) == ("network, RGB alone", "network, normals alone")
    flat = [replace(sample, normal=np.zeros_like(sample.rgb)) for sample in samples]
    np.testing.assert_array_equal(rgb.predict(samples), rgb.predict(flat))
    assert np.abs(normals.predict(samples) - normals.predict(flat)).max() > 0
    together, apart = network.predict(samples), np.concatenate([network.predict([s]) for s in samples])
    np.testing.assert_allclose(together, apart, atol=1e-4)
    assert not rgb.alone()
    for dropout, names in (((0.0, 0.0), []), ((0.1, 0.0), ["network, normals alone"])):
        untaught = replace(network.config, modality_dropout=dropout)
        assert [method.name for method in Network(InversionNet(untaught)).alone()] == names
    with pytest.raises(InputError, match="nothing to look at"):
        Network(InversionNet(network.config), without=("rgb", "normal"))
    with pytest.raises(WeightsError, match="facs"):
        Network.load(checkpoint, FACS102, "hero")


def test_training_controls_are_those_of_the_recipe() -> None:
    paper = training_controls(load_rig(), "paper", 64)
    assert paper.shape == (64, 102)
    assert (paper >= FACS102.low).all()
    assert (paper <= FACS102.high).all()
    assert not np.array_equal(paper, training_controls(load_rig(), "wild", 64))


def test_reports_hold_what_was_measured(samples: list[Sample], tmp_path: Path) -> None:
    methods = [Oracle("network", 0.05), Oracle("landmark fit", 0.2)]
    reports = [evaluate(samples, methods, load_rig(), recipe=recipe) for recipe in ("paper", "wild")]
    found = to_json(reports)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["control_mae"] == found["wild_control_mae"] == pytest.approx(0.05, abs=1e-5)
    assert found["control_mae_landmark_fit"] == pytest.approx(0.2, abs=1e-5)
    assert {"correlation", "gaze_degrees", "vertex_median_mm", "paper_gaze_degrees"} <= set(found)
    assert {"correlation_landmark_fit", "gaze_degrees_landmark_fit", "vertex_median_mm_landmark_fit"} <= set(
        found
    )
    assert found["ratio_hard_mae"] == pytest.approx(4, rel=1e-3)
    assert found["methods"]["wild"]["network"]["control_mae"] == pytest.approx(0.05, abs=1e-5)
    assert "| landmark fit | 0.2000 |" in "\n".join(main_table(reports[1]))
    assert any(line.startswith("| gaze | 4 | 0.0500 |") for line in region_table(reports[1]))
    written = write_report(
        reports, tmp_path, command="omote eval inversion", pictures={"wild": [Path("wild_x.png")]}
    )
    assert [path.name for path in written] == ["report.md", "controls.csv"]
    assert "![wild_x](wild_x.png)" in written[0].read_text()
    rows = list(csv.DictReader(written[1].read_text().splitlines()))
    assert len(rows) == 2 * 2 * 102
    assert float(rows[0]["mae"]) == pytest.approx(0.05, abs=1e-5)


def test_shards_are_read_as_they_were_written(tmp_path: Path) -> None:
    rig = load_rig()
    options = SynthOptions(recipe="paper", count=2, seed=3, size=64, vertices=False)
    write_info(tmp_path, options.describe(rig))
    with pytest.raises(InputError, match="no finished shard"):
        list(read_samples([tmp_path], rig))
    make_shard(rig, options, tmp_path, 0)
    read = list(read_samples([tmp_path], rig))
    fresh = list(held_out(rig, "paper", 2, size=64, seed=3))
    for one, other in zip(read, fresh, strict=True):
        np.testing.assert_array_equal(one.rgb, other.rgb)
        np.testing.assert_array_equal(one.controls, other.controls)
        np.testing.assert_array_equal(one.landmarks, other.landmarks)
    shard = tmp_path / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:3000])
    with pytest.raises(FormatError, match=r"damaged|incomplete"):
        list(read_samples([tmp_path], rig))


def test_the_command(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = [
        "eval",
        "inversion",
        str(checkpoint),
        "--samples",
        "2",
        "--size",
        "64",
        "--quick",
        "--recipe",
        "paper",
    ]
    assert main([*typed, "--json", "-o", str(tmp_path), "--compare", f"twin={checkpoint}"]) == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    found = json.loads(line)
    assert found["recipe"] == "paper"
    assert found["samples"] == 2
    assert 0 < found["control_mae"] == found["paper_control_mae"]
    assert found["methods"]["paper"]["twin"] == found["methods"]["paper"]["network"]
    assert "--compare twin=tiny.safetensors" in (tmp_path / "report.md").read_text()
    assert read_image(tmp_path / "paper_examples.png").shape[1] > 4 * 200
    assert all(read_image(tmp_path / f"paper_{kind}.png").std() > 5 for kind in ("controls", "scatter"))


def test_held_out_samples_are_in_no_training_set_of_the_same_number(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def drawn(rig: Any, recipe: str, count: int, *, size: int, seed: int, normals: str) -> list[Sample]:
        seen.append(seed)
        raise InputError("enough")

    monkeypatch.setattr("omote.evaluation.inversion_samples.held_out", drawn)
    for number in ("0", "34"):
        main(["eval", "inversion", str(checkpoint), "--quick", "--recipe", "wild", "--seed", number])
    assert seen == [TEST_SEED, TEST_SEED + 34]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.safetensors"], "no such file"),
        (["FILE", "--samples", "0"], "--samples"),
        (["FILE", "--seed", "-1"], "--seed"),
        (["--rig", "PICTURES", "--data", "shards"], "--data: goes with the rig"),
        (["--rig", "PICTURES", "--axes", "+z-y"], "--axes: +z-y: pictures have none"),
        (["FILE", "--quick", "--unit", "cm"], "--unit: cm: the embedded head has its own"),
        (["FILE", "--quick", "--compare", "twin"], "NAME=FILE"),
        (["FILE", "--quick", "--data", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], said: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "jawOpen.png", np.zeros((32, 32, 3), np.uint8))
    given = {"FILE": str(checkpoint), "PICTURES": str(tmp_path)}
    typed = [given.get(word, word) for word in arguments]
    assert main(["eval", "inversion", *typed]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
