"""Reading an unwrapped face: what the map shows, what eyes have a say in, checkpoints and the fast form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.small_networks import small_hiera, small_unwrapped
from tests.models.test_mesh_reader import SPACE, images, points
from torch import Tensor

from omote.errors import InputError
from omote.models.inversion import FastInversion, InversionNet, load_checkpoint, save_checkpoint
from omote.models.inversion.mesh import USUAL_POSE, Belief
from omote.models.inversion.network import firm

IDENTITY, PLACES = 2, 16 * 24


def network(**changes: Any) -> InversionNet:
    """Random weights; each place of the map lies at one of the first five points, all at z = 0."""
    torch.manual_seed(0)
    net = InversionNet(small_unwrapped(SPACE, "two", **changes)).eval()
    assert net.mesh is not None
    assert net.unwrapped is not None
    net.mesh.place(points())
    net.mesh.whiten({name: torch.randn(50, 18) for name in net.config.modalities}, 0.03)
    index = np.tile(np.arange(PLACES)[:, None] % 5, (1, 3))
    net.unwrapped.place(index, np.tile(np.array([0.5, 0.25, 0.25], np.float32), (PLACES, 1)))
    net.unwrapped.whiten({name: torch.randn(50, PLACES * 3 // 16) for name in net.config.modalities}, 0.05)
    torch.nn.init.normal_(net.unwrapped.conclusion.last.weight, std=0.3)  # as if trained
    return net


def eyes(batch: int = 3) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(2)
    made = {name: torch.randn(batch, 2, 3, 48, 64, generator=chance) for name in ("rgb", "normal")}
    return {f"eyes_{name}": crop for name, crop in made.items()}


def at_rest(turn: tuple[float, float, float] = (0, 0, 0)) -> Belief:
    pose = torch.tensor([[*turn, *USUAL_POSE[3:]]])
    return Belief(torch.zeros(1, 2), torch.zeros(1, IDENTITY), pose)


def test_the_map_shows_what_lies_at_the_points() -> None:
    net = network()
    assert net.mesh is not None
    assert net.unwrapped is not None
    ramp = torch.arange(32.0).expand(32, 32) + 0.5  # each pixel says how far to the right it is
    picture = torch.stack([ramp, ramp.T, torch.ones(32, 32)])[None]
    seen = net.unwrapped.unwrap(net.mesh, {"rgb": picture}, at_rest())["rgb"]
    assert seen.shape == (1, 3, 16, 24)
    where = net.mesh.project(at_rest())[0, :5] * 32
    first = seen[0, :2].flatten(1)[:, :5].T
    assert first.numpy() == pytest.approx(where.numpy(), abs=1e-3)
    moved = at_rest()._replace(controls=torch.tensor([[1.0, 0.0]]))  # a centimetre up: 1.6 px of 32
    higher = net.unwrapped.unwrap(net.mesh, {"rgb": picture}, moved)["rgb"]
    assert (seen - higher)[0, 1].numpy() == pytest.approx(1.6, abs=1e-3)


def test_normals_are_turned_back_with_the_head() -> None:
    net = network()
    assert net.mesh is not None
    assert net.unwrapped is not None
    towards = torch.tensor([0.0, 0.0, 1.0])[None, :, None, None].expand(1, 3, 32, 32)
    turned = at_rest((0, 0.5, 0))  # to the subject's left: the camera is then to the right
    seen = net.unwrapped.unwrap(net.mesh, {"normal": towards}, turned)["normal"]
    assert seen[0, :, 3, 3].numpy() == pytest.approx([-np.sin(0.5), 0, np.cos(0.5)], abs=1e-5)


def test_light_and_gain_do_not_count() -> None:
    net, given = network(), images()
    lit = {**given, "rgb": given["rgb"] * 3 + torch.tensor([0.5, -1, 2])[:, None, None]}
    with torch.no_grad():
        assert (net(**given) - net(**lit)).abs().max().item() < 0.03  # but for the least spread


def test_before_training_eyes_move_their_controls_alone() -> None:
    net, given = network(), images()
    assert net.unwrapped is not None
    torch.nn.init.zeros_(net.unwrapped.conclusion.last.weight)
    with torch.no_grad():
        net.train()
        without, with_eyes = net(**given)[-1].controls, net(**given, **eyes())[-1].controls
        believed = net(**given)[-2].controls.clamp(net.low, net.high)
    assert torch.equal(without[:, 0], with_eyes[:, 0])
    assert (without[:, 1] - with_eyes[:, 1]).abs().max().item() > 1e-3
    assert without[:, 1].numpy() == pytest.approx(believed[:, 1].numpy(), abs=1e-6)


def test_what_hardly_moves_is_at_rest() -> None:
    net, given = network(), {**images(), **eyes()}
    quiet = network(quiet=(0.2, 0.0))
    quiet.load_state_dict(net.state_dict())
    for each in (net, quiet):
        assert each.mesh is not None
        each.mesh.neutral.copy_(torch.tensor([0.1, 0.0]))
    with torch.no_grad():
        plain, found = net(**given), quiet(**given)
    assert torch.equal(found[:, 1], plain[:, 1])
    neutral, least = torch.tensor([0.1]), torch.tensor([0.2])
    steps = torch.tensor([[-0.9], [-0.2], [0.0], [0.1], [0.29], [0.4], [0.5], [0.8]])
    wanted = [[-0.9], [-0.1], [0.1], [0.1], [0.1], [0.3], [0.5], [0.8]]
    assert firm(steps, neutral, least).numpy() == pytest.approx(np.array(wanted), abs=1e-6)
    assert found[:, 0].numpy() == pytest.approx(firm(plain[:, :1], neutral, least)[:, 0].numpy(), abs=1e-6)


def test_axes_have_unit_spread_on_what_they_were_made_from() -> None:
    """Of the face a quarter as fine; what varies less than the rest is magnified."""
    net, chance = network(), torch.Generator().manual_seed(3)
    reader = net.unwrapped
    assert reader is not None
    faces = torch.randn(400, 3, 1, 1, generator=chance) + 0.2 * torch.randn(400, 3, 16, 24, generator=chance)
    seen = reader.coarse({"normal": faces.clamp(-3, 3)})
    assert list(seen) == ["normal"]
    assert seen["normal"].shape == (400, 3 * 4 * 6)
    middle = seen["normal"].unflatten(1, (3, 4, 6))[:, 1, 2, 3]
    by_hand = faces.clamp(-3, 3)[:, 1, 8:12, 12:16].mean((1, 2))
    assert middle.numpy() == pytest.approx(by_hand.numpy(), abs=1e-5)
    reader.whiten(seen, 1e-6)
    on_axes = (seen["normal"] - reader.normal_mean) @ reader.normal_axes
    spread = on_axes.T @ on_axes / 400
    assert spread.numpy() == pytest.approx(np.eye(8), abs=5e-3)


def test_what_is_missing_lies_at_the_middle_of_its_axes() -> None:
    net, given = network(), images()
    assert net.unwrapped is not None
    for name in ("rgb", "normal"):
        other = "normal" if name == "rgb" else "rgb"
        heard: list[Tensor] = []
        hook = net.unwrapped.conclusion.register_forward_pre_hook(lambda _, known: heard.append(known[0]))  # noqa: B023
        with torch.no_grad():
            net(**{name: given[name]})
        hook.remove()
        axes = dict(zip(("rgb", "normal"), heard[0][:, 2:18].split(8, 1), strict=True))
        assert not axes[other].any()
        assert axes[name].abs().amax().item() > 0.1
        assert heard[0][:, -8 * 3 - 2 : -8 * 3].tolist() == [[name == "rgb", name == "normal"]] * 3


def test_both_readers_must_agree_on_some_controls() -> None:
    net, given = network(agreed=("up",)), {**images(), **eyes()}
    with torch.no_grad():
        concluded = net(**given)
        net.training = True  # all beliefs, without dropout
        mesh, unwrapped = (belief.controls for belief in net(**given)[-2:])
    product = mesh[:, 0].clamp_min(0) * unwrapped[:, 0].clamp_min(0)
    assert concluded[:, 0].numpy() == pytest.approx(product.sqrt().clamp(0, 1).numpy(), abs=1e-6)
    assert concluded[:, 1].numpy() == pytest.approx(unwrapped[:, 1].clamp(-1, 1).numpy(), abs=1e-6)


def test_in_use_a_mirrored_face_is_read_as_the_mirrored_controls() -> None:
    """Of two controls: the first changes sides with itself, the second changes its sign."""
    net = network(both_ways=True)
    reader = net.unwrapped
    assert reader is not None
    index = np.arange(2 + IDENTITY + 7)
    sign = np.array([1, -1, 1, -1, 1, -1, -1, 1, -1, 1, 1], np.float32)
    reader.set_mirror(index, sign)
    chance = torch.Generator().manual_seed(1)
    shapes = {"seen": (16, 24), "framed": (16, 24)}
    plain: dict[str, Any] = {
        part: {name: torch.randn(3, 3, *size, generator=chance) for name in ("rgb", "normal")}
        for part, size in shapes.items()
    }
    plain["eyes"] = {name: torch.randn(3, 2, 3, 48, 64, generator=chance) for name in ("rgb", "normal")}
    plain["state"] = torch.randn(3, len(index), generator=chance)
    x_turned = torch.tensor([-1.0, 1, 1])[:, None, None]
    mirrored: dict[str, Any] = {
        part: {"rgb": plain[part]["rgb"].flip(3), "normal": plain[part]["normal"].flip(3) * x_turned}
        for part in shapes
    }
    mirrored["eyes"] = {name: crops.flip(1) for name, crops in plain["eyes"].items()}
    mirrored["state"] = plain["state"] * torch.from_numpy(sign)
    # 24 columns, of which every fourth counts for mean and spread of colours: mirrored, others do
    for part in shapes:
        for pictures in (plain, mirrored):
            pictures[part]["rgb"] = pictures[part]["rgb"] * 0 + torch.arange(16.0)[:, None]
    with torch.no_grad():
        found, other = reader.read(**plain), reader.read(**mirrored)
        reader.both_ways = False
        once = reader.read(**plain)
    assert other.numpy() == pytest.approx((found * torch.tensor([1.0, -1.0])).numpy(), abs=1e-5)
    assert (found - once).abs().max().item() > 1e-3


@pytest.mark.parametrize("name", ["rgb", "normal"])
def test_one_modality_is_enough(name: str) -> None:
    net = network()
    given = {name: images()[name], f"eyes_{name}": eyes()[f"eyes_{name}"]}
    with torch.no_grad():
        alone = net(**given)
    assert alone.shape == (3, 2)
    assert bool(alone.isfinite().all())


def test_the_unwrapped_face_teaches_no_mesh() -> None:
    """Where the mesh is does not follow from how the face looks on it."""
    net = network().train()
    net(**images(), **eyes())[-1].controls.square().mean().backward()
    assert net.mesh is not None
    assert net.unwrapped is not None
    assert all(value.grad is None for value in net.mesh.parameters())
    assert all(value.grad is not None for value in net.unwrapped.parameters())


def test_a_checkpoint_predicts_the_same(tmp_path: Path) -> None:
    net, given = network(both_ways=True), {**images(), **eyes()}
    assert net.unwrapped is not None
    net.unwrapped.mirror_sign[3] = -1
    save_checkpoint(tmp_path / "net.safetensors", net, precision="float32")
    again = load_checkpoint(tmp_path / "net.safetensors", SPACE)
    assert again.unwrapped is not None
    assert again.unwrapped.index.dtype == torch.int16
    with torch.no_grad():
        assert torch.equal(again(**given), net(**given))


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_arranged_for_speed_it_is_the_same(dtype: torch.dtype, limit: float, both_ways: bool) -> None:
    net, given = network(both_ways=both_ways), {**images(), **eyes()}
    assert net.unwrapped is not None
    if both_ways:
        sign = np.where(np.arange(2 + IDENTITY + 7) % 3 == 1, -1, 1)
        net.unwrapped.set_mirror(np.array([1, 0, *range(2, len(sign))]), sign.astype(np.float32))
    fast = FastInversion(net, dtype)
    for part in (given, {"rgb": given["rgb"]}):
        with torch.no_grad():
            wanted = net(**part)
        assert (fast(**part) - wanted).abs().max().item() < limit


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": (12, 24)}, "grid must be two multiples of 8"),
        ({"grid": (0, 24)}, "needs a height, a width and mesh_points"),
        ({"grid": (0, 0)}, "a window needs a height, a width and an unwrapped face"),
        ({"window": (0, 24)}, "a window needs a height, a width and an unwrapped face"),
        ({"window": (16, 20)}, "window must be two multiples of 8"),
        ({"grid": (0, 0), "window": (0, 0)}, "an eye branch without a backbone needs an unwrapped face"),
        ({"eye_controls": ()}, "beside an unwrapped face needs eye_controls"),
        ({"eye_controls": ("wink",)}, "eye_controls must be among the controls"),
        ({"grid_axes": 0}, "grid_axes must be within 1..72, got 0"),
        ({"grid_axes": 73}, "grid_axes must be within 1..72, got 73"),
        ({"quiet": (0.1,)}, "quiet must be 2 numbers from 0"),
        ({"quiet": (0.1, -0.1)}, "quiet must be 2 numbers from 0"),
        ({"agreed": ("wink",)}, "agreed must be among the controls"),
    ],
)
def test_impossible_readers_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_unwrapped(SPACE, "two", **changes)
    with pytest.raises(InputError, match="needs a height, a width and mesh_points"):
        replace(small_hiera(SPACE, "two"), grid=(16, 24))
