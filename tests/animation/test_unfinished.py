"""Interrupted work of the engine liveportrait goes on where it was."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.drive.liveportrait_small import SourceRenderer

from omote.animation import unfinished
from omote.animation.unfinished import Unfinished
from omote.cli import main
from omote.errors import OutputError
from omote.media import open_video

from .conftest import make


@pytest.fixture(autouse=True)
def _everything_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "WORTH_S", -1.0)


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """What the third call of a renderer raises, as long as there is something in here."""
    raised: list[BaseException] = []
    render = SourceRenderer.render

    def failing(self: SourceRenderer, *given: Any) -> Any:
        if raised and len(self.batches) == 2:
            raise raised[0]
        return render(self, *given)

    monkeypatch.setattr(SourceRenderer, "render", failing)
    return raised


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(".*unfinished/*"))


@pytest.mark.parametrize("source", ["photo", "clip"])
def test_a_second_run_draws_what_is_missing_alone(
    source: str,
    request: pytest.FixtureRequest,
    photo: Path,
    template: Path,
    tmp_path: Path,
    portraits: list[SourceRenderer],
    interrupted: list[BaseException],
) -> None:
    portrait, out = request.getfixturevalue(source), tmp_path / "out"
    whole = make(portrait, template, out / "whole.mp4", batch=2)
    drawn = sum(portraits[-1].batches)
    assert (whole.resumed, kept(out)) == (0, [])
    interrupted.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        make(portrait, template, out / "a.mp4", batch=2)
    before = sum(portraits[-1].batches)
    assert kept(out) == [*(f"{n:06d}.png" for n in range(before)), "key"]
    assert not (out / "a.mp4").exists()
    interrupted.clear()
    made = make(portrait, template, out / "a.mp4", batch=2)
    assert (made.frames, made.resumed) == (whole.frames, before)
    assert sum(portraits[-1].batches) == drawn - before
    assert kept(out) == []
    pairs = zip(open_video(whole.path), open_video(made.path), strict=True)
    assert all(one == other and (a == b).all() for (one, a), (other, b) in pairs)


def test_another_request_and_overwrite_begin_anew(
    photo: Path,
    template: Path,
    tmp_path: Path,
    portraits: list[SourceRenderer],
    interrupted: list[BaseException],
) -> None:
    for options in ({"smooth": 0.1}, {"overwrite": True}):
        interrupted[:] = [SystemExit(143)]
        with pytest.raises(SystemExit):
            make(photo, template, tmp_path / "a.mp4", batch=2)
        assert len(kept(tmp_path)) == 5
        interrupted.clear()
        assert make(photo, template, tmp_path / "a.mp4", batch=2, **options).resumed == 0
        assert sum(portraits[-1].batches) == 6
        assert kept(tmp_path) == []
        (tmp_path / "a.mp4").unlink()


def test_an_error_of_ours_leaves_nothing_and_a_fault_leaves_what_was_drawn(
    photo: Path,
    template: Path,
    tmp_path: Path,
    portraits: list[SourceRenderer],
    interrupted: list[BaseException],
) -> None:
    for error, left in ((OutputError("the disk is full"), 0), (RuntimeError("a fault"), 5)):
        interrupted[:] = [error]
        with pytest.raises(type(error)):
            make(photo, template, tmp_path / "a.mp4", batch=2)
        assert len(kept(tmp_path)) == left


def test_the_command_tells_what_was_there(
    photo: Path,
    template: Path,
    tmp_path: Path,
    portraits: list[SourceRenderer],
    interrupted: list[BaseException],
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["animate", str(photo), str(template), "-o", str(tmp_path / "a.mp4"), "--engine", "liveportrait"]
    words += ["--no-credentials", "--batch", "2"]
    interrupted.append(KeyboardInterrupt())
    assert main(words) == 130
    interrupted.clear()
    capsys.readouterr()
    assert main(words) == 0
    assert "4 faces were there from a run that was interrupted" in capsys.readouterr().err
    assert main(words) == 0
    assert "interrupted" not in capsys.readouterr().err, "it is complete now"


def asked_and_interrupted(keep: Unfinished, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    found = []

    def work() -> None:
        with keep:
            found.append(keep(len(pictures), lambda: pictures))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    return found[0]


def test_damaged_pictures_are_drawn_again_and_quick_ones_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    keep = Unfinished(tmp_path / "a.mp4", "k")
    assert (asked_and_interrupted(keep, pictures) == pictures).all()
    keep = Unfinished(tmp_path / "a.mp4", "k")
    assert (asked_and_interrupted(keep, 0 * pictures) == pictures).all()
    assert keep.found == 3
    (keep.folder / "000001.png").write_bytes(b"\x89PNG damaged")
    with Unfinished(tmp_path / "a.mp4", "k") as keep:
        assert (keep(3, lambda: 0 * pictures) == 0).all()
        assert keep.found == 0
    assert not keep.folder.exists()
    monkeypatch.setattr(unfinished, "WORTH_S", 60.0)
    with Unfinished(tmp_path / "a.mp4", "k") as keep:
        keep(3, lambda: pictures)
        assert not keep.folder.exists()


def test_where_nothing_can_be_kept_the_work_goes_on(tmp_path: Path) -> None:
    pictures = np.zeros((1, 8, 8, 3), np.uint8)
    with Unfinished(tmp_path / "a.mp4", "k") as keep:
        keep(1, lambda: pictures)
        shutil.rmtree(keep.folder)
        keep.folder.write_text("in the way")
        assert (keep(1, lambda: pictures + 7) == 7).all()
        assert (keep(1, lambda: pictures + 8) == 8).all()
