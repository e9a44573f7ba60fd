"""``omote animate`` as it is typed: what is printed, exit codes, default names. Capture and engine are faked."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from omote.cli import main
from omote.commands.animate import AnimateArgs, _Bars, default_output
from omote.commands.animate_liveportrait import LivePortraitArgs
from omote.drive.liveportrait.sliders import Sliders
from omote.media import VideoWriter, read_image, write_image

from .conftest import FakeEngine, shade, take_of

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    engine: FakeEngine,
    photo: Path,
    tmp_path: Path,
) -> Call:
    """``omote animate me.png ...`` in this process, in the folder of the photo."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(photo.parent)

    def called(*arguments: str | Path, photo: str = "me.png") -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        words = ["animate", *([photo] if photo else []), *map(str, arguments)]
        try:
            code = main(words)
        except SystemExit as left:
            code = int(left.code or 0)
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, out, err)

    return called


def clip(path: Path, frames: int = 5) -> Path:
    with VideoWriter(path, (64, 48), fps=25) as writer:
        for number in range(frames):
            writer.write(np.full((48, 64, 3), 30 * number, np.uint8))
    return path


def test_a_video_is_named_after_the_photo_and_the_driver(call: Call, photo: Path) -> None:
    done = call(clip(photo.with_name("talk.v2.mp4")).name)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first.startswith("me.png: animated in ")
    assert first.endswith(" a second)")
    assert "(5 frames, " in first
    assert second.strip() == "omote_output/me_talk.v2.mp4"
    assert (photo.parent / "omote_output" / "me_talk.v2.mp4").stat().st_size > 1000
    again = call("talk.v2.mp4")
    assert again.stdout.startswith("me.png: nothing to do, complete already (--overwrite makes it again)")
    assert "animated" in call("talk.v2.mp4", "--overwrite").stdout


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (AnimateArgs((), preset="look-around"), "me_look-around.mp4"),
        (AnimateArgs((), emotion="happy:0.7,sad:0.2"), "me_happy-0.7-sad-0.2.mp4"),
        (AnimateArgs((), score="0 neutral, 1 smile"), "me_score.mp4"),
        (AnimateArgs((), text="Hello, world"), "me_text.mp4"),
        (AnimateArgs((), preset="smile", strip=5), "me_smile.png"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_default_names(arguments: AnimateArgs, name: str) -> None:
    assert default_output(Path("a/me.jpg"), [], arguments.options()) == Path("omote_output") / name


def test_an_expression_gives_a_picture(call: Call, photo: Path, faces: list[object]) -> None:
    faces[0] = take_of([0.7])
    write_image(photo.with_name("grin.jpg"), np.full((30, 30, 3), 99, np.uint8))
    assert call("grin.jpg").stdout.endswith("  omote_output/me_grin.png\n")
    assert read_image(photo.parent / "omote_output" / "me_grin.png")[5, 5, 0] == shade(0.7)


def test_json(call: Call, take: Path) -> None:
    done = call("take.omote", "-o", "a.gif", "--json", "--fps", "10")
    facts = json.loads(done.stdout)
    assert done.stderr == ""
    assert facts.pop("seconds") > 0
    assert facts.pop("rate") > 0
    assert facts == {
        "photo": "me.png",
        "drivers": ["take.omote"],
        "outputs": ["a.gif"],
        "status": "animated",
        "frames": 3,
        "fps": 10.0,
        "duration": 0.3,
        "size": [96, 65],
        "faces": 1,
        "signed": True,
        "held": [],
        "resumed": 0,
        "take": None,
    }
    assert (
        json.loads(call("take.omote", "-o", "a.gif", "--json", "--fps", "10").stdout)["status"] == "complete"
    )


def test_every_option_of_the_motion(call: Call, take: Path, engine: FakeEngine) -> None:
    done = call(
        *("take.omote", "-o", "a.png", "--frame", "2", "--absolute", "--strength", "0.5", "--gaze=-10,5"),
        *("--set", "mouthSmile*=+0.2", "--set", "jaw_open=x0.5", "--regions", "lips,eyes", "--blinks", "20"),
        *("--face", "1,2", "--seed", "3", "--visible-mark", "--consent", "It is me."),
    )
    assert done.returncode == 0, done.stderr
    first = engine.motions[0][0]
    assert first is not None
    assert len(engine.motions[0]) == 2
    assert first.track("jaw_open")[0] == pytest.approx((0.08 + 0.5 * (1.0 - 0.08)) / 2)
    assert first.track("corner_pull_L")[0] == pytest.approx(0.2)
    assert first.track("gaze_yaw_L")[0] < -0.1


def test_leaving_the_credentials_out_says_what_that_means(call: Call) -> None:
    done = call("--preset", "wink", "-o", "a.png", "--no-credentials", "--json")
    assert json.loads(done.stdout)["signed"] is False
    assert done.stderr.startswith("omote: note: No Content Credentials")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing drives the photo. Give a video, a take (.omote, CSV, .pkl), or --preset smile."),
        (("gone.mp4",), "gone.mp4: there is no such file"),
        (("--preset", "smil"), "no preset is called 'smil'"),
        (("--emotion", "hapy"), "no emotion is called 'hapy'"),
        (("--score", "0 smil"), "smil"),
        (("--preset", "smile", "-o", "a.avi"), "a.avi: cannot write .avi files. Use .mp4"),
        (("--preset", "smile", "-o", "a.mkv"), "a.mkv"),
        (("--preset", "smile", "-o", "me.png"), "me.png: would replace what it is made from"),
        (("--preset", "smile", "--face", "7"), "me.png: there is no face 7. Found 3"),
        (("--preset", "smile", "--face", "al"), "Did you mean 'all'?"),
        (("--preset", "smile", "--gaze", "left"), "--gaze: 'left' is no direction"),
        (("--preset", "smile", "--set", "smile"), "smile"),
        (("--preset", "smile", "--relative", "--absolute"), "one of --relative and --absolute"),
        (("--preset", "smile", "--regions", "mouth"), "--regions: there is no region 'mouth'"),
        (("--preset", "smile", "--time", "9", "-o", "a.png"), "--time: 9 s is after the end"),
        (("--preset", "smile", "--engine", "pupet"), "there is no engine 'pupet'"),
        (("--preset", "smile", "--key", "k.pem"), "--certificate and --key go together"),
        (("me.png", "--preset", "smile"), "me.png: preset smile takes the place of a driver"),
    ],
)
def test_mistakes_are_one_line(call: Call, arguments: tuple[str, ...], words: str, photo: Path) -> None:
    done = call(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("omote: error: ")
    assert words in line
    assert [p.name for p in photo.parent.iterdir() if p.name not in ("me.png", "omote_output")] == []


def test_files_in_the_wrong_place(call: Call, photo: Path, take: Path) -> None:
    clip(photo.with_name("talk.mp4"))
    photo.with_name("notes.txt").write_text("x")
    for wrong, words in (
        ("talk.mp4", "talk.mp4: this is a video; what is animated is a photo. The photo comes first"),
        ("take.omote", "take.omote: this is a take, not a photo"),
        ("notes.txt", "notes.txt: this is not a photo"),
    ):
        assert words in call("me.png", photo=wrong).stderr
    assert "notes.txt: this is nothing that can drive a photo" in call("notes.txt").stderr
    assert "no photo was given" in call(photo="").stderr


def test_a_stage_of_unknown_length_is_over_when_the_next_one_begins() -> None:
    with _Bars(quiet=True) as bars:
        for what, done, total in (
            ("loading the networks", 0, None),
            ("animating", 0, 4),
            ("animating", 2, 4),
        ):
            bars(what, done, total)
        loading, animating = bars._progress.tasks
    assert loading.finished
    assert (animating.completed, animating.total, animating.finished) == (2, 4, False)


def test_every_option_and_slider_of_liveportrait_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "liveportrait.md").read_text("utf-8")
    for option in fields(LivePortraitArgs):
        name = option.name.replace("_", "-")
        assert f"`--{name}" in page or f"`--no-{name}`" in page, name
    for slider in fields(Sliders):
        (row,) = [line for line in page.splitlines() if line.startswith("|") and f"`{slider.name}`" in line]
        names, ranges = ([part.strip() for part in cell.split(", ")] for cell in row.split("|")[1:3])
        told = ranges[min(names.index(f"`{slider.name}`"), len(ranges) - 1)]
        low, high = slider.metadata["low"], slider.metadata["high"]
        assert told == (f"±{high:g}" if low == -high else f"{low:g} to {high:g}"), slider.name
