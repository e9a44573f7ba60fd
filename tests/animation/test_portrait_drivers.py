"""Drivers of ``omote animate --engine liveportrait``: motion that is kept, and rig performances that are changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.drive.liveportrait_faces import random_motion
from tests.drive.liveportrait_small import SourceRenderer

from omote.animation.options import AnimateOptions
from omote.animation.portrait_edits import edited
from omote.controls import FACS102, IMPLICIT21
from omote.drive.liveportrait import extraction
from omote.drive.liveportrait.driving import DrivingTake, take_of_template, template_of_take
from omote.drive.liveportrait.sliders import Sliders
from omote.drive.liveportrait.template import performance_of, template_of
from omote.errors import InputError, NoFaceError
from omote.performance import Performance

from .conftest import JAW, UNEVEN, make, refused, take_of


@pytest.fixture(autouse=True)
def engine(portraits: list[SourceRenderer]) -> list[SourceRenderer]:
    """The renderers that were made."""
    return portraits


def driven(engine: list[SourceRenderer]) -> torch.Tensor:
    """(T, 21, 3) the keypoints that the latest result was drawn with."""
    return torch.cat(engine[-1].driving)


def test_the_motion_of_a_video_is_kept_and_found_again(
    photo: Path, clip: Path, tmp_path: Path, engine: list[SourceRenderer], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept.omote"
    made = make(photo, clip, tmp_path / "a.mp4", take=kept)
    first = driven(engine)
    take = Performance.load(kept)
    assert (take.space, len(take), made.held) == (IMPLICIT21, 8, ((3, 4),))
    assert np.flatnonzero(take.confidence == 0).tolist() == [3, 4]
    assert np.allclose(np.diff(take.times), 1001 / 30000, atol=1e-4)
    assert take.source["file"] == "clip.mp4"
    assert make(photo, clip, tmp_path / "a.mp4", take=kept).status == "complete"
    kept.unlink()
    assert make(photo, clip, tmp_path / "a.mp4", take=kept).status == "animated", "the take was not there"

    def unseen(*_: Any) -> None:
        raise AssertionError("looked at again")

    monkeypatch.setattr(extraction, "follow_faces", unseen)
    make(photo, clip, tmp_path / "b.mp4", take=kept, stitching=False)
    make(photo, clip, tmp_path / "c.mp4", take=kept, visible_mark=True)
    assert torch.equal(driven(engine), first)
    make(photo, kept, tmp_path / "d.mp4")
    assert torch.equal(driven(engine), first), "driven by the take itself"
    with pytest.raises(AssertionError, match="looked at again"):
        make(photo, clip, tmp_path / "e.mp4", take=kept, driver_crop_scale=2.0)


def test_the_motion_of_every_kind_of_driver_can_be_kept(
    photo: Path, template: Path, tmp_path: Path, engine: list[SourceRenderer]
) -> None:
    kinds: tuple[tuple[Any, dict[str, Any], int], ...] = (
        (photo, {}, 1),
        (template, {}, 6),
        (take_of([0.0, 0.5]), {"offsets": {"jaw_open": 0.3}}, 2),
        (None, {"preset": "smile", "duration": 0.2, "fps": 10}, 3),
        (template, {"compat": "official"}, 6),
    )
    for number, (driver, options, frames) in enumerate(kinds):
        kept = tmp_path / f"{number}.omote"
        make(photo, driver, tmp_path / f"{number}.mp4", take=kept, **options)
        first = driven(engine)
        held = Performance.load(kept)
        assert (held.space, len(held)) == (IMPLICIT21, frames)
        assert held.source["sha256"]
        rest = {name: value for name, value in options.items() if name == "compat"}
        make(photo, kept, tmp_path / f"{number}_again.mp4", **rest)
        assert torch.equal(driven(engine), first), "the take does the same"
    with pytest.raises(InputError, match="would replace what it is made from"):
        make(photo, kept, tmp_path / "x.mp4", take=kept)
    with pytest.raises(InputError, match="keeps the motion of one driver, and 0 are given"):
        make(photo, None, tmp_path / "y.mp4", take=kept, sliders=Sliders(smile=1))


def test_a_kept_performance_was_seen_in_one_crop(photo: Path, tmp_path: Path) -> None:
    kept, held = tmp_path / "kept.omote", []
    for scale in (2.2, 2.2, 1.8):
        make(photo, take_of([0.5]), tmp_path / "a.png", take=kept, driver_crop_scale=scale, overwrite=True)
        held.append(kept.read_bytes())
    assert held[0] == held[1] != held[2]


def test_shots_are_kept_with_the_motion() -> None:
    motion = random_motion(6)
    eyes, lip, found = torch.full((6, 2), 0.3), torch.full((6, 1), 0.1), np.ones(6, bool)
    whole = DrivingTake(motion, UNEVEN, eyes, lip, found, cuts=(2, 5))
    kept = performance_of(template_of_take(whole), {})
    assert template_of(kept).cuts == (2, 5)
    assert template_of(kept[1:]).cuts == (), "cut since"
    assert template_of(kept.retime(2)).cuts == (), "retimed since"
    again = take_of_template(template_of(kept))
    assert (again.motion.exp - motion.exp).abs().max() < 1e-7
    assert (again.motion.rotation - motion.rotation).abs().max() < 1e-5


def test_changes_of_rig_controls_show_in_every_frame(
    photo: Path, tmp_path: Path, engine: list[SourceRenderer]
) -> None:
    take = take_of([0.0, 0.2])
    changes: tuple[dict[str, Any], ...] = (
        {"offsets": {"mouthSmile*": 0.8}},
        {"changes": ("jaw_open=0.9",)},
        {"gaze": (30.0, 0.0)},
    )
    drawn = []
    for number, change in enumerate(({}, *changes)):
        make(photo, take, tmp_path / f"{number}.mp4", smooth=0.0, stitching=False, **change)
        drawn.append(driven(engine))
    for moved in drawn[1:]:
        apart = (moved - drawn[0]).abs().amax((1, 2))
        assert float(apart.min()) > 0.2 * float(apart.max()) > 0, "not taken out again with the reference"


def test_what_changes_of_a_rig_performance_start_from() -> None:
    take = take_of([0.9, 0.1, 0.5, 0.0]).with_(confidence=np.array([1, 1, 1, 0]))
    for reference, jaw in ((None, 0.1), ("neutral", 0.0), ("first", 0.9), (2, 0.5)):
        options = AnimateOptions(offsets={"jaw_open": -0.2}, reference=reference, blinks=60.0)
        made, rest = edited(take, options)
        assert rest is not None
        assert rest.controls[0, JAW] == pytest.approx(jaw), reference
        assert made.controls[:, JAW] == pytest.approx([0.7, 0, 0.3, 0])
    with pytest.raises(NoFaceError, match="no face in frame 3"):
        edited(take, AnimateOptions(gaze="camera", reference=3))
    with pytest.raises(InputError, match="has no frame 4"):
        edited(take, AnimateOptions(gaze="camera", reference=4))
    assert edited(take, AnimateOptions()) == (take, None)


def test_blinks_come_into_a_performance() -> None:
    take = take_of([0.0] * 250)
    closing = [FACS102.index(f"lid_close_{side}") for side in "LR"]
    made, _ = edited(take, AnimateOptions(blinks=30.0))
    assert (made.controls[:, closing].max(0) > 0.9).all()
    other, _ = edited(take, AnimateOptions(blinks=30.0, seed=3))
    assert (other.controls != made.controls).any()


def test_drivers_without_rig_controls_are_named(
    photo: Path, take: Path, clip: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    engine = ("--engine", "liveportrait", "-o", tmp_path / "a.mp4", "--face", "0,1")
    line = refused(capsys, photo, take, clip, *engine, "--gaze", "camera")
    assert "--gaze: clip.mp4 has no rig controls to be changed. Drive with a capture of it: omote" in line
    assert "--blinks: me.png has no rig" in refused(capsys, photo, photo, *engine[:4], "--blinks", "9")
    words = ("--slider", "smile=1", "--set", "jaw_open=1")
    assert "--set: there is no rig performance" in refused(capsys, photo, *engine[:4], *words)
