"""Synthetic data: recipes, determinism, shards, and what the loader makes of them."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from omote.controls import ARKIT52, FACS102
from omote.errors import FormatError, InputError, OutputError
from omote.geometry.cameras import project
from omote.performance import Camera
from omote.render import decode_normals
from omote.rigs.blendshapes import space_of
from omote.rigs.facs import load_rig
from omote.training.datasets.contact_sheet import dataset_sheet, decode_picture
from omote.training.datasets.crops import CropStore
from omote.training.datasets.expressions import combined, sample_expression, units
from omote.training.datasets.loader import InversionData, collate
from omote.training.datasets.shapes import other_hand, seen_faces
from omote.training.datasets.shards import (
    array_bytes,
    bytes_array,
    check_same,
    complete_shards,
    read_info,
    read_shard,
    write_info,
)
from omote.training.datasets.synthetic import SynthOptions, make_shard, render_samples

TINY = SynthOptions(recipe="wild", count=12, seed=5, size=96, per_shard=6)


@pytest.fixture(scope="module")
def store() -> CropStore:
    """Reads crops of 64 px."""
    return CropStore(Config(), load_rig())


@dataclass(frozen=True)
class Config:
    align: str = "face"
    size: int = 64
    eye_size: tuple[int, int] = (32, 32)
    modalities: tuple[str, ...] = ("rgb", "normal")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of six wild samples."""
    rig, made = load_rig(), tmp_path_factory.mktemp("data") / "wild"
    write_info(made, TINY.describe(rig))
    assert [make_shard(rig, TINY, made, number) for number in (0, 1)] == [6, 6]
    return made


# --- expressions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["paper", "wild"])
@pytest.mark.parametrize("space", [FACS102, ARKIT52], ids=lambda s: s.name)
def test_controls_stay_in_their_ranges_and_all_are_used(recipe: str, space: object) -> None:
    drawn = np.stack(
        [sample_expression(space, recipe, k, np.random.default_rng([1, k])).controls for k in range(1500)]
    )
    assert (drawn >= space.low).all()
    assert (drawn <= space.high).all()
    assert (np.abs(drawn).max(0) > 0.2).all()
    assert np.median((np.abs(drawn) > 0.05).sum(1)) >= 2


def test_the_paper_recipe_shows_every_control_alone_and_twenty_combinations() -> None:
    assert combined(FACS102).shape == (20, 102)
    drawn = [sample_expression(FACS102, "paper", k, np.random.default_rng([0, k])) for k in range(8 * 125)]
    alone = [d.controls for d in drawn if d.kind == "alone"]
    assert len(alone) == 125
    strongest = {int(np.abs(c).argmax()) for c in alone}
    # A control that shows only behind an open jaw may be weaker than the jaw.
    assert len(strongest) > 90
    assert set(range(102)) == set(np.flatnonzero(np.abs(alone).max(0) > 0))
    usual = [np.flatnonzero(c) for c in alone]
    assert np.mean([len(u) == 1 for u in usual]) > 0.85
    assert {d.kind for d in drawn} == {"alone", "combined", "varied"}


def test_tongues_move_only_in_open_mouths() -> None:
    tongue, jaw = FACS102.match("tongue_*"), FACS102.index("jaw_open")
    drawn = np.stack(
        [sample_expression(FACS102, "paper", k, np.random.default_rng([2, k])).controls for k in range(800)]
    )
    moving = np.abs(drawn[:, tongue]).max(1) > 0.05
    assert moving.sum() > 20
    assert (drawn[moving, jaw] >= 0.3 - 1e-6).all()


@pytest.mark.parametrize("recipe", ["paper", "wild"])
def test_arkit_mouths_close_no_further_than_they_are_open(recipe: str) -> None:
    rng = np.random.default_rng(5)
    drawn = np.stack([sample_expression(ARKIT52, recipe, k, rng).controls for k in range(2000)])
    jaw, close, tongue = (drawn[:, ARKIT52.index(n)] for n in ("jawOpen", "mouthClose", "tongueOut"))
    assert (close > 0.3).sum() > 10
    assert (close <= jaw + 1e-6).all()
    assert (jaw[tongue > 0.05] >= 0.29).all()


def test_names_in_another_spelling_have_the_same_ready_expressions() -> None:
    other = space_of(
        "ict", [re.sub("(Left|Right)$", lambda m: "_" + m[0][0], name) for name in ARKIT52.names]
    )
    assert "eyeBlink_L" in other
    for ready in (combined, units):
        np.testing.assert_allclose(ready(other), ready(space_of("own", ARKIT52.names)), atol=1e-6)
    assert len(combined(other)) == 20
    assert len(units(other)) >= 60


def test_a_rig_whose_names_nobody_knows_still_moves() -> None:
    strange = space_of("strange", [f"key {k}" for k in range(12)])
    assert not len(units(strange))
    rng = np.random.default_rng(5)
    drawn = [sample_expression(strange, "wild", k, rng) for k in range(600)]
    still = np.mean([not one.controls.any() for one in drawn])
    assert still < 0.1
    assert "unit" not in {one.kind for one in drawn}


def test_every_arkit_shape_is_among_the_units() -> None:
    assert len(units(FACS102)) >= 60
    assert (np.abs(units(FACS102)).max(1) > 0).all()


# --- rendering --------------------------------------------------------------------------------------------------


def test_samples_depend_on_seed_and_index_only() -> None:
    rig = load_rig()
    whole = list(render_samples(rig, TINY, 0, 5))
    part = list(render_samples(rig, TINY, 3, 5))
    for one, other in zip(whole[3:], part, strict=True):
        for name in ("rgb", "normal", "mask", "identity", "landmarks", "vertices"):
            assert (getattr(one, name) == getattr(other, name)).all(), name
    other_seed = next(render_samples(rig, replace(TINY, seed=6), 3, 4))
    assert not (other_seed.identity == part[0].identity).all()


def test_a_paper_sample_is_what_its_arrays_say() -> None:
    rig = load_rig()
    options = SynthOptions(recipe="paper", count=4, seed=1, size=128)
    for sample in render_samples(rig, options):
        inside = sample.mask == 255
        assert 0.2 < inside.mean() < 0.6
        vectors = decode_normals(sample.normal)[inside]
        assert (vectors[:, 2] > -0.02).mean() > 0.999  # what is seen faces the camera
        assert (sample.normal[sample.mask == 0] == (128, 128, 255)).all()
        controls = torch.from_numpy(sample.expression.controls)[None]
        head = rig(controls, torch.from_numpy(sample.identity)[None])[0].numpy()
        # The stored vertices are the rig's, moved rigidly.
        assert np.linalg.norm(np.diff(sample.vertices[::500], axis=0), axis=1) == pytest.approx(
            np.linalg.norm(np.diff(head[::500], axis=0), axis=1), abs=1e-5
        )
        seen = project(sample.camera, rig.landmarks.apply(sample.vertices))
        assert sample.landmarks == pytest.approx(seen, abs=1e-3)
        assert abs(sample.landmarks[[33, 263]].mean(0)[0] - 64) < 8
        assert isinstance(sample.camera, Camera)
        assert sample.quality is None


def test_tangent_normals_of_an_unmoved_head_are_flat() -> None:
    rig = load_rig()
    options = SynthOptions(recipe="paper", size=128, normals="tangent", count=600)
    still = [s for s in render_samples(rig, options, 0, 12) if not s.expression.controls[-3:].any()]
    assert len(still) > 3  # a turned head has turned normals
    for sample in still:
        vectors = decode_normals(sample.normal)[sample.mask == 255]
        assert np.median(vectors[:, 2]) > 0.95


def test_fewer_identities_repeat() -> None:
    rig = load_rig()
    options = replace(TINY, identities=2)
    heads = np.stack([s.identity for s in render_samples(rig, options, 0, 5)])
    assert (heads[0] == heads[2]).all()
    assert (heads[1] == heads[3]).all()
    assert not (heads[0] == heads[1]).all()


class Giant:
    """The embedded rig under another name, a hundred times as large and somewhere else."""

    name = "giant"

    def __init__(self, landmarks: bool) -> None:
        self.rig = load_rig()
        self.landmarks = self.rig.landmarks if landmarks else None

    def __getattr__(self, name: str) -> object:
        return getattr(self.rig, name)

    def __call__(self, controls: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
        return 100 * self.rig(controls, identity) + torch.tensor([7.0, -20.0, 3.0])


def test_foreign_rigs_are_brought_before_the_camera() -> None:
    options = SynthOptions(recipe="paper", count=3, size=96)
    ours = list(render_samples(load_rig(), options))
    theirs = list(render_samples(Giant(landmarks=True), options))
    for one, other in zip(ours, theirs, strict=True):
        assert other.vertices == pytest.approx(one.vertices, abs=2e-4)
        assert other.landmarks == pytest.approx(one.landmarks, abs=0.2)
    unknown = next(render_samples(Giant(landmarks=False), options))
    assert np.isnan(unknown.landmarks).all()
    assert 0.1 < (unknown.mask == 255).mean() < 0.7


def test_another_hand_changes_a_head_smoothly_and_leaves_rest_at_rest() -> None:
    rig = load_rig()
    identity, controls = torch.zeros(1, 90), torch.zeros(2, 102)
    controls[1, FACS102.index("jaw_open")] = 1
    neutral, posed = rig(controls, identity).numpy()
    eyes = rig.landmarks.apply(neutral)[[468, 473]]
    first = other_hand(neutral, neutral, eyes, np.random.default_rng(0))
    assert 0.0005 < np.linalg.norm(first - neutral, axis=1).mean() < 0.006
    second = other_hand(posed, neutral, eyes, np.random.default_rng(0))
    moved, bent = posed - neutral, second - first
    change = np.linalg.norm(bent - moved, axis=1)
    assert 0.0005 < change.max() < 0.6 * np.linalg.norm(moved, axis=1).max()
    still = np.linalg.norm(moved, axis=1) < 1e-7
    assert change[still].max() < 1e-6


def test_parts_are_left_out_whole() -> None:
    rig = load_rig()
    drawn = {len(seen_faces(rig, np.random.default_rng(k))) for k in range(60)}
    lashes = int((rig.face_part == rig.part_names.index("lashes")).sum())
    assert {len(rig.faces), len(rig.faces) - lashes} < drawn
    assert len(drawn) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "tame"}, "recipe 'tame'"),
        ({"count": 0}, "count 0"),
        ({"size": 8}, "size 8"),
        ({"per_shard": 0}, "0 samples a shard"),
        ({"normals": "world"}, "normals 'world'"),
    ],
)
def test_impossible_options_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SynthOptions(**changes)  # type: ignore[arg-type]


# --- shards -----------------------------------------------------------------------------------------------------


def test_shards_hold_what_was_rendered(folder: Path) -> None:
    rendered = list(render_samples(load_rig(), TINY))
    stored = [sample for shard in complete_shards(folder) for sample in read_shard(shard)]
    assert [s["__key__"] for s in stored] == [f"{k:08d}" for k in range(12)]
    for sample, truth in zip(stored, rendered, strict=True):
        assert (bytes_array(sample["controls.npy"]) == truth.expression.controls).all()
        assert (bytes_array(sample["vertices.npy"]) == truth.vertices).all()
        assert (decode_picture(sample, "normal") == truth.normal).all()
        assert np.abs(decode_picture(sample, "rgb").astype(int) - truth.rgb).mean() < 8  # JPEG


def test_shards_are_the_same_bytes_again_and_complete_ones_are_kept(folder: Path, tmp_path: Path) -> None:
    rig = load_rig()
    assert make_shard(rig, TINY, folder, 0) == 0
    assert make_shard(rig, TINY, tmp_path, 1) == 6
    name = TINY.describe(rig).shard_names()[1]
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_cut_shard_is_named(folder: Path, tmp_path: Path) -> None:
    shard = complete_shards(folder)[0]
    whole = shard.read_bytes()
    with tarfile.open(shard) as tar:
        between = next(member.offset for member in tar if member.name.startswith("00000003."))
    cut = tmp_path / "shard-000000.tar"
    for length in (len(whole) // 2, between, 0):  # between two samples nothing else would tell
        cut.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"shard-000000\.tar.*damaged or cut off"):
            list(read_shard(cut))


ODD = {"count": "5", "recipe": ["x"], "vertices": 1, "controls": 3, "size": 64.0}


def test_a_folder_keeps_one_data_set(folder: Path, tmp_path: Path) -> None:
    rig = load_rig()
    write_info(folder, TINY.describe(rig))
    with pytest.raises(OutputError, match=r"other seed \(5, now 6\)"):
        write_info(folder, replace(TINY, seed=6).describe(rig))
    with pytest.raises(InputError, match=r"no dataset\.json"):
        read_info(tmp_path)
    known = json.loads((folder / "dataset.json").read_text())
    for content in ("{}", "[]", "null", *(json.dumps(known | {k: v}) for k, v in ODD.items())):
        (tmp_path / "dataset.json").write_text(content)
        with pytest.raises(FormatError, match="not a description"):
            read_info(tmp_path)
    (tmp_path / "dataset.json").unlink()
    foreign = tmp_path / "foreign"
    write_info(foreign, replace(TINY.describe(rig), rig="hero"))
    with pytest.raises(InputError, match="its rig differ"):
        check_same([folder, foreign])


# --- loader -----------------------------------------------------------------------------------------------------


def test_each_sample_is_seen_once_in_a_new_order(folder: Path, store: CropStore) -> None:
    data = InversionData([folder], store, split="all", augment=False)
    stored = [bytes_array(s["controls.npy"]) for p in complete_shards(folder) for s in read_shard(p)]
    seen = [s["controls"] for s in data]
    assert sorted(c.tobytes() for c in seen) == sorted(c.tobytes() for c in stored)
    train = InversionData([folder], store, split="train", augment=False)
    held = InversionData([folder], store, split="validation")
    parts = [{s["controls"].tobytes() for s in d} for d in (train, held)]
    assert not parts[0] & parts[1]
    assert len(parts[0]) + len(parts[1]) == 12


def test_order_and_augmentation_follow_seed_and_epoch(folder: Path, store: CropStore) -> None:
    def pictures(seed: int, epoch: int) -> list[bytes]:
        data = InversionData([folder], store, space=FACS102, identity_mirror=_signs(), seed=seed)
        data.epoch = epoch
        return [s["rgb"].tobytes() for s in data]

    assert pictures(1, 0) == pictures(1, 0)
    assert pictures(1, 0) != pictures(1, 1) != pictures(2, 1)


def test_mirrored_samples_are_renders_of_the_mirrored_face() -> None:
    """Mirroring in the loader gives what rendering the mirrored controls and identity gives."""
    from omote.training.datasets import loader

    rig = load_rig()
    controls = torch.zeros(1, 102)
    for name in ("corner_pull_L", "lid_close_R", "gaze_yaw_L", "jaw_open"):
        controls[0, FACS102.index(name)] = 0.6
    identity = torch.from_numpy(np.random.default_rng(3).normal(0, 1, (1, 90)).astype(np.float32))
    mirrored = torch.from_numpy(FACS102.mirror(controls.numpy())).float()
    first = loader._mirrored({**_crops(rig, controls, identity), "pose": np.zeros(7, np.float32)})
    second = _crops(rig, mirrored, identity * rig.identity_mirror)
    for name in ("normal", "eyes_normal"):
        assert np.abs(first[name].astype(int) - second[name]).mean() < 1.0, name
    straight = _crops(rig, controls, identity)
    assert np.abs(straight["normal"].astype(int) - second["normal"]).mean() > 5.0


def _crops(rig: object, controls: torch.Tensor, identity: torch.Tensor) -> dict[str, np.ndarray]:
    from omote.capture.face_crop import network_images
    from omote.render import encode_normals, render_mesh

    vertices = rig(controls, identity)[0].numpy() - np.array([0, -0.045, 0.9], np.float32)
    camera = Camera(200 * 0.9 / 0.3, (100, 100), (200, 200))
    drawn = render_mesh(vertices, rig.faces.numpy(), camera, weld=rig.weld.numpy())
    landmarks = project(camera, rig.landmarks.apply(vertices))
    return network_images(Config(), None, encode_normals(drawn.normal_camera, drawn.alpha), landmarks)


def test_crops_of_eyes_stray_and_lose_their_sides() -> None:
    """A ramp tells how far each crop was shifted and scaled; it goes on up to the pixels that are lost."""
    from omote.training.datasets.loader import EYE_SCALE, EYE_SHIFT, stray_eyes

    width, height = 64, 48
    across = np.broadcast_to(np.arange(width) + 0.5, (height, width))
    down = np.broadcast_to(np.arange(height)[:, None] + 0.5, (height, width))
    ramp = np.stack([across, down, 0 * across] * 2, -1)
    eyes = np.stack([ramp, ramp[:, ::-1]]).astype(np.uint8) * 3
    rng = np.random.default_rng(0)
    kept, shifts, scales = 0, [], []
    for _ in range(400):
        made = stray_eyes(eyes, rng)
        assert made.shape == eyes.shape
        assert made.dtype == np.uint8
        assert (made[..., :3] == made[..., 3:]).all()  # all modalities alike
        kept += made is eyes
        if made is not eyes:
            slope, start = np.polyfit(np.arange(16, 48), made[0, 24, 16:48, 0] / 3.0, 1)
            scales.append(-np.log(slope))
            shifts.append((31.5 - (start + slope * 31.5)) / slope / width)
    assert 70 < kept < 130
    assert np.std(scales) == pytest.approx(EYE_SCALE, rel=0.15)
    assert np.std(shifts) == pytest.approx(EYE_SHIFT, rel=0.15)
    assert abs(np.mean(shifts)) < 0.004
    assert (eyes == np.stack([ramp, ramp[:, ::-1]]).astype(np.uint8) * 3).all()  # the given ones stay


def test_batches_are_what_the_network_takes(folder: Path, store: CropStore) -> None:
    data = InversionData([folder], store, space=FACS102, identity_mirror=_signs())
    batch = collate(list(data)[:3])
    assert batch["rgb"].shape == batch["normal"].shape == (3, 3, 64, 64)
    assert batch["eyes_normal"].shape == (3, 2, 3, 32, 32)
    assert batch["controls"].shape == (3, 102)
    assert batch["identity"].shape == (3, 90)
    assert batch["pose"].shape == (3, 7)
    assert batch["pose"].isfinite().all()
    assert all(value.dtype == torch.float32 for value in batch.values())


def test_damaged_samples_and_missing_data_are_said(folder: Path, store: CropStore, tmp_path: Path) -> None:
    sample = next(read_shard(complete_shards(folder)[0]))
    with pytest.raises(FormatError, match="sample 00000000 is damaged"):
        store.crop({**sample, "normal.png": b"nothing"}, Path("shard.tar"))
    with pytest.raises(FormatError, match=r"controls\.npy"):
        store.crop({k: v for k, v in sample.items() if k != "controls.npy"}, Path("shard.tar"))
    controls = bytes_array(sample["controls.npy"])
    for member, array, told in (
        ("controls", controls[:51], r"controls of shape \(51,\), not \(102,\)"),
        ("controls", controls * np.nan, "controls that are not numbers"),
        ("controls", controls + 50, "controls outside of their ranges"),
        ("identity", np.zeros(3), r"identity of shape \(3,\)"),
        ("landmarks", np.zeros((68, 2)), r"landmarks of shape \(68, 2\)"),
    ):
        with pytest.raises(FormatError, match=rf"shard\.tar: sample .* is damaged \({told}"):
            store.crop({**sample, f"{member}.npy": array_bytes(array)}, Path("shard.tar"))
    with pytest.raises(FormatError, match=r"damaged \(no normal\.png or normal\.jpg\)"):
        store.crop({k: v for k, v in sample.items() if not k.startswith("normal")}, Path("shard.tar"))
    write_info(tmp_path / "empty", TINY.describe(load_rig()))
    with pytest.raises(InputError, match="no complete shard"):
        InversionData([tmp_path / "empty"], store)
    with pytest.raises(InputError, match="no data set was given"):
        InversionData([], store)


def test_the_contact_sheet_shows_samples(folder: Path) -> None:
    sheet = dataset_sheet(folder, size=64)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] > 500
    assert sheet.std() > 20


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _signs() -> np.ndarray:
    return load_rig().identity_mirror.numpy()
