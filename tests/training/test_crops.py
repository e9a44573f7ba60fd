"""Crops of stored samples: the same whether they are kept on disk or not."""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.training.few_controls import FewControls

from omote.errors import FormatError, OutputError
from omote.training.datasets.crops import CropStore
from omote.training.datasets.shards import bytes_array, complete_shards, read_shard, write_info
from omote.training.datasets.synthetic import SynthOptions, make_shard

OPTIONS = SynthOptions(recipe="paper", count=4, seed=5, size=96, per_shard=4, vertices=False)


@dataclass(frozen=True)
class Config:
    align: str = "face"
    size: int = 48
    eye_size: tuple[int, int] = (32, 16)
    modalities: tuple[str, ...] = ("rgb", "normal")


@pytest.fixture(scope="module")
def rig() -> FewControls:
    return FewControls()


@pytest.fixture(scope="module")
def rendered(rig: FewControls, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of one shard of four samples."""
    folder = tmp_path_factory.mktemp("data")
    write_info(folder, OPTIONS.describe(rig))
    make_shard(rig, OPTIONS, folder, 0)
    return folder


@pytest.fixture
def shard(rendered: Path, tmp_path: Path) -> Path:
    """The shard in a folder of its own, which a test may spoil."""
    (tmp_path / "data").mkdir()
    return Path(shutil.copy(complete_shards(rendered)[0], tmp_path / "data"))


def spoil(shard: Path) -> None:
    """Make a shard unreadable that looks the same from outside."""
    stored = shard.stat()
    shard.write_bytes(bytes(stored.st_size))
    os.utime(shard, ns=(stored.st_atime_ns, stored.st_mtime_ns))


def same(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> bool:
    assert len(first) == len(second) > 0
    return all(
        a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and (a[n] == b[n]).all() for n in a)
        for a, b in zip(first, second, strict=True)
    )


def test_kept_crops_are_those_that_were_made(rig: FewControls, shard: Path, tmp_path: Path) -> None:
    fresh = list(CropStore(Config(), rig).read(shard))
    store = CropStore(Config(), rig, tmp_path / "cache")
    assert same(fresh, list(store.read(shard)))
    (place,) = (tmp_path / "cache").glob("*/*")
    stored = shard.stat()
    assert place.parent.name.startswith("data-")
    assert place.name == f"{shard.stem}-{stored.st_size}-{stored.st_mtime_ns}"
    spoil(shard)  # from now on they can come from the cache alone
    assert same(fresh, list(store.read(shard)))
    assert same(fresh, list(CropStore(Config(), rig, tmp_path / "cache").read(shard)))
    shapes = {name: (value.shape, value.dtype) for name, value in fresh[0].items()}
    assert shapes == {
        "rgb": ((48, 48, 3), np.uint8),
        "normal": ((48, 48, 3), np.uint8),
        "eyes_rgb": ((2, 16, 32, 3), np.uint8),
        "eyes_normal": ((2, 16, 32, 3), np.uint8),
        "controls": ((3,), np.float32),
        "identity": ((2,), np.float32),
        "pose": ((7,), np.float32),
    }
    fresh[0]["rgb"][:] = 0  # what is handed out may be changed


def test_a_shard_that_was_rendered_again_is_cropped_again(
    rig: FewControls, shard: Path, tmp_path: Path
) -> None:
    store, whole = CropStore(Config(), rig, tmp_path / "cache"), shard.read_bytes()
    fresh, stored = list(store.read(shard)), shard.stat()
    os.utime(shard, ns=(stored.st_atime_ns, stored.st_mtime_ns + 1000))
    assert same(fresh, list(store.read(shard)))
    shard.write_bytes(whole + bytes(tarfile.RECORDSIZE))  # another size, the same time
    os.utime(shard, ns=(stored.st_atime_ns, stored.st_mtime_ns))
    assert same(fresh, list(store.read(shard)))
    assert len(list((tmp_path / "cache").glob("data-*/shard-*"))) == 3


@pytest.mark.parametrize("member", ["rgb", "pose"])
def test_two_processes_may_keep_the_same_crops(
    rig: FewControls, shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str
) -> None:
    """The other one starts later, while a member is written, and is done earlier."""
    cache = tmp_path / "cache"
    store, other = CropStore(Config(), rig, cache), CropStore(Config(), rig, cache)
    fresh, mine, save = list(CropStore(Config(), rig).read(shard)), os.getpid(), np.save
    theirs: list[dict[str, Any]] = []

    def overtaken(path: Path, array: Any) -> None:
        if path.stem == member:
            with monkeypatch.context() as patched:
                patched.setattr(np, "save", save)
                patched.setattr(os, "getpid", lambda: mine + 1)
                theirs.extend(other.read(shard))
        save(path, array)

    with monkeypatch.context() as patched:
        patched.setattr(np, "save", overtaken)
        assert same(fresh, list(store.read(shard)))
    assert same(fresh, theirs)
    assert len(list(cache.glob("*/*"))) == 1  # nothing half made is left
    assert same(fresh, list(other.read(shard)))


def test_crops_of_another_kind_are_kept_elsewhere(rig: FewControls, shard: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    kinds = (Config(), Config(size=32), Config(eye_size=(16, 16)), Config(modalities=("rgb",)))
    for count, config in enumerate(kinds, 1):
        found = list(CropStore(config, rig, cache).read(shard))
        assert len(list(cache.iterdir())) == count
        assert found[0]["rgb"].shape == (config.size, config.size, 3)
        assert ("normal" in found[0]) == ("normal" in config.modalities)
    moved = tmp_path / "other" / "data"  # another data set whose folder has the same name
    moved.mkdir(parents=True)
    shutil.copy(shard, moved)
    list(CropStore(Config(), rig, cache).read(moved / shard.name))
    assert len(list(cache.iterdir())) == len(kinds) + 1


def test_the_pose_lays_the_landmarks_where_they_are_seen(rig: FewControls, shard: Path) -> None:
    from scipy.spatial.transform import Rotation

    from omote.capture.face_crop import crops

    store = CropStore(Config(), rig)
    assert store.poses is not None
    for sample, stored in zip(store.read(shard), read_shard(shard), strict=True):
        landmarks = bytes_array(stored["landmarks.npy"]).astype(np.float64)
        place = crops(Config(), landmarks, (96, 96)).face
        seen = (landmarks @ place[:, :2].T + place[:, 2]) / 48
        pose = sample["pose"].astype(np.float64)
        head = store.poses.points.at(sample["controls"][None], sample["identity"][None])[0]
        turned = Rotation.from_rotvec(pose[:3]).apply(head)
        flat = turned[:, :2] * (1, -1) * np.exp(pose[3]) + pose[4:6]
        found = flat / (1 - pose[6] * turned[:, 2:]) + 0.5  # about the crop's middle
        assert np.linalg.norm(found - seen, axis=1).mean() < 0.008  # one pixel of 128
        assert pose[4:6] == pytest.approx((0, -0.24), abs=0.1)


def test_a_rig_without_landmarks_has_no_poses(rig: FewControls, shard: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(rig.rig, "landmarks", None)
    found = list(CropStore(Config(), rig).read(shard))
    assert all(np.isnan(sample["pose"]).all() for sample in found)


def test_damaged_samples_are_named(rig: FewControls, shard: Path, tmp_path: Path) -> None:
    store = CropStore(Config(), rig, tmp_path / "cache")
    sample = next(read_shard(shard))
    for member, content in (
        ("normal.png", b"nothing"),
        ("controls.npy", b"nothing"),
        ("landmarks.npy", b""),
        ("identity.npy", b"\x93NUMPY\x01\x00"),
        ("json", b"[1, 2]"),
        ("json", b'{"head_rotation": {"x": 1}}'),
        ("json", b"{}"),
        ("json", b"nothing"),
    ):
        with pytest.raises(FormatError, match=r"shard\.tar: sample 00000000 is damaged"):
            store.crop({**sample, member: content}, Path("shard.tar"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match="damaged or cut off"):
        list(store.read(shard))
    assert not (tmp_path / "cache").exists()  # nothing is kept of a shard that is not whole
    shard.write_bytes(whole)
    assert len(list(store.read(shard))) == 4


def test_a_full_disk_is_one_clear_line(
    rig: FewControls, shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CropStore(Config(), rig, tmp_path / "cache")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "save", full)
        with pytest.raises(OutputError, match=r"cache: crops cannot be kept \(No space left on device\)"):
            list(store.read(shard))
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert not left
    assert len(list(store.read(shard))) == 4  # with space again, all is well


def test_a_file_in_the_way_is_one_clear_line(rig: FewControls, shard: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(OutputError, match="crops cannot be kept"):
        list(CropStore(Config(), rig, tmp_path / "cache").read(shard))


@pytest.mark.parametrize("kept", [0, 90, 400])
def test_crops_that_were_cut_off_are_made_again(
    rig: FewControls, shard: Path, tmp_path: Path, kept: int
) -> None:
    store = CropStore(Config(), rig, tmp_path / "cache")
    fresh = list(store.read(shard))
    (damaged,) = (tmp_path / "cache").glob("*/*/rgb.npy")
    damaged.write_bytes(damaged.read_bytes()[:kept])
    assert same(fresh, list(store.read(shard)))
    assert len(damaged.read_bytes()) > 400


def test_crops_of_a_rig_without_landmarks_are_kept_apart(
    rig: FewControls, shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(CropStore(Config(), rig, tmp_path / "cache").read(shard))
    monkeypatch.setattr(rig, "landmarks", None)
    assert all(np.isnan(s["pose"]).all() for s in CropStore(Config(), rig, tmp_path / "cache").read(shard))
