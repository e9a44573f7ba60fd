"""From a photo and a driver to a file: kinds of files, sound, time, resuming, signing. Capture and engine are faked."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import omote
from omote.animation.sinks import frames_in
from omote.animation.stamps import stamp_path
from omote.animation.writing import Animated
from omote.errors import InputError, NoFaceError, OutputError
from omote.media import VideoWriter, open_video, read_image, write_image
from omote.performance import Camera, Performance
from omote.provenance import verify

from .conftest import HEIGHT, WIDTH, FakeEngine, shade, take_of

Make = Callable[..., Animated]


@pytest.fixture
def make(photo: Path, tmp_path: Path, engine: FakeEngine) -> Make:
    """``omote.animate`` on the photo, unsigned unless asked for."""

    def made(driver: Any, name: str = "out/a.mp4", **options: Any) -> Animated:
        return omote.animate(photo, driver, tmp_path / name, **{"credentials": False, **options})

    return made


def corners(path: Path) -> list[int]:
    """How bright the corner is in each frame."""
    return [round(float(pixels[4:12, 4:12].mean())) for _, pixels in open_video(path)]


def near(got: list[int], jaws: list[float], slack: int = 4) -> None:
    assert len(got) == len(jaws)
    assert np.abs(np.array(got) - [shade(jaw) for jaw in jaws]).max() <= slack, (got, jaws)


# ---- what is made ----


def test_a_video_has_the_times_of_the_take(make: Make, take: Path) -> None:
    made = make(take)
    assert (made.status, made.frames, made.size, made.faces) == ("animated", 5, (WIDTH, HEIGHT + 1), 1), (
        "even"
    )
    assert made.fps == pytest.approx(20)
    assert made.duration == pytest.approx(0.25)
    with open_video(made.path) as video:
        assert video.size == (WIDTH, HEIGHT + 1), "H.264 wants even sides"
        assert [round(t, 2) for t, _ in video] == [0.0, 0.04, 0.1, 0.14, 0.2]
    near(corners(made.path), [0.048, 0.448, 1.0, 0.448, 0.048])
    assert sorted(p.name for p in made.path.parent.iterdir()) == [".a.mp4.omote-made", "a.mp4"]


def test_another_frame_rate(make: Make) -> None:
    made = make(take_of([0.0, 0.4, 0.8], [0.0, 0.5, 1.0]), fps=10)
    assert (made.frames, made.fps) == (11, 10.0)
    assert [round(t, 2) for t, _ in open_video(made.path)] == [n / 10 for n in range(11)]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.apng"])
def test_a_looping_image(name: str, make: Make, photo: Path, engine: FakeEngine) -> None:
    write_image(photo, np.full((600, 1200, 3), 120, np.uint8))
    made = make(take_of(np.linspace(0, 0.9, 40).tolist(), np.arange(40) / 60), name)
    assert made.size == (480, 240)
    assert made.fps == pytest.approx(25, rel=0.02)
    with Image.open(made.path) as image:
        assert (image.size, image.info["loop"]) == ((480, 240), 0)
        assert image.n_frames == made.frames == 17
    portrait = engine.portraits[0]
    assert portrait.image.shape == (240, 480, 3)
    assert portrait.faces[0].performance.camera.size == (480, 240)


def test_size_makes_it_smaller_and_never_larger(make: Make, take: Path) -> None:
    assert make(take, size=48).size == (48, 32)
    assert make(take, "b.mp4", size=4000).size == (WIDTH, HEIGHT + 1)


def test_a_picture_is_the_frame_in_which_the_face_moves_most(
    make: Make, take: Path, engine: FakeEngine
) -> None:
    made = make(take, "a.png")
    assert (made.frames, made.fps, made.duration, made.size) == (1, 0.0, 0.0, (WIDTH, HEIGHT))
    assert read_image(made.path)[5, 5, 0] == shade(1.0)
    assert len(engine.motions[0][0] or ()) == 1, "no other frame is rendered"


def test_a_picture_of_a_moment_or_a_frame(make: Make, take: Path) -> None:
    assert read_image(make(take, "a.png", frame=1).path)[5, 5, 0] == shade(0.448)
    assert read_image(make(take, "b.jpg", time=0.11).path)[5, 5, 0] == pytest.approx(shade(1.0), abs=3)
    with Image.open(make(take, "c.webp", time=0.0).path) as image:
        assert image.format == "WEBP"
    with pytest.raises(InputError, match=r"no frame 5\. The driver has 5"):
        make(take, "d.png", frame=5)


def test_a_strip(make: Make) -> None:
    made = make(take_of(np.linspace(0, 0.8, 30).tolist()), "a.png", strip=4)
    picture = read_image(made.path)
    assert picture.shape[0] == HEIGHT
    starts = [n * (WIDTH + 4) for n in range(4)]
    assert picture.shape[1] == starts[-1] + WIDTH
    bright = [int(picture[5, x + 5, 0]) for x in starts]
    assert bright == sorted(bright)
    assert bright[-1] > bright[0] + 100


def test_a_folder_of_frames(make: Make, take: Path) -> None:
    made = make(take, "frames")
    names = frames_in(made.path)
    assert len(names) == made.frames == 5
    assert [int(read_image(f)[5, 5, 0]) for f in names] == [shade(v) for v in (0.048, 0.448, 1, 0.448, 0.048)]


def test_a_script_needs_no_driver(make: Make, engine: FakeEngine) -> None:
    assert make(None, preset="nod", duration=0.5).frames == 16
    make(None, "b.png", emotion="surprise:0.8")
    motion = engine.motions[-1][0]
    assert motion is not None
    assert motion.track("brow_inner_up_L")[0] > 0.3
    make(None, "c.mp4", score="0 neutral, 0.2 open 0.5")
    motion = engine.motions[-1][0]
    assert motion is not None
    assert motion.track("jaw_open")[[0, -1]] == pytest.approx([0.048, 0.548])


def test_a_photo_drives_an_expression(make: Make, photo: Path, tmp_path: Path, faces: list[Any]) -> None:
    faces[0] = take_of([0.6])
    other = tmp_path / "in" / "grin.png"
    write_image(other, np.full((40, 40, 3), 200, np.uint8))
    assert read_image(make(other, "a.png").path)[5, 5, 0] == shade(0.6)
    made = make(other, "b.mp4", ease=0.2)
    assert made.duration == pytest.approx(1.44, abs=0.05)
    shades = corners(made.path)
    assert max(shades) == pytest.approx(shade(0.6), abs=4)
    assert shades[0] < shades[2] < shades[10]


def test_options_of_the_motion_arrive(make: Make, take: Path, engine: FakeEngine) -> None:
    make(take, strength=0.5, offsets={"mouthSmile*": 0.25}, gaze="camera", regions={"lips"})
    motion = engine.motions[0][0]
    assert motion is not None
    assert motion.track("jaw_open").max() == pytest.approx(0.548)
    assert motion.track("corner_pull_L") == pytest.approx(np.full(5, 0.25))


def test_everybody_moves_or_each_as_its_own(make: Make, take: Path, engine: FakeEngine) -> None:
    assert make(take, face="all").faces == 3
    assert [round(float(m.track("jaw_open")[0]), 3) for m in engine.motions[0] if m] == [0.016, 0.048, 0.08]
    drivers = [take_of([0.0, level]) for level in (0.1, 0.2)]
    make(drivers, "b.mp4", face=[2, 0])
    ends = [round(float(m.track("jaw_open")[-1]), 3) for m in engine.motions[1] if m]
    assert ends == [0.116, 0.248]


# ---- sound ----


def talking(path: Path) -> Path:
    """A video of 0.2 s with half a second of sound."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound: Any = container.add_stream("aac", rate=48_000)
        sound.layout = "mono"
        for index in range(5):
            picture = np.full((48, 64, 3), 40 * index, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        for start in range(0, 24_000, 1024):
            wave = (np.sin(np.arange(start, start + 1024) * 0.06) * 9000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        return [bytes(p) for p in container.demux(container.streams.audio[0]) if p.size]


def test_the_sound_of_a_video_is_kept(make: Make, tmp_path: Path, faces: list[Any]) -> None:
    video = talking(tmp_path / "in" / "talk.mp4")
    kept = packets(make(video).path)
    assert len(kept) > 5
    assert packets(video)[: len(kept)] == kept
    assert packets(make(video, "b.mp4", audio=False).path) == []
    still = take_of([0, 1, 0, 1, 0])
    made = make(still, "c.mp4", sound_from=video, credentials=True)
    assert packets(made.path)[:5] == kept[:5]
    assert "talk.mp4" in " ".join(verify(made.path).lines())
    assert faces[1:] == ["talk.mp4", "talk.mp4"]


def test_pictures_that_begin_late_stay_with_the_sound(make: Make, tmp_path: Path, faces: list[Any]) -> None:
    video = talking(tmp_path / "in" / "talk.mp4")
    faces[0] = take_of([0, 1, 0], [0.08, 0.12, 0.16])
    with av.open(str(make(video).path)) as container:
        first = next(container.decode(video=0))
        assert float(first.pts * first.time_base) == pytest.approx(0.08, abs=0.002)


# ---- side by side ----


def test_a_comparison_shows_the_photo_the_driver_and_the_result(
    make: Make, tmp_path: Path, faces: list[Any]
) -> None:
    video = talking(tmp_path / "in" / "talk.mp4")
    faces[0] = faces[0].with_(camera=Camera(80.0, (32.0, 24.0), (64, 48)))
    made = make(video, compare=True)
    assert made.size[0] > 1.9 * made.size[1] > 800
    side = made.size[0] // 3
    seen = [pixels for _, pixels in open_video(made.path)]
    middle = [float(pixels[100:200, side + 200 : side + 300].mean()) for pixels in seen]
    assert middle == pytest.approx([0, 40, 80, 120, 160], abs=8), "the driver's own frames, in time"
    photo, last = seen[0][40:200, :150], seen[2][40:200, :150]
    assert np.abs(photo.astype(int) - last).mean() < 2, "the photo stays"
    moved = np.abs(seen[2][:, -side:].astype(float) - seen[0][:, -side:]).mean()
    assert moved > 10


def test_a_comparison_with_a_take_shows_the_rig(make: Make, take: Path) -> None:
    picture = read_image(make(take, "a.png", compare=True).path)
    side = picture.shape[1] // 3
    middle = picture[:, side : 2 * side].astype(float)
    assert middle.std() > 15, "a head"
    assert np.ptp(middle[2:80, 2:60], axis=(0, 1)).max() == 0, "on a plain ground"


# ---- again ----


def test_what_is_complete_is_not_made_again(make: Make, take: Path, engine: FakeEngine) -> None:
    first = make(take)
    before = first.path.stat().st_mtime_ns
    again = make(take)
    assert again.status == "complete"
    assert (again.frames, again.fps, again.size, again.duration) == (5, first.fps, first.size, first.duration)
    assert first.path.stat().st_mtime_ns == before
    assert len(engine.motions) == 1
    folder = make(take, "frames")
    assert make(take, "frames").status == "complete"
    frames_in(folder.path)[2].unlink()
    assert make(take, "frames").status == "animated"


@pytest.mark.parametrize(
    "change",
    [
        {"strength": 0.9},
        {"overwrite": True},
        {"driver": take_of([0.0, 0.4, 1.0, 0.4, 0.1])},
        {"photo": True},
        {"damaged": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_makes_it_anew(change: dict[str, Any], make: Make, photo: Path) -> None:
    driver = take_of([0.0, 0.4, 1.0, 0.4, 0.0])
    made = make(driver)
    if change.pop("photo", False):
        write_image(photo, np.full((50, 60, 3), 99, np.uint8))
    if change.pop("damaged", False):
        made.path.write_bytes(made.path.read_bytes()[:-9])
    assert make(change.pop("driver", driver), **change).status == "animated"


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.webp", "frames"])
def test_a_run_that_is_stopped_leaves_nothing(
    name: str, make: Make, take: Path, engine: FakeEngine, tmp_path: Path
) -> None:
    engine.fail_at, engine.error = 3, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        make(take, f"out/{name}")
    assert list((tmp_path / "out").iterdir()) == []
    engine.fail_at = None
    assert make(take, f"out/{name}").frames == 5
    engine.fail_at = 3
    with pytest.raises(KeyboardInterrupt):
        make(take, f"out/{name}", strength=0.5)
    assert (tmp_path / "out" / name).exists(), "what was there stays"
    assert not stamp_path(tmp_path / "out" / name).exists()


def test_a_capture_is_kept_and_found_again(make: Make, tmp_path: Path, faces: list[Any]) -> None:
    video = talking(tmp_path / "in" / "talk.mp4")
    kept = tmp_path / "talk.omote"
    make(video, take=kept)
    assert Performance.load(kept).track("jaw_open")[2] == 1.0
    make(video, "b.mp4", take=kept, strength=0.5)
    assert len(faces) == 2, "captured once"
    make(video, "c.mp4", take=kept, smooth=0.9)
    assert len(faces) == 3
    with pytest.raises(InputError, match="--save-take"):
        make(take_of([0, 1]), "d.mp4", take=kept)


# ---- signed ----


def test_a_result_says_what_it_is(make: Make, take: Path) -> None:
    made = make(take, credentials=True, consent="she agreed")
    assert made.signed
    report = verify(made.path)
    text = json.dumps(report, default=lambda value: getattr(value, "__dict__", str(value)))
    for word in ("me.png", "take.omote", "she agreed", "puppet"):
        assert word in text
    assert ".omote-" not in text, "the name it was made under is nobody's concern"


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.apng", "frames"])
def test_all_kinds_are_signed(name: str, make: Make, take: Path) -> None:
    made = make(take, name, credentials=True)
    files = frames_in(made.path) if made.path.is_dir() else [made.path]
    for file in files[:2]:
        assert "me.png" in json.dumps(
            verify(file), default=lambda value: getattr(value, "__dict__", str(value))
        )
    if name.endswith(("gif", "webp", "apng")):
        with Image.open(made.path) as image:
            assert image.n_frames == 5, "the credentials leave the frames alone"


def test_what_cannot_be_signed_is_refused_first(make: Make, take: Path, engine: FakeEngine) -> None:
    with pytest.raises(OutputError, match="--no-credentials"):
        make(take, "a.mkv", credentials=True)
    assert engine.portraits == []
    assert make(take, "a.mkv").frames == 5


def test_the_visible_mark(make: Make, take: Path, photo: Path) -> None:
    write_image(photo, np.full((300, 400, 3), 128, np.uint8))
    plain = read_image(make(take, "a.png").path)
    marked = read_image(make(take, "b.png", visible_mark=True).path)
    changed = np.argwhere((plain != marked).any(2))
    assert len(changed) > 100
    assert changed.min(0)[0] > 200
    assert changed.min(0)[1] > 200


# ---- mistakes ----


def test_mistakes(make: Make, photo: Path, take: Path, tmp_path: Path, faces: list[Any]) -> None:
    video = talking(tmp_path / "in" / "talk.mp4")

    def refused(kind: type[Exception], words: str, *arguments: Any, **options: Any) -> None:
        with pytest.raises(kind) as error:
            make(*arguments, **options)
        assert words in str(error.value)

    refused(InputError, "nothing drives the photo", None)
    refused(InputError, "takes the place of a driver", take, preset="smile")
    refused(InputError, "no such file", tmp_path / "gone.mp4")
    refused(InputError, "no preset is called 'smil'", None, preset="smil")
    refused(InputError, "there is no engine 'pupet'", take, engine="pupet")
    refused(InputError, "Did you mean strength", take, streng=1)
    refused(InputError, "2 drivers for 1 face", [take, take])
    refused(OutputError, "cannot write .avi files", take, "a.avi")
    refused(InputError, "would replace what it is made from", video, "in/talk.mp4")
    refused(InputError, "no such file", take, sound_from=tmp_path / "gone.wav")
    notes = tmp_path / "notes.txt"
    notes.write_text("x")
    refused(InputError, "nothing that can drive a photo", notes)
    faces[0] = NoFaceError("no face was found", where="talk.mp4")
    refused(NoFaceError, "talk.mp4: no face was found", video)
    faces[0] = None
    unseen = take_of([0.0, 0.0]).with_(confidence=np.zeros(2))
    refused(NoFaceError, "no frame", unseen)
    with pytest.raises(InputError, match="this is a video; what is animated is a photo"):
        omote.animate(video, photo, tmp_path / "a.mp4")
    with pytest.raises(InputError, match="this is a take, not a photo"):
        omote.animate(take, photo, tmp_path / "a.mp4")
    write_image(photo, np.zeros((40, 40, 3), np.uint8))
    refused(NoFaceError, "me.png: no face was found", take)
    assert not [p for p in tmp_path.rglob("*.omote-*") if p.is_dir()]


def test_what_fails_late_is_told_of_the_result(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omote.animation.sinks.GIF_PIXELS", 1000)
    with pytest.raises(InputError, match=r"out/a\.gif: 3 frames of 96 x 65 px are too much for a GIF"):
        make(take_of([0.0, 0.5, 0.0]), "out/a.gif")

    def full(self: VideoWriter, frame: Any, time_s: float | None = None) -> None:
        raise OutputError("cannot be written (No space left on device)", where=self.path)

    monkeypatch.setattr(VideoWriter, "write", full)
    with pytest.raises(OutputError, match=r"out/a\.mp4: cannot be written") as refused:
        make(take_of([0.0, 0.5, 0.0]), "out/a.mp4")
    assert ".omote-" not in str(refused.value)


def test_a_large_photo(make: Make, photo: Path, take: Path) -> None:
    write_image(photo, np.full((2160, 3840, 3), 120, np.uint8))
    assert make(take_of([0.0, 1.0])).size == (3840, 2160)
    write_image(photo, np.full((100, 9000, 3), 120, np.uint8))
    with pytest.raises(InputError, match=r"9000 x 100 px is too large for a video.*--size"):
        make(take, "b.mp4")
    assert make(take, "b.mp4", size=1000).size == (1000, 12)


def test_a_long_driver_is_streamed(make: Make, engine: FakeEngine) -> None:
    made = make(take_of(np.tile([0.0, 0.5], 1000).tolist()), size=32)
    assert made.frames == 2000
    assert sum(1 for _ in open_video(made.path)) == 2000
