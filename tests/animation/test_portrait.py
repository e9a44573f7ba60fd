"""``omote animate --engine liveportrait`` from files to files. Networks are small, the renderer shows the source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.drive.liveportrait_small import SourceRenderer, small_nets

from omote.animation.portrait_compare import HEIGHT as PANEL
from omote.animation.portrait_moments import published_rate, stretches
from omote.cli import main
from omote.drive.liveportrait import extraction, networks, pipeline
from omote.drive.liveportrait.networks import load_nets
from omote.drive.liveportrait.renderer import PlainRenderer
from omote.drive.liveportrait.sliders import Sliders
from omote.drive.liveportrait.tracking import Followed
from omote.errors import InputError, NoFaceError
from omote.media import open_video, read_image
from omote.models.liveportrait.checkpoint import save_nets

from .conftest import HEIGHT, WIDTH, make, refused


@pytest.fixture(autouse=True)
def engine(portraits: list[SourceRenderer]) -> list[SourceRenderer]:
    """The renderers that were made."""
    return portraits


# ---- what is made ----


def test_a_photo_moves_at_the_times_of_its_driver(photo: Path, template: Path, tmp_path: Path) -> None:
    made = make(photo, template, tmp_path / "a.mp4")
    even = (WIDTH, HEIGHT + 1)  # as videos must be
    assert (made.status, made.frames, made.size, made.faces) == ("animated", 6, even, 1)
    assert made.held == ((2, 2),)
    assert [round(t, 2) for t, _ in open_video(made.path)] == [0.0, 0.04, 0.1, 0.14, 0.2, 0.24]
    again = make(photo, template, tmp_path / "a.mp4")
    assert (again.status, again.held, again.size) == ("complete", ((2, 2),), even)
    assert make(photo, template, tmp_path / "a.mp4", smooth=0.1).status == "animated", "another request"


def test_another_rate_and_a_looping_image(photo: Path, template: Path, tmp_path: Path) -> None:
    made = make(photo, template, tmp_path / "a.gif", fps=50)
    assert made.frames == 13
    assert make(photo, template, tmp_path / "frames", fps=10).frames == 3
    assert len(list((tmp_path / "frames").glob("*.png"))) == 3


def test_all_faces_of_a_photo(
    photo: Path, template: Path, tmp_path: Path, engine: list[SourceRenderer]
) -> None:
    made = make(photo, template, tmp_path / "a.png", face="all", frame=1)
    assert made.faces == 3
    assert engine[0].prepared == 3
    pixels = read_image(made.path)
    assert all((pixels[HEIGHT // 2, x] == 255).all() for x in (16, 48, 80))
    with pytest.raises(InputError, match="2 drivers for 3 faces"):
        make(photo, [template, template], tmp_path / "b.mp4", face="all")


def test_pictures(photo: Path, template: Path, tmp_path: Path, engine: list[SourceRenderer]) -> None:
    for options in ({"frame": 2}, {"time": 0.1}, {}):
        assert make(photo, template, tmp_path / "a.png", **options).frames == 1
        assert engine[-1].batches == [1], "only what is shown is rendered"
    assert make(photo, template, tmp_path / "s.png", strip=3).size[0] > 3 * WIDTH
    for options, message in (({"frame": 6}, "no frame 6"), ({"time": 9.0}, "after the end")):
        with pytest.raises(InputError, match=message):
            make(photo, template, tmp_path / "b.png", **options)


def test_sliders_need_no_driver(photo: Path, tmp_path: Path, engine: list[SourceRenderer]) -> None:
    assert make(photo, None, tmp_path / "a.png", sliders=Sliders(smile=1)).frames == 1
    eased = make(photo, None, tmp_path / "a.mp4", sliders=Sliders(smile=1), fps=10)
    assert (eased.frames, sum(engine[-1].batches)) == (23, 23), "it comes, stays and goes"
    with pytest.raises(InputError, match="nothing drives the photo"):
        make(photo, None, tmp_path / "b.png")
    strip = make(photo, None, tmp_path / "s.png", sliders=Sliders(smile=1), strip=4)
    assert strip.size[0] > 4 * WIDTH, "the expression as it comes and goes"
    assert make(photo, None, tmp_path / "t.png", sliders=Sliders(smile=1), time=0.6).frames == 1


def test_a_source_video_keeps_its_rate_and_its_frames_without_a_face(clip: Path, tmp_path: Path) -> None:
    made = make(clip, None, tmp_path / "a.mp4", silence=True)
    assert (made.frames, made.held) == (8, ((3, 4),))
    assert made.fps == pytest.approx(29.97, abs=0.01)
    middle = [int(pixels[32, 48].mean()) for _, pixels in open_video(made.path)]
    assert [level > 200 for level in middle] == [n not in (3, 4) for n in range(8)]


def levels(path: Path) -> list[int]:
    """How bright the middle of each frame is: 255 where a face was drawn, else 60 + 10 for each frame of the clip."""
    return [int(p[p.shape[0] // 2, p.shape[1] // 2].mean()) for _, p in open_video(path)]


@pytest.mark.parametrize(("rate", "frames"), [(10, 3), (29.97, 8), (60, 16)])
def test_a_source_video_at_another_rate_shows_the_nearest_frames(
    clip: Path, tmp_path: Path, engine: list[SourceRenderer], rate: float, frames: int
) -> None:
    made = make(clip, None, tmp_path / "a.mp4", silence=True, fps=rate)
    assert made.frames == frames
    times = [time for time, _ in open_video(made.path)]
    assert np.allclose(times, np.arange(frames) / rate, atol=2e-3)
    nearest = np.abs(np.arange(8)[:, None] / 29.97 - np.array(times)).argmin(0)
    assert [abs(level - 60 - 10 * n) < 8 for level, n in zip(levels(made.path), nearest, strict=True)] == [
        n in (3, 4) for n in nearest
    ], "the frames without a face are seen as they are"
    held = np.flatnonzero(np.isin(nearest, (3, 4)))
    assert made.held == ((((int(held[0]), int(held[-1]))),) if len(held) else ())
    assert sum(engine[-1].batches) == len(set(nearest) - {3, 4}), "each is drawn once"


def test_a_source_video_is_made_smaller(
    clip: Path, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(clip, template, tmp_path / "a.mp4", size=48)
    assert (made.size, made.frames) == ((48, 32), 8)
    assert [level > 200 for level in levels(made.path)] == [n not in (3, 4) for n in range(8)]
    assert make(clip, template, tmp_path / "b.mp4", size=4000).size == (96, 64), "never larger"
    looped = make(clip, template, tmp_path / "c.gif")
    assert looped.frames == 7, "at most 25 frames a second, as of photos"
    with pytest.raises(InputError, match="Leave out --size or --no-paste-back"):
        make(clip, template, tmp_path / "d.mp4", size=48, paste_back=False)
    official = make(clip, template, tmp_path / "e.mp4", size=48, compat="official")
    assert official.size == (48, 32)
    monkeypatch.setattr("omote.animation.limits.LOOP_SIDE", 48)
    assert make(clip, template, tmp_path / "f.gif", compat="official").size == (48, 32), (
        "as any looping image"
    )


def test_a_photo_is_reduced_once_in_the_official_mode(photo: Path, template: Path, tmp_path: Path) -> None:
    made = make(photo, template, tmp_path / "a.png", size=50, frame=0, compat="official")
    assert made.size == (50, 32), "65 * 50 / 96 = 33.9, cut to even sides, as published"
    assert make(photo, template, tmp_path / "b.png", size=50, frame=0).size == (50, 34)


def test_a_source_video_lasts_as_long_as_its_driver(clip: Path, template: Path, tmp_path: Path) -> None:
    made = make(clip, template, tmp_path / "a.mp4")
    assert made.frames == 8, "0.24 s at 29.97 frames a second"
    official = make(clip, template, tmp_path / "b.mp4", compat="official")
    assert official.frames == 6, "frame by frame, as published"
    assert official.fps == pytest.approx(29), "cut to whole frames a second, as published"


def test_side_by_side(photo: Path, clip: Path, template: Path, tmp_path: Path) -> None:
    width = 2 * round(WIDTH * PANEL / HEIGHT / 2)
    assert make(photo, template, tmp_path / "a.png", compare=True, frame=0).size == (2 * width, PANEL)
    made = make(photo, clip, tmp_path / "b.png", compare=True, frame=7)
    assert made.size == (2 * width + 768, PANEL)
    level = int(read_image(made.path)[40, width + 384].mean())
    assert level == pytest.approx(130, abs=6), "the driver's last frame"
    assert make(clip, template, tmp_path / "c.png", compare=True).size == (768, PANEL)


def test_networks_of_another_size_come_from_their_folder(
    photo: Path, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "load_nets", load_nets)
    monkeypatch.setattr(pipeline, "make_renderer", PlainRenderer)
    save_nets(tmp_path / "mine", small_nets(input_size=64), {})
    made = make(photo, template, tmp_path / "a.png", weights=tmp_path / "mine", paste_back=False, frame=0)
    assert made.size == (128, 128)
    assert make(photo, template, tmp_path / "b.mp4", weights=tmp_path / "mine").size == (WIDTH, HEIGHT + 1)


def test_results_are_signed(photo: Path, template: Path, tmp_path: Path) -> None:
    from omote.provenance import verify

    made = make(photo, template, tmp_path / "a.png", credentials=True, frame=0)
    assert made.signed
    assert verify(made.path)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "jaw_open=+0.1"], "--set: motion is a motion template, which has no rig controls"),
        (["--gaze", "camera"], "--gaze: motion is a motion template"),
        (["--blinks", "12"], "--blinks: motion is a motion template"),
        (["--save-take", "x.mp4"], "x.mp4: a take is kept as .omote"),
        (["--compat", "official", "--set", "jaw_open=+0.1"], "--set: the official mode does not know this"),
        (["--slider", "smille=1"], "no slider 'smille'. Did you mean smile?"),
        (["--slider", "smile=2"], "slider smile: got 2.0"),
        (["--slider", "smile"], "is no NAME=VALUE"),
        (["--compat", "unofficial"], "'unofficial' is not known"),
        (["--compat", "official", "--regions", "eyes,lips"], "the official mode has no such choice"),
        (["--compat", "official", "--smooth", "0.2"], "--smooth: the official mode does not know"),
        (["--compat", "official", "--reference", "3"], "the official mode has no choice of reference"),
        (["--compat", "official", "--driving-option", "expression-friendly"], "has no effect"),
        (["--compat", "official", "--fps", "10"], "keeps the driver's frames"),
        (["--driving-option", "friendly"], "'friendly' is not known"),
        (["--lip-ratio", "2"], "--lip-ratio: 2 is not in 0..0.8"),
        (["--lip-ratio", "0.2", "--silence"], "give one of --silence and --lip-ratio"),
        (["--reference", "17"], "the driver has no frame 17"),
    ],
)
def test_options_that_cannot_be(
    words: list[str],
    message: str,
    photo: Path,
    template: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    output = tmp_path / "made" / "a.mp4"
    line = refused(capsys, photo, template, "--engine", "liveportrait", "-o", output, *words)
    assert message in line
    assert not output.parent.exists() or not list(output.parent.iterdir())


def test_the_puppet_refuses_what_only_liveportrait_knows(
    photo: Path, take: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--weights", "seeded:0"], ["--slider", "smile=1"], ["--no-stitching"], ["--silence"]):
        line = refused(capsys, photo, take, *words)
        assert f"{words[0]}: the engine puppet does not know this option. Add --engine liveportrait." in line
    assert "Videos: --engine liveportrait." in refused(capsys, clip, take)
    assert "Engines: puppet, liveportrait." in refused(capsys, photo, take, "--engine", "puppets")


def test_files_that_go_wrong(
    photo: Path, template: Path, clip: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    engine = ("--engine", "liveportrait", "-o", tmp_path / "made" / "a.mp4")
    empty, cut = tmp_path / "empty.mp4", tmp_path / "cut.mp4"
    empty.touch()
    cut.write_bytes(clip.read_bytes()[:300])
    for source, driver in ((empty, template), (photo, empty)):
        assert "the file is empty" in refused(capsys, source, driver, *engine)
    for source, driver in ((cut, template), (photo, cut)):
        assert "cut.mp4: there are no pictures in this file" in refused(capsys, source, driver, *engine)
    dark = tmp_path / "dark.png"
    from omote.media import write_image

    write_image(dark, np.zeros((64, 64, 3), np.uint8))
    assert "dark.png: no face was found" in refused(capsys, dark, template, *engine)
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert str(blocked) in refused(capsys, photo, template, *engine[:3], blocked / "a.mp4")
    assert not (tmp_path / "made").exists() or not list((tmp_path / "made").iterdir())


def test_a_video_without_a_face_names_the_file(
    photo: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: Any) -> Followed:
        raise NoFaceError("no face was found")

    monkeypatch.setattr(extraction, "follow_faces", nobody)
    for source, driver in ((photo, clip), (clip, clip)):
        with pytest.raises(NoFaceError, match=r"clip\.mp4: no face was found"):
            make(source, driver, tmp_path / "a.mp4")
    assert not list(tmp_path.glob("a.mp4*"))


def test_random_weights_are_said_plainly(
    photo: Path, template: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["animate", str(photo), str(template), "--engine", "liveportrait", "--weights", "seeded:0"]
    assert main([*words, "-o", str(tmp_path / "a.mp4"), "--no-credentials"]) == 0
    out, err = capsys.readouterr()
    assert "random weights: the result shows the machinery, not a face" in err
    assert "no face for frames 2 of the result: the driver's motion is held there" in err
    assert "animated in" in out
    assert main([*words, "-o", str(tmp_path / "a.mp4"), "--no-credentials", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["held"] == [[2, 2]]


def test_stretches() -> None:
    assert stretches(np.array([1, 0, 1, 1, 0, 1], bool)) == ((0, 0), (2, 3), (5, 5))
    assert stretches(np.zeros(3, bool)) == ()


def test_the_published_rate_is_a_whole_number() -> None:
    frames = np.arange(48)
    for rate, whole in (
        (30000 / 1001, 29),
        (24000 / 1001, 23),
        (24, 24),
        (25, 25),
        (30, 30),
        (60, 60),
        (0.5, 1),
    ):
        assert published_rate(frames / rate) == whole
        assert published_rate(np.round(frames / rate, 3)) == whole, (
            "of a file that tells times to a thousandth"
        )
    assert published_rate(np.array([2.0, 2.04, 2.1, 2.14, 2.2, 2.24])) == 20
