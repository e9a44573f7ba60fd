"""The protocol on a short film of a photograph that moves: engines that know the truth, and what goes wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from omote.cli import main
from omote.commands.demo import astronaut
from omote.drive import Portrait
from omote.errors import InputError, NoFaceError, WeightsError
from omote.evaluation import reenactment
from omote.evaluation.metrics import PSNR_CAP
from omote.evaluation.reenactment import Options, Report, evaluate, find_media
from omote.evaluation.reenactment_report import table_rows, to_json, write_report
from omote.evaluation.reenactment_scene import longest_run, read_frames, spread
from omote.media import VideoWriter, read_image
from omote.performance import Performance
from omote.weights import locate

Image = NDArray[np.uint8]
OPTIONS = Options(frames=3, size=224)
FRAMES = 7


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven frames, 224 px: the astronaut (NASA, public domain), moved affinely."""
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("mediapipe")
    try:
        locate("face_landmarker", download=False)
        photo = read_image(astronaut())[0:240, 100:340]
    except (WeightsError, InputError) as missing:
        pytest.skip(str(missing))
    path = tmp_path_factory.mktemp("film") / "moved.mp4"
    with VideoWriter(path, (224, 224), fps=10) as writer:
        for t in range(FRAMES):
            zoom = 1 + 0.03 * t
            motion = np.array([[zoom, 0.01 * t, -4.0 * t - 8], [-0.01 * t, zoom, 3.0 * t - 8]])
            writer.write(cv2.warpAffine(photo, motion, (224, 224), flags=cv2.INTER_CUBIC))
    return path


@pytest.fixture(scope="module")
def frames(film: Path) -> list[Image]:
    found = read_frames(film, 224, range(FRAMES))
    return [found[t] for t in range(FRAMES)]


class Oracle:
    """An engine that knows the film."""

    def __init__(self, frames: list[Image]) -> None:
        self.frames = frames
        self.prepared: list[Portrait] = []

    def prepare(self, portrait: Portrait) -> str:
        self.prepared.append(portrait)
        return "ready"

    def drive(self, state: Any, motions: Sequence[Performance | None]) -> Iterator[Image]:
        assert state == "ready"
        (motion,) = motions
        assert motion is not None
        for time in motion.times:
            yield self.frames[round(time * 10)]


class Dark(Oracle):
    """An engine whose faces are gone."""

    nothing = np.zeros((224, 224, 3), np.uint8)

    def drive(self, state: Any, motions: Sequence[Performance | None]) -> Iterator[Image]:
        for _ in super().drive(state, motions):
            yield self.nothing


class Cropping(Oracle):
    """An engine that gives frames of another size."""

    def drive(self, state: Any, motions: Sequence[Performance | None]) -> Iterator[Image]:
        for image in super().drive(state, motions):
            yield image[:-2]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def report(film: Path, frames: list[Image], kept: Path) -> Report:
    return evaluate([film], [Oracle(frames), Dark(frames)], options=OPTIONS, output=kept)


def test_an_engine_that_knows_the_truth_has_no_error(report: Report) -> None:
    row = report.row("moved", "oracle")
    assert row is not None
    assert row.metrics["akd_percent"] == 0
    for region in ("face", "image", "eyes", "mouth"):  # she shows her teeth
        assert row.metrics[f"{region}_psnr"] == PSNR_CAP
    assert row.metrics["face_ssim"] == pytest.approx(1, abs=1e-5)
    assert row.metrics["image_l1"] == 0
    assert row.metrics["aed"] == row.metrics["apd_degrees"] == row.metrics["jitter_percent"] == 0
    assert row.metrics["lost_frames"] == 0
    assert row.metrics["fps"] > 0
    assert row.metrics["prepare_seconds"] >= 0


def test_the_frames_are_spread_over_the_film(report: Report) -> None:
    row = report.row("moved", "static")
    assert row is not None
    assert row.frames == (1, 3, 6)
    assert len(row.per_frame["face_psnr"]) == 3
    assert row.metrics["face_psnr"] == pytest.approx(np.mean(row.per_frame["face_psnr"]))
    assert np.diff(row.per_frame["akd_percent"]).min() > 0  # the face moves away steadily


def test_the_warp_follows_an_affine_motion(report: Report) -> None:
    static, warp = report.row("moved", "static"), report.row("moved", "landmark-warp")
    assert static is not None
    assert warp is not None
    assert warp.metrics["face_psnr"] > static.metrics["face_psnr"] + 8
    assert warp.metrics["akd_percent"] < 1 < static.metrics["akd_percent"]
    assert warp.metrics["face_psnr"] >= warp.metrics["face_psnr_pooled"] - 1e-6  # Jensen
    assert math.isnan(warp.metrics["fps"])


def test_lost_faces_are_counted(report: Report) -> None:
    row = report.row("moved", "dark")
    assert row is not None
    assert row.metrics["lost_frames"] == 3
    assert math.isnan(row.metrics["akd_percent"])
    assert row.metrics["face_psnr"] < 12


def test_json_has_the_promised_keys(report: Report) -> None:
    found = json.loads(json.dumps(to_json(report), allow_nan=False))
    assert found["engine"] == "oracle"
    names = {"face_psnr", "static_face_psnr", "warp_face_psnr", "image_psnr", "warp_image_psnr", "mouth_psnr"}
    names |= {"warp_mouth_psnr", "akd_percent", "warp_akd_percent", "apd_degrees", "gaze_degrees", "fps"}
    assert names <= found["videos"]["moved"].keys()
    assert found["median"].keys() == found["videos"]["moved"].keys()
    assert found["median"]["warp_face_psnr"] == found["videos"]["moved"]["warp_face_psnr"]
    dark = found["engines"]["dark"]["videos"]["moved"]
    assert dark["akd_percent"] is None
    assert dark["lost_frames"] == 3


def test_the_report_is_written(report: Report, kept: Path) -> None:
    paths = write_report(report, kept, command="omote eval reenactment films")
    assert [p.name for p in paths] == ["metrics.csv", "report.md", "moved_strip.png"]
    lines = (kept / "metrics.csv").read_text().splitlines()
    assert lines[0].startswith("video,method,face_psnr")
    assert len(lines) == 1 + 4
    page = (kept / "report.md").read_text()
    assert "omote eval reenactment films" in page
    assert "| moved | landmark-warp |" in page
    assert "![moved_strip](moved_strip.png)" in page
    strip = read_image(kept / "moved_strip.png")
    assert strip.shape[0] > 6 * 200  # truth, two baselines, two engines with their errors
    assert len(table_rows(report)) == 4 + 4


def test_what_is_kept_is_not_computed_again(
    report: Report, film: Path, frames: list[Image], kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("captured again")

    monkeypatch.setattr(reenactment, "make_take", refuse)
    engine = Oracle(frames)
    again = evaluate([film], engine, options=OPTIONS, output=kept)
    (portrait,) = engine.prepared  # an object's rows are not kept
    assert (portrait.image == frames[0]).all()
    assert [len(face.performance) for face in portrait.faces] == [1]
    for method in ("static", "landmark-warp", "oracle"):
        first, second = report.row("moved", method), again.row("moved", method)
        assert first is not None
        assert second is not None
        timing = ("fps", "prepare_seconds")
        assert {k: v for k, v in second.metrics.items() if k not in timing} == pytest.approx(
            {k: v for k, v in first.metrics.items() if k not in timing}, nan_ok=True, abs=1e-4
        )


def test_another_face_is_driven(film: Path, frames: list[Image], kept: Path, tmp_path: Path) -> None:
    """Its own mirror image as another person: what is steady shows no change that the driver does not make."""
    from omote.media import write_image

    photo = tmp_path / "other.png"
    write_image(photo, frames[0][:, ::-1].copy())
    cross = Options(frames=3, size=224, cross=True)
    found = evaluate([film], "static", photos=[photo], options=cross, output=kept)
    assert found.videos == ("other < moved",)
    row = found.row("other < moved", "landmark-warp")
    assert row is not None
    assert "face_psnr" not in row.metrics
    assert row.metrics["apd_degrees"] < 4
    assert math.isfinite(row.metrics["identity_percent"])


def test_a_broken_engine_is_told_of(film: Path, frames: list[Image], kept: Path) -> None:
    found = evaluate([film], Cropping(frames), options=OPTIONS, output=kept)
    assert found.row("moved", "static") is not None
    assert found.row("moved", "cropping") is None
    ((name, why),) = found.skipped
    assert name == "moved.mp4"
    assert "expected uint8 (224, 224, 3)" in why


def dark_film(folder: Path) -> Path:
    path = folder / "dark.mp4"
    with VideoWriter(path, (64, 64), fps=10) as writer:
        for _ in range(6):
            writer.write(np.zeros((64, 64, 3), np.uint8))
    return path


def test_a_video_without_a_face_is_skipped(film: Path, kept: Path, tmp_path: Path) -> None:
    found = evaluate([dark_film(tmp_path), film], "static", options=OPTIONS, output=kept)
    assert found.videos == ("moved",)
    assert [name for name, _ in found.skipped] == ["dark.mp4"]
    with pytest.raises(NoFaceError, match="none of the videos"):
        evaluate([dark_film(tmp_path)], "static", options=OPTIONS)


def test_wrong_wishes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no engine 'nosuch'"):
        evaluate([tmp_path / "x.mp4"], "nosuch")
    with pytest.raises(InputError, match="no video"):
        evaluate([], "static")
    with pytest.raises(InputError, match="1 frames"):
        Options(frames=1)
    with pytest.raises(InputError, match="8 px"):
        Options(size=8)
    with pytest.raises(InputError, match="a photo or a second video"):
        evaluate([tmp_path / "x.mp4"], "static", options=Options(cross=True))


def test_the_videos_of_a_folder(film: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no video in this folder"):
        find_media(tmp_path)
    assert find_media(film.parent) == ([film], [])
    assert find_media(film.parent, "mov*")[0] == [film]
    with pytest.raises(InputError, match="that fits 'x\\*'"):
        find_media(film.parent, "x*")


def test_choice_of_frames() -> None:
    assert spread(np.arange(1, 101), 5) == (1, 26, 51, 75, 100)
    assert spread(np.array([3, 4]), 12) == (3, 4)
    assert longest_run(np.array([1, 2, 3, 7, 8, 9, 10, 11, 12, 20]), 4) == (8, 9, 10, 11)
    assert longest_run(np.array([5, 6]), 16) == (5, 6)


def test_the_command(report: Report, film: Path, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--engine static --frames 3 --size 224 -o".split()
    command = ["eval", "reenactment", str(film.parent), *words, str(kept)]
    assert main([*command, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["videos"]["moved"]["warp_akd_percent"] < 1
    assert main([*command, "-o", str(kept)]) == 0
    shown = capsys.readouterr().out
    assert "landmark-warp" in shown
    assert "moved_strip.png" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engine", "nosuch"], "no engine 'nosuch'"),
        (["--limit", "0"], "0 videos"),
        (["--only", "x*"], "no video that fits 'x*'"),
    ],
)
def test_mistakes_are_one_line(
    film: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["eval", "reenactment", str(film.parent), *words]) == 2
    done = capsys.readouterr()
    assert message in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""


def test_the_engines_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "list"]) == 0
    assert "puppet" in capsys.readouterr().out.split()
