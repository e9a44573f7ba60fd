"""Capture by inversion. The networks are tiny, and made to predict what is known beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from numpy.typing import NDArray
from tests.models.small_networks import small_hiera

import omote
from omote.capture import inversion, inverter, pipeline
from omote.capture.fit import LandmarkFitter
from omote.capture.inversion import invert_image
from omote.capture.landmark_model import landmark_model
from omote.capture.normal_map import check_normals
from omote.capture.observation import Observation, Pose, rotation_matrix
from omote.capture.pipeline import Captured, capture_file
from omote.controls import FACS102
from omote.errors import InputError, WeightsError
from omote.media import VideoWriter, read_image, write_image
from omote.models.inversion import InversionConfig, InversionNet, save_checkpoint
from omote.render import encode_normals, render_mesh
from omote.rigs.facs import load_rig

Pixels = NDArray[np.uint8]

SMILE = {"corner_pull_L": 0.8, "corner_pull_R": 0.7, "jaw_open": 0.3, "tongue_out": 0.4, "head_yaw": 0.9}


def config(rig: str = "facs") -> InversionConfig:
    return small_hiera(rig=rig, hidden=8)


def network(path: Path, controls: dict[str, float], made: InversionConfig | None = None) -> Path:
    """A checkpoint that predicts these controls whatever it sees."""
    torch.manual_seed(0)
    net = InversionNet(made or config())
    with torch.no_grad():
        net.head[-1].weight.zero_()
        net.head[-1].bias.zero_()
        for name, value in controls.items():
            net.head[-1].bias[FACS102.index(name)] = value
    save_checkpoint(path, net)
    return path


@pytest.fixture(scope="module")
def smiling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network(tmp_path_factory.mktemp("net") / "smile.safetensors", SMILE)


@pytest.fixture(scope="module")
def render(photo: Path) -> tuple[Pixels, Pixels]:
    """A head that smiles like `SMILE`, turned a little, in grey clay; and its normals."""
    rig = load_rig()
    controls = torch.zeros(1, len(FACS102))
    for name, value in SMILE.items():
        if not name.startswith("head"):
            controls[0, FACS102.index(name)] = value
    head = rig(controls, torch.zeros(1, 90))[0].numpy() @ rotation_matrix(np.array([0, 0.2, 0])).T
    camera = omote.Camera(900.0, (256.0, 256.0), (512, 512))
    placed = head.astype(np.float32) - np.array([0, -0.03, 0.65], np.float32)
    drawn = render_mesh(
        placed,
        rig.faces.numpy(),
        camera,
        weld=rig.weld.numpy(),
        albedo=(0.6, 0.6, 0.6),
        background=(0.5,) * 3,
    )
    return np.rint(drawn.rgb * 255).astype(np.uint8), encode_normals(drawn.normal_camera, drawn.alpha)


@pytest.fixture(scope="module")
def captured(render: tuple[Pixels, Pixels], smiling: Path) -> Captured:
    (found,) = invert_image(render[0], render[1], weights=smiling)
    return found


# ---- a picture -------------------------------------------------------------------------------------------------------


def test_the_controls_are_the_network_s(captured: Captured) -> None:
    take = captured.performance
    for name, value in SMILE.items():
        expected = 0.0 if name.startswith("head") else value
        assert take.controls[0, FACS102.index(name)] == pytest.approx(expected, abs=1e-3), name
    assert np.count_nonzero(take.controls) == len(SMILE) - 1
    assert take.control_confidence is None
    assert take.source["inputs"] == ["rgb", "normal"]


def test_the_rig_lies_on_the_landmarks(captured: Captured) -> None:
    take = captured.performance
    assert float(captured.error[0]) < 0.03
    assert take.confidence[0] > 0.5
    assert take.head_rotation[0] == pytest.approx((0, 0.2, 0), abs=0.06)
    assert np.linalg.norm(take.identity["facs"]) < 8
    assert captured.picture is None


def test_wrong_controls_lower_the_confidence(
    render: tuple[Pixels, Pixels], captured: Captured, tmp_path: Path
) -> None:
    wrong = network(
        tmp_path / "wrong.safetensors", {"jaw_open": 1.0, "brow_inner_up_L": 1.0, "lip_funnel_upper_L": 1.0}
    )
    (found,) = invert_image(render[0], weights=wrong)
    assert found.performance.source["inputs"] == ["rgb"]
    assert found.error[0] > 1.3 * captured.error[0]
    assert found.performance.confidence[0] < captured.performance.confidence[0]


def test_held_controls_stay_and_the_rest_is_found() -> None:
    """Landmarks of a known head: with its controls held, pose and identity explain them."""
    fitter, model = LandmarkFitter(), landmark_model()
    rng = np.random.default_rng(4)
    values = np.clip(rng.normal(0.2, 0.2, len(fitter.table.positive)), fitter.table.low, fitter.table.high)
    head = model.prepare(rng.normal(0, 0.5, model.identities))
    pose = Pose(rotation_matrix(np.array([0.1, -0.3, 0.05])), np.array([0.02, 0.01, -0.6]), 1.8 * 640)
    points = model.points(head, fitter.table.controls(values))
    pixels = pose.project(points, np.array([320.0, 240.0]))
    seen = Observation(pixels, float(np.linalg.norm(pixels[33] - pixels[263])), (640, 480), None)
    (fit,) = fitter.fit_key_frames([seen], held=[values], iterations=40)
    np.testing.assert_array_equal(fit.values, values)
    assert fit.error < 0.004
    np.testing.assert_allclose(fit.pose.rotation, pose.rotation, atol=0.03)
    again = fitter.fit_pose(seen, head, None, values, pose.focal)
    assert again.error < 1e-3
    np.testing.assert_allclose(again.pose.translation, pose.translation, atol=1e-3)


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_network_for_another_rig_names_both(tmp_path: Path, smiling: Path) -> None:
    other = network(tmp_path / "other.safetensors", {}, config("bob"))
    with pytest.raises(WeightsError, match=r"'bob'.*'facs'") as caught:
        inverter.load_inverter(other)
    assert str(other) in str(caught.value)
    (tmp_path / "noise.safetensors").write_bytes(b"no")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        inverter.load_inverter(tmp_path / "noise.safetensors")


def test_an_installation_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(inverter, "shipped_weights", lambda: tmp_path / "gone.safetensors")
    with pytest.raises(WeightsError, match="no inversion network"):
        inverter.Inverter()


def test_a_network_of_normals_needs_them(tmp_path: Path) -> None:
    made = replace(config(), modalities=("normal",))
    assert min(made.modality_dropout) > 0, "as the preset shipped has it; with one modality none is withheld"
    blind = network(tmp_path / "n.safetensors", {}, made)
    net = inverter.Inverter(blind)
    with pytest.raises(WeightsError, match="needs a normal map"):
        net.check(["rgb"])
    picture, marks = np.zeros((64, 64, 3), np.uint8), landmark_model().rest[:, :2] * (200, -200) + 32
    with pytest.raises(WeightsError, match="needs a normal map"):
        net.sample(picture, None, marks)
    assert sorted(net.sample(picture, picture, marks)) == ["eyes_normal", "normal"]


def test_a_network_that_never_went_without_normals_needs_them(
    render: tuple[Pixels, Pixels], clip: Path, tmp_path: Path
) -> None:
    strict = network(tmp_path / "n.safetensors", {}, replace(config(), modality_dropout=(0.2, 0.0)))
    with pytest.raises(WeightsError, match="needs a normal map"):
        invert_image(render[0], weights=strict)
    with pytest.raises(WeightsError, match="needs a normal map"):
        omote.capture(clip, method="inversion", weights=strict)
    assert len(invert_image(render[0], render[1], weights=strict)) == 1


def test_what_is_no_normal_map(render: tuple[Pixels, Pixels], smiling: Path, tmp_path: Path) -> None:
    rgb, normals = render
    (seen,) = pipeline.image_detector().find(rgb)
    behind = (np.abs(normals.astype(int) - (128, 128, 255)) <= 1).all(-1)
    for colour in (0, 127, 255):  # what lies around the head may have any colour
        painted = np.where(behind[..., None], np.uint8(colour), normals)
        check_normals(painted, seen.landmarks)
    with pytest.raises(InputError, match="not a normal map"):
        check_normals(rgb, seen.landmarks)
    for wrong, told in (
        (255 - normals[..., 0], "x points the other way"),
        (255 - normals[..., 1], "y points the other way"),
    ):
        other = normals.copy()
        other[..., "xy".index(told[0])] = wrong
        for marks in (seen.landmarks, seen.landmarks[:, :2]):
            with pytest.raises(InputError, match=told):
                check_normals(other, marks)
    x, y, z = np.moveaxis(normals, -1, 0)
    curve = np.rint(255 * (normals / 255) ** (1 / 2.2)).astype(np.uint8)
    for other, told in (
        ((z, y, x), "red and blue swapped"),
        ((x, y, 255 - z), "z points away"),
        ((y, x, z), "does not fit the face"),
        ((x, z, 255 - y), "does not fit the face"),
        (np.moveaxis(np.roll(normals, (60, 40), (0, 1)), -1, 0), "does not fit the face"),
        ((x * 0 + 128, x * 0 + 128, x * 0 + 255), "flat where the face is"),
        (np.moveaxis(curve, -1, 0), "colour curve"),
    ):
        with pytest.raises(InputError, match=told):
            check_normals(np.ascontiguousarray(np.stack(other, -1)), seen.landmarks)
    write_image(tmp_path / "a.png", rgb)
    write_image(tmp_path / "small.png", normals[::2, ::2])
    with pytest.raises(InputError, match=r"small\.png: 256 x 256 px, the photo has 512 x 512"):
        capture_file(tmp_path / "a.png", method="inversion", weights=smiling, normals=tmp_path / "small.png")


def test_profile_and_alpha_change_no_normals(render: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    from PIL import Image, ImageCms

    normals = render[1]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(normals).save(tmp_path / "profile.png", icc_profile=profile)
    Image.fromarray(np.dstack([normals, normals[..., 0]])).save(tmp_path / "alpha.png")
    for name in ("profile", "alpha"):
        np.testing.assert_array_equal(read_image(tmp_path / f"{name}.png", colours=False), normals)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.png", {"method": "guess"}, "not a method"),
        ("a.png", {"weights": "x.safetensors"}, "for the method inversion"),
        ("a.png", {"normals": "n.png"}, "for the method inversion"),
        ("a.ply", {"normals": "n.png"}, "not with a scan"),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    write_image(tmp_path / "a.png", np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(InputError, match=message):
        capture_file(tmp_path / name, **options)


# ---- scans and videos ------------------------------------------------------------------------------------------------


def test_a_scan(photo: Path, smiling: Path, tmp_path: Path) -> None:
    rig = load_rig()
    head = rig(torch.zeros(1, len(FACS102)), torch.zeros(1, 90))[0].numpy()
    trimesh.Trimesh(100 * head, rig.faces.numpy(), process=False).export(tmp_path / "head.obj")
    (found,) = capture_file(tmp_path / "head.obj", weights=smiling)
    take = found.performance
    assert take.source["method"] == "inversion"
    assert take.source["scan"] == {"unit": "cm", "metres_per_unit": 0.01, "coloured": False}
    assert take.controls[0, FACS102.index("corner_pull_L")] == pytest.approx(0.8, abs=1e-3)
    assert found.picture is not None
    assert found.picture.shape == (512, 512, 3)
    assert take.camera.size == (512, 512)
    assert take.camera.focal == pytest.approx(1.8 * 512, rel=1e-3)
    (fitted,) = capture_file(tmp_path / "head.obj", method="landmarks")
    assert fitted.performance.source["method"] == "landmark fit"
    assert np.abs(fitted.performance.controls).mean() < 0.06
    assert fitted.performance.head_translation[0] == pytest.approx((0, 0.035, -0.65), abs=0.04)


@pytest.fixture(scope="module")
def clip(picture: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames: her, drifting; four of them black."""
    path = tmp_path_factory.mktemp("clip") / "drift.mp4"
    with VideoWriter(path, (256, 256), fps=25) as writer:
        for frame in range(12):
            part = np.ascontiguousarray(picture[:256, 90 + frame : 346 + frame])
            writer.write(np.zeros_like(part) if 4 <= frame < 8 else part)
    return path


def test_a_video(clip: Path, smiling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inversion, "BATCH", 3)
    told: list[tuple[int, int | None]] = []
    take = omote.capture(clip, method="inversion", weights=smiling, progress=lambda *at: told.append(at))
    seen = np.array([not 4 <= frame < 8 for frame in range(12)])
    assert (take.confidence[seen] > 0).all()
    assert (take.confidence[~seen] == 0).all()
    assert take.controls[:, FACS102.index("corner_pull_L")] == pytest.approx(np.full(12, 0.8), abs=2e-3)
    assert take.controls[:, FACS102.index("tongue_out")] == pytest.approx(np.full(12, 0.4), abs=2e-3)
    assert take.head_translation[11, 0] < take.head_translation[0, 0] - 0.003
    assert take.source["inputs"] == ["rgb"]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (36, 36)


def test_each_frame_gets_its_own_controls(clip: Path, smiling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches across frames without a face put each row where it belongs."""
    rows = iter(range(1, 100))

    def counted(self: inverter.Inverter, samples: Any) -> NDArray[np.float64]:
        return np.array([[next(rows) / 100] * len(FACS102) for _ in samples])

    monkeypatch.setattr(inverter.Inverter, "controls", counted)
    monkeypatch.setattr(inversion, "BATCH", 3)
    take = omote.capture(clip, method="inversion", weights=smiling, smooth=0.0)
    expected = [1, 2, 3, 4, 4, 4, 4, 4, 5, 6, 7, 8]
    assert take.controls[:, FACS102.index("jaw_open")] * 100 == pytest.approx(expected, abs=1e-3)


@pytest.fixture(autouse=True)
def _forget_networks() -> Iterator[None]:
    yield
    inverter.load_inverter.cache_clear()
