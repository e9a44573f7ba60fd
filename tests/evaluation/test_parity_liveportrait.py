"""LivePortrait's networks against the published numbers, and against folders that were tampered with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation.tiny_parity import change, change_stored

from omote.evaluation.parity import FolderResult, run_folder
from omote.evaluation.parity.liveportrait import build


@pytest.fixture(scope="module")
def kit(shared_dir: Path) -> Path:
    folder = shared_dir / "parity" / "liveportrait"
    if not folder.is_dir():
        pytest.skip("needs the parity kit")
    return folder


def failures(result: FolderResult) -> list[Any]:
    rows = [(case.case, row) for case in result.cases for row in case.rows if not row.passed]
    return [result.problem, result.networks, [case.problem for case in result.cases], rows]


@pytest.mark.parametrize("pattern", ["appearance*_s1", "motion_extractor_s0", "stitching*", "eye*", "lip*"])
def test_fast_networks_give_the_published_numbers(kit: Path, pattern: str) -> None:
    result = run_folder(kit, pattern=pattern)
    assert result.passed, failures(result)
    assert len(result.networks) == 7


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["appearance*_s0", "motion*_s1", "warping*", "spade*", "composed*"])
def test_all_networks_give_the_published_numbers(kit: Path, pattern: str) -> None:
    result = run_folder(kit, pattern=pattern)
    assert result.passed, failures(result)


@pytest.fixture
def copy(kit: Path, tmp_path: Path) -> Path:
    """The kit with the cases of the small networks only, writable."""
    for path in [kit / "manifest.json", *kit.glob("stitching*"), *kit.glob("lip*")]:
        shutil.copyfile(path, tmp_path / path.name)
    change(
        tmp_path,
        lambda m: m.update(cases=[case for case in m["cases"] if case["network"] in ("stitching", "lip")]),
    )
    return tmp_path


def test_one_damaged_number_fails_its_case_alone(copy: Path) -> None:
    def edit(tensors: dict[str, np.ndarray]) -> None:
        tensors["delta"][2, 17] += 0.01

    change_stored(copy, "lip_s1.safetensors", edit)
    result = run_folder(copy)
    assert [case.case for case in result.cases if not case.passed] == ["lip_s1"]
    assert result.cases[-1].rows[0].difference == pytest.approx(0.01, rel=0.01)


def test_other_seeds_and_shapes_are_run_as_they_are_stated(copy: Path) -> None:
    """Expected values that plain NumPy gives for another seed, batch and range."""
    from omote.models.seeded import seeded_array

    seed, rows = 4242, 7
    manifest = json.loads((copy / "manifest.json").read_text())
    listed = manifest["networks"]["lip"]["tensors"]
    weights = {name: seeded_array(name, tuple(shape), seed) for name, shape, _ in listed}
    case = next(case for case in manifest["cases"] if case["name"] == "lip_s0")
    parts = []
    for entry in case["inputs"]:
        entry["shape"][0], entry["low"] = rows, -0.2
        entry["name"] = f"my_{entry['name']}"
        import zlib

        rng = np.random.default_rng([seed, zlib.crc32(entry["name"].encode())])
        parts.append(rng.uniform(-0.2, entry["high"], entry["shape"]).astype(np.float32).reshape(rows, -1))
    x = np.concatenate(parts, 1)
    for layer in (0, 2, 4, 6):
        x = x @ weights[f"mlp.{layer}.weight"].T + weights[f"mlp.{layer}.bias"]
        x = np.maximum(x, 0) if layer < 6 else x
    case.update(name="lip_new", seed=seed)
    case["outputs"][0].update(shape=[rows, 63], mean=float(x.mean()), std=float(x.std()))
    case["outputs"][0]["max_abs"] = float(np.abs(x).max())
    case["outputs"][0]["tensors"] = [{"key": "delta", "slice": "[1:, ::5]", "shape": [rows - 1, 13]}]
    manifest["cases"] = [case]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    change_stored(copy, "lip_s0.safetensors", lambda tensors: tensors.update(delta=x[1:, ::5].copy()))
    result = run_folder(copy)
    assert result.passed, failures(result)


@pytest.mark.parametrize(
    ("network", "options", "words"),
    [
        ("lip", {"input_size": 65, "hidden_sizes": [8], "output_size": 63, "dropout": 0.1}, "dropout"),
        ("motion_extractor", {"drop_path_rate": 0.2}, "drop_path_rate = 0.2 is not known"),
        ("stitching", {}, "options do not fit"),
        ("warping_module", {"dense_motion_params": 3}, "dense_motion_params"),
        ("audio", {}, "no network 'audio'"),
    ],
)
def test_options_that_no_network_has_are_refused(network: str, options: dict[str, Any], words: str) -> None:
    from omote.errors import InputError

    with pytest.raises(InputError, match=words):
        build(network, options)


def test_smaller_networks_are_built_as_the_manifest_says() -> None:
    made = build(
        "motion_extractor", {"num_kp": 5, "depths": [1, 1, 1, 1], "dims": [4, 4, 8, 8], "drop_path_rate": 0.0}
    )
    assert made.state_dict()["detector.fc_exp.weight"].shape == (15, 8)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"network": "none", "name": "math_tides_s0"}, "no mathematics called 'math_tides'"),
        ({"network": "all"}, "a source and two driving images are expected"),
        ({"network": "warping_module"}, "the input feature_3d is missing"),
        ({"network": "spade_generator", "inputs": []}, "one input is expected, got none"),
        ({"network": "sound"}, "no network 'sound'"),
    ],
)
def test_cases_that_liveportrait_does_not_have(copy: Path, edit: dict[str, Any], words: str) -> None:
    small = {"block_expansion": 4, "max_features": 12, "reshape_channel": 3, "num_down_blocks": 1}
    dense = {"block_expansion": 4, "max_features": 8, "num_blocks": 1, "reshape_depth": 4, "compress": 1}

    def apply(document: dict[str, Any]) -> None:
        document["networks"] = {
            "warping_module": {"hyperparameters": {**small, "dense_motion_params": dense}},
            "spade_generator": {"hyperparameters": {"block_expansion": 4, "max_features": 8}},
        }
        document["cases"] = [{**document["cases"][0], **edit}]

    change(copy, apply)
    result = run_folder(copy)
    assert words in str(result.cases[0].problem)
