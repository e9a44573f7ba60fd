"""Reading a whole picture where there are no normals: what it changes, and what it leaves as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.models.small_networks import small_mesh, small_unwrapped

from omote.errors import InputError
from omote.models.inversion import FastInversion, InversionNet, load_checkpoint, save_checkpoint
from omote.models.inversion.mesh import Belief
from omote.models.inversion.picture import SIDE, PictureReader

FEATURES = 24


def network(**changes: Any) -> InversionNet:
    """One that reads pictures; what it looks at on the mesh are random axes."""
    torch.manual_seed(0)
    net = InversionNet(small_unwrapped(picture_features=FEATURES, **changes)).eval()
    assert net.mesh is not None
    for name in net.config.modalities:
        getattr(net.mesh, f"{name}_axes").normal_(0, 0.1)
    net.mesh.rest.normal_(0, 0.05)
    net.mesh.moves.normal_(0, 0.01)
    return net


def images(batch: int = 3, size: int = 32) -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(1)
    return {name: torch.randn(batch, 3, size, size, generator=chance) for name in ("rgb", "normal")}


def taught(net: InversionNet) -> InversionNet:
    """With a picture reader that says something."""
    assert net.mesh is not None
    assert net.mesh.picture is not None
    torch.nn.init.normal_(net.mesh.picture.last.weight, 0, 3)
    return net


def last(net: InversionNet, **given: torch.Tensor) -> torch.Tensor:
    """What the mesh reader believes in the end, in its units."""
    assert net.mesh is not None
    with torch.no_grad():
        beliefs = net.mesh(net.mesh.surfaces(given), torch.zeros(3, 0))
        return net.mesh.units(beliefs[-1])


def test_at_first_it_changes_nothing() -> None:
    net, given = network(), images()
    assert net.mesh is not None
    with torch.no_grad():
        beliefs = net.mesh({"rgb": given["rgb"]}, torch.zeros(3, 0))
    assert len(beliefs) == net.config.mesh_steps + net.config.mesh_again + 1
    assert torch.allclose(
        net.mesh.units(beliefs[-1]), net.mesh.units(net.mesh.within(beliefs[-2])), atol=1e-5
    )


def test_it_is_asked_where_there_is_rgb_alone() -> None:
    net, given = network(), images()
    before = {
        "both": last(net, **given),
        "normal": last(net, normal=given["normal"]),
        "rgb": last(net, rgb=given["rgb"]),
    }
    taught(net)
    assert torch.equal(last(net, **given), before["both"])
    assert torch.equal(last(net, normal=given["normal"]), before["normal"])
    assert (last(net, rgb=given["rgb"]) - before["rgb"]).abs().mean() > 0.1


def test_what_is_unwrapped_follows_it() -> None:
    net, given = network(), images()
    with torch.no_grad():
        before = net(rgb=given["rgb"])
        assert (taught(net)(rgb=given["rgb"]) - before).abs().max() > 1e-3


def test_light_and_contrast_hardly_matter() -> None:
    torch.manual_seed(0)
    reader, rgb, state = PictureReader(7, FEATURES).eval(), images()["rgb"], torch.randn(3, 7)
    torch.nn.init.normal_(reader.last.weight, 0, 0.2)
    with torch.no_grad():
        plain, bright, other = reader(rgb, state), reader(3 * rgb + 1, state), reader(rgb.flip(3), state)
    assert (bright - plain).abs().max() < 0.2 * (other - plain).abs().max()


def test_pictures_of_any_size_are_brought_to_one() -> None:
    torch.manual_seed(0)
    reader, state = PictureReader(7, FEATURES).eval(), torch.randn(3, 7)
    torch.nn.init.normal_(reader.last.weight, 0, 0.2)
    small = torch.nn.functional.interpolate(images()["rgb"], (SIDE, SIDE), mode="bilinear")
    large = torch.nn.functional.interpolate(small, (2 * SIDE, 2 * SIDE), mode="bilinear")
    with torch.no_grad():
        wanted = reader(small, state)
        assert torch.equal(reader(images()["rgb"], state), wanted)
        assert (reader(large, state) - wanted).abs().max() < 0.1 * (wanted - wanted.flip(0)).abs().max()


def test_it_learns_from_rgb_alone() -> None:
    net, given = taught(network()), images()
    net.train()
    beliefs: list[Belief] = net(rgb=given["rgb"])
    sum(part.square().mean() for part in beliefs[-2] if part.numel()).backward()  # type: ignore[union-attr]
    assert net.mesh is not None
    assert net.mesh.picture is not None
    assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for p in net.mesh.picture.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_arranged_for_speed_it_says_the_same(dtype: torch.dtype) -> None:
    net, given = taught(network()), images()
    with torch.no_grad():
        wanted = net(rgb=given["rgb"])
    found = FastInversion(net, dtype)(rgb=given["rgb"])
    assert (found - wanted).abs().mean() < (1e-5 if dtype == torch.float32 else 3e-4)
    with torch.no_grad():  # without it, ten times as far away
        assert (network()(rgb=given["rgb"]) - wanted).abs().mean() > 3e-3


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_it_travels_with_the_network(precision: Any, tmp_path: Path) -> None:
    net, given = taught(network()), images()
    save_checkpoint(tmp_path / "net.safetensors", net, precision=precision)
    again = load_checkpoint(tmp_path / "net.safetensors")
    assert again.config.picture_features == FEATURES
    assert (last(again, rgb=given["rgb"]) - last(net, rgb=given["rgb"])).abs().max() < 0.1
    assert again.mesh is not None
    assert again.mesh.picture is not None
    kernel, was = (part.convolutions[-3].second.weight for part in (again.mesh.picture, net.mesh.picture))
    assert kernel.numel() > 1 << 16  # large enough for bytes
    name = "mesh.picture.convolutions.9.second.weight"
    kept = load_file(tmp_path / "net.safetensors")
    assert kept[name].dtype == (torch.int8 if precision == "int8" else torch.float16)
    assert (kept[name + ".scale"].shape == (128,)) if precision == "int8" else (name + ".scale" not in kept)
    rows, apart = was.flatten(1).abs().amax(1), (kernel - was).flatten(1).abs().amax(1)
    assert bool((apart <= rows * (0.004 if precision == "int8" else 0.0006)).all())


def test_networks_without_rgb_have_none() -> None:
    net = InversionNet(small_mesh(picture_features=FEATURES, modalities=("normal",)))
    assert net.mesh is not None
    assert net.mesh.picture is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"picture_features": -1}, r"picture_features must be within 0\.\.4096, got -1"),
        ({"picture_features": 4097}, r"picture_features must be within 0\.\.4096, got 4097"),
        (
            {"picture_features": 8, "mesh_points": 0, "backbone": "hiera", "align": "face"},
            "picture_features correct what is read on the mesh, and need mesh_points",
        ),
    ],
)
def test_impossible_ones_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_mesh(**changes)
