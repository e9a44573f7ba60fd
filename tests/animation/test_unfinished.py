"""Interrupted work of the engine liveportrait goes on where it was."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.drive.liveportrait_small import SourceRenderer

from omote.animation import signing, unfinished
from omote.animation.unfinished import Unfinished
from omote.cli import main
from omote.drive.liveportrait import networks
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


def kept(folder: Path) -> int:
    return len(list(folder.glob(".*unfinished/*")))


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
    assert (whole.resumed, kept(out)) == (0, 0)
    interrupted.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        make(portrait, template, out / "a.mp4", batch=2)
    before = sum(portraits[-1].batches)
    assert kept(out) == before
    assert not (out / "a.mp4").exists()
    interrupted.clear()
    made = make(portrait, template, out / "a.mp4", batch=2, overwrite=True)
    assert (made.frames, made.resumed) == (whole.frames, before)
    assert sum(portraits[-1].batches) == drawn - before
    assert kept(out) == 0
    pairs = list(zip(open_video(whole.path), open_video(made.path), strict=True))
    assert all(one == other for (one, _), (other, _) in pairs)
    # Nearly always the very bytes; sums on several threads may round one pixel the other way. Frames differ by 5.
    apart = [float(np.abs(a.astype(int) - b).mean()) for (_, a), (_, b) in pairs]
    assert max(apart) < 1, apart
    again = make(portrait, template, out / "a.mp4", batch=2, overwrite=False)
    assert (again.status, again.resumed) == ("complete", 0), "what was there is told once"


def test_only_what_would_be_drawn_alike_is_taken(
    photo: Path,
    template: Path,
    tmp_path: Path,
    portraits: list[SourceRenderer],
    interrupted: list[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt() -> None:
        interrupted[:] = [SystemExit(143)]
        with pytest.raises(SystemExit):
            make(photo, template, tmp_path / "a.mp4", batch=2)
        interrupted.clear()

    for options, there in (({"compare": True}, 4), ({"strength": 2.0}, 0)):
        interrupt()
        assert make(photo, template, tmp_path / "a.mp4", batch=2, **options).resumed == there
        assert kept(tmp_path) == 0
    interrupt()
    monkeypatch.setattr(networks, "check_weights", lambda weights: "trained on")
    assert make(photo, template, tmp_path / "a.mp4", batch=2).resumed == 0


@pytest.mark.parametrize(
    "error", [OutputError("the disk is full"), RuntimeError("a fault"), KeyboardInterrupt()]
)
def test_what_was_drawn_stays_until_the_output_is_complete(
    photo: Path,
    template: Path,
    tmp_path: Path,
    portraits: list[SourceRenderer],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    def fail(*given: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(signing, "sign", fail)
        with pytest.raises(type(error)):
            make(photo, template, tmp_path / "a.mp4", batch=2, credentials=True)
    assert kept(tmp_path) == 6
    assert make(photo, template, tmp_path / "a.mp4", batch=2).resumed == 6
    assert (portraits[-1].batches, kept(tmp_path)) == ([], 0)


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
    assert "an interrupted run had drawn 4 pictures of faces" in capsys.readouterr().err
    assert main(words) == 0
    assert "interrupted" not in capsys.readouterr().err, "it is complete now"


def ask(keep: Unfinished, names: Sequence[str], *levels: int) -> tuple[NDArray[np.uint8], bool]:
    """Each picture of one level; and whether they had to be made."""
    made = []

    def make_them() -> NDArray[np.uint8]:
        made.append(True)
        return np.stack([np.full((8, 8, 3), level, np.uint8) for level in levels])

    return keep(names, make_them)[:, 0, 0, 0], bool(made)


def test_pictures_are_found_by_name_and_maker(tmp_path: Path) -> None:
    names, place = ("a", "b", "c"), tmp_path / "a.mp4"
    assert ask(Unfinished(place, "net"), names, 1, 2, 3)[1]
    keep = Unfinished(place, "net")
    found, made = ask(keep, ("c", "a"), 0, 0)
    assert (found.tolist(), made, keep.found) == ([3, 1], False, 2)
    assert ask(keep, ("a", "d"), 1, 4)[1], "one of them is missing"
    assert ask(Unfinished(place, "another net"), names, 1, 2, 3)[1]
    assert ask(Unfinished(tmp_path / "b.mp4", "net"), names, 1, 2, 3)[1]
    keep.drop()
    assert not keep.folder.exists()
    assert ask(keep, names, 1, 2, 3)[1]


def test_damaged_pictures_are_made_again(tmp_path: Path) -> None:
    keep = Unfinished(tmp_path / "a.mp4")
    ask(keep, ("a",), 1)
    (picture,) = keep.folder.iterdir()
    picture.write_bytes(picture.read_bytes()[:30])
    assert ask(keep, ("a",), 7)[1]
    assert ask(keep, ("a",), 0)[0].tolist() == [7]


def test_what_is_quick_or_has_no_room_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = Unfinished(tmp_path / "a.mp4")
    with monkeypatch.context() as patch:
        patch.setattr(unfinished, "WORTH_S", 60.0)
        ask(keep, ("a",), 1)
        assert not keep.folder.exists()
    monkeypatch.setattr(unfinished, "_SPARE", shutil.disk_usage(tmp_path).total + 1)
    assert ask(keep, ("a",), 1)[0].tolist() == [1]
    assert kept(tmp_path) == 0
    keep = Unfinished(tmp_path / "b.mp4")
    keep.folder.write_text("in the way")
    assert ask(keep, ("a",), 5)[0].tolist() == [5]
    assert ask(keep, ("a",), 6)[0].tolist() == [6]
