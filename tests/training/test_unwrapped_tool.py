"""What `tools/inversion/unwrapped.py` trains on: stored looks, mirrored, toned, covered; what each control counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.models.small_networks import small_unwrapped
from tools.inversion.unwrapped import (
    HIDDEN,
    PICTURES,
    Asides,
    Feed,
    as_images,
    as_pixels,
    glance,
    hide,
    precision,
    read,
    stored,
    tone,
    validate,
    with_normals,
)

from omote.controls import FACS102
from omote.models.inversion import InversionNet
from omote.models.inversion.config import MESH_POINTS
from omote.models.inversion.mesh import CONTROL_SPREAD
from omote.rigs.facs import FacsRig, load_rig
from omote.training.datasets.crops import CropStore
from omote.training.datasets.shards import complete_shards, write_info
from omote.training.datasets.synthetic import SynthOptions, make_shard
from omote.training.mesh_start import mirror_of, place_mesh

OPTIONS = SynthOptions(recipe="wild", count=4, seed=5, size=96, per_shard=4, vertices=False)
SIZE = (16, 24)


@pytest.fixture(scope="module")
def rig() -> FacsRig:
    return load_rig()


def pictures(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 6), np.uint8)


def test_pixels_are_kept_as_they_are() -> None:
    shown = pictures(2, 8, 12)
    assert np.array_equal(as_pixels(as_images(torch.from_numpy(shown))), shown)


def test_a_mirrored_belief_mirrored_again_is_itself(rig: FacsRig) -> None:
    index, sign = mirror_of(rig)
    count, names = len(FACS102), FACS102.names
    assert np.array_equal(index[index], np.arange(len(index)))
    assert np.array_equal(sign[index] * sign, np.ones(len(sign)))
    left, right = names.index("brow_lower_L"), names.index("brow_lower_R")
    belief = np.zeros(len(index), np.float32)
    belief[left], belief[-6] = 0.7, 0.2  # and a turn about y
    turned = belief[index] * sign
    assert (turned[left], turned[right], turned[-6]) == pytest.approx((0, 0.7, -0.2))
    assert not np.delete(turned[:count], right).any()


def test_a_patch_of_the_face_before_covers_some() -> None:
    shown = pictures(400, 20, 30)
    covered, before = shown.copy(), np.roll(shown, 1, 0)
    hide(covered, np.random.default_rng(1))
    changed = (covered != shown).any(-1)
    assert np.array_equal(covered[changed], before[changed])
    hit = changed.any((1, 2))
    assert hit.mean() == pytest.approx(HIDDEN, abs=0.08)
    for face in changed[hit][:20]:
        rows, columns = np.flatnonzero(face.any(1)), np.flatnonzero(face.any(0))
        assert len(rows) <= 0.45 * 20
        assert len(columns) <= 0.45 * 30
        assert face[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.95


def test_a_tone_changes_colours_alone_and_all_pictures_of_a_sample_alike() -> None:
    steps = np.tile(np.arange(256, dtype=np.uint8)[:, None], (3, 1, 6)).reshape(3, 16, 16, 6)
    first, second = steps.copy(), steps.copy()
    tone([first, second], np.random.default_rng(0))
    assert np.array_equal(first, second)
    assert np.array_equal(first[..., 3:], steps[..., 3:])
    assert not np.array_equal(first[..., :3], steps[..., :3])
    for sample in first[..., 0].reshape(3, 256).astype(int):
        assert (sample[0], sample[-1]) == (0, 255)
        assert (np.diff(sample) >= 0).all()
    assert not np.array_equal(first[0], first[1])


def test_what_is_seldom_used_counts_more() -> None:
    chance = np.random.default_rng(0)
    truth = np.zeros((500, 3), np.float32)
    truth[:, 0] = chance.normal(size=500)
    truth[:15, 1] = 1
    weight = precision([{"truth": truth}], 2)
    variance = torch.from_numpy(truth[:, :2].var(0))
    assert weight[1] > 2 * weight[0]
    assert float((weight * variance).sum()) == pytest.approx(float(variance.sum()), rel=1e-5)


def test_a_feed_varies_samples_but_keeps_each_together(rig: FacsRig) -> None:
    """A sample's number is written into its pictures and its truth; mirrored, sides change places in all of them."""
    mirror = mirror_of(rig)
    count = len(mirror[0])
    brow = FACS102.names.index("brow_lower_L"), FACS102.names.index("brow_lower_R")
    shard: dict[str, np.ndarray] = {}
    for name in ("seen", "framed"):
        shard[name] = np.full((200, *SIZE, 6), 128, np.uint8)
        shard[name][:, :, : SIZE[1] // 2, 4] = np.arange(200, dtype=np.uint8)[:, None, None]
    shard["eyes"] = np.full((200, 2, 16, 32, 6), 128, np.uint8)
    shard["eyes"][:, 0, ..., 4] = 7
    shard["state"], shard["truth"] = np.zeros((2, 200, count), np.float32)
    shard["truth"][:, brow[0]] = np.arange(200)
    batch = Feed([shard], PICTURES, mirror, 0).ready.get()
    mirrored = batch["truth"][:, brow[1]] > batch["truth"][:, brow[0]]
    assert 0.3 < mirrored.mean() < 0.7
    number = batch["truth"][:, brow].max(1)
    side = np.where(mirrored, SIZE[1] - 3, 2)
    for name in ("seen", "framed"):
        shown = batch[name][np.arange(len(side)), :, side, 4]
        assert (np.median(shown, 1) == number)[number > 0].mean() > 0.8  # but for patches
    known, first = number > 0, np.median(batch["eyes"][:, 0, ..., 4], (1, 2))
    assert np.array_equal((first == 7)[known], ~mirrored[known])
    alone = Feed([shard], ("eyes",), mirror, 0).ready.get()
    assert set(alone) == {"eyes", "state", "truth"}
    turned = alone["truth"][:, brow[1]] > alone["truth"][:, brow[0]]
    known = alone["truth"][:, brow].max(1) > 0
    first = np.median(alone["eyes"][:, 0, ..., 4], (1, 2))
    assert np.array_equal((first == 7)[known], ~turned[known])


def test_looks_are_stored_once_and_can_be_read(rig: FacsRig, tmp_path: Path) -> None:
    write_info(tmp_path / "data", OPTIONS.describe(rig))
    make_shard(rig, OPTIONS, tmp_path / "data", 0)
    (shard,) = complete_shards(tmp_path / "data")
    config = replace(small_unwrapped(identity=len(rig.identity_space), points=MESH_POINTS), mesh_axes=4)
    torch.manual_seed(0)
    net = InversionNet(config).eval()
    place_mesh(net, rig)
    plain, strayed = (stored(net, CropStore(config, rig), shard, tmp_path, way) for way in (False, True))
    for name in ("seen", "framed"):
        assert plain[name].shape == (4, *SIZE, 6)
        assert not np.array_equal(plain[name], strayed[name])
    assert np.array_equal(plain["eyes"], strayed["eyes"])
    assert np.array_equal(plain["truth"][:, : len(FACS102)], strayed["truth"][:, : len(FACS102)])
    shard.unlink()
    again = stored(net, CropStore(config, rig), shard, tmp_path, True)
    assert all(np.array_equal(again[part], strayed[part]) for part in strayed)
    of_rgb = CropStore(replace(config, modalities=("rgb",)), rig)
    make_shard(rig, OPTIONS, tmp_path / "data", 0)
    alone = stored(net, of_rgb, shard, tmp_path, False)
    assert alone["seen"].shape == (4, *SIZE, 3)
    assert np.array_equal(alone["eyes"], plain["eyes"][..., :3])
    assert np.array_equal(alone["truth"][:, : len(FACS102)], plain["truth"][:, : len(FACS102)])
    whole = {**alone, **{name: with_normals(alone[name]) for name in PICTURES}}
    assert all(np.array_equal(whole[name][..., :3], alone[name]) for name in PICTURES)
    assert not any(whole[name][..., 3:].any() for name in PICTURES)
    read_alone = read(net.unwrapped, whole, "normal").clamp(net.low, net.high).detach().numpy()
    apart = np.abs(read_alone - alone["truth"][:, : len(FACS102)] * CONTROL_SPREAD).mean()
    assert validate(net, net.unwrapped, [alone])["mae"] == pytest.approx(float(apart), rel=1e-4)
    asides = Asides(net.unwrapped, ["window", "eyes"])
    assert read(net.unwrapped, plain).shape == (4, len(FACS102))
    state, wanted = torch.from_numpy(np.array(plain["state"])), torch.rand(4, len(FACS102))
    first = asides(state, wanted)
    first[0].backward()
    assert net.unwrapped is not None
    learned = {name for name, value in net.unwrapped.named_parameters() if value.grad is not None}
    assert learned
    assert all(name.startswith("window.") for name in learned)  # what the window says is its own
    with torch.no_grad():
        glance(net.unwrapped, ["window", "eyes"], plain)
        again = asides(state, wanted)
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(first, again, strict=True))
        for gone in ("rgb", "normal"):
            assert bool(read(net.unwrapped, plain, gone).isfinite().all())
