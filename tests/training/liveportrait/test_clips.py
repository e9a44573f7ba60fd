"""Clips on disk, crops of files, the rig's clips, and the pairs that are drawn from them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tests.training.liveportrait.few_clips import face_marks, frame, make_clips

from omote.capture import detect
from omote.capture.landmarker import Face, make_face
from omote.errors import FormatError, InputError, OutputError, WeightsError
from omote.media import VideoWriter, write_image
from omote.models.liveportrait.keypoints import rotation_matrix
from omote.training.datasets import clip_import
from omote.training.datasets.clip_import import gather_clips
from omote.training.datasets.clip_render import ClipOptions, render_clip
from omote.training.datasets.clips import ClipFrame, head_angles, open_clip, split_people, write_clip
from omote.training.liveportrait.pairs import (
    PairSet,
    draw_pair,
    held_out_pairs,
    mirrored,
    moved,
    to_batch,
)


def test_a_clip_is_read_back_frame_by_frame(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [frame(rng) for _ in range(3)]
    write_clip(tmp_path / "a.clip", frames, "anna")
    clip = open_clip(tmp_path / "a.clip")
    assert (clip.count, clip.size, clip.person) == (3, 64, "anna")
    for index in (2, 0):
        found = clip.frame(index)
        assert np.array_equal(found.landmarks, frames[index].landmarks)
        assert np.array_equal(found.angles, frames[index].angles)
        apart = np.abs(found.picture.astype(float) - frames[index].picture)
        assert apart.mean() < 5
    with pytest.raises(InputError, match="square frames"):
        write_clip(tmp_path / "b.clip", [], "anna")


def test_damaged_clips_are_named(tmp_path: Path) -> None:
    make_clips(tmp_path, 1)
    good = load_file(tmp_path / "0.clip")
    notes = {"format": "omote clip 1", "size": "64", "person": "x"}
    bad = tmp_path / "bad.clip"
    for change in (
        {"ends": np.array([5, 3, 9], np.int64)},
        {"landmarks": good["landmarks"][:2]},
        {"landmarks": good["landmarks"] * np.nan},
        {"pictures": good["pictures"][:-1]},
    ):
        save_file({**good, **change}, bad, notes)
        with pytest.raises(FormatError, match=r"bad\.clip: the clip is damaged"):
            open_clip(bad)
    save_file(good, bad, {**notes, "size": "10000000"})
    with pytest.raises(FormatError):
        open_clip(bad)
    save_file(good, bad)
    with pytest.raises(FormatError, match="not a clip"):
        open_clip(bad)
    bad.write_bytes(b"junk")
    with pytest.raises(FormatError, match="damaged"):
        open_clip(bad)
    save_file({**good, "pictures": np.zeros_like(good["pictures"])}, bad, notes)
    with pytest.raises(FormatError, match="picture 1"):
        open_clip(bad).frame(1)


def test_angles_turn_keypoints_as_the_head_turns(tmp_path: Path) -> None:
    """A point of the head, in image axes, lies where the angles' rotation takes it."""
    from omote.geometry.rotations import axis_angle_to_matrix

    turn = axis_angle_to_matrix(np.array([0.2, -0.4, 0.3]))
    point = np.array([0.05, 0.03, 0.08])  # camera space: x right, y up, z to the viewer
    wanted = (turn @ point) * [1, -1, -1]
    angles = torch.from_numpy(head_angles(turn).astype(np.float64))[:, None]
    found = torch.from_numpy(point * [1, -1, -1])[None] @ rotation_matrix(*angles)[0]
    assert found[0].numpy() == pytest.approx(wanted, abs=1e-6)


def test_the_rig_s_clip_shows_one_head_that_moves_where_its_landmarks_say() -> None:
    from omote.rigs.facs import load_rig

    options = ClipOptions(frames=2, size=64, seed=3)
    first, second = render_clip(load_rig(), options, 0)
    again = next(iter(render_clip(load_rig(), options, 0)))
    assert np.array_equal(first.picture, again.picture)
    assert np.array_equal(first.landmarks, again.landmarks)
    assert first.picture.shape == (64, 64, 3)
    assert np.abs(first.landmarks).max() < 1
    assert not np.array_equal(first.landmarks, second.landmarks)
    corners = first.picture[[0, 0], [0, -1]].astype(float), second.picture[[0, 0], [0, -1]].astype(float)
    assert np.abs(corners[0] - corners[1]).max() <= 1  # the background rests
    with pytest.raises(InputError, match="--size"):
        ClipOptions(size=8)


def test_people_are_held_out_whole() -> None:
    class Named:
        def __init__(self, person: str) -> None:
            self.person = person

    clips = [Named(f"p{k // 2}") for k in range(20)]
    train, held = split_people(clips)  # type: ignore[arg-type]
    assert len(held) == 2
    assert {c.person for c in held}.isdisjoint({c.person for c in train})
    assert split_people(clips[:2]) == (clips[:2], [])  # type: ignore[arg-type, comparison-overlap]


def test_pairs_depend_on_seed_pass_and_position_alone(tmp_path: Path) -> None:
    clips = make_clips(tmp_path)
    one, two = PairSet(clips, 2, 0, 5), PairSet(clips, 2, 0, 5)
    assert len(one) == 8
    two[3]
    assert np.array_equal(one[6]["driver"], two[6]["driver"])  # type: ignore[index]
    assert sorted(one.order.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert not np.array_equal(one.order, PairSet(clips, 2, 1, 5).order)
    held = list(held_out_pairs(clips[:2], 3))
    assert len(held) == 3
    assert np.array_equal(held[0]["source"], clips[0].frame(0).picture)
    batch = to_batch(held)
    assert batch["source"].shape == (3, 3, 64, 64)
    with pytest.raises(FormatError):
        to_batch([FormatError("broken")])


@pytest.mark.parametrize(
    ("count", "frames"),
    [(1, [11]), (2, [6, 11]), (3, [4, 7, 11]), (11, [*range(1, 12)]), (40, [*range(1, 12)])],
)
def test_held_out_drivers_are_spread_evenly_and_far(count: int, frames: list[int]) -> None:
    class Numbered:
        count = 12

        def frame(self, index: int) -> ClipFrame:
            picture = np.full((4, 4, 3), index, np.uint8)
            return ClipFrame(picture, np.zeros((478, 2), np.float32), np.zeros(3, np.float32))

    pairs = list(held_out_pairs([Numbered()], count))  # type: ignore[list-item]
    assert [pair["driver"][0, 0, 0] for pair in pairs] == frames
    assert not any(pair["source"].any() for pair in pairs)


def test_a_still_image_drives_itself_by_a_similarity(tmp_path: Path) -> None:
    clip = make_clips(tmp_path, 1, frames=1)[0]
    pair = draw_pair(clip, np.random.default_rng(1))
    assert not np.allclose(pair["source_marks"], pair["driver_marks"])
    # the shape is the same up to scale, turn and shift
    sides = [marks[:468] - marks[:468].mean(0) for marks in (pair["source_marks"], pair["driver_marks"])]
    a, b = (side @ np.array([1, 1j]) for side in sides)
    ratio = (a.conj() @ b) / (a.conj() @ a)
    assert np.abs(b - ratio * a).max() < 1e-5


def test_moved_and_mirrored_frames_keep_picture_landmarks_and_angles_together() -> None:
    plain = frame(np.random.default_rng(2))
    there = moved(plain, 0.1, -0.05, 1.1, 20.0)

    def shade(shown: ClipFrame, index: int) -> float:
        x, y = ((shown.landmarks[index] + 1) * 32 - 0.5).round().astype(int)
        return float(shown.picture[y, x].mean())

    back = mirrored(plain)
    for index in (468, 473, 13):
        assert shade(there, index) == pytest.approx(shade(plain, index), abs=12)
        assert shade(back, index) == pytest.approx(shade(plain, index), abs=12)
    assert back.landmarks[33, 0] < back.landmarks[263, 0]
    assert back.angles == pytest.approx(plain.angles * [1, -1, -1])
    upright = ClipFrame(plain.picture, plain.landmarks, np.zeros(3, np.float32))
    assert moved(upright, 0, 0, 1, 20.0).angles == pytest.approx([0, 0, 20], abs=1e-4)
    assert np.array_equal(mirrored(back).landmarks, plain.landmarks)


class FakeDetector:
    """Finds one face in the middle of pictures that are not black."""

    cuts: tuple[int, ...] = ()

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> FakeDetector:
        return self

    def __exit__(self, *_: object) -> None: ...

    def detect(self, image: np.ndarray, time_s: float | None = None) -> list[Face]:
        if image.max() < 20:
            return []
        marks = (face_marks() + 1) / 2 * [image.shape[1], image.shape[0]]
        face = make_face(np.column_stack([marks, 0 * marks[:, 0]]), np.zeros(52), np.eye(4))
        return [face]


def test_folders_of_videos_and_images_become_clips_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(clip_import, "FaceDetector", FakeDetector)
    monkeypatch.setattr(detect, "FaceDetector", FakeDetector)
    folder, cache = tmp_path / "in", tmp_path / "crops"
    folder.mkdir()
    rng = np.random.default_rng(0)
    picture = rng.integers(60, 200, (160, 160, 3), dtype=np.uint8)
    write_image(folder / "photo.png", picture)
    write_image(folder / "night.png", picture * 0)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xffnothing")
    with VideoWriter(folder / "talk.mp4", (160, 160), 25) as video:
        for _ in range(13):
            video.write(picture)
    with caplog.at_level(logging.WARNING):
        found = gather_clips([folder], cache, 64)
    assert sorted(clip.count for clip in found.clips) == [1, 5]  # ten of 25 frames a second
    assert {path.name for path in found.refused} == {"night.png", "broken.jpg"}
    assert "no face" in found.refused[folder / "night.png"]
    shown = next(c for c in found.clips if c.count == 1).frame(0)
    assert np.abs(shown.landmarks[:, 0].mean()) < 0.05
    assert np.abs(np.ptp(shown.landmarks[:468], 0)).max() == pytest.approx(
        2 / 2.2, abs=0.03
    )  # the crop's scale

    def never(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(clip_import, "read_image", never)
    monkeypatch.setattr(clip_import, "open_video", never)
    (folder / "broken.jpg").unlink()  # what cannot be read is tried each time
    again = gather_clips([folder], cache, 64)
    assert [c.path for c in again.clips] == [c.path for c in found.clips]
    assert set(again.refused) == {folder / "night.png"}


def test_a_failure_that_may_pass_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = tmp_path / "in", tmp_path / "crops"
    folder.mkdir()
    write_image(folder / "photo.png", np.full((160, 160, 3), 99, np.uint8))

    def missing(*_: object, **__: object) -> None:
        raise WeightsError("no landmarker")

    with monkeypatch.context() as patched:
        patched.setattr(clip_import, "FaceDetector", missing)
        with pytest.raises(WeightsError, match="no landmarker"):
            gather_clips([folder], cache, 64)
    monkeypatch.setattr(clip_import, "FaceDetector", FakeDetector)
    assert len(gather_clips([folder], cache, 64).clips) == 1
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        gather_clips([folder], tmp_path / "file" / "crops", 64)


def test_nothing_to_train_on_and_clips_of_another_size_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="omote train clips"):
        gather_clips([tmp_path / "empty"], tmp_path / "crops", 64)
    with pytest.raises(InputError, match="no such folder"):
        gather_clips([tmp_path / "missing"], tmp_path / "crops", 64)
    make_clips(tmp_path / "clips", 1)
    with pytest.raises(InputError, match="64 px, this training needs 128"):
        gather_clips([tmp_path / "clips"], tmp_path / "crops", 128)
