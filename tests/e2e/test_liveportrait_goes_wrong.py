"""What people give the engine liveportrait that cannot be: one clear line, exit code 2, and no half-written file.

Detection is real, the networks are small and seeded.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from tests.drive.liveportrait_faces import random_motion
from tests.drive.liveportrait_small import small_nets

from omote.cli import main
from omote.drive.liveportrait import pipeline
from omote.drive.liveportrait.networks import Processor
from omote.drive.liveportrait.renderer import PlainRenderer
from omote.drive.liveportrait.template import Template, performance_of
from omote.media import open_video, read_image
from omote.media.pickle_writer import write_plain
from omote.models.liveportrait.checkpoint import save_nets

from .test_what_goes_wrong import BLACK, Pixels, clip, landscape, picture, saved, shrunk

__all__ = ["picture"]

WIDTH, HEIGHT = 255, 255  # odd
Animate = Callable[..., tuple[int, str]]


class Trap:
    """A pickle that makes a folder when it is loaded by the usual reader."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights as ``omote train liveportrait`` writes it."""
    folder = tmp_path_factory.mktemp("weights") / "small"
    save_nets(folder, small_nets(), {})
    return folder


@pytest.fixture(scope="module")
def media(picture: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portrait, a short video of it, and a motion template."""
    folder = tmp_path_factory.mktemp("media")
    face = saved(shrunk(picture, WIDTH), folder / "face.png")
    clip(folder / "talk.mp4", [read_image(face)[:254, :254]] * 3)
    motion = random_motion(40)
    frames = [
        {
            "scale": motion.scale[n, None].numpy(),
            "R": motion.rotation[n, None].numpy(),
            "exp": motion.exp[n, None].numpy(),
            "t": motion.t[n, None].numpy(),
        }
        for n in range(40)
    ]
    template = {
        "n_frames": 40,
        "output_fps": 25,
        "motion": frames,
    }  # as the animal pipeline writes it: no ratios
    (folder / "animal.pkl").write_bytes(write_plain(template))
    long = {**template, "n_frames": 4000, "motion": frames * 100}
    (folder / "long.pkl").write_bytes(write_plain(long))
    return folder


@pytest.fixture
def animate(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Animate:
    """``omote animate ... --engine liveportrait`` in this process: exit code, and what standard error says."""
    plain = Processor(torch.device("cpu"), torch.float32)
    monkeypatch.setattr(pipeline, "make_renderer", lambda nets, _: PlainRenderer(nets, plain))

    def run(*words: str | Path, output: Path | None = None, weights: Path | None = None) -> tuple[int, str]:
        capsys.readouterr()
        made = output or tmp_path / "out" / "made.png"
        given = ["animate", *map(str, words), "--engine", "liveportrait", "--weights", str(weights or small)]
        code = main([*given, "-o", str(made), "--no-credentials", "--json"])
        told = capsys.readouterr().err.splitlines(keepends=True)
        return code, "".join(line for line in told if "No Content Credentials" not in line)

    return run


def refused(made: tuple[int, str], tmp_path: Path, *words: str) -> None:
    code, errors = made
    assert code == 2, errors
    (line,) = errors.strip().splitlines()
    assert line.startswith("omote: error: ")
    assert "fault in Omote" not in line
    for word in words:
        assert word in line
    out = tmp_path / "out"
    assert not out.exists() or not list(out.iterdir())
    assert not (tmp_path / "trap").exists()


def test_nobody_in_the_picture(animate: Animate, media: Path, tmp_path: Path) -> None:
    hills = saved(landscape(), tmp_path / "hills.png")
    refused(animate(hills, media / "talk.mp4"), tmp_path, "hills.png: no face was found")
    refused(animate(media / "face.png", hills), tmp_path, "hills.png: no face was found")
    nobody = clip(tmp_path / "nobody.mp4", [BLACK] * 3)
    refused(animate(media / "face.png", nobody), tmp_path, "nobody.mp4: no face was found")
    refused(animate(nobody, media / "talk.mp4"), tmp_path, "nobody.mp4: no face was found")
    dot = saved(BLACK[:1, :1], tmp_path / "dot.png")
    refused(animate(dot, media / "talk.mp4"), tmp_path, "dot.png: no face was found")


def test_files_that_are_cut_off_or_no_files_at_all(animate: Animate, media: Path, tmp_path: Path) -> None:
    talk, template = (media / "talk.mp4").read_bytes(), (media / "animal.pkl").read_bytes()
    for name, content, words in (
        ("a.mp4", b"", "a.mp4: the file is empty"),
        ("b.mp4", talk[: len(talk) // 3], "b.mp4: no frame of this video can be decoded"),
        ("c.mp4", np.random.default_rng(0).bytes(3000), "c.mp4: this is nothing that can drive"),
        ("d.pkl", b"", "d.pkl: the file is empty"),
        ("e.pkl", template[: len(template) // 3], "e.pkl: cut short or damaged"),
        ("f.pkl", pickle.dumps({"frames": 3}), "f.pkl: this pickle is not a motion template"),
        ("g.pkl", pickle.dumps(Trap(tmp_path / "trap")), "g.pkl: refused, and nothing in it was run"),
    ):
        (tmp_path / name).write_bytes(content)
        refused(animate(media / "face.png", tmp_path / name), tmp_path, words)


def test_a_template_of_the_animal_pipeline(animate: Animate, media: Path, tmp_path: Path) -> None:
    for mode in ((), ("--compat", "official")):
        made = animate(media / "face.png", media / "animal.pkl", "--eye-retargeting", *mode)
        refused(made, tmp_path, "retargeting needs the", "template")
        made = animate(media / "face.png", media / "animal.pkl", "--overwrite", *mode)
        assert made == (0, "")
        (tmp_path / "out" / "made.png").unlink()
        for mark in (tmp_path / "out").iterdir():
            mark.unlink()


def damaged(small: Path, folder: Path, change: Callable[[Path], None]) -> Path:
    """The small networks as official files, one of them changed."""
    folder.mkdir()
    for name, held in small_nets().to_published("official").items():
        torch.save(held, folder / f"{name}.pth")
    (folder / "omote.json").write_bytes((small / "omote.json").read_bytes())
    change(folder / "motion_extractor.pth")
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path, _: path.write_bytes(path.read_bytes()[:20000]), "damaged or not a PyTorch file"),
        (lambda path, _: path.write_bytes(b""), "damaged or not a PyTorch file"),
        (lambda path, _: path.unlink(), "holds no motion_extractor.safetensors or .pth"),
        (lambda path, trap: torch.save({"a": Trap(trap)}, path), "which could run code: not loaded"),
        (lambda path, trap: path.write_bytes(pickle.dumps(Trap(trap), 4)), "nothing in it was run"),
        (
            lambda path, _: torch.save({}, path),
            "detector.downsample_layers.0.0.weight is missing, expected shape",
        ),
    ],
)
def test_weights_that_cannot_be(
    animate: Animate, small: Path, media: Path, tmp_path: Path, change: Any, words: str
) -> None:
    folder = damaged(small, tmp_path / "w", lambda path: change(path, tmp_path / "trap"))
    made = animate(media / "face.png", media / "animal.pkl", weights=folder)
    refused(made, tmp_path, str(folder), "motion_extractor", words)


def test_places_that_cannot_be_written(animate: Animate, media: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name in ("made.mp4", "made.png", "frames"):
        made = animate(media / "face.png", media / "animal.pkl", output=tmp_path / "file" / name)
        refused(made, tmp_path, "cannot be written")
    for path in (media / "face.png", media / "animal.pkl"):
        before = path.read_bytes()
        made = animate(media / "face.png", media / "animal.pkl", output=path)
        assert made[0] == 2, made
        assert path.read_bytes() == before
    made = animate(media / "face.png", media / "animal.pkl", output=tmp_path / "a.docx")
    refused(made, tmp_path, "a.docx: cannot write .docx files")


def test_odd_turned_and_uneven_videos(animate: Animate, media: Path, tmp_path: Path) -> None:
    face = read_image(media / "face.png")
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=1000)
        stream.width, stream.height, stream.pix_fmt = HEIGHT, WIDTH - 2, "yuv444p"
        stream.set_display_rotation(90)
        lying = np.ascontiguousarray(np.rot90(face[:, 1:-1], -1))
        for time_ in (0, 40, 110, 150):
            frame = av.VideoFrame.from_ndarray(lying, format="rgb24")
            frame.pts = time_
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert open_video(path).size == (WIDTH - 2, HEIGHT)
    made = tmp_path / "made.mp4"
    assert animate(path, path, output=made) == (0, "")
    assert [round(seconds, 2) for seconds, _ in open_video(made)] == [0, 0.04, 0.11, 0.15]
    assert open_video(made).size == (WIDTH - 1, HEIGHT + 1), "even, by a column and a row"
    first = next(iter(open_video(made)))[1][:20, :20].astype(int)
    assert np.abs(first - face[:20, 1:21]).mean() < 12, "upright"


@pytest.mark.skipif(os.name == "nt", reason="signals differ")
def test_ctrl_c_leaves_nothing(small: Path, media: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    words = [media / "face.png", media / "long.pkl", "--engine", "liveportrait", "--weights", small]
    command = [sys.executable, "-m", "omote.cli", "animate", *map(str, words), "-o", str(out / "made.mp4")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 60
        while not list(out.iterdir()) and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    # Python ends itself by the signal if that came within ``exec`` of a text, as of loops compiled while it runs.
    assert process.returncode in (130, -signal.SIGINT)
    assert errors == "stopped; run the same command again to resume\n"
    assert list(out.iterdir()) == []


def test_a_take_of_one_frame_and_a_photo_that_is_half_transparent(
    animate: Animate, media: Path, tmp_path: Path
) -> None:
    motion = random_motion(1)
    take = Template(
        times=np.zeros(1),
        rotation=motion.rotation.numpy(),
        t=motion.t.numpy(),
        scale=motion.scale.numpy(),
        exp=motion.exp.numpy(),
        confidence=np.ones(1, np.float32),
    )
    one = performance_of(take, {"file": "one"}).save(tmp_path / "one.omote")
    pixels = read_image(media / "face.png")
    clear = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    clear[:10, :10, 3] = 0
    for source in (saved(clear, tmp_path / "clear.png"), media / "face.png"):
        made = tmp_path / f"{source.stem}_made.png"
        assert animate(source, one, output=made) == (0, "")
        assert read_image(made).shape == pixels.shape
