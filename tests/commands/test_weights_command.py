"""``omote weights`` with sets of model files: what is printed, and the exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from omote.cli import main
from omote.commands.weights_check import check_tensors
from omote.errors import WeightsError
from omote.models.liveportrait import LivePortraitConfig, RetargetingNet
from omote.weights import Licence, registry

Say = Any


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OMOTE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("omote.weights.download.time.sleep", lambda _: None)
    return tmp_path / "home"


def stitching_file() -> dict[str, Any]:
    """The official file of the three small networks, with entries that nobody needs."""
    sizes = LivePortraitConfig()
    nets = {"shoulder": sizes.stitching, "mouth": sizes.lip, "eye": sizes.eye}
    held: dict[str, Any] = {}
    for name, size in nets.items():
        state = RetargetingNet(size).state_dict()
        held[f"retarget_{name}"] = {f"module.{key}": value for key, value in state.items()}
    return {**held, "epoch": 100, "optimizer": {"lr": 1e-4}}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "pretrained_weights"
    (folder / "liveportrait/retargeting_models").mkdir(parents=True)
    torch.save(stitching_file(), folder / "liveportrait/retargeting_models/stitching_retargeting_module.pth")
    (folder / "liveportrait/base_models").mkdir()
    torch.save({"detector.x": torch.ones(2)}, folder / "liveportrait/base_models/motion_extractor.pth")
    (folder / "insightface").mkdir()
    (folder / "insightface/det_10g.onnx").write_bytes(b"onnx")
    return folder


def test_import_verify_and_list(release: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = release / "liveportrait/base_models/motion_extractor.pth"
    assert main(["weights", "import", str(release)]) == 2
    out, err = capsys.readouterr()
    assert f"omote: error: {bad}: the tensor detector." in err
    assert "is missing, expected shape (96, 3, 4, 4)" in err
    lines = out.splitlines()
    assert lines[0].startswith(
        "liveportrait appearance_feature_extractor: missing; it is liveportrait/base_models/"
    )
    assert "liveportrait stitching_retargeting_module: imported from " in lines[-2]
    assert lines[-2].endswith("(not the published bytes: saved again, or another version)")
    assert (
        lines[-1] == "insightface det_10g.onnx: not needed, left where it is (non-commercial research only)"
    )

    bad.unlink()
    assert main(["weights", "import", str(release), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["status"] for row in rows] == ["missing"] * 4 + ["already here"]
    assert rows[-1]["path"] == str(home / "weights/liveportrait/stitching_retargeting_module.safetensors")

    assert main(["weights", "verify", "liveportrait"]) == 2  # four are missing
    out, err = capsys.readouterr()
    assert err.count("not on this machine: `omote weights get liveportrait`") == 4
    assert "stitching_retargeting_module: sound, not the published bytes" in out

    assert main(["weights", "list", "liveportrait"]) == 0
    out = capsys.readouterr().out
    assert "sha256   251e6a94ad667a1d0c69526d292677165110ef7f0cf0f6d199f0e414e8aa0ca5" in out
    assert out.count("here     no") == 4
    assert main(["weights", "list"]) == 0
    assert "1 of 5 files here: `omote weights get liveportrait`" in capsys.readouterr().out


def test_tensors_are_compared_with_the_networks() -> None:
    held = stitching_file()
    check_tensors("liveportrait", "stitching_retargeting_module", held)
    flat = {
        f"{entry}_{name}": value
        for entry, net in held.items()
        if entry.startswith("retarget")
        for name, value in net.items()
    }
    check_tensors("liveportrait_animals", "stitching_retargeting_module", flat)
    held["retarget_eye"]["module.mlp.0.weight"] = torch.ones(256, 65)
    with pytest.raises(WeightsError, match=r"mlp.0.weight has shape \(256, 65\), expected \(256, 66\)"):
        check_tensors("liveportrait", "stitching_retargeting_module", held)
    del flat["retarget_mouth_module.mlp.6.bias"]
    with pytest.raises(WeightsError, match=r"retarget_mouth: the tensor mlp.6.bias is missing"):
        check_tensors("liveportrait", "stitching_retargeting_module", flat)


def test_without_a_network_one_line_says_what_goes_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "get", "liveportrait"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "liveportrait/base_models/appearance_feature_extractor.pth cannot be downloaded" in err
    assert "spade_generator.pth, stitching_retargeting_module.pth anywhere below one FOLDER" in err


def test_commercial_safe(
    release: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", "get", "insightface", "--commercial-safe"]) == 2
    assert "InsightFace non-commercial) does not permit commercial use" in capsys.readouterr().err
    assert main(["weights", "list", "--json", "--commercial-safe"]) == 0
    out, err = capsys.readouterr()
    assert {row["name"] for row in json.loads(out)} == {
        "face_landmarker",
        "liveportrait",
        "liveportrait_animals",
        "liveportrait_landmarks",
    }
    assert "xpose left out: X-Pose non-commercial" in err
    assert main(["weights", "import", str(release), "--json"]) == 2
    terms = Licence("CC-BY-NC-4.0", "research only", commercial=False)
    closed = replace(registry._SETS["liveportrait"], licence=terms)
    monkeypatch.setitem(registry._SETS, "liveportrait", closed)
    for command in (["get", "liveportrait"], ["import", str(release)], ["verify", "liveportrait"]):
        capsys.readouterr()
        assert main(["weights", *command, "--commercial-safe"]) == 2
        assert "(CC-BY-NC-4.0) does not permit commercial use" in capsys.readouterr().err


def test_wrong_names_and_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, says in (
        (["get", "live-portrait"], "Known: liveportrait, liveportrait_animals, face_landmarker."),
        (["get"], "Try `omote weights get liveportrait`"),
        (["import", str(tmp_path / "none")], "there is no such folder or file"),
        (["list", "insightface"], "not needed and never fetched"),
    ):
        assert main(["weights", *arguments]) == 2
        err = capsys.readouterr().err
        assert says in err
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", ["list", "get", "import", "verify", "fetch"])
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["weights", command, "--help"])
    assert caught.value.code == 0
    assert f"Examples:\n  omote weights {command}" in capsys.readouterr().out
