"""What people give Omote that is not a good portrait: each gets one clear line and exit code 2, or a result which
says what is missing."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from omote.cli import main
from omote.commands.demo import astronaut
from omote.controls import FACS102
from omote.errors import InputError, WeightsError
from omote.media import VideoWriter, open_video, read_image
from omote.performance import Performance
from omote.weights import locate

Pixels = NDArray[np.uint8]
Made = tuple[int, dict[str, Any], str]
Run = Callable[..., Made]

BLACK = np.zeros((256, 256, 3), np.uint8)
COMMAND = [sys.executable, "-m", "omote.cli", "capture"]


@pytest.fixture(scope="module")
def picture() -> Pixels:
    """(512, 512, 3) the astronaut (NASA, public domain)."""
    pytest.importorskip("mediapipe")
    try:
        locate("face_landmarker", download=False)
        return read_image(astronaut())
    except (WeightsError, InputError) as missing:
        pytest.skip(str(missing))


@pytest.fixture
def capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """``omote capture ... --json`` in this process: exit code, the only result, and what standard error says."""

    def run(path: Path, *arguments: str, output: Path | None = None, overlay: bool = False) -> Made:
        capsys.readouterr()
        words = ["capture", str(path), "-o", str(output or tmp_path / "out"), "--jobs", "1", "--json"]
        code = main([*words, *arguments, *([] if overlay else ["--no-overlay"])])
        out, err = capsys.readouterr()
        return code, json.loads(out)["results"][0] if out else {}, err

    return run


def shrunk(picture: Pixels, side: int) -> Pixels:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))


def saved(image: Pixels | Image.Image, path: Path, **options: Any) -> Path:
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(path, **options)
    return path


def clip(path: Path, frames: list[Pixels], times: list[float] | None = None) -> Path:
    size = (frames[0].shape[1], frames[0].shape[0])
    with VideoWriter(path, size, fps=None if times else 25, times=times) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def assert_refused(made: Made, where: Path | str, *words: str) -> None:
    """One line that names the file, the trouble and a remedy; exit code 2; nothing left behind."""
    code, result, errors = made
    assert code == 2, errors
    lines = errors.strip().splitlines()
    assert len(lines) == 1, errors
    assert lines[0].startswith("omote: error: ")
    for word in (str(where), *words):
        assert word in lines[0]
    assert "fault in Omote" not in lines[0]
    if result:
        assert (result["status"], result["outputs"]) == ("failed", [])


def assert_made(made: Made, *, faces: int = 1, frames: int = 1) -> list[Performance]:
    code, result, errors = made
    assert (code, errors) == (0, "")
    assert (result["status"], result["faces"], result["frames"]) == ("captured", faces, frames)
    takes = [Performance.load(path) for path in result["outputs"] if path.endswith(".omote")]
    assert len(takes) == faces
    return takes


def assert_smiles(take: Performance, least: float = 0.25) -> None:
    assert take.controls[:, FACS102.match("corner_pull_?")].mean() > least


# --- what is in the picture ---------------------------------------------------------------------------------------


def landscape() -> Pixels:
    """Sky, hills and a meadow."""
    x, y = np.meshgrid(np.linspace(0, 12, 640), np.linspace(0, 1, 400))
    ridge = 0.45 + 0.06 * np.sin(x) + 0.03 * np.sin(2.7 * x + 1)
    sky = np.stack([120 + 60 * y, 160 + 40 * y, 230 - 20 * y], -1)
    meadow = np.stack([60 + 40 * y, 120 - 30 * y, 50 + 10 * np.sin(9 * x)], -1)
    grain = np.random.default_rng(0).normal(0, 6, sky.shape)
    return np.clip(np.where((y < ridge)[..., None], sky, meadow) + grain, 0, 255).astype(np.uint8)


def test_a_landscape(picture: Pixels, capture: Run, tmp_path: Path) -> None:
    path = saved(landscape(), tmp_path / "hills.jpg")
    assert_refused(capture(path), path, "no face was found", "Is a face visible")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_animal(picture: Pixels, shared_dir: Path, capture: Run) -> None:
    path = shared_dir / "media" / "photos" / "s25.jpg"
    assert_refused(capture(path), path, "does not look like a human face")


def test_half_a_face(picture: Pixels, capture: Run, tmp_path: Path) -> None:
    """Cut along the nose: either it is not found, or what can be seen of it is right."""
    made = capture(saved(picture[:300, :228], tmp_path / "half.png"))
    if made[0] == 0:
        (take,) = assert_made(made)
        assert take.confidence[0] > 0
        assert_smiles(take)
        assert take.control_confidence is not None
        for name in ("brow_outer_up", "cheek_raise", "lid_close"):  # her left side is not in the picture
            left, right = (take.control_confidence[0, FACS102.index(f"{name}_{s}")] for s in "LR")
            assert left < 0.8 * right
    else:
        assert_refused(made, "half.png")


def test_a_tiny_face(picture: Pixels, capture: Run, tmp_path: Path) -> None:
    field = np.full((900, 1200, 3), 128, np.uint8)
    field[400:440, 700:740] = shrunk(picture, 40)  # a face of eight pixels
    assert_refused(capture(saved(field, tmp_path / "tiny.png")), "tiny.png", "no face", "larger than")


def test_a_small_face_is_found(picture: Pixels, capture: Run, tmp_path: Path) -> None:
    field = np.full((900, 1200, 3), 128, np.uint8)
    field[300:540, 700:940] = shrunk(picture, 240)  # about fifty pixels
    (take,) = assert_made(capture(saved(field, tmp_path / "small.png")))
    assert take.confidence[0] > 0.5
    assert take.head_translation[0, 0] > 0  # to the right of the middle
    assert_smiles(take)


def test_ten_faces(picture: Pixels, capture: Run, tmp_path: Path) -> None:
    head = shrunk(picture[:300, 60:360], 220)
    path = saved(np.tile(head, (2, 5, 1)), tmp_path / "crowd.png")
    takes = assert_made(capture(path, "--face", "all"), faces=10)
    for take in takes:
        assert_smiles(take)
    places = {
        (round(float(t.head_translation[0, 0]), 2), round(float(t.head_translation[0, 1]), 2)) for t in takes
    }
    assert len(places) == 10
    assert_refused(capture(path, "--face", "12"), path, "there is no face 12", "Found 10")


def test_black_pictures(picture: Pixels, capture: Run, tmp_path: Path) -> None:
    assert_refused(capture(saved(BLACK, tmp_path / "night.png")), "night.png", "no face was found")
    assert_refused(capture(clip(tmp_path / "night.mp4", [BLACK] * 8)), "night.mp4", "no face was found")


def test_one_pixel(picture: Pixels, capture: Run, tmp_path: Path) -> None:
    assert_refused(capture(saved(BLACK[:1, :1], tmp_path / "dot.png")), "dot.png", "no face was found")


def test_twelve_thousand_pixels(picture: Pixels, capture: Run, tmp_path: Path) -> None:
    wide = Image.new("RGB", (12_000, 1_500), "grey")
    wide.paste(Image.fromarray(picture).resize((1_500, 1_500)), (9_000, 0))
    (take,) = assert_made(capture(saved(wide, tmp_path / "wide.jpg")))
    assert take.camera.size == (12_000, 1_500)
    assert_smiles(take)


def test_forty_thousand_pixels(capture: Run, tmp_path: Path) -> None:
    path = saved(Image.new("L", (40_000, 2)), tmp_path / "strip.png")
    assert_refused(capture(path), path, "too large", "Make it smaller first.")


# --- how the picture is stored ------------------------------------------------------------------------------------


def sixteen_bits(picture: Pixels) -> Image.Image:
    return Image.fromarray(picture.mean(2).astype(np.uint16) * 257)


KINDS: dict[str, Callable[[Image.Image, Path], Path]] = {
    "grey.png": lambda image, path: saved(image.convert("L"), path),
    "16-bit.png": lambda image, path: saved(sixteen_bits(np.asarray(image)), path),
    "cmyk.jpg": lambda image, path: saved(image.convert("CMYK"), path),
    "alpha.png": lambda image, path: saved(image.convert("RGBA"), path),
    "rotated.jpg": lambda image, path: saved(image.rotate(90, expand=True), path, exif=rotated_exif()),
    "palette.gif": lambda image, path: saved(image.convert("P", palette=Image.Palette.ADAPTIVE), path),
    "顔 写真 ①.png": saved,
    "jpeg called.png": lambda image, path: saved(image, path, format="JPEG"),
}


def rotated_exif() -> bytes:
    """Orientation 6: what the camera held on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_images(picture: Pixels, capture: Run, tmp_path: Path, name: str) -> None:
    path = KINDS[name](Image.fromarray(picture), tmp_path / name)
    made = capture(path)
    (take,) = assert_made(made)
    assert take.camera.size == (512, 512)
    assert abs(take.head_rotation[0, 2]) < 0.2  # upright
    assert_smiles(take)
    assert Path(made[1]["outputs"][0]).name == f"{path.stem}.omote"


def test_an_animated_image_is_a_video(picture: Pixels, capture: Run, tmp_path: Path) -> None:
    frames = [Image.fromarray(shrunk(picture, s)).resize((200, 200)) for s in (200, 190, 180)]
    path = saved(frames[0], tmp_path / "wave.gif", save_all=True, append_images=frames[1:], duration=100)
    (take,) = assert_made(capture(path), frames=3)
    assert take.times == pytest.approx([0, 0.1, 0.2], abs=0.02)


def test_heic_without_a_decoder(
    capture: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Pixels
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "phone.heic"
    path.write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(500))
    assert_refused(capture(path), path, "HEIC", "pip install pillow-heif")


def test_cut_off_and_empty_files(picture: Pixels, capture: Run, tmp_path: Path) -> None:
    stored = io.BytesIO()
    Image.fromarray(picture).save(stored, "JPEG")
    half = tmp_path / "half.jpg"
    half.write_bytes(stored.getvalue()[:9000])
    assert_refused(capture(half), half, "damaged or cut off", "Copy or export it again.")
    empty = tmp_path / "empty.png"
    empty.touch()
    assert_refused(capture(empty), empty, "empty (0 bytes)")
    whole = clip(tmp_path / "whole.mp4", [shrunk(picture, 128)] * 4).read_bytes()
    for size in (40, len(whole) // 2):
        path = tmp_path / f"cut{size}.mp4"
        path.write_bytes(whole[:size])
        made = capture(path)
        if made[0] == 0:  # what is left of it still plays
            assert made[1]["frames"] < 4
        else:
            assert_refused(made, path)


def test_what_is_no_picture(capture: Run, tmp_path: Path, picture: Pixels) -> None:
    text = tmp_path / "letter.jpg"
    text.write_text("Dear friends,\n")
    assert_refused(capture(text), text, "not an image")
    assert_refused(capture(tmp_path / "gone.jpg"), "gone.jpg", "there is no such file", "Check the path")
    (tmp_path / "folder").mkdir()
    assert_refused(capture(tmp_path / "folder"), "folder", "no photo or video")


# --- videos -------------------------------------------------------------------------------------------------------


def test_a_face_that_comes_late_and_leaves(picture: Pixels, capture: Run, tmp_path: Path) -> None:
    path = clip(tmp_path / "late.mp4", [BLACK] * 6 + [shrunk(picture, 256)] * 10 + [BLACK] * 4)
    made = capture(path)
    (take,) = assert_made(made, frames=20)
    assert np.array_equal(take.confidence > 0, (np.arange(20) >= 6) & (np.arange(20) < 16))
    assert len(made[1]["warnings"]) == 1
    assert "no face in 10 of 20 frames" in made[1]["warnings"][0]
    assert made[1]["confidence"] == pytest.approx(0.5, abs=0.05)
    assert_smiles(take)


def test_a_variable_frame_rate(picture: Pixels, capture: Run, tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 0.2, 0.24, 0.5, 0.52, 0.6]
    path = clip(tmp_path / "phone.mkv", [shrunk(picture, 200)] * len(times), times)
    (take,) = assert_made(capture(path), frames=len(times))
    assert take.times == pytest.approx(times, abs=2e-3)


def test_no_sound(picture: Pixels, capture: Run, tmp_path: Path) -> None:
    path = clip(tmp_path / "silent.mp4", [shrunk(picture, 128)] * 3)
    made = capture(path, overlay=True)
    assert_made(made, frames=3)
    with open_video(tmp_path / "out" / "silent_overlay.mp4") as overlay:
        assert not overlay.has_audio
        assert sum(1 for _ in overlay) == 3


# --- places and interruptions -------------------------------------------------------------------------------------


def test_a_path_with_spaces_and_japanese(picture: Pixels, capture: Run, tmp_path: Path) -> None:
    folder = tmp_path / "私の 写真"
    folder.mkdir()
    made = capture(saved(picture, folder / "面 1.png"), "--to", "livelink", output=tmp_path / "出力 フォルダ")
    assert_made(made)
    names = sorted(path.name for path in (tmp_path / "出力 フォルダ").iterdir())
    assert names == ["面 1.livelink.csv", "面 1.livelink.json", "面 1.omote"]


def test_an_output_folder_that_cannot_be(picture: Pixels, capture: Run, tmp_path: Path) -> None:
    photo = saved(picture, tmp_path / "me.png")
    (tmp_path / "file").write_text("in the way")
    assert_refused(capture(photo, output=tmp_path / "file" / "out"), "cannot be written", "Choose another")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_output_folder(picture: Pixels, capture: Run, tmp_path: Path) -> None:
    photo = saved(picture, tmp_path / "me.png")
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    assert_refused(capture(photo, output=folder), "locked", "cannot be written", "permissions")


@pytest.fixture(scope="module")
def folder(picture: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo and a short video."""
    made = tmp_path_factory.mktemp("media")
    saved(shrunk(picture, 256), made / "1 photo.jpg")
    frames = [np.ascontiguousarray(picture[:256, 80 + i // 3 : 336 + i // 3]) for i in range(60)]
    clip(made / "2 video.mp4", frames)
    return made


def started(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def until(condition: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.05)


@pytest.fixture
def interrupted(folder: Path, tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str], str]]:
    """A run that was stopped by Ctrl-C while it worked on the video: the results, the process, its errors."""
    out = tmp_path / "out"
    process = started(folder, "-o", out, "--no-overlay", "--jobs", "1")
    try:
        until(lambda: (out / "1 photo.omote").exists() and (out / ".2 video.omote-lock").exists())
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        yield out, process, errors
    finally:
        if process.poll() is None:
            process.kill()


@pytest.mark.skipif(os.name == "nt", reason="signals differ")
def test_ctrl_c_and_on_again(
    interrupted: tuple[Path, subprocess.Popen[str], str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, process, errors = interrupted
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "stopped; run the same command again to resume"
    assert "Traceback" not in errors
    assert [path.name for path in out.iterdir()] == ["1 photo.omote"]  # nothing half-written
    assert main(["capture", str(folder), "-o", str(out), "--no-overlay", "--jobs", "1", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [result["status"] for result in results] == ["complete", "captured"]
    assert len(Performance.load(out / "2 video.omote")) == 60


def test_two_runs_on_one_folder(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    runs = [started(folder, "-o", out, "--no-overlay", "--jobs", "1", "--json") for _ in range(2)]
    try:
        outputs = [run.communicate(timeout=120) for run in runs]
    finally:
        for run in runs:
            if run.poll() is None:
                run.kill()
    assert [run.returncode for run in runs] == [0, 0], [errors for _, errors in outputs]
    states = [[result["status"] for result in json.loads(text)["results"]] for text, _ in outputs]
    for of_file in zip(*states, strict=True):
        assert sorted(of_file) == ["captured", "complete"]  # each is made once
    assert sorted(path.name for path in out.iterdir()) == ["1 photo.omote", "2 video.omote"]
