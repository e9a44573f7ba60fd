"""Capture in the controls of a rig of one's own: a head with three shapes, and a network that predicts known ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.models.small_networks import small_hiera
from tests.rigs.rig_files import SOME_CONTROLS, embedded_head, little_glb, write_glb_file, write_obj_folder

import omote
from omote import export
from omote.capture import inverter
from omote.capture.faced_rig import open_faced_rig
from omote.capture.mesh_landmarks import rig_landmarks
from omote.capture.observation import Observation, Pose, rotation_matrix
from omote.capture.pipeline import capture_file
from omote.capture.rig_pose import RigPose
from omote.cli import main
from omote.controls import FACS102
from omote.errors import InputError, NoFaceError, WeightsError
from omote.export.rig_take import ANIMATION
from omote.export.shapes_glb import write_shapes_glb
from omote.media import VideoWriter, read_image, write_image
from omote.models.inversion import InversionNet, save_checkpoint
from omote.performance import Performance
from omote.render import render_mesh
from omote.rigs.facs import load_rig
from omote.rigs.gltf_data import GltfFile
from omote.rigs.open import open_blendshapes, open_rig, sha256_of_rig
from omote.rigs.protocol import Rig
from omote.training.datasets.shards import write_info
from omote.training.datasets.synthetic import SynthOptions

Pixels = NDArray[np.uint8]
TRUE = dict(zip(SOME_CONTROLS, (0.5, 0.8, 0.3), strict=True))
TURN, PLACE, FOCAL = np.array([0.05, 0.25, -0.04]), np.array([0.01, -0.02, -0.66]), 1.8 * 512


@pytest.fixture(scope="module")
def hero(photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    identity = np.random.default_rng(4).normal(0, 0.6, len(load_rig().identity_space))
    path = tmp_path_factory.mktemp("rig") / "hero.glb"
    write_shapes_glb(embedded_head(identity), path)
    return path


@pytest.fixture(scope="module")
def rig(hero: Path) -> Rig:
    found = open_rig(hero)
    rig_landmarks(found)
    return found


@pytest.fixture(scope="module")
def weights(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for it that predicts `TRUE` whatever it sees."""
    torch.manual_seed(0)
    net = InversionNet(small_hiera(rig.space, rig.name, hidden=8))
    with torch.no_grad():
        net.head[-1].weight.zero_()
        net.head[-1].bias.copy_(torch.tensor([TRUE[name] for name in rig.space.names]))
    path = tmp_path_factory.mktemp("net") / "hero.safetensors"
    save_checkpoint(path, net)
    return path


def drawn(rig: Rig, turn: np.ndarray, place: np.ndarray = PLACE) -> Pixels:
    controls = torch.tensor([[TRUE[name] for name in rig.space.names]])
    return shown(rig(controls, torch.zeros(1, 0))[0].numpy() @ rotation_matrix(turn).T + place, rig)


def shown(head: np.ndarray, rig: Rig) -> Pixels:
    camera = omote.Camera(FOCAL, (256.0, 256.0), (512, 512))
    clay, behind = (0.72, 0.53, 0.44), (0.5, 0.5, 0.5)
    found = render_mesh(
        head.astype(np.float32), rig.faces, camera, weld=rig.weld, albedo=clay, background=behind
    )
    return np.rint(found.rgb * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def picture(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "shot.png"
    write_image(path, drawn(rig, TURN))
    return path


@pytest.fixture(autouse=True)
def _forget_networks() -> Iterator[None]:
    yield
    inverter.load_inverter.cache_clear()


@pytest.mark.parametrize("axes", ["+z-y", "+x+y"])
def test_a_rig_whose_file_stands_otherwise_is_turned_to_its_face(
    photo: Path, axes: str, tmp_path: Path
) -> None:
    shapes = embedded_head(np.zeros(len(load_rig().identity_space)))
    rows = {"+z-y": [[1, 0, 0], [0, 0, 1], [0, -1, 0]], "+x+y": [[0, 0, 1], [1, 0, 0], [0, 1, 0]]}[axes]
    to_file = np.array(rows, np.float32)  # rows: the file's axes of x, up and forward; points @ rows
    lying = replace(
        shapes,
        vertices=shapes.vertices @ to_file,
        shapes=tuple(replace(shape, delta=shape.delta @ to_file) for shape in shapes.shapes),
    )
    write_shapes_glb(lying, tmp_path / "lying.glb")
    write_shapes_glb(shapes, tmp_path / "upright.glb")
    rig, found = open_faced_rig(tmp_path / "lying.glb")
    assert found == axes
    upright = open_blendshapes(tmp_path / "upright.glb")
    np.testing.assert_allclose(rig.neutral.numpy(), upright.neutral.numpy(), atol=1e-5)  # type: ignore[attr-defined]
    assert rig.landmarks is not None
    assert float(np.median(rig.landmarks.weight)) > 0.8


def test_a_rig_without_a_face_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(NoFaceError, match=r"little\.glb: no face was found.*human face"):
        open_faced_rig(write_glb_file(tmp_path / "little.glb", little_glb()))


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.2, -0.5, 0.1), (-0.3, 0.6, 0.4)])
def test_the_pose_of_projected_landmarks_is_found(rig: Rig, turn: tuple[float, float, float]) -> None:
    placed = RigPose(rig)
    controls = np.array([0.4, 0.1, 0.9])
    true = Pose(rotation_matrix(np.array(turn)), np.array([0.03, -0.05, -0.7]), 800.0)
    pixels = true.project(placed.points(controls), np.array([320.0, 240.0]))
    seen = Observation(pixels, float(np.linalg.norm(pixels[33] - pixels[263])), (640, 480), None)
    pose, error = placed.fit(seen, controls, 800.0)
    np.testing.assert_allclose(pose.rotation, true.rotation, atol=1e-4)
    np.testing.assert_allclose(pose.translation, true.translation, atol=1e-4)
    assert error < 1e-4
    _, off = placed.fit(seen, np.zeros(3), 800.0)
    assert off > 100 * error


def test_a_photo_in_the_rig_s_own_controls(rig: Rig, hero: Path, weights: Path, picture: Path) -> None:
    take = omote.capture(picture, method="inversion", weights=weights, rig=hero)
    assert take.space == rig.space
    assert dict(zip(rig.space.names, take.controls[0], strict=True)) == pytest.approx(TRUE, abs=1e-3)
    assert take.head_rotation[0] == pytest.approx(TURN, abs=0.06)
    depth = take.head_translation[0, 2] / take.camera.focal * FOCAL
    assert depth == pytest.approx(PLACE[2], rel=0.05)
    assert take.identity == {}
    assert take.confidence[0] > 0.5
    assert take.source["rig"] == "hero.glb"


def test_a_video_follows_the_head(rig: Rig, hero: Path, weights: Path, tmp_path: Path) -> None:
    turns = np.linspace(-0.3, 0.3, 6)
    with VideoWriter(tmp_path / "turn.mp4", (512, 512), fps=25) as writer:
        for turn in turns:
            writer.write(drawn(rig, np.array([0, turn, 0])))
    take = omote.capture(tmp_path / "turn.mp4", method="inversion", weights=weights, rig=hero, smooth=0.0)
    assert take.space == rig.space
    assert take.head_rotation[:, 1] == pytest.approx(turns, abs=0.06)
    np.testing.assert_allclose(take.controls, np.tile([TRUE[n] for n in rig.space.names], (6, 1)), atol=2e-3)


def test_the_command_writes_the_rig_s_own_file(
    hero: Path, weights: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["capture", str(picture), "--method", "inversion", "--rig", str(hero), "--weights", str(weights)]
    words += ["--to", "glb", "-o", str(out)]
    assert main(words) == 0
    assert "captured in" in capsys.readouterr().out
    saved = Performance.load(out / "shot.omote")
    assert saved.space.names == open_rig(hero).space.names
    assert read_image(out / "shot_overlay.png").shape[1] > 1000
    assert main([*words]) == 0
    assert "already complete" in capsys.readouterr().out
    replayed = GltfFile(out / "shot.glb")
    assert [animation["name"] for animation in replayed.items("animations")] == [ANIMATION]
    assert open_rig(out / "shot.glb").space.names == saved.space.names
    target = tmp_path / "weights.json"
    assert main(["rig", "map", str(hero), "--take", str(out / "shot.omote"), "-o", str(target)]) == 0
    written = json.loads(target.read_text())["weights"]
    assert {name: row[0] for name, row in written.items()} == pytest.approx(TRUE, abs=1e-3)


def test_networks_and_rigs_that_do_not_belong_together(hero: Path, weights: Path, picture: Path) -> None:
    with pytest.raises(InputError, match=r"hero\.glb: the network that ships is for the embedded head"):
        omote.capture(picture, method="inversion", rig=hero)
    with pytest.raises(WeightsError, match="made for the rig 'facs', not for 'hero'"):
        omote.capture(picture, method="inversion", rig=hero, weights=inverter.shipped_weights())
    with pytest.raises(WeightsError, match="made for the rig 'hero', not for 'facs'"):
        omote.capture(picture, method="inversion", weights=weights)
    with pytest.raises(InputError, match="landmarks are fitted with the embedded head"):
        omote.capture(picture, rig=hero)
    with pytest.raises(InputError, match="landmarks were not looked for"):
        RigPose(open_rig(hero))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rig", "gone.glb", "--weights", "W", "--method", "inversion"], "gone.glb: there is no such rig"),
        (["--rig", "hero.glb", "--method", "inversion"], "--rig: a rig of your own needs a network"),
        (
            ["--rig", "hero.glb", "--weights", "W", "--method", "inversion", "--to", "livelink"],
            "not written as livelink",
        ),
        (
            ["--rig", "shapes", "--weights", "W", "--method", "inversion", "--to", "glb"],
            "only a rig that is a .glb",
        ),
        (
            ["--rig", "shot.glb", "--weights", "W", "--method", "inversion", "--to", "glb", "-o", "."],
            "over it",
        ),
    ],
)
def test_what_the_command_refuses(
    options: list[str],
    message: str,
    weights: Path,
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("hero.glb", "shot.glb"):
        (tmp_path / name).touch()
    (tmp_path / "shapes").mkdir()
    words = [str(weights) if word == "W" else word for word in options]
    assert main(["capture", str(picture), *words]) == 2
    assert message in capsys.readouterr().err


def test_the_embedded_head_s_controls_are_unchanged(picture: Path) -> None:
    assert omote.capture(picture, method="inversion").space == FACS102


def test_a_rig_whose_origin_is_at_the_feet(hero: Path, weights: Path, tmp_path: Path) -> None:
    """The head leans back far: its origin, a body's length below, comes before the camera."""
    body = embedded_head(np.zeros(len(load_rig().identity_space)))
    write_shapes_glb(
        replace(body, vertices=body.vertices + np.array([0, 1.6, 0], np.float32)), tmp_path / "hero.glb"
    )
    tall = open_rig(tmp_path / "hero.glb")
    rig_landmarks(tall)
    middle = RigPose(tall).middle
    assert middle[1] > 1.4
    turns = np.linspace(-0.5, -0.3, 6)
    with VideoWriter(tmp_path / "lean.mp4", (512, 512), fps=25) as writer:
        for turn in turns:
            leaning = np.array([turn, 0, 0])
            writer.write(drawn(tall, leaning, PLACE - rotation_matrix(leaning) @ [0, 1.6, 0]))
    take = omote.capture(
        tmp_path / "lean.mp4", method="inversion", weights=weights, rig=tmp_path / "hero.glb", smooth=1.0
    )
    assert take.head_translation[0, 2] > -0.1
    assert take.head_rotation[:, 0] == pytest.approx(turns, abs=0.1)
    faces = take.head_translation + [rotation_matrix(turn) @ middle for turn in take.head_rotation]
    assert np.ptp(faces, axis=0).max() < 0.03
    assert (take.confidence > 0.5).all()


def test_another_head_than_the_rig_s_lowers_no_confidence(
    rig: Rig, hero: Path, weights: Path, tmp_path: Path
) -> None:
    identity = torch.from_numpy(np.random.default_rng(9).normal(0, 0.8, (1, 90)).astype(np.float32))
    facs = load_rig()
    controls = torch.zeros(1, len(FACS102))
    for name, value in TRUE.items():
        controls[0, FACS102.index(name)] = value
    head = facs(controls, identity)[0].numpy() @ rotation_matrix(TURN).T + PLACE
    write_image(tmp_path / "other.png", shown(head, facs))
    (found,) = capture_file(tmp_path / "other.png", method="inversion", weights=weights, rig=hero)
    assert found.error[0] > 0.03
    assert found.performance.confidence[0] > 0.5


def test_the_fault_of_a_rig_is_not_that_of_the_picture(weights: Path, picture: Path, tmp_path: Path) -> None:
    write_glb_file(tmp_path / "plate.glb", little_glb())
    with pytest.raises(InputError, match=r"plate\.glb: no face was found on the renders"):
        omote.capture(picture, method="inversion", weights=weights, rig=tmp_path / "plate.glb")


def test_own_controls_go_on_to_other_formats(
    hero: Path, weights: Path, picture: Path, tmp_path: Path
) -> None:
    take = omote.capture(picture, method="inversion", weights=weights, rig=hero)
    take.save(tmp_path / "take.omote")
    export.write(take, tmp_path / "take.npz")
    assert export.read(tmp_path / "take.npz") == take
    words = ["rig", "map", str(hero), "--to", "facs102", "--take", str(tmp_path / "take.omote")]
    assert main([*words, "-o", str(tmp_path / "facs.omote")]) == 0
    mapped = Performance.load(tmp_path / "facs.omote")
    assert mapped.space == FACS102
    assert {name: mapped.controls[0, FACS102.index(name)] for name in TRUE} == pytest.approx(TRUE, abs=1e-3)
    assert main([*words, "-o", str(tmp_path / "out.livelink.csv")]) == 0
    assert (tmp_path / "out.livelink.csv").is_file()


def test_a_changed_rig_is_captured_again(hero: Path, tmp_path: Path) -> None:
    folder = write_obj_folder(tmp_path / "shapes")
    before = sha256_of_rig(folder)
    assert sha256_of_rig(folder) == before
    shape = sorted(folder.glob("*.obj"))[0]
    shape.write_text(shape.read_text() + "\n# sculpted\n")
    assert sha256_of_rig(folder) != before
    copy = tmp_path / "copy.glb"
    copy.write_bytes(hero.read_bytes())
    assert sha256_of_rig(copy) == sha256_of_rig(hero)
    copy.write_bytes(hero.read_bytes() + b"\0")
    assert sha256_of_rig(copy) != sha256_of_rig(hero)


def test_training_and_measuring_find_the_landmarks(
    hero: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def noted(*arguments: Any, **_: Any) -> Any:
        given.extend(one for one in arguments if isinstance(one, Rig))
        raise InputError("enough")

    monkeypatch.setattr("omote.training.inversion.train_inversion", noted)
    monkeypatch.setattr("omote.evaluation.inversion_samples.held_out", noted)
    write_info(tmp_path, SynthOptions().describe(open_rig(hero)))
    words = ["train", "inversion", "--rig", str(hero), "--data", str(tmp_path), "--preset", "shipped"]
    assert main([*words, "-o", str(tmp_path / "run")]) == 2
    assert main(["eval", "inversion", str(weights), "--rig", str(hero), "--quick", "--recipe", "wild"]) == 2
    assert [rig.landmarks is not None for rig in given] == [True, True]
