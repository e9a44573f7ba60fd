"""``omote perform`` and ``omote edit`` as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import omote
from omote.cli import main
from omote.media import open_video, read_image


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_preset_becomes_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["perform", "--preset", "smile", "--to", "livelink", "--duration", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "31 frames, 1.00 s",
        "smile.omote",
        "smile.livelink.csv",
        "smile.livelink.json",
    ]
    take = omote.load("smile.omote")
    assert take == omote.perform("smile", duration=1.0)
    assert take.source["preset"] == "smile"
    assert omote.load("smile.livelink.csv").track("mouthSmileLeft").max() > 0.5


def test_previews_show_the_head_moving() -> None:
    arguments = ["perform", "--emotion", "surprise", "--duration", "1", "--fps", "5", "-o", "a.omote"]
    assert main([*arguments, "--preview", "a.png"]) == 0
    sheet = read_image("a.png")
    first, middle = sheet[5:205, 5:205].astype(int), sheet[5:205, 415:615].astype(int)
    assert sheet.shape[1] > 1200
    assert np.abs(first - middle).mean() > 4
    assert main([*arguments, "--preview", "a.gif"]) == 0
    with open_video("a.gif") as video:
        assert sum(1 for _ in video) == 6


def test_the_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["perform", "--list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"blink", "smile", "talk", "nod", "look-around", "idle"} <= told["presets"].keys()
    assert told["emotions"]["happy"].startswith("6")
    assert main(["perform", "--list"]) == 0
    assert "winkLeft" not in capsys.readouterr().out  # told as "wink, also with Left or Right"


def test_an_edit_says_what_changed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["perform", "--preset", "nod", "-o", "nod.omote"])
    capsys.readouterr()
    arguments = [
        "--set",
        "mouthSmile*=+0.2",
        "--set",
        "jaw_open=0.1",
        "--mirror",
        "--gaze",
        "camera",
        "--retime",
        "1.2",
    ]
    assert main(["edit", "nod.omote", *arguments, "-o", "out.omote"]) == 0
    out = capsys.readouterr().out
    assert "corner_pull_L: mean 0.000 -> 0.200" in out
    assert "2.20 s -> 67 frames, 2.64 s" in out
    assert out.splitlines()[-1] == "out.omote"
    edited = omote.load("out.omote")
    assert edited.track("jaw_open") == pytest.approx(0.1)
    assert edited.track("corner_pull_R") == pytest.approx(0.2)
    assert main(["edit", "out.omote", "--turn=-10,5,0", "--gain", "eyes=0", "--json", "-o", "b.omote"]) == 0
    changes = {row["control"]: row for row in json.loads(capsys.readouterr().out)["changes"]}
    assert changes["gaze_yaw_L"]["mean_after"] == 0


def test_a_consent_statement_travels_in_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["perform", "--preset", "blink", "-o", "a.omote"]) == 0
    assert main(["edit", "a.omote", "--consent", "Ada  agreed", "-o", "b.omote"]) == 0
    assert omote.load("b.omote").source["consent"] == "Ada agreed"
    assert main(["edit", "b.omote", "--mirror", "-o", "c.omote"]) == 0
    assert omote.load("c.omote").source["consent"] == "Ada agreed"
    capsys.readouterr()
    assert main(["edit", "a.omote", "--consent", " ", "-o", "d.omote"]) == 2
    assert "consent" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["perform"], "say one of"),
        (["perform", "--preset", "smlie"], "no preset"),
        (["perform", "--preset", "smile", "--preview", "a.txt"], "cannot be"),
        (["perform", "--preset", "smile", "--to", "fbx"], "unknown format"),
        (["perform", "--score", "0 smlie"], "Did you mean smile"),
        (["perform", "--preset", "smile", "--seed", "-1"], "--seed"),
        (["edit", "none.omote", "--mirror", "-o", "a.omote"], "none.omote"),
        (["edit", "take.omote", "-o", "a.omote"], "no change"),
        (["edit", "take.omote", "--mirror", "-o", "take.omote"], "same file"),
        (["edit", "take.omote", "--gaze", "left", "-o", "a.omote"], "camera"),
        (["edit", "take.omote", "--gain", "lips", "-o", "a.omote"], "REGION=FACTOR"),
        (["edit", "take.omote", "--gain", "mouth=2", "-o", "a.omote"], "no region"),
        (["edit", "take.omote", "--set", "jaw", "-o", "a.omote"], "cannot read"),
        (["edit", "take.omote", "--start", "9", "-o", "a.omote"], "no frames"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    omote.perform("blink").save("take.omote")
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert words in told.err
    assert told.err.count("\n") == 1
    assert not Path("a.omote").exists()
