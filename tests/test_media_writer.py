"""VideoWriter: what it writes reads back, sound comes along, and failures leave nothing behind."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from omote.errors import InputError, OutputError
from omote.media import VideoWriter, open_video, read_image


def smooth(index: int, width: int = 64, height: int = 48) -> np.ndarray:
    """(H, W, 3): a colour ramp that brightens with the index."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 2 + 40, y * 2 + 40, np.full_like(x, 30 + 5 * index)], axis=2).astype(np.uint8)


def with_sound(path: Path, codec: str = "aac", seconds: float = 2.0, shift: float = 0.0) -> Path:
    """A video of ``seconds`` with a tone of 440 Hz that starts ``shift`` seconds after the pictures."""
    rate = 48_000
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound: Any = container.add_stream(codec, rate=rate)
        sound.layout = "mono"
        for index in range(round(seconds * 25)):
            container.mux(video.encode(av.VideoFrame.from_ndarray(smooth(index), format="rgb24")))
        container.mux(video.encode(None))
        tone = (np.sin(np.arange(int(seconds * rate)) * 2 * np.pi * 440 / rate) * 8000).astype(np.int16)
        for start in range(0, len(tone), 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = (
                rate,
                start + round(shift * rate),
                Fraction(1, rate),
            )
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def sound_of(path: Path) -> tuple[str, list[bytes], float, float]:
    """Codec, packets, first and last time (s) of the first sound track."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        packets = [p for p in container.demux(stream) if p.size]
        times = [float(p.pts * p.time_base) for p in packets]
        return stream.codec_context.codec.canonical_name, [bytes(p) for p in packets], times[0], times[-1]


# ---- pictures ----


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".m4v", ".webm", ".MP4"])
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "新しい folder" / f"動画 1{suffix}"
    with VideoWriter(path, (64, 48), 25) as writer:
        for index in range(12):
            writer.write(smooth(index))
        assert not path.exists()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    video = open_video(path)
    frames = list(video)
    assert video.size == (64, 48)
    assert video.fps == pytest.approx(25, rel=0.01)
    assert [t for t, _ in frames] == pytest.approx(np.arange(12) / 25, abs=0.002)
    error = [np.abs(f.astype(int) - smooth(i)).mean() for i, (_, f) in enumerate(frames)]
    assert max(error) < 3


def test_stream_is_h264_yuv420p_and_tagged(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", (64, 48), Fraction(30000, 1001)) as writer:
        for index in range(5):
            writer.write(smooth(index))
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        next(container.decode(stream))
        context = stream.codec_context
        assert context.name == "h264"
        assert context.pix_fmt == "yuv420p"
        assert (context.colorspace, context.color_range) == (1, 1), "BT.709, limited range"
        assert stream.average_rate == Fraction(30000, 1001)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "plays while it loads"


@pytest.mark.parametrize(
    "colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 40, 90)]
)
def test_colours_survive(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    for name in ("a.mp4", "a.webm"):
        with VideoWriter(tmp_path / name, (32, 32), 10) as writer:
            writer.write(np.full((32, 32, 3), colour, np.uint8))
        assert np.abs(next(iter(open_video(tmp_path / name)))[1][16, 16].astype(int) - colour).max() <= 3


@pytest.mark.parametrize(("width", "height"), [(63, 48), (64, 47), (63, 47), (1, 1)])
def test_odd_sizes_are_padded_by_repeating_the_edge(tmp_path: Path, width: int, height: int) -> None:
    frame = smooth(0, width, height)
    with VideoWriter(tmp_path / "a.mp4", (width, height), 25, crf=4) as writer:
        writer.write(frame)
    video = open_video(tmp_path / "a.mp4")
    read = next(iter(video))[1].astype(int)
    assert video.size == (width + width % 2, height + height % 2)
    padded = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    assert np.abs(read - padded).mean() < 3


def test_times_per_frame_or_all_at_once(tmp_path: Path) -> None:
    times = np.array([0.0, 0.1, 0.15, 0.4, 1.4])
    with VideoWriter(tmp_path / "a.mp4", (64, 48), times=times) as writer:
        for index in range(5):
            writer.write(smooth(index))
    with VideoWriter(tmp_path / "b.mp4", (64, 48)) as writer:
        for index, time in enumerate(times):
            writer.write(smooth(index), time)
    for name in ("a.mp4", "b.mp4"):
        assert [t for t, _ in open_video(tmp_path / name)] == pytest.approx(times, abs=1e-4)


def test_smaller_crf_is_a_bigger_and_better_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    sizes = []
    for crf in (10, 40):
        with VideoWriter(tmp_path / "a.mp4", (64, 48), 25, crf=crf) as writer:
            writer.write(noise)
        sizes.append((tmp_path / "a.mp4").stat().st_size)
    assert sizes[0] > 2 * sizes[1]


def test_gif(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.3, 0.333]
    with VideoWriter(tmp_path / "a.gif", (63, 47), times=times) as writer:
        for index in range(4):
            writer.write(smooth(index * 8, 63, 47))
    video = open_video(tmp_path / "a.gif")
    frames = list(video)
    assert video.size == (63, 47)
    assert [t for t, _ in frames] == pytest.approx([0, 0.1, 0.3, 0.33])
    assert max(np.abs(f.astype(int) - smooth(i * 8, 63, 47)).mean() for i, (_, f) in enumerate(frames)) < 8
    assert read_image(tmp_path / "a.gif").shape == (47, 63, 3)


# ---- sound ----


def test_sound_is_copied_without_loss(tmp_path: Path) -> None:
    source = with_sound(tmp_path / "音 source.mp4")
    with VideoWriter(tmp_path / "a.mp4", (64, 48), 25, audio_from=source) as writer:
        for index in range(50):
            writer.write(smooth(index % 30))
    codec, packets, start, _ = sound_of(tmp_path / "a.mp4")
    _, original, source_start, _ = sound_of(source)
    assert open_video(tmp_path / "a.mp4").has_audio is True
    assert codec == "aac"
    assert packets == original[: len(packets)]
    assert len(packets) >= len(original) - 2
    assert start == pytest.approx(source_start, abs=0.03)


def test_sound_keeps_its_delay(tmp_path: Path) -> None:
    source = with_sound(tmp_path / "source.mp4", shift=0.5)
    with VideoWriter(tmp_path / "a.mp4", (64, 48), audio_from=source) as writer:
        for time, frame in open_video(source):
            writer.write(frame, time)
    assert sound_of(tmp_path / "a.mp4")[2] == pytest.approx(sound_of(source)[2], abs=0.03)
    assert sound_of(source)[2] > 0.4


def test_sound_ends_with_the_pictures(tmp_path: Path) -> None:
    source = with_sound(tmp_path / "source.mp4", seconds=3)
    with VideoWriter(tmp_path / "a.mp4", (64, 48), 25, audio_from=source) as writer:
        for index in range(25):
            writer.write(smooth(index))
    assert sound_of(tmp_path / "a.mp4")[3] == pytest.approx(1.0, abs=0.06)


def test_sound_that_the_container_cannot_hold_is_encoded_anew(tmp_path: Path) -> None:
    source = with_sound(tmp_path / "source.mkv", codec="pcm_s16le")
    for name, codec in (("a.mp4", "aac"), ("a.webm", "opus")):
        with VideoWriter(tmp_path / name, (64, 48), 25, audio_from=source) as writer:
            for index in range(50):
                writer.write(smooth(index % 30))
        found, _, start, end = sound_of(tmp_path / name)
        assert found == codec
        assert start == pytest.approx(0, abs=0.05)
        assert end == pytest.approx(2, abs=0.1)
        with av.open(str(tmp_path / name)) as container:
            signal = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
            rate = container.streams.audio[0].rate
        middle = signal[rate // 2 : rate // 2 + rate]
        assert np.argmax(np.abs(np.fft.rfft(middle))) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("seed", range(6))
def test_damaged_sound_does_not_cost_the_pictures(tmp_path: Path, seed: int) -> None:
    source = with_sound(tmp_path / "source.mkv")
    data, rng = bytearray(source.read_bytes()), np.random.default_rng(seed)
    for position in rng.integers(len(data) // 4, len(data), 40):
        data[position] = rng.integers(256)
    source.write_bytes(bytes(data))
    with VideoWriter(tmp_path / "a.mp4", (64, 48), 25, audio_from=source) as writer:
        for index in range(50):
            writer.write(smooth(index % 30))
    assert len(list(open_video(tmp_path / "a.mp4"))) == 50


def test_a_source_without_sound_and_one_that_is_missing(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "silent.mp4", (64, 48), 25) as writer:
        writer.write(smooth(0))
    with VideoWriter(tmp_path / "a.mp4", (64, 48), 25, audio_from=tmp_path / "silent.mp4") as writer:
        writer.write(smooth(0))
    assert open_video(tmp_path / "a.mp4").has_audio is False
    with pytest.raises(InputError, match="no such file"):
        VideoWriter(tmp_path / "b.mp4", (64, 48), 25, audio_from=tmp_path / "nothing.mp4")
    (tmp_path / "text.mp4").write_text("not sound at all")
    with pytest.raises(InputError, match="sound cannot be read"):
        VideoWriter(tmp_path / "b.mp4", (64, 48), 25, audio_from=tmp_path / "text.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "silent.mp4", "text.mp4"]


def test_the_source_of_the_sound_may_be_the_target(tmp_path: Path) -> None:
    path = with_sound(tmp_path / "a.mp4")
    with VideoWriter(path, (64, 48), audio_from=path) as writer:
        for time, frame in open_video(path):
            writer.write(255 - frame, time)
    video = open_video(path)
    assert video.has_audio is True
    assert np.abs(next(iter(video))[1].astype(int) - (255 - smooth(0))).mean() < 8


# ---- what goes wrong ----


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
@pytest.mark.parametrize("old", [False, True])
def test_an_interrupted_video_leaves_nothing(
    tmp_path: Path, suffix: str, error: type[BaseException], old: bool
) -> None:
    path = tmp_path / f"a{suffix}"
    if old:
        path.write_text("the old one")
    with pytest.raises(error), VideoWriter(path, (64, 48), 25) as writer:  # noqa: PT012
        for index in range(30):
            writer.write(smooth(index))
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ([path.name] if old else [])
    if old:
        assert path.read_text() == "the old one"


def test_an_interrupt_inside_the_encoder_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", (64, 48), 25)
    writer.write(smooth(0))

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writer._sink, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.write(smooth(1))
    assert not list(tmp_path.iterdir())
    with pytest.raises(OutputError, match="closed"):
        writer.write(smooth(1))


def test_no_frames_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.gif"):
        with (
            pytest.raises(OutputError, match="no frames were written"),
            VideoWriter(tmp_path / name, (64, 48), 25),
        ):
            pass
    assert not list(tmp_path.iterdir())


def test_wrong_frames_and_times(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", (64, 48), times=[0.0, 0.1]) as writer:
        with pytest.raises(InputError, match=r"expected uint8 \(48, 64, 3\)"):
            writer.write(np.zeros((64, 48, 3), np.uint8))
        with pytest.raises(InputError, match="float32"):
            writer.write(smooth(0).astype(np.float32))  # type: ignore[arg-type]
        writer.write(smooth(0))
        writer.write(smooth(1))
        with pytest.raises(InputError, match="more frames than the 2 times"):
            writer.write(smooth(2))
    with VideoWriter(tmp_path / "b.mp4", (64, 48)) as writer:
        with pytest.raises(InputError, match="needs a time"):
            writer.write(smooth(0))
        writer.write(smooth(0), 1.0)
        for wrong in (1.0, 0.5, float("nan"), -1.0):
            with pytest.raises(InputError, match="must increase"):
                writer.write(smooth(0), wrong)
    assert len(list(open_video(tmp_path / "a.mp4"))) == 2


@pytest.mark.parametrize(
    "arguments",
    [{"fps": 0}, {"fps": -1}, {"fps": 25, "times": [0]}, {"fps": 25, "crf": 99}, {"fps": 25, "size": (0, 4)}],
)
def test_wrong_options(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        VideoWriter(tmp_path / "a.mp4", **({"size": (64, 48)} | arguments))
    assert not list(tmp_path.iterdir())


def test_unwritable_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "a.mp4", Path("/proc/omote/a.mp4")):
        with pytest.raises(OutputError) as caught:
            VideoWriter(path, (64, 48), 25)
        assert str(caught.value).startswith(f"{path}: cannot be written")
    with pytest.raises(OutputError, match=r"Use \.mp4"):
        VideoWriter(tmp_path / "a.xyz", (64, 48), 25)


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = VideoWriter(tmp_path / "a.gif", (64, 48), 25)
    writer.write(smooth(0))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OutputError, match="No space left on device"):
        writer.close()
    assert not list(tmp_path.iterdir())
