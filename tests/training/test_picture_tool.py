"""What `tools/inversion/picture.py` trains on, and what it keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.models.small_networks import small_mesh
from tools.inversion.picture import BATCH, NAMES, Feed, as_batch, cropped, keep, stepped, validate, varied

from omote.controls import FACS102
from omote.errors import InputError
from omote.models.inversion import InversionNet, load_checkpoint, save_checkpoint
from omote.models.inversion.config import MESH_POINTS
from omote.models.inversion.picture import PictureReader
from omote.rigs.facs import FacsRig, load_rig
from omote.training.datasets.shards import complete_shards, write_info
from omote.training.datasets.synthetic import SynthOptions, make_shard
from omote.training.mesh_start import place_mesh

OPTIONS = SynthOptions(recipe="wild", count=4, seed=5, size=96, per_shard=4, vertices=False)


@pytest.fixture(scope="module")
def rig() -> FacsRig:
    return load_rig()


@pytest.fixture(scope="module")
def net(rig: FacsRig) -> InversionNet:
    torch.manual_seed(0)
    made = InversionNet(small_mesh(identity=len(rig.identity_space), points=MESH_POINTS)).eval()
    place_mesh(made, rig)
    return made


@pytest.fixture(scope="module")
def crops(rig: FacsRig, net: InversionNet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("data")
    write_info(folder, OPTIONS.describe(rig))
    make_shard(rig, OPTIONS, folder, 0)
    save_checkpoint(folder / "net.safetensors", net)
    return cropped(folder / "net.safetensors", complete_shards(folder)[0])


def test_pictures_are_cropped_without_their_normals(crops: dict[str, np.ndarray], rig: FacsRig) -> None:
    assert set(crops) == set(NAMES)
    assert crops["rgb"].shape == (4, 32, 32, 3)
    assert crops["controls"].shape == (4, len(FACS102))
    assert crops["identity"].shape == (4, len(rig.identity_space))
    assert np.isfinite(crops["pose"]).all()


def test_the_truth_puts_points_where_they_are(crops: dict[str, np.ndarray], net: InversionNet) -> None:
    """A reader that knows the truth has no error; one that says nothing has that of the steps."""
    assert net.mesh is not None
    rgb, truth = as_batch(crops, net.mesh)
    state = stepped(net.mesh, rgb)

    class Knowing(PictureReader):
        def forward(self, rgb: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
            return truth - state

    size = state.shape[1]
    found = validate(net.mesh, Knowing(size, 8), [crops])
    assert found["correlation"] == pytest.approx(1, abs=0.02)  # beliefs stay in their ranges
    assert found["pose"] == pytest.approx(0, abs=1e-3)
    assert found["points"] < 0.002
    nothing = validate(net.mesh, PictureReader(size, 8), [crops])
    assert nothing["pose"] > 0.3
    assert nothing["points"] > 0.01


def test_samples_are_varied_but_their_truth_stays(crops: dict[str, np.ndarray]) -> None:
    where = np.array([(0, j) for j in (2, 0, 1, 3)])
    made = varied([crops], where, np.random.default_rng(0))
    assert made["rgb"].shape == crops["rgb"].shape
    assert np.array_equal(made["controls"], crops["controls"][where[:, 1]])
    assert not np.array_equal(made["rgb"], crops["rgb"][where[:, 1]])
    assert not np.array_equal(made["pose"], crops["pose"][where[:, 1]])  # it strays with the crop


def test_a_feed_shows_each_sample_once_in_a_pass(crops: dict[str, np.ndarray]) -> None:
    many = {name: np.repeat(values, BATCH // 4, 0) for name, values in crops.items()}
    many["controls"] = np.arange(BATCH, dtype=np.float32)[:, None]
    batch = Feed([many], 0).ready.get()
    assert sorted(batch["controls"][:, 0]) == list(range(BATCH))
    with pytest.raises(InputError, match=f"4 samples are not even a batch of {BATCH}"):
        Feed([crops], 0)


def test_what_is_kept_reads_pictures(net: InversionNet, tmp_path: Path) -> None:
    assert net.mesh is not None
    before, state = net.config, sum(net.mesh.counts)
    reader = PictureReader(state, 8)
    torch.nn.init.normal_(reader.last.weight)
    keep(tmp_path / "net.safetensors", net, reader)
    assert net.config == before
    assert net.mesh.picture is None
    again = load_checkpoint(tmp_path / "net.safetensors")
    assert again.config == replace(before, picture_features=8)
    assert again.mesh is not None
    assert again.mesh.picture is not None
    assert torch.allclose(again.mesh.picture.last.weight, reader.last.weight, atol=2e-3)
