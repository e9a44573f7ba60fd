"""GLB: what a viewer evaluates equals the rig, at every time, for every part."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from omote.controls import ARKIT52, FACS102
from omote.errors import InputError
from omote.export import write
from omote.export.evaluate import identity_of, rig_evaluator

from .glb_reader import GlbReader

ROOT = Path(__file__).resolve().parents[2]


def truth(rig, performance, frame, *, world=True):
    """The rig's own vertices of a frame, per part in the order of the file."""
    take = performance.with_space(FACS102)
    points = rig_evaluator(rig, identity_of(take, rig), FACS102)(take.controls[frame : frame + 1])[0]
    if world:
        points = (
            points @ Rotation.from_rotvec(take.head_rotation[frame]).as_matrix().T
            + take.head_translation[frame]
        )
    faces, part = rig.faces.numpy(), rig.face_part.numpy()
    return {name: points[np.unique(faces[part == i])] for i, name in enumerate(rig.part_names)}


def worst(found, wanted):
    assert set(found) == set(wanted)
    return max(np.abs(found[name] - wanted[name]).max() for name in wanted)


def validate(*paths):
    if shutil.which("node") is None or not (ROOT / "node_modules" / "gltf-validator").is_dir():
        pytest.skip("needs node and `npm install` (gltf-validator)")
    run = subprocess.run(
        ["node", str(ROOT / "tools" / "validate_glb.mjs"), *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stdout, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_replay_is_exact_where_the_rig_is_linear(rig, take, tmp_path):
    """One control at a time between rest and its end, eyeballs by rotation: equal to 1e-6 m."""
    performance = take(9)
    values = np.zeros((9, 102), np.float32)
    for row, (name, value) in enumerate(
        [
            ("jaw_open", 1),
            ("corner_pull_L", 0.5),
            ("jaw_forward", -0.3),
            ("gaze_yaw_L", -0.7),
            ("gaze_pitch_R", 0.4),
        ]
    ):
        values[row, FACS102.index(name)] = value
    values[5, [FACS102.index("jaw_open"), FACS102.index("lips_together_lower_L")]] = 0.8, 0.5
    values[6, [FACS102.index("jaw_open"), FACS102.index("tongue_out")]] = 0.7, 0.9
    values[7, [FACS102.index("gaze_yaw_R"), FACS102.index("gaze_pitch_R")]] = -1.0, 0.8
    performance = performance.with_(controls=values)
    write(performance, tmp_path / "take.glb", rig=rig, max_residuals=0)
    reader = GlbReader(tmp_path / "take.glb")
    for frame, time in enumerate(performance.times):
        assert worst(reader.parts(np.float32(time)), truth(rig, performance, frame)) < 1e-6, frame
    assert reader.gltf.asset.extras["omote"]["replay_error_m"] < 1e-6


def test_random_take_is_within_tolerance_at_three_times(rig, take, tmp_path):
    performance = take(40, sparse=0.5)
    write(performance, tmp_path / "take.glb", rig=rig, tolerance=2e-5)
    reader = GlbReader(tmp_path / "take.glb")
    report = reader.gltf.asset.extras["omote"]
    assert report["linear_error_m"] > 2e-5
    assert report["replay_error_m"] <= 2e-5
    assert report["residual_targets"] >= 1
    for frame in (0, 17, 39):
        assert (
            worst(reader.parts(np.float32(performance.times[frame])), truth(rig, performance, frame)) < 2.1e-5
        )


def test_names_times_and_weights(rig, take, tmp_path):
    performance = take(12)
    write(performance, tmp_path / "take.glb", rig=rig)
    reader = GlbReader(tmp_path / "take.glb")
    names = reader.gltf.meshes[0].extras["targetNames"]
    assert tuple(names[:102]) == FACS102.names
    times, weights = reader.track("face", "weights")
    np.testing.assert_allclose(times, performance.times, atol=1e-6)
    smile = FACS102.index("corner_pull_L")
    np.testing.assert_allclose(weights[:, smile], performance.controls[:, smile], atol=1e-7)
    down = names.index("gaze_yaw_L_neg")
    np.testing.assert_allclose(
        weights[:, down], np.maximum(0, -performance.controls[:, FACS102.index("gaze_yaw_L")]), atol=1e-7
    )
    assert reader.gltf.animations[0].samplers[0].interpolation == "LINEAR"
    lips = FACS102.index("lips_together_upper_L")
    jaw = performance.controls[:, FACS102.index("jaw_open")]
    np.testing.assert_allclose(weights[:, lips], performance.controls[:, lips] * jaw, atol=1e-6)


def test_head_quaternions_are_unit_continuous_and_right(rig, take, tmp_path):
    performance = take(30)  # the head turns by 3.5 rad: axis-angle passes pi
    write(performance, tmp_path / "take.glb", rig=rig)
    reader = GlbReader(tmp_path / "take.glb")
    _, turns = reader.track("head", "rotation")
    np.testing.assert_allclose(np.linalg.norm(turns, axis=1), 1, atol=1e-6)
    assert (np.sum(turns[1:] * turns[:-1], axis=1) > 0.9).all()
    difference = Rotation.from_quat(turns) * Rotation.from_rotvec(performance.head_rotation).inv()
    assert difference.magnitude().max() < 1e-5
    np.testing.assert_allclose(reader.track("head", "translation")[1], performance.head_translation)


def test_camera_projects_as_the_take_says(rig, take, tmp_path):
    write(take(3), tmp_path / "take.glb", rig=rig)
    gltf = GlbReader(tmp_path / "take.glb").gltf
    lens = gltf.cameras[0].perspective
    assert lens.yfov == pytest.approx(2 * np.arctan(240 / 1000))
    assert lens.aspectRatio == pytest.approx(640 / 480)
    node = next(n for n in gltf.nodes if n.camera is not None)
    assert node.extras["principal_shift_px"] == [10.0, 10.0]
    assert node.rotation is None
    assert node.translation is None


@pytest.mark.parametrize("eyes", ["nodes", "morphs"])
def test_photo_has_no_animation_and_shows_the_expression(rig, take, tmp_path, eyes):
    performance = take(12, sparse=0.6)[4]
    write(performance, tmp_path / "photo.glb", rig=rig, eyes=eyes)
    reader = GlbReader(tmp_path / "photo.glb")
    assert reader.gltf.animations == []
    assert ("eye_L" in reader.nodes) == (eyes == "nodes")
    assert worst(reader.parts(0.0), truth(rig, performance, 0)) < 2e-6


def test_arkit_targets_replay_the_rig_driven_by_the_52(rig, take, tmp_path):
    performance = take(16, space=ARKIT52)
    write(performance, tmp_path / "take.glb", rig=rig, targets="arkit", tolerance=1e-5)
    reader = GlbReader(tmp_path / "take.glb")
    names = reader.gltf.meshes[0].extras["targetNames"]
    assert tuple(names[:52]) == ARKIT52.names
    times, weights = reader.track("face", "weights")
    np.testing.assert_allclose(
        weights[:, :52], performance.controls, atol=1e-7
    )  # mouthClose is its own weight
    assert reader.gltf.asset.extras["omote"]["acts_only_with"] == {"mouthClose": "jawOpen"}
    for frame in (0, 7, 15):
        assert worst(reader.parts(times[frame]), truth(rig, performance, frame)) < 1.2e-5


def test_mirrored_take_exports_mirrored_weights(rig, take, tmp_path):
    performance = take(8)
    write(performance, tmp_path / "a.glb", rig=rig, max_residuals=0)
    write(performance.mirror(), tmp_path / "b.glb", rig=rig, max_residuals=0)
    first, second = GlbReader(tmp_path / "a.glb"), GlbReader(tmp_path / "b.glb")
    times = performance.times
    for time in times[[0, 3, 7]]:
        a, b = first.weights(time), second.weights(time)
        for control in FACS102.controls:
            total = a[control.name] - a.get(f"{control.name}_neg", 0)
            other = b[control.mirror] - b.get(f"{control.mirror}_neg", 0)
            assert other == pytest.approx(control.mirror_sign * total, abs=1e-6), control.name
        x, y, z, w = first.value("head", "rotation", time, None)
        mirrored = np.array([x, -y, -z, w])
        assert abs(np.dot(mirrored, second.value("head", "rotation", time, None))) == pytest.approx(
            1, abs=1e-6
        )
        move = first.value("head", "translation", time, None) * [-1, 1, 1]
        np.testing.assert_allclose(second.value("head", "translation", time, None), move, atol=1e-7)


def test_validator_finds_no_error_and_no_warning(rig, take, tmp_path):
    paths = [
        *write(take(12), tmp_path / "take.glb", rig=rig),
        *write(take(12), tmp_path / "plain.glb", rig=rig, morph_normals=False, albedo=None),
        *write(take(12), tmp_path / "arkit.glb", rig=rig, targets="arkit"),
        *write(take(1), tmp_path / "photo.glb", rig=rig),
        *write(take(5).with_(times=np.arange(5) * 0.1 - 0.2), tmp_path / "negative times.glb", rig=rig),
    ]
    for report in validate(*paths):
        assert report["errors"] == 0, report
        assert report["warnings"] == 0, report


def test_texture_is_the_albedo(rig, take, tmp_path):
    from io import BytesIO

    from PIL import Image

    write(take(1), tmp_path / "photo.glb", rig=rig)
    reader = GlbReader(tmp_path / "photo.glb")
    view = reader.gltf.bufferViews[reader.gltf.images[0].bufferView]
    start = view.byteOffset or 0
    picture = np.asarray(Image.open(BytesIO(reader.blob[start : start + view.byteLength])))
    assert np.abs(picture.astype(int) - rig.albedo_texture()).mean() < 3


def test_long_takes_are_streamed(rig, take, tmp_path, monkeypatch):
    from omote.export import evaluate, residuals

    performance = take(60, sparse=0.5)
    write(performance, tmp_path / "a.glb", rig=rig, tolerance=2e-5)
    monkeypatch.setattr(evaluate, "KEPT_FRAMES", 10)
    monkeypatch.setattr(residuals, "MAX_SAMPLES", 20)
    monkeypatch.setattr(residuals, "MAX_MEMORY", 0)  # on disk
    write(performance, tmp_path / "b.glb", rig=rig, tolerance=2e-5)
    reader = GlbReader(tmp_path / "b.glb")
    assert reader.gltf.asset.extras["omote"]["replay_error_m"] <= 2e-5
    for frame in (0, 31, 59):
        assert (
            worst(reader.parts(np.float32(performance.times[frame])), truth(rig, performance, frame)) < 2.1e-5
        )


def test_bad_options_are_one_clear_line(rig, take, tmp_path):
    with pytest.raises(InputError, match="unknown targets 'apple'"):
        write(take(1), tmp_path / "x.glb", rig=rig, targets="apple")
    with pytest.raises(InputError, match="unknown eyes 'lasers'"):
        write(take(1), tmp_path / "x.glb", rig=rig, eyes="lasers")
    with pytest.raises(InputError, match="has 3 coefficients, the rig has 2"):
        write(take(1).with_(identity={"facs": np.zeros(3)}), tmp_path / "x.glb", rig=rig)
    with pytest.raises(InputError, match="expected uint8"):
        write(take(1), tmp_path / "x.glb", rig=rig, albedo=np.zeros((4, 4)))
    assert list(tmp_path.iterdir()) == []


def test_embedded_head(take, tmp_path):
    """The head that ships: 102 targets, within 0.1 mm, small, and valid."""
    from omote.rigs.facs import load_rig

    rig = load_rig()
    performance = take(1, sparse=0.2).with_(identity={})
    (path,) = write(performance, tmp_path / "photo.glb")
    assert path.stat().st_size < 3.2e6
    reader = GlbReader(path)
    assert worst(reader.parts(0.0), truth(rig, performance, 0)) < 5e-6
    names = reader.gltf.meshes[0].extras["targetNames"]
    primitives = reader.gltf.meshes[0].primitives
    moves = [any(reader.accessor(p.targets[i]["POSITION"]).any() for p in primitives) for i in range(102)]
    assert tuple(names[:102]) == FACS102.names
    assert all(moves)
    (report,) = validate(path)
    assert report["errors"] == report["warnings"] == 0
