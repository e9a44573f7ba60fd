"""The command line as people meet it: processes, exit codes, one line for each mistake, JSON that parses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from omote import __version__
from omote.cli import main
from omote.commands.export import ExportArgs
from omote.commands.tasks import Task
from omote.commands.work import capture_task
from omote.controls import ARKIT52, FACS102
from omote.performance import Camera, Performance


def run(
    *arguments: str | Path, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """``omote`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "omote.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", **environment},
    )


Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """``omote`` in this process, which saves its start."""
    monkeypatch.setenv("COLUMNS", "100")

    def called(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        words = list(map(str, arguments))
        try:
            code = main(words)
        except SystemExit as left:
            code = int(left.code or 0)
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, out, err)

    return called


def assert_mistake(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One clear line, exit code 2, no traceback, nothing on standard output."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("omote: error: ")
    for word in words:
        assert word in lines[0]


@pytest.fixture
def take() -> Performance:
    """Two seconds at 25 frames a second: the jaw opens and closes, the left lid blinks."""
    times = np.arange(50) / 25
    controls = np.zeros((50, len(FACS102)), np.float32)
    controls[:, FACS102.index("jaw_open")] = 0.5 - 0.5 * np.cos(2 * np.pi * times)
    controls[20:24, FACS102.index("lid_close_L")] = 1.0
    return Performance(
        space=FACS102,
        controls=controls,
        head_rotation=np.tile(np.float32([0.1, 0.2, 0.0]), (50, 1)),
        head_translation=np.tile(np.float32([0, 0, -0.6]), (50, 1)),
        confidence=np.ones(50, np.float32),
        times=times,
        camera=Camera(focal=800.0, principal=(320.0, 240.0), size=(640, 480)),
        source={"file": "made.mp4"},
    )


@pytest.fixture
def take_file(take: Performance, tmp_path: Path) -> Path:
    return take.save(tmp_path / "take.omote")


# ---- help and version ----


@pytest.mark.parametrize(
    "command", ["capture", "info", "export", "convert", "animate", "rig", "demo", "weights", "version"]
)
def test_each_command_explains_itself_with_examples(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"usage: omote {command}" in done.stdout
    assert f"Examples:\n  omote {command}" in done.stdout


@pytest.mark.parametrize("command", ["rig transfer", "weights get", "eval list", "train clips"])
def test_each_subcommand_shows_its_examples(command: str, call: Call) -> None:
    done = call(*command.split(), "--help")
    assert done.returncode == 0
    assert f"Examples:\n  omote {command}" in done.stdout, "a line each, not run together"


def test_the_options_of_one_engine_are_under_a_heading_of_their_own(call: Call) -> None:
    common, heading, own = call("animate", "--help").stdout.partition("liveportrait options")
    assert heading
    explained = [set(re.findall(r"^\W+(--[a-z-]+) ", part, re.MULTILINE)) for part in (common, own)]
    assert {"--preset", "--set", "--size", "--engine"} <= explained[0] - explained[1]
    assert {"--weights", "--slider", "--compat", "--no-stitching"} <= explained[1] - explained[0]
    assert ".pkl" in common


def test_bare_omote_shows_the_commands() -> None:
    done = run()
    assert done.returncode == 0
    for command in ("capture", "info", "export", "convert", "animate", "rig", "demo", "weights", "version"):
        assert f"• {command}" in done.stdout


def test_export_help_names_every_format() -> None:
    from omote.export import FORMATS

    words = set((ExportArgs.__doc__ or "").replace(",", " ").split())
    assert {form.name for form in FORMATS} <= words


def test_version() -> None:
    assert run("--version").stdout == f"omote {__version__}\n"
    facts = json.loads(run("version", "--json").stdout)
    assert facts["omote"] == __version__
    assert facts["torch"].startswith("2.")


def test_wrong_arguments_exit_with_2() -> None:
    assert run("captur").returncode == 2
    done = run("capture", "a.jpg", "--ovewrite")
    assert done.returncode == 2
    assert "--overwrite" in done.stderr  # the nearest spelling
    assert run("rig").returncode == 2


# ---- mistakes ----


def test_a_missing_file(tmp_path: Path) -> None:
    for command, name in (("capture", "nobody.mp4"), ("info", "nobody.mp4"), ("export", "nobody.omote")):
        assert_mistake(run(command, name, cwd=tmp_path), name, "no such file")
    assert list(tmp_path.iterdir()) == [], "nothing is made for an input that is not there"


def test_nothing_given(call: Call) -> None:
    assert_mistake(call("capture"), "no photo, video, scan or folder was given")
    assert_mistake(call("info"), "no file was given")
    assert_mistake(call("export"), "no performance was given")


def test_an_unknown_format_is_told_with_the_nearest(call: Call, take_file: Path) -> None:
    assert_mistake(call("export", take_file, "--to", "gbl"), "'gbl'", "Did you mean glb?")
    photo = take_file.with_name("a.png")
    photo.write_bytes(b"x")
    assert_mistake(call("capture", photo, "--to", "livelnk"), "'livelnk'", "Did you mean livelink?")
    assert_mistake(call("convert", take_file, take_file.with_name("a.fbx")), "a.fbx", ".glb")


def test_an_option_that_no_format_has(call: Call, take_file: Path) -> None:
    assert_mistake(call("export", take_file, "--to", "npz", "--targets", "arkit"), "targets", "npz")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--face", "larges"), ("--face", "Did you mean 'largest'?")),
        (("--face", "-1"), ("--face",)),
        (("--smooth", "2"), ("--smooth", "0..1")),
        (("--jobs", "-2"), ("--jobs",)),
    ],
)
def test_a_value_out_of_range(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    photo = tmp_path / "a.png"
    photo.write_bytes(b"x")
    assert_mistake(call("capture", photo, *arguments), *words)


def test_a_folder_without_media(call: Call, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert_mistake(call("capture", tmp_path), str(tmp_path), "no photo or video")


def test_a_file_that_is_no_performance(call: Call, tmp_path: Path) -> None:
    bad = tmp_path / "bad 悪い.omote"
    bad.write_bytes(b"\x00" * 100)
    assert_mistake(call("info", bad), bad.name, "not an Omote performance")
    assert_mistake(call("export", bad, "--to", "npz"), bad.name)
    assert_mistake(call("convert", bad, tmp_path / "b.npz"), bad.name)


def test_an_output_that_cannot_be_written(take_file: Path) -> None:
    blocked = take_file / "out"  # under a regular file: not even root can write there
    assert_mistake(run("export", take_file, "--to", "npz", "-o", blocked), "cannot be written")
    photo = take_file.with_name("a.png")
    photo.write_bytes(b"x")
    assert_mistake(run("capture", photo, "-o", blocked), "cannot be written")


def test_convert_onto_itself(call: Call, take_file: Path) -> None:
    before = take_file.read_bytes()
    assert_mistake(call("convert", take_file, take_file), "same file")
    assert take_file.read_bytes() == before


def test_an_unknown_space_and_an_empty_cut(call: Call, take_file: Path) -> None:
    target = take_file.with_name("b.omote")
    assert_mistake(call("convert", take_file, target, "--space", "flame"), "flame", "arkit52")
    assert_mistake(call("convert", take_file, target, "--start", "9"), "no frames")
    assert_mistake(call("rig", "list", "no_such_*"), "no_such_*")
    assert not target.exists()


def test_a_fault_is_one_line_unless_debugging(
    take_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("omote.export.read", broken)
    monkeypatch.delenv("OMOTE_DEBUG", raising=False)
    assert main(["export", str(take_file)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(
        "omote: error: ZeroDivisionError: by nothing. This is a fault in Omote; OMOTE_DEBUG=1 "
    )
    assert err.count("\n") == 1
    monkeypatch.setenv("OMOTE_DEBUG", "1")
    assert main(["export", str(take_file)]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("loading", [False, True])
def test_ctrl_c_says_how_to_go_on(
    take_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], loading: bool
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        if not loading:
            raise KeyboardInterrupt
        raise ImportError("initialization failed") from KeyboardInterrupt()  # as native modules say it

    monkeypatch.setattr("omote.export.read", interrupted)
    monkeypatch.setattr("omote.commands.work._capture_one", interrupted)
    assert main(["export", str(take_file)]) == 130
    assert capsys.readouterr().err == "stopped; run the same command again to resume\n"
    task = Task(
        take_file, take_file.with_suffix(""), "largest", 0.5, overlay=False, formats=(), overwrite=False
    )
    with pytest.raises(KeyboardInterrupt):
        capture_task(task, lambda *_: None)


@pytest.mark.skipif(os.name == "nt", reason="pipes differ")
def test_a_pipe_that_closes_early(take_file: Path) -> None:
    command = f"'{sys.executable}' -m omote.cli rig list --json | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout[0] == "["
    assert done.stdout.strip()[1:] in ("0", "141")


# ---- results ----


def test_info(call: Call, take_file: Path) -> None:
    done = call("info", take_file)
    assert done.returncode == 0
    assert "frames: 50" in done.stdout
    facts = json.loads(call("info", take_file, "--json").stdout)
    assert facts[0]["kind"] == "performance"
    assert facts[0]["frames"] == 50
    assert facts[0]["file"] == str(take_file)


def test_info_of_a_photo(tmp_path: Path) -> None:
    from omote.media import write_image

    write_image(tmp_path / "写真 1.png", np.zeros((30, 40, 3), np.uint8))
    done = run("info", tmp_path / "写真 1.png", "--json", PYTHONUTF8="1")
    assert json.loads(done.stdout)[0]["size"] == "40 x 30 px"


def test_export_several(call: Call, take_file: Path, tmp_path: Path) -> None:
    done = call("export", take_file, "--to", "npz,arkit-csv", "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    outputs = json.loads(done.stdout)["results"][0]["outputs"]
    assert sorted(Path(output).name for output in outputs) == ["take.arkit.csv", "take.npz"]
    assert all(Path(output).is_file() for output in outputs)


def test_convert_cuts_resamples_mirrors_and_renames(call: Call, take: Performance, take_file: Path) -> None:
    target = take_file.with_name("short.omote")
    arguments = ("--start", "0.8", "--end", "1.6", "--fps", "50", "--mirror", "--space", "arkit52")
    assert call("convert", take_file, target, *arguments).returncode == 0
    made = Performance.load(target)
    assert made.space == ARKIT52
    assert made.times[0] == pytest.approx(0.8)
    assert made.fps == pytest.approx(50)
    assert made.times[-1] < 1.6
    assert made.track("eyeBlinkRight").max() == pytest.approx(1.0)  # was the left one
    assert made.track("eyeBlinkLeft").max() == pytest.approx(0.0, abs=1e-6)
    assert made.head_rotation[0] == pytest.approx([0.1, -0.2, 0.0])


def test_rig_list(call: Call) -> None:
    rows = json.loads(call("rig", "list", "lid_close_*", "--json").stdout)
    assert [row["name"] for row in rows] == ["lid_close_L", "lid_close_R"]
    assert rows[0]["mirror"] == "lid_close_R"
    everything = call("rig", "list").stdout
    assert all(name in everything for name in FACS102.names)
    assert "eyeBlinkLeft" in call("rig", "list", "--space", "arkit52").stdout


def test_rig_show_draws_a_sheet_without_chatter(tmp_path: Path) -> None:
    from omote.media import read_image

    done = run("rig", "show", "--controls", "lid_close_*", "--size", "48", "-o", tmp_path / "s.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == str(tmp_path / "s.png")
    sheet = read_image(tmp_path / "s.png")
    assert min(sheet.shape[:2]) >= 96
    assert sheet.std() > 20


def test_weights_list(call: Call) -> None:
    rows = json.loads(call("weights", "list", "--json").stdout)
    assert "face_landmarker" in [row["name"] for row in rows]
    assert rows[0]["sha256"] == "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
