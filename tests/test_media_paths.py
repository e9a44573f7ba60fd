"""classify, list_media and atomic_path."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from omote.errors import InputError, OutputError
from omote.media import VideoWriter, atomic_path, classify, is_video, list_media, natural_key
from omote.media.paths import sniff


def omote_bytes(metadata: dict[str, str]) -> bytes:
    header = json.dumps({"__metadata__": metadata}).encode()
    return len(header).to_bytes(8, "little") + header


# ---- classify ----


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF"])
def test_images_are_known_by_content(tmp_path: Path, fmt: str) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "写真.txt", format=fmt)
    assert classify(tmp_path / "写真.txt") == "image"
    assert is_video(tmp_path / "写真.txt") is False


@pytest.mark.parametrize("fmt", ["GIF", "WEBP", "PNG"])
def test_animations_are_videos(tmp_path: Path, fmt: str) -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a", format=fmt, save_all=True, append_images=frames[1:])
    assert classify(tmp_path / "a") == "video"


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_videos_are_known_by_content(tmp_path: Path, suffix: str) -> None:
    with VideoWriter(tmp_path / f"a{suffix}", (16, 16), 10) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    (tmp_path / f"a{suffix}").rename(tmp_path / "a.jpg")
    assert classify(tmp_path / "a.jpg") == "video"
    assert is_video(tmp_path / "a.jpg") is True


@pytest.mark.parametrize(
    ("head", "fmt"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "avif"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "mp4"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "mp4"),
        ((b"G" + bytes(187)) * 4, "mpegts"),
        ((bytes(4) + b"G" + bytes(187)) * 4, "mpegts"),
        (b"\x00\x00\x01\xba", "mpegps"),
        (b"YUV4MPEG2 W1 H1", "y4m"),
        (b"RIFF\0\0\0\0WAVE", ""),
        (b"BM is how this text begins", ""),
        (b"#EXTM3U\n", ""),
    ],
)
def test_sniffed_formats(tmp_path: Path, head: bytes, fmt: str) -> None:
    (tmp_path / "a").write_bytes(head + bytes(32))
    assert sniff(tmp_path / "a") == fmt


def test_performances_and_unknown_files(tmp_path: Path) -> None:
    (tmp_path / "take.omote").write_bytes(omote_bytes({}))
    (tmp_path / "renamed.bin").write_bytes(omote_bytes({"format": "omote"}))
    (tmp_path / "weights.safetensors").write_bytes(omote_bytes({"format": "pt"}))
    (tmp_path / "notes.mp4").write_text("only a text")
    kinds = {p.name: classify(p) for p in tmp_path.iterdir()}
    assert kinds == {
        "take.omote": "performance",
        "renamed.bin": "performance",
        "weights.safetensors": "unknown",
        "notes.mp4": "unknown",
    }


def test_classify_names_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name, says in (("none", "no such file"), (".", "folder"), ("empty", "empty")):
        with pytest.raises(InputError, match=says):
            classify(tmp_path / name)


@given(head=st.binary(min_size=1, max_size=64))
def test_sniffing_never_fails(tmp_path_factory: pytest.TempPathFactory, head: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "sniff"
    path.write_bytes(head)
    assert classify(path) in ("image", "video", "performance", "unknown")


# ---- folders ----


def test_list_media_is_in_natural_order_and_by_content(tmp_path: Path) -> None:
    for name in ("frame10.png", "frame2.png", "Frame1.PNG", "顔 3.jpg", "photo without suffix"):
        Image.new("RGB", (4, 4)).save(tmp_path / name, format="PNG")
    (tmp_path / "broken.jpg").touch()
    (tmp_path / "clip.mp4").write_text("damaged")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "take.omote").write_bytes(omote_bytes({}))
    Image.new("RGB", (4, 4)).save(tmp_path / ".hidden.png")
    (tmp_path / "folder.png").mkdir()
    numbered = ["Frame1.PNG", "frame2.png", "frame10.png"]
    names = [p.name for p in list_media(tmp_path)]
    assert names == ["broken.jpg", "clip.mp4", *numbered, "photo without suffix", "顔 3.jpg"]


def test_list_media_of_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="no such folder"):
        list_media(tmp_path / "none")
    with pytest.raises(InputError, match="this is a file"):
        list_media(tmp_path / "file")
    assert list_media(tmp_path) == []


@given(st.lists(st.text(max_size=12), max_size=8))
def test_natural_keys_compare(names: list[str]) -> None:
    assert sorted(names, key=natural_key) == sorted(sorted(names, key=natural_key), key=natural_key)


def test_natural_key_counts() -> None:
    assert sorted(["a10b2", "a9", "a10b10", "A1"], key=natural_key) == ["A1", "a9", "a10b2", "a10b10"]


# ---- atomic writes ----


def test_atomic_path_replaces_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "新規 folder" / "a b.tar.gz"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".gz"
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert [p.name for p in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit, InputError])
def test_atomic_path_keeps_the_old_file_on_any_exception(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error("stop")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_atomic_path_without_a_result(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nothing was written"), atomic_path(tmp_path / "a.txt"):
        pass


def test_atomic_path_tells_a_full_disk_from_other_errors(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Free some space"), atomic_path(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "another file").read_text()


def test_atomic_path_follows_links_and_long_names(tmp_path: Path) -> None:
    real = tmp_path / "real" / "a.txt"
    real.parent.mkdir()
    real.write_text("old")
    (tmp_path / "link.txt").symlink_to(real)
    with atomic_path(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert real.read_text() == "new"
    long = tmp_path / ("長" * 80 + ".txt")  # 244 of 255 bytes
    with atomic_path(long) as temporary:
        temporary.write_text("x")
    assert long.read_text() == "x"


def test_atomic_path_says_at_once_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    places = [
        tmp_path / "file" / "a",
        Path("/proc/omote/a"),
        tmp_path / ("x" * 300),
        "a\0b",
    ]
    for place in places:
        with pytest.raises(OutputError, match="cannot be written"), atomic_path(place):
            pytest.fail("the block must not run")
    with pytest.raises(OutputError, match="this is a folder"), atomic_path(tmp_path):
        pytest.fail("the block must not run")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permissions"), atomic_path(tmp_path / "a"):
            pytest.fail("the block must not run")
    finally:
        tmp_path.chmod(0o700)
