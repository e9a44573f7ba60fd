"""A real photograph, the real capture and the real puppet: few frames, but everything on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import omote
from omote.cli import main
from omote.media import VideoWriter, open_video, read_image, write_image
from omote.performance import Performance
from omote.provenance import verify

Pixels = NDArray[np.uint8]

FACE = (slice(70, 175), slice(165, 275))
MOUTH = (slice(130, 165), slice(195, 250))


@pytest.fixture(scope="module", autouse=True)
def _own_key(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMOTE_CONFIG", str(tmp_path_factory.mktemp("config")))
        yield


def differs(one: Pixels, other: Pixels, where: tuple[slice, slice]) -> float:
    return float(np.abs(one[where].astype(float) - other[where]).mean())


def test_a_score_opens_the_mouth_and_leaves_the_rest(photo: Path, tmp_path: Path) -> None:
    score = "0 neutral, 0.2 open 0.6, 0.4 neutral"
    made = omote.animate(photo, None, tmp_path / "a.mp4", score=score, fps=20)
    assert (made.frames, made.size, made.fps, made.signed) == (9, (512, 512), 20.0, True)
    assert verify(made.path).is_valid
    frames = [frame for _, frame in open_video(made.path)]
    still = read_image(photo)
    away = (slice(300, 512), slice(0, 512))
    assert differs(frames[0], still, FACE) < 8, "at rest it is the photograph"
    assert differs(frames[4], frames[0], MOUTH) > 12
    assert differs(frames[8], frames[0], MOUTH) < 6, "and shut again"
    assert max(differs(frame, still, away) for frame in frames) < 4


def test_a_video_drives_a_photo_with_the_person_in_it(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The photograph sways sideways; so does the head of the photograph that it drives."""
    picture = read_image(photo)
    driver = tmp_path / "sway.mp4"
    with VideoWriter(driver, (256, 256), fps=25) as writer:
        for frame in range(8):
            writer.write(np.ascontiguousarray(picture[:256, 90 + 3 * frame : 346 + 3 * frame]))
    out, kept = tmp_path / "out.mp4", tmp_path / "sway.omote"
    words = ["animate", photo, driver, "-o", out, "--save-take", kept, "--no-credentials", "--json"]
    assert main([str(word) for word in words]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["frames"], facts["fps"], facts["size"], facts["signed"]) == (8, 25.0, [512, 512], False)
    take = Performance.load(kept)
    assert take.head_translation[-1, 0] < take.head_translation[0, 0] - 0.01
    frames = [frame for _, frame in open_video(out)]

    def hair(frame: Pixels) -> float:
        """Mean column of what is dark in the rows of the hair, against the light wall."""
        return float(np.argwhere(frame[20:60, 100:330].mean(2) < 130)[:, 1].mean())

    assert hair(frames[-1]) < hair(frames[0]) - 8


def test_two_people_and_a_driver_each(photo: Path, tmp_path: Path) -> None:
    picture = read_image(photo)[:256, 80:370]
    both = tmp_path / "both.png"
    write_image(both, np.concatenate([picture, picture[:, ::-1]], axis=1))
    still, wide = (omote.load(write(tmp_path, name, jaw)) for name, jaw in (("still", 0.0), ("wide", 0.6)))
    made = omote.animate(
        both, [still, wide], tmp_path / "a.png", face="all", frame=1, reference="first", credentials=False
    )
    assert made.faces == 2
    result, original = read_image(made.path), read_image(both)
    left, right = (slice(120, 170), slice(105, 180)), (slice(120, 170), slice(400, 475))
    assert differs(result, original, right) > 2 * differs(result, original, left) + 3


def write(folder: Path, name: str, jaw: float) -> Path:
    """A take of two frames in a file; the jaw opens in the second."""
    from omote.edit.perform import perform

    take = perform(score=f"0 neutral, 0.04 open {jaw}", fps=25)
    return take.save(folder / f"{name}.omote")


def test_a_large_photo_and_a_photo_without_a_face(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = tmp_path / "large.jpg"
    Image.fromarray(read_image(photo)[:288]).resize((3840, 2160), Image.Resampling.LANCZOS).save(large)
    made = omote.animate(large, None, tmp_path / "large.png", emotion="surprise", credentials=False)
    assert read_image(made.path).shape == (2160, 3840, 3)
    write_image(tmp_path / "sky.png", np.full((200, 300, 3), 150, np.uint8))
    code = main(["animate", str(tmp_path / "sky.png"), "--preset", "nod", "-o", str(tmp_path / "b.mp4")])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert "sky.png: no face was found" in err
    assert not (tmp_path / "b.mp4").exists()
