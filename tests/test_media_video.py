"""open_video: times, orientation, damage and hostile files."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from omote.errors import InputError
from omote.media import VideoWriter, is_video, open_video
from omote.media.video import _Clock

RED, GREEN, BLUE, WHITE = (230, 20, 20), (20, 200, 20), (20, 20, 230), (240, 240, 240)


def picture(index: int = 0, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """(H, W, 3): red, green, blue and white quarters; a black bar that moves down with the index."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = RED, GREEN
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = BLUE, WHITE
    image[index % height] = 0
    return image


def encode(
    path: Path, count: int = 20, *, rotation: int = 0, sar: Fraction | None = None, gop: int = 5
) -> Path:
    """An H.264 file made without our own writer."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(
            "libx264", rate=25, options={"crf": "12", "g": str(gop), "bf": "0"}
        )
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if sar is not None:
            stream.codec_context.sample_aspect_ratio = sar
        if rotation:
            stream.set_display_rotation(rotation)
        for index in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def quarters(image: np.ndarray) -> list[str]:
    """The colours at the middles of the quarters: top left, top right, bottom left, bottom right."""
    height, width = image.shape[:2]
    names = {"red": RED, "green": GREEN, "blue": BLUE, "white": WHITE}
    spots = [
        image[y, x].astype(int)
        for y in (height // 3, 2 * height // 3 + 2)
        for x in (width // 4, 3 * width // 4)
    ]
    return [min(names, key=lambda n: np.abs(spot - names[n]).sum()) for spot in spots]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return encode(tmp_path / "動画 と 空白.mp4")


# ---- plain reading ----


@pytest.mark.parametrize("prefetch", [False, True])
def test_frames_times_and_facts(clip: Path, prefetch: bool) -> None:
    video = open_video(clip, prefetch=prefetch)
    assert video.size == (64, 48)
    assert video.fps == pytest.approx(25)
    assert video.frame_count == 20
    assert video.duration == pytest.approx(0.8)
    assert video.has_audio is False
    assert video.scale == 1.0
    frames = list(video)
    assert [t for t, _ in frames] == pytest.approx(np.arange(20) / 25)
    assert all(isinstance(t, float) for t, _ in frames)
    for index, (_, frame) in enumerate(frames):
        assert frame.shape == (48, 64, 3)
        assert frame.dtype == np.uint8
        assert np.abs(frame.astype(int) - picture(index)).mean() < 4
    assert (video.skipped, video.truncated) == (0, False)
    assert len(list(video)) == 20, "a reader can be iterated again"


def test_prefetch_gives_the_same_frames(clip: Path) -> None:
    for (t0, a), (t1, b) in zip(open_video(clip), open_video(clip, prefetch=True), strict=True):
        assert t0 == t1
        assert np.array_equal(a, b)


def test_prefetch_thread_ends_when_the_consumer_stops(clip: Path) -> None:
    frames = iter(open_video(clip, prefetch=True))
    next(frames)
    assert any(t.name == "omote-decode" for t in threading.enumerate())
    frames.close()  # type: ignore[attr-defined]
    assert not any(t.name == "omote-decode" for t in threading.enumerate())
    for _ in open_video(clip, prefetch=True):
        break
    deadline = time.monotonic() + 5
    while any(t.name == "omote-decode" for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(t.name == "omote-decode" for t in threading.enumerate())


def test_prefetch_hands_errors_over(clip: Path) -> None:
    video = open_video(clip, prefetch=True)
    clip.unlink()
    with pytest.raises(InputError):
        list(video)


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ".avi", ".ts", ".flv"])
def test_other_containers(tmp_path: Path, suffix: str) -> None:
    path = encode(tmp_path / f"a{suffix}")
    video = open_video(path)
    frames = list(video)
    assert is_video(path)
    assert len(frames) == 20
    assert frames[0][0] == pytest.approx(0, abs=0.041)
    assert np.diff([t for t, _ in frames]) == pytest.approx(0.04, abs=0.002)
    assert video.truncated is False


# ---- orientation, pixel shape, size ----


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        (0, ["red", "green", "blue", "white"]),
        (90, ["green", "white", "red", "blue"]),  # counterclockwise
        (180, ["white", "blue", "green", "red"]),
        (-90, ["blue", "red", "white", "green"]),
    ],
)
def test_rotation_metadata_is_applied(tmp_path: Path, rotation: int, expected: list[str]) -> None:
    video = open_video(encode(tmp_path / "a.mp4", rotation=rotation))
    _, frame = next(iter(video))
    assert video.size == ((48, 64) if rotation in (90, -90) else (64, 48))
    assert frame.shape[1::-1] == video.size
    assert frame.flags.c_contiguous
    assert quarters(frame) == expected


def matrix_bytes(a: int, b: int, c: int, d: int) -> bytes:
    """A QuickTime track matrix [a b u; c d v; x y w], big-endian fixed point."""
    rows = [(a << 16, b << 16, 0), (c << 16, d << 16, 0), (0, 0, 1 << 30)]
    return b"".join((n & 0xFFFFFFFF).to_bytes(4, "big") for row in rows for n in row)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((-1, 0, 0, 1), ["green", "red", "white", "blue"]),
        ((1, 0, 0, -1), ["blue", "white", "red", "green"]),
        ((0, 1, 1, 0), ["red", "blue", "green", "white"]),
        ((0, -1, -1, 0), ["white", "green", "blue", "red"]),
        ((0, 1, -1, 0), ["blue", "red", "white", "green"]),
    ],
)
def test_mirroring_matrices_are_applied(
    tmp_path: Path, matrix: tuple[int, int, int, int], expected: list[str]
) -> None:
    path = encode(tmp_path / "a.mp4")
    data, identity = path.read_bytes(), matrix_bytes(1, 0, 0, 1)
    at = data.index(identity, data.index(b"tkhd"))  # the movie header holds one too, before the track's
    path.write_bytes(data[:at] + matrix_bytes(*matrix) + data[at + len(identity) :])
    _, frame = next(iter(open_video(path)))
    assert quarters(frame) == expected


def test_non_square_pixels_become_square(tmp_path: Path) -> None:
    video = open_video(encode(tmp_path / "a.mp4", sar=Fraction(2, 1)))
    assert video.size == (128, 48)
    assert next(iter(video))[1].shape == (48, 128, 3)


@pytest.mark.parametrize("rotation", [0, 90])
def test_max_side_scales_in_the_decoder(tmp_path: Path, rotation: int) -> None:
    path = encode(tmp_path / "a.mp4", rotation=rotation)
    video = open_video(path, max_side=32)
    assert video.size == ((24, 32) if rotation else (32, 24))
    assert video.scale == 0.5
    small = next(iter(video))[1]
    whole = next(iter(open_video(path)))[1]
    assert small.shape[1::-1] == video.size
    mean = whole.reshape(small.shape[0], 2, small.shape[1], 2, 3).mean(axis=(1, 3))
    assert np.abs(small - mean).mean() < 4
    assert open_video(path, max_side=1000).scale == 1.0
    with pytest.raises(InputError, match="max_side"):
        open_video(path, max_side=0)


def test_a_one_pixel_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 1, 1, "bgr0"
        for _ in range(3):
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.full((1, 1, 3), 99, np.uint8), format="rgb24"))
            )
        container.mux(stream.encode(None))
    assert [f.tolist() for _, f in open_video(tmp_path / "a.mkv")] == [[[[99] * 3]]] * 3


# ---- colour ----


@pytest.mark.parametrize(("tag", "height"), [("ITU709", 48), ("ITU601", 48), (None, 720), (None, 48)])
def test_colour_matrix_follows_the_tag_or_the_convention(
    tmp_path: Path, tag: str | None, height: int
) -> None:
    from av.video.reformatter import Colorspace

    used = tag or ("ITU709" if height >= 720 else "ITU601")
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, height, "yuv420p"
        if tag is not None:
            stream.codec_context.colorspace = Colorspace[tag]
        source = av.VideoFrame.from_ndarray(np.full((height, 64, 3), GREEN, np.uint8), format="rgb24")
        frame = source.reformat(format="yuv420p", dst_colorspace=used)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    _, pixels = next(iter(open_video(tmp_path / "a.mp4")))
    assert np.abs(pixels[height // 2, 32].astype(int) - GREEN).max() <= 4


# ---- times ----


def test_variable_frame_rate_survives(tmp_path: Path) -> None:
    times = np.cumsum([0, 0.04, 0.01, 0.2, 0.033, 0.5, 0.0333, 0.0334])
    with VideoWriter(tmp_path / "a.mp4", (64, 48), times=times) as writer:
        for index in range(len(times)):
            writer.write(picture(index))
    read = [t for t, _ in open_video(tmp_path / "a.mp4")]
    assert read == pytest.approx(times, abs=1e-4)
    assert (np.diff(read) > 0).all()


def test_clock_repairs_missing_repeated_and_jumping_stamps() -> None:
    clock = _Clock(start=10.0, fps=10)
    stamps = [10.0, 10.1, 10.1, None, 10.3, 2.0, 2.1, None, 2.3]
    times = [clock(stamp) for stamp in stamps]
    assert (np.diff(times) > 0).all()
    assert times[0] == 0
    assert times[1] == pytest.approx(0.1)
    assert times[4] == pytest.approx(0.3)
    assert times[5:] == pytest.approx([0.4, 0.5, 0.6, 0.7])


@settings(max_examples=200, deadline=None)
@given(
    stamps=st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9, allow_nan=False)), min_size=1, max_size=50),
    start=st.floats(-1e6, 1e6),
)
def test_clock_always_increases(stamps: list[float | None], start: float) -> None:
    clock = _Clock(start=start, fps=30)
    times = [clock(stamp) for stamp in stamps]
    assert times[0] >= 0
    assert all(b > a for a, b in pairwise(times))


def test_duration_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "live.webm"
    with av.open(str(path), "w", format="webm", options={"live": "1"}) as container:
        stream: Any = container.add_stream("libvpx", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        container.mux(stream.encode(None))
    video = open_video(path)
    assert video.duration is None
    assert video.frame_count is None
    assert video.fps > 0
    assert len(list(video)) == 5
    assert video.truncated is False


# ---- animations ----


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
@pytest.mark.parametrize("prefetch", [False, True])
def test_animations_are_videos(tmp_path: Path, suffix: str, prefetch: bool) -> None:
    frames = [Image.new("RGB", (8, 6), c) for c in (RED, GREEN, BLUE)]
    path = tmp_path / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 200, 50], lossless=True)
    video = open_video(path, prefetch=prefetch)
    assert video.size == (8, 6)
    assert video.frame_count == 3
    assert video.has_audio is False
    read = list(video)
    assert [t for t, _ in read] == pytest.approx([0, 0.1, 0.3])
    assert [f[3, 3].tolist() for _, f in read] == [list(RED), list(GREEN), list(BLUE)]
    assert next(iter(open_video(path, max_side=4)))[1].shape == (3, 4, 3)


def test_truncated_animation_yields_what_is_there(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
    frames = [Image.fromarray(n).quantize(64) for n in noise]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    data = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "a.gif").write_bytes(data[: len(data) // 2])
    video = open_video(tmp_path / "a.gif")
    assert 1 <= len(list(video)) < 6


def test_a_still_image_is_not_a_video(tmp_path: Path) -> None:
    for suffix in (".png", ".gif", ".jpg", ".webp"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"a{suffix}")
        with pytest.raises(InputError, match="still image"):
            open_video(tmp_path / f"a{suffix}")


# ---- what goes wrong ----


def faststart(path: Path, count: int = 60) -> Path:
    with VideoWriter(path, (64, 48), 25, crf=4) as writer:
        for index in range(count):
            writer.write(picture(index))
    return path


def test_truncated_video_yields_what_is_there_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = faststart(tmp_path / "a.mp4", 100)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    video = open_video(path)
    with caplog.at_level(logging.WARNING, logger="omote.media"):
        times = [t for t, _ in video]
    assert 20 < len(times) < 90
    assert (np.diff(times) > 0).all()
    assert video.truncated is True
    assert "cut off" in caplog.text
    assert "of 4.0 s" in caplog.text


def test_video_without_its_index_is_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", 50)  # its index is at the end
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(InputError) as caught:
        open_video(path)
    assert str(caught.value).startswith(f"{path}: the video is damaged or cut off")


def test_damaged_frames_are_skipped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = encode(tmp_path / "a.mp4", 40)
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for position, size in packets[12:14]:
        data[position : position + size] = b"\xff" * size
    path.write_bytes(bytes(data))
    video = open_video(path)
    with caplog.at_level(logging.WARNING, logger="omote.media"):
        times = [t for t, _ in video]
    assert video.skipped >= 2
    assert len(times) + video.skipped >= 39
    assert (np.diff(times) > 0).all()
    assert f"{video.skipped} damaged frame(s) skipped" in caplog.text


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "folder"),
        (lambda p: p.write_bytes(b""), "empty (0 bytes)"),
        (lambda p: p.write_text("some text that is long enough to be read as a header"), "not a video"),
        (lambda p: p.write_bytes(b"\x00\x00\x00\x18ftypisom" + bytes(500)), "damaged or cut off"),
        (
            lambda p: p.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/passwd\n"),
            "not a video",
        ),
    ],
)
def test_unusable_paths(tmp_path: Path, make: Any, says: str) -> None:
    path = tmp_path / "顔 1.mp4"
    make(path)
    with pytest.raises(InputError) as caught:
        open_video(path)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream: Any = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="no pictures"):
        open_video(tmp_path / "a.mp4")


def test_memory_stays_flat(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.mp4"
    with VideoWriter(path, (640, 480), 25) as writer:
        for index in range(150):
            writer.write(picture(index, (640, 480)))
    frames = iter(open_video(path))
    for _ in range(30):
        next(frames)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in frames) == 120
    grown = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    )  # kilobytes on Linux; 110 MB if all were kept
    assert grown < 40_000


SEEDS: dict[str, bytes] = {}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(suffix=st.sampled_from([".mp4", ".mkv", ".avi", ".ts", ".gif"]), data=st.data())
def test_only_input_errors_escape_from_damaged_files(
    tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    if suffix not in SEEDS:
        path = tmp_path / f"seed{suffix}"
        if suffix == ".gif":
            frames = [Image.fromarray(picture(i)) for i in range(3)]
            frames[0].save(path, save_all=True, append_images=frames[1:])
        else:
            encode(path, 6)
        SEEDS[suffix] = path.read_bytes()
    content = bytearray(SEEDS[suffix])
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    path = tmp_path / "fuzz"
    path.write_bytes(bytes(content[:end]))
    last = -1.0
    with contextlib.suppress(InputError):
        for count, (moment, frame) in enumerate(open_video(path, max_side=64)):
            assert moment > last
            assert max(frame.shape[:2]) <= 64
            last = moment
            if count > 50:
                break


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    magic=st.sampled_from(
        [b"", b"\0\0\0\x18ftypisom", b"\x1a\x45\xdf\xa3", b"RIFF\0\0\0\0AVI ", b"FLV\x01", b"OggS"]
    ),
    rest=st.binary(max_size=300),
)
def test_random_bytes_give_input_errors(tmp_path: Path, magic: bytes, rest: bytes) -> None:
    path = tmp_path / "fuzz"
    path.write_bytes(magic + rest)
    with contextlib.suppress(InputError):
        list(open_video(path))


# ---- real recordings ----


def test_shared_videos_read_whole(shared_dir: Path) -> None:
    files = sorted((shared_dir / "media" / "videos").glob("*.mp4"))
    assert files
    for file in files[:3]:
        video = open_video(file, max_side=64)
        times = [t for t, _ in video]
        assert len(times) == video.frame_count
        assert video.truncated is False
        assert (np.diff(times) > 0).all()
