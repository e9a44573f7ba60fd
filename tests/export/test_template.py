"""LivePortrait's motion templates: real ones, both key styles, exact round trips, and what is refused."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import omote
from omote.controls import IMPLICIT21
from omote.drive.liveportrait.template import Template, performance_of, template_of
from omote.errors import FormatError, InputError
from omote.export import read, write
from omote.performance import Performance

Content = dict[str, Any]


def content(
    count: int = 4, seed: int = 0, *, old: bool = False, ratios: bool = True, kp: bool = False
) -> Content:
    """A template as the published program makes one."""
    random = np.random.default_rng(seed)
    turns = Rotation.from_rotvec(random.uniform(-0.6, 0.6, (count, 3))).as_matrix().astype(np.float32)

    def some(*shape: int, size: float = 0.05) -> np.ndarray:
        return random.uniform(-size, size, (1, *shape)).astype(np.float32)

    canonical = some(21, 3, size=0.4)
    motion = []
    for turn in turns:
        frame = {"scale": 1.4 + some(1, size=0.3), "R_d" if old else "R": turn[None]}
        frame |= {"exp": some(21, 3), "t": some(3) * [1, 1, 0]}
        frame["t"] = frame["t"].astype(np.float32)
        if kp:
            placed = canonical @ turn + frame["exp"]
            frame |= {"kp": canonical, "x_s": frame["scale"][..., None] * placed + frame["t"][:, None]}
        motion.append(frame)
    made: Content = {"n_frames": count, "output_fps": 25, "motion": motion}
    if ratios:
        mark = "c_d" if old else "c"
        made[f"{mark}_eyes_lst"] = [0.3 + some(2) for _ in range(count)]
        made[f"{mark}_lip_lst"] = [0.3 + some(1) for _ in range(count)]
    return made


def saved(made: Any, path: Path) -> Path:
    path.write_bytes(pickle.dumps(made))
    return path


def equal(one: Content, other: Content, tolerance: float = 1e-6) -> None:
    """The second, in the newer style, says the same as the first."""
    assert other["n_frames"] == one["n_frames"] == len(other["motion"])
    assert other["output_fps"] == one["output_fps"]
    for theirs, ours in zip(one["motion"], other["motion"], strict=True):
        theirs = {key.removesuffix("_d"): value for key, value in theirs.items()}
        assert theirs.keys() == ours.keys()
        for key, value in theirs.items():
            assert ours[key].shape == value.shape
            assert ours[key].dtype == np.float32
            np.testing.assert_allclose(ours[key], value, rtol=0, atol=tolerance, err_msg=key)
    lists = {key.replace("c_d_", "c_"): one[key] for key in one if key.endswith("_lst")}
    assert lists.keys() == {key for key in other if key.endswith("_lst")}
    for key, rows in lists.items():
        assert other[key][0].shape == rows[0].shape
        np.testing.assert_array_equal(np.stack(other[key]), np.stack(rows))


def round_trip(path: Path, folder: Path) -> Content:
    """.pkl -> .omote -> .pkl, read by Python's own pickle."""
    (middle,) = write(read(path), folder / "middle.omote")
    (back,) = write(read(middle), folder / "back.pkl")
    found: Content = pickle.loads(back.read_bytes())
    return found


# ---- round trips ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "frames", "fps", "ratios"),
    [("d1", 16, 30, True), ("laugh", 54, 25, False), ("talking", 100, 20, False)],
)
def test_published_templates(
    shared_dir: Path, tmp_path: Path, name: str, frames: int, fps: int, ratios: bool
) -> None:
    path = shared_dir / f"media/templates/{name}.pkl"
    take = read(path)
    assert (len(take), take.fps) == (frames, pytest.approx(fps))
    assert take.space == IMPLICIT21
    assert (take.controls >= IMPLICIT21.low).all()
    assert (take.controls <= IMPLICIT21.high).all()
    found = template_of(take)
    assert (found.eyes is not None, found.lip is not None, found.kp) == (ratios, ratios, None)
    equal(pickle.loads(path.read_bytes()), round_trip(path, tmp_path))


@settings(max_examples=20)
@given(
    st.integers(2, 6), st.integers(0, 999), st.booleans(), st.booleans(), st.booleans(), st.integers(1, 120)
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    seed: int,
    old: bool,
    ratios: bool,
    kp: bool,
    fps: int,
) -> None:
    folder = tmp_path_factory.mktemp("template")
    made = content(count, seed, old=old, ratios=ratios, kp=kp) | {"output_fps": fps}
    equal(made, round_trip(saved(made, folder / "made.pkl"), folder))


@given(st.lists(st.floats(-3.1, 3.1), min_size=3, max_size=3))
def test_every_rotation_survives(vector: list[float]) -> None:
    rotation = Rotation.from_rotvec(vector).as_matrix()[None].astype(np.float32)
    one = np.ones((1, 1), np.float32)
    template = Template(
        times=np.zeros(1),
        rotation=rotation,
        t=np.zeros((1, 3), np.float32),
        scale=one,
        exp=np.zeros((1, 21, 3), np.float32),
        confidence=one[0],
    )
    again = template_of(performance_of(template, {}))
    np.testing.assert_allclose(again.rotation, rotation, rtol=0, atol=1e-6)


def test_a_single_frame_and_other_shapes(tmp_path: Path) -> None:
    made = content(1)
    (frame,) = made["motion"]
    flat = {key: value.reshape(-1) for key, value in frame.items()} | {
        "scale": np.float32(frame["scale"][0, 0])
    }
    other = made | {"motion": [flat], "n_frames": np.int64(1), "output_fps": 25.0}
    assert read(saved(other, tmp_path / "a.pkl")).with_(source={}) == read(
        saved(made, tmp_path / "b.pkl")
    ).with_(source={})
    equal(made, round_trip(tmp_path / "a.pkl", tmp_path))


# ---- what the numbers mean --------------------------------------------------------------------------


def test_the_head_turns_as_in_the_template(tmp_path: Path) -> None:
    """Points that the published rule turns land where the Performance's rotation puts them, axes flipped."""
    made = content(5)
    take = read(saved(made, tmp_path / "a.pkl"))
    points = np.random.default_rng(1).normal(size=(9, 3))  # x right, y down, z into the image
    flip = np.array([1, -1, -1])  # to x right, y up, z to the viewer
    for frame, vector in zip(made["motion"], take.head_rotation, strict=True):
        published = points @ frame["R"][0]
        ours = Rotation.from_rotvec(vector).apply(points * flip) * flip
        np.testing.assert_allclose(ours, published, atol=1e-6)


@pytest.mark.parametrize(
    ("angles", "nose"),
    [((20, 0, 0), (0, 0.342, -0.940)), ((0, 20, 0), (-0.342, 0, -0.940)), ((0, 0, 20), (0, 0, -1))],
)
def test_published_angles(tmp_path: Path, angles: tuple[int, int, int], nose: tuple[float, ...]) -> None:
    """R is the transpose of Rz(roll) Ry(yaw) Rx(pitch): pitch + looks down, yaw + to the image's left."""
    matrix = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()  # extrinsic: Rz Ry Rx
    made = content(1)
    made["motion"][0]["R"] = matrix.T[None].astype(np.float32)
    np.testing.assert_allclose([0, 0, -1] @ made["motion"][0]["R"][0], nose, atol=1e-3)
    (vector,) = read(saved(made, tmp_path / "a.pkl")).head_rotation
    pitch, yaw, roll = np.radians(angles)
    np.testing.assert_allclose(vector, [pitch, -yaw, -roll], atol=1e-6)


def test_controls_by_name(tmp_path: Path) -> None:
    made = content(3, kp=True)
    take = read(saved(made, tmp_path / "a.pkl"))
    first, motion = made["motion"][0], template_of(take)
    assert take.track("kp19_y")[0] == first["exp"][0, 19, 1]
    assert [take.track(f"t_{axis}")[0] for axis in "xyz"] == first["t"][0].tolist()
    assert take.track("scale")[0] == first["scale"][0, 0]
    assert (
        take.track("eye_ratio_R")[0] == made["c_eyes_lst"][0][0, 0]
    )  # the image's left eye: the subject's right
    assert take.track("eye_ratio_L")[0] == made["c_eyes_lst"][0][0, 1]
    assert take.track("lip_ratio")[0] == made["c_lip_lst"][0][0, 0]
    np.testing.assert_allclose(take.times, [0, 0.04, 0.08])
    assert (take.head_translation[:, 2] < 0).all()
    np.testing.assert_allclose(motion.points(), np.concatenate([f["x_s"] for f in made["motion"]]), atol=1e-6)


def test_ratios_that_are_absent_stay_absent(tmp_path: Path) -> None:
    known, unknown = (read(saved(content(4, ratios=r), tmp_path / f"{r}.pkl")) for r in (True, False))
    for take in (unknown, unknown[1:3], unknown.resample(60), unknown.retime(2), known.concatenate(unknown)):
        assert (template_of(take).eyes, template_of(take).lip) == (None, None)
    assert unknown.info()["unseen_controls"] == ["eye_ratio_R", "eye_ratio_L", "lip_ratio"]
    for take in (known, known[1:3], known.resample(60), known.concatenate(unknown)[:4]):
        assert template_of(take).eyes is not None
        assert template_of(take).lip is not None
    assert known.info()["unseen_controls"] == []
    empty = content(4, ratios=False) | {"c_eyes_lst": [], "c_lip_lst": []}
    assert template_of(read(saved(empty, tmp_path / "empty.pkl"))).eyes is None
    none = content(4, ratios=False) | {"c_eyes_lst": None, "c_lip_lst": None}
    assert template_of(read(saved(none, tmp_path / "none.pkl"))).lip is None
    made = content(4)
    older = {key: value for key, value in made.items() if key != "c_eyes_lst"}
    both = older | {"c_eyes_lst": [], "c_d_eyes_lst": made["c_eyes_lst"]}
    assert template_of(read(saved(both, tmp_path / "both.pkl"))).eyes is not None


def test_canonical_keypoints_that_waver_become_their_mean(tmp_path: Path) -> None:
    made = content(5, kp=True)
    for number, frame in enumerate(made["motion"]):
        frame["kp"] = frame["kp"] + np.float32(0.001 * (number - 2))
    take = read(saved(made, tmp_path / "a.pkl"))
    np.testing.assert_allclose(
        take.identity["implicit21"].reshape(21, 3), made["motion"][2]["kp"][0], atol=1e-6
    )
    assert take.source["canonical_spread"] == pytest.approx(0.002, abs=1e-5)
    back = round_trip(tmp_path / "a.pkl", tmp_path)
    for frame, original in zip(back["motion"], made["motion"], strict=True):
        np.testing.assert_array_equal(frame["exp"], original["exp"])
        np.testing.assert_array_equal(frame["kp"], back["motion"][0]["kp"])


# ---- rates ------------------------------------------------------------------------------------------


def test_a_rate_that_is_not_whole_is_resampled(tmp_path: Path) -> None:
    take = read(saved(content(31), tmp_path / "a.pkl"), fps=29.97)
    with pytest.warns(UserWarning, match=r"resampled from 29\.97 frames a second or uneven times to 30"):
        (path,) = write(take, tmp_path / "b.pkl")
    again = read(path)
    assert again.fps == pytest.approx(30)
    assert again.duration == pytest.approx(take.duration, abs=1 / 30)
    np.testing.assert_array_equal(again.controls[0], take.controls[0])


def test_a_frame_at_rest_is_left_out_with_a_warning(tmp_path: Path) -> None:
    whole, one = (template_of(read(saved(content(n), tmp_path / f"{n}.pkl"))) for n in (4, 1))
    take = performance_of(replace(whole, rest=one), {})
    with pytest.warns(UserWarning, match="the frame at rest is not kept"):
        (path,) = write(take, tmp_path / "b.pkl")
    assert template_of(read(path)).rest is None


def test_no_rate_is_25_with_a_note(tmp_path: Path) -> None:
    made = content(3)
    del made["output_fps"]
    path = saved(made, tmp_path / "a.pkl")
    with pytest.warns(UserWarning, match="names no output_fps; 25 assumed"):
        assert read(path).fps == pytest.approx(25)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(path, fps=50).fps == pytest.approx(50)
    for bad in (0, -3, float("nan"), 1e9):
        with pytest.raises(InputError, match="fps"):
            read(path, fps=bad)


# ---- what is refused --------------------------------------------------------------------------------


def _frame(key: str, value: Any) -> Callable[[Content], Any]:
    def change(made: Content) -> Any:
        made["motion"][2][key] = value
        return made

    return change


_NAN = np.full((1, 21, 3), np.nan, np.float32)
_BROKEN: dict[str, tuple[Callable[[Content], Any], str]] = {
    "no dictionary": (lambda made: made["motion"], "not a motion template"),
    "no motion": (lambda made: made | {"motion": 3}, "not a motion template"),
    "no frames": (lambda made: made | {"motion": [], "n_frames": 0}, "it has 0 frames"),
    "fewer frames": (lambda made: made | {"n_frames": 7}, "n_frames is 7, but 4 frames"),
    "absurd frames": (lambda made: made | {"n_frames": 10**5000}, "n_frames is absurd"),
    "frames of text": (lambda made: made | {"n_frames": "4"}, "n_frames is no number"),
    "frames as array": (lambda made: made | {"n_frames": np.ones(3)}, "n_frames is no number"),
    "fps 0": (lambda made: made | {"output_fps": 0}, "output_fps is 0"),
    "fps nan": (lambda made: made | {"output_fps": float("nan")}, "output_fps is absurd"),
    "fps text": (lambda made: made | {"output_fps": "25"}, "output_fps is no number"),
    "frame no dictionary": (lambda made: made | {"motion": [*made["motion"][:3], None]}, "list of dictionaries"),
    "short ratios": (lambda made: made | {"c_eyes_lst": made["c_eyes_lst"][:3]}, "c_eyes_lst has 3 entries"),
    "ratios no list": (lambda made: made | {"c_lip_lst": 3}, "c_lip_lst is not a list"),
    "wide ratios": (lambda made: made | {"c_lip_lst": [np.ones((1, 2))] * 4}, r"shape \(1, 2\), expected \(1, 1\)"),
    "ratio nan": (lambda made: made | {"c_lip_lst": [np.full((1, 1), np.nan)] * 4}, "c_lip_lst is not finite"),
    "nan": (_frame("exp", _NAN), "frame 2: exp is not finite"),
    "too large": (_frame("exp", np.full((1, 21, 3), 1e300)), "frame 2: exp is not finite"),
    "shape": (_frame("exp", np.zeros((1, 24, 3))), r"exp has shape \(1, 24, 3\), expected \(1, 21, 3\)"),
    "two people": (_frame("t", np.zeros((2, 3))), r"t has shape \(2, 3\)"),
    "text": (_frame("t", "left"), "t is not an array of numbers"),
    "missing": (lambda made: [made["motion"][2].pop("t"), made][1], "frame 2 has no t"),
    "absent": (lambda made: [[f.pop("R") for f in made["motion"]], made][1], "frame 0 has no R_d"),
    "scale 0": (_frame("scale", np.zeros((1, 1))), "frame 2: scale must be above 0"),
    "no rotation": (_frame("R", np.full((1, 3, 3), 0.5)), "frame 2: R is not a rotation"),
    "mirrored": (_frame("R", np.diag([1.0, 1.0, -1.0])[None]), "frame 2: R is not a rotation"),
    "kp": (lambda made: [made["motion"][0].update(kp=np.zeros((1, 21, 3))), made][1], "frame 1 has no kp"),
}  # fmt: skip


@pytest.mark.parametrize("name", _BROKEN)
def test_broken_templates_are_told_in_one_line(tmp_path: Path, name: str) -> None:
    change, told = _BROKEN[name]
    path = saved(change(content(4)), tmp_path / "broken.pkl")
    with pytest.raises(FormatError, match=told) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_cut_hostile_and_missing_files(tmp_path: Path) -> None:
    whole = pickle.dumps(content(3))
    for length in (0, 1, 40, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.pkl").write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"cut\.pkl: cut short or damaged"):
            read(tmp_path / "cut.pkl")

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path}/was-run",)

    made = content(3)
    made["motion"][1]["exp"] = Evil()
    with pytest.raises(
        FormatError, match=r"evil\.pkl: refused, and nothing in it was run: it names \w+\.system"
    ):
        read(saved(made, tmp_path / "evil.pkl"))
    assert not (tmp_path / "was-run").exists()
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "nowhere.pkl")
    os.mkfifo(tmp_path / "pipe.pkl")
    with pytest.raises(InputError, match="is not an ordinary file"):
        read(tmp_path / "pipe.pkl")
    (tmp_path / "folder.pkl").mkdir()
    with pytest.raises(InputError, match="is not an ordinary file"):
        read(tmp_path / "folder.pkl")


def test_other_takes_are_not_templates(take: Callable[..., Performance], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds implicit21 controls, this take has those of facs102"):
        write(take(3), tmp_path / "a.pkl")
    motion = read(saved(content(3, kp=True), tmp_path / "m.pkl"))
    with pytest.raises(InputError, match="scale"):
        write(motion.with_(controls=np.zeros_like(motion.controls)), tmp_path / "a.pkl")
    with pytest.raises(InputError, match="63 numbers"):
        write(motion.with_(identity={"implicit21": np.zeros(3)}), tmp_path / "a.pkl")
    assert not (tmp_path / "a.pkl").exists()


@pytest.mark.parametrize("to", ["glb", "obj", "livelink", "arkit-csv", "arkit-json"])
def test_other_formats_say_that_there_is_no_way(rig: Any, tmp_path: Path, to: str) -> None:
    motion = omote.load(saved(content(3), tmp_path / "m.pkl"))
    with pytest.raises(InputError, match=r"no way from control space implicit21 .* --engine liveportrait"):
        write(motion, tmp_path / "out", to=to, rig=rig)
    with pytest.raises(InputError, match="cannot be mirrored"):
        motion.mirror()
    assert [p.name for p in tmp_path.iterdir()] == ["m.pkl"]
    (path,) = write(motion, tmp_path / "m.npz")
    assert read(path) == motion
