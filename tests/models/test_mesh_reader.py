"""Reading a face on its mesh: where its points lie in a picture, what is seen there, and the steps."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tests.models.small_networks import small_hiera, small_mesh
from torch import Tensor

from omote.controls import ARKIT52, Control, ControlSpace
from omote.errors import InputError
from omote.models.inversion import (
    FastInversion,
    InversionConfig,
    InversionNet,
    load_checkpoint,
    save_checkpoint,
)
from omote.models.inversion.config import IMAGENET_MEAN, IMAGENET_STD
from omote.models.inversion.mesh import CONTROL_SPREAD, USUAL_POSE, Belief, MeshReader, rotation
from omote.rigs.surface_points import LinearPoints

SPACE = ControlSpace("two", (Control("up", 0.0, 1.0), Control("both", -1.0, 1.0)))
REST = np.array(
    [[0, 0, 0], [0.04, 0, 0], [0, 0.03, 0], [-0.04, 0, 0], [0, -0.08, 0], [0, 0, 0.05]], np.float32
)


def config(**changes: Any) -> InversionConfig:
    return small_mesh(SPACE, "two", **changes)


def points() -> LinearPoints:
    """The first control moves all by 1 cm upwards; the second by 2 cm to x above zero, 3 cm to z below; the first
    identity coefficient by 1 cm to x, the second not at all."""
    up, down, identity = (np.zeros((2, len(REST), 3), np.float32) for _ in range(3))
    up[0, :, 1], up[1, :, 0], down[1, :, 2], identity[0, :, 0] = 0.01, 0.02, 0.03, 0.01
    return LinearPoints(REST, up, down, identity, np.zeros(2, np.float32))


def reader(neutral: tuple[float, float] = (0, 0)) -> MeshReader:
    mesh = MeshReader(config(), 0)
    mesh.place(replace(points(), neutral=np.array(neutral, np.float32)))
    return mesh


def belief(
    controls: tuple[float, float] = (0, 0), identity: tuple[float, float] = (0, 0), **pose: float
) -> Belief:
    """One; of the pose, what is not the usual: x, y, z, scale, across, down, near."""
    names = ("x", "y", "z", "scale", "across", "down", "near")
    values = [pose.get(name, usual) for name, usual in zip(names, USUAL_POSE, strict=True)]
    return Belief(*(torch.tensor([part], dtype=torch.float32) for part in (controls, identity, values)))


def network(**changes: Any) -> InversionNet:
    """Random weights, also those that start at zero; points and axes set."""
    torch.manual_seed(0)
    net = InversionNet(config(**changes)).eval()
    assert net.mesh is not None
    net.mesh.place(points())
    net.mesh.whiten({name: torch.randn(50, 18) for name in net.config.modalities}, 0.03)
    for step in net.mesh.steps:
        for layer in (step.last, *step.straight.values()):
            torch.nn.init.normal_(layer.weight, 0, 0.1)
    return net


def images(batch: int = 3, size: int = 32) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(1)
    return {name: torch.randn(batch, 3, size, size, generator=chance) for name in ("rgb", "normal")}


# ---- where points lie ------------------------------------------------------------------------------------------------


def test_rotations_are_scipy_s() -> None:
    vectors = np.random.default_rng(0).normal(0, 1.2, (40, 3))
    vectors[0], vectors[1] = 0, (1e-5, -2e-5, 1e-5)
    made = rotation(torch.tensor(vectors, dtype=torch.float32)).numpy()
    assert made == pytest.approx(Rotation.from_rotvec(vectors).as_matrix(), abs=2e-6)


def test_the_usual_pose_puts_points_where_it_says() -> None:
    found = reader().project(belief())[0].numpy()
    # 5 crop widths a metre about (0.5, 0.26), y down
    assert found[:5] == pytest.approx(
        np.array([[0.5, 0.26], [0.7, 0.26], [0.5, 0.11], [0.3, 0.26], [0.5, 0.66]]), abs=1e-6
    )
    # the nearest, 5 cm before the others, a head 1 / 1.2 m away: farther from the crop's middle
    assert found[5] == pytest.approx((0.5, 0.5 - 0.24 / (1 - 1.2 * 0.05)), abs=1e-6)


def test_each_entry_of_the_pose_does_what_it_is_called() -> None:
    mesh = reader()
    bigger = mesh.project(belief(scale=math.log(10.0), across=-0.1, down=0.15))[0].numpy()
    assert bigger[1] == pytest.approx((0.8, 0.65), abs=1e-6)
    assert bigger[2] == pytest.approx((0.4, 0.35), abs=1e-6)
    turned = mesh.project(belief(z=math.pi / 2))[0].numpy()  # x to y, which is up
    assert turned[1] == pytest.approx((0.5, 0.26 - 0.2), abs=1e-6)
    nodding = mesh.project(belief(x=math.pi / 6, across=0.1, near=2.0))[0].numpy()
    chin = np.array([0.1, 0.4 * math.cos(math.pi / 6) - 0.24])  # goes back: z = -0.08 sin 30
    assert nodding[4] == pytest.approx(chin / 1.08 + 0.5, abs=1e-6)
    sideways = mesh.project(belief(y=math.pi / 2, near=0.0))[0].numpy()  # the nose to x
    assert sideways[5] == pytest.approx((0.5 + 0.25, 0.26), abs=1e-6)
    behind = mesh.project(belief(across=0.06, near=30.0))[0].numpy()
    # nothing is seen from nearer than a share of the distance
    assert behind[5] == pytest.approx((0.5 + 0.06 / 0.3, 0.5 - 0.24 / 0.3), abs=1e-5)


def test_the_middle_of_the_crop_stays_whatever_the_distance() -> None:
    mesh, places = reader(), []
    for near in (0.0, 1.2, 6.0):
        found = mesh.project(belief(down=0.0, near=near))[0].numpy()
        assert found[[0, 5]] == pytest.approx(np.full((2, 2), 0.5), abs=1e-6), near
        places.append(mesh.project(belief(across=0.1, down=0.0, near=near))[0, 5, 0].item())
    assert places == pytest.approx([0.6, 0.5 + 0.1 / 0.94, 0.5 + 0.1 / 0.7], abs=1e-6)


def test_controls_and_identity_move_the_points() -> None:
    mesh, still = reader(), reader().project(belief(near=0.0))[0]
    moved = {
        (0.5, 0.0): (0, -0.025),  # half a centimetre upwards
        (0.0, 0.5): (0.05, 0),
        (0.0, -1.0): (0, 0),  # along z
    }
    for controls, way in moved.items():
        change = mesh.project(belief(controls, near=0.0))[0] - still
        assert change.numpy() == pytest.approx(np.tile(way, (6, 1)), abs=1e-6), controls
    change = mesh.project(belief(identity=(-2.0, 3.0), near=0.0))[0] - still
    assert change.numpy() == pytest.approx(np.tile((-0.1, 0), (6, 1)), abs=1e-6)
    nearer = mesh.project(belief((0.0, -1.0), near=1.0))[0, 1].numpy()
    assert nearer == pytest.approx(np.array([0.2, -0.24]) / (1 - 0.03) + 0.5, abs=1e-6)


def test_controls_are_measured_from_the_rig_s_neutral() -> None:
    """Of a rig that is at rest at (0.25, -0.5)."""
    mesh, still = reader((0.25, -0.5)), reader().project(belief())[0].numpy()
    assert mesh.project(belief((0.25, -0.5)))[0].numpy() == pytest.approx(still, abs=1e-6)
    flat = reader().project(belief(near=0.0))[0]
    for controls, way in {
        (0.75, -0.5): (0, -0.025),  # half a unit of a centimetre upwards
        (0.25, 0.0): (0.05, 0),  # below 0 and yet above neutral
        (0.25, -1.0): (0, 0),  # below neutral: along z
        (0.0, -0.5): (0, 0),  # below neutral the first moves nothing
    }.items():
        change = mesh.project(belief(controls, near=0.0))[0] - flat
        assert change.numpy() == pytest.approx(np.tile(way, (6, 1)), abs=1e-6), controls
    nearer = mesh.project(belief((0.25, -1.0), near=1.0))[0, 1].numpy()
    assert nearer == pytest.approx(np.array([0.2, -0.24]) / (1 - 0.015) + 0.5, abs=1e-6)
    # The rig's own linear model and the network's agree.
    model = replace(points(), neutral=np.array((0.25, -0.5), np.float32))
    for controls in ((0.25, -0.5), (0.9, 0.3), (0.1, -0.8)):
        head = model.at(np.array([controls], np.float32), np.zeros((1, 2), np.float32))[0]
        wanted = head[:, :2] * (5, -5) + (0.5, 0.26)
        assert mesh.project(belief(controls, near=0.0))[0].numpy() == pytest.approx(wanted, abs=1e-6)


def test_at_first_everybody_is_at_rest() -> None:
    mesh = reader((0.25, -0.5))
    first = mesh.at_first(3)
    assert first.controls.tolist() == [[0.25, -0.5]] * 3
    assert first.identity.tolist() == [[0, 0]] * 3
    assert torch.equal(first.pose, torch.tensor([USUAL_POSE] * 3))
    state = mesh.units(first)
    assert state[0].tolist() == pytest.approx([0.25 / CONTROL_SPREAD, -0.5 / CONTROL_SPREAD, *[0] * 9])
    for part, back in zip(first, mesh.belief(state), strict=True):
        assert back.numpy() == pytest.approx(part.numpy(), abs=1e-6)
    for step in mesh.steps:  # which change nothing
        torch.nn.init.zeros_(step.last.bias)
    for each in mesh(images(), torch.zeros(3, 0)):
        assert each.controls.detach().numpy() == pytest.approx(first.controls.numpy(), abs=1e-6)


# ---- what is seen ----------------------------------------------------------------------------------------------------


def test_normals_are_turned_back_with_the_head() -> None:
    normal = np.array([0.6, 0.0, 0.8])
    picture = torch.tensor(normal, dtype=torch.float32)[None, :, None, None].expand(1, 3, 32, 32)
    seen = reader().look({"normal": picture}, belief(x=0.2, y=-0.5, z=0.1))["normal"]
    wanted = Rotation.from_rotvec([0.2, -0.5, 0.1]).inv().apply(normal)
    assert seen.shape == (1, 18)
    for point in seen.reshape(3, 6).T.numpy():
        assert point == pytest.approx(wanted, abs=1e-6)


def test_the_picture_is_read_where_the_points_lie() -> None:
    x = (torch.arange(32) + 0.5) / 32  # centres of pixels
    picture = torch.stack([x.expand(32, 32), x[:, None].expand(32, 32), torch.ones(32, 32)])[None]
    mesh, where = reader(), belief(near=0.0)
    seen = mesh.look({"normal": picture}, where)["normal"].reshape(3, 6).T
    assert seen[:, :2].numpy() == pytest.approx(mesh.project(where)[0].numpy(), abs=1e-5)


def test_colours_are_relative_to_the_face_s() -> None:
    picture = images(1)["rgb"]
    mesh = reader()
    plain, other = (mesh.look({"rgb": p}, belief())["rgb"] for p in (picture, 2.5 * picture - 0.7))
    assert other.numpy() == pytest.approx(plain.numpy(), abs=0.12)
    assert (other - plain).abs().mean().item() < 0.03 * plain.abs().mean().item()
    by_channel = plain.reshape(3, 6)
    assert by_channel.mean().item() == pytest.approx(0, abs=1e-5)
    assert by_channel.std().item() == pytest.approx(1, abs=0.05)
    grey = mesh.look({"rgb": torch.full_like(picture, 0.3)}, belief())["rgb"]
    assert grey.abs().max().item() < 1e-5  # nothing to tell, and no division by nothing


def test_axes_make_what_varies_of_unit_spread() -> None:
    mesh, chance = reader(), np.random.default_rng(0)
    directions = np.linalg.qr(chance.normal(size=(18, 18)))[0][:, :5]
    spreads = np.array([3.0, 1.0, 0.3, 0.1, 1e-4])
    values = torch.tensor(5 + chance.normal(size=(4000, 5)) * spreads @ directions.T, dtype=torch.float32)
    mesh.whiten({"rgb": values}, 0.03)
    made = (values - mesh.rgb_mean) @ mesh.rgb_axes
    assert made.mean(0).abs().max().item() < 1e-3
    spread = made.std(0).numpy()
    # power / (power + (0.03 x mean spread)^2): the mean power of the four axes that are kept is about 2.5
    power = spreads[:4] ** 2
    assert spread == pytest.approx(np.sqrt(power / (power + 0.03**2 * power.mean())), abs=0.05)
    assert spread[0] == pytest.approx(1, abs=0.02)
    correlation = np.corrcoef(made.numpy().T)
    assert np.abs(correlation - np.eye(4)).max() < 0.02
    assert not mesh.normal_axes.any()


# ---- the steps -------------------------------------------------------------------------------------------------------


def test_a_missing_modality_is_zeros_and_a_flag() -> None:
    net, given = network(), images()
    assert net.mesh is not None
    seen: list[Tensor] = []
    beside: list[Tensor] = []
    net.mesh.steps[0].first.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    net.mesh.steps[0].beside.register_forward_pre_hook(lambda module, args: beside.append(args[0]))
    with torch.no_grad():
        net(**given)
        net(normal=given["normal"])
        net(rgb=given["rgb"])
    both, normal, rgb = seen
    assert both.abs().max().item() > 0.1
    assert not normal[:, :4].any()
    assert torch.equal(normal[:, 4:], both[:, 4:])
    assert not rgb[:, 4:].any()
    assert torch.equal(rgb[:, :4], both[:, :4])
    assert [part[0, -2:].tolist() for part in beside] == [[1, 1], [0, 1], [1, 0]]
    # The first step knows nothing: controls, identity and pose are 0 in its units.
    assert not beside[0][:, :-2].any()


def test_each_set_of_modalities_has_a_straight_part_of_its_own() -> None:
    net, given = network(mesh_steps=1, mesh_again=0), images(1)
    assert net.mesh is not None
    (step,) = net.mesh.steps
    assert set(step.straight) == {"rgb", "normal", "rgb_normal"}
    assert not any(p.requires_grad for p in step.straight.parameters())
    torch.nn.init.zeros_(step.last.weight)
    torch.nn.init.zeros_(step.last.bias)
    for value, layer in enumerate(step.straight.values(), 1):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(layer.bias, value)
    with torch.no_grad():
        alone = {name: net(**{name: given[name]})[0, 0].item() for name in given}
        both = net(**given)[0, 0].item()
    assert alone == {name: pytest.approx(k * CONTROL_SPREAD) for name, k in (("rgb", 1), ("normal", 2))}
    assert both == pytest.approx(3 * CONTROL_SPREAD)


def test_what_is_seen_is_bounded() -> None:
    """A hand in front must not shout."""
    mesh = reader()
    with torch.no_grad():
        mesh.normal_axes.fill_(1000.0)
        mesh.normal_axes[:, 1] = -1000.0
    seen = mesh.seen({"normal": torch.ones(1, 3, 8, 8)}, belief())
    assert seen["normal"][0].tolist() == [5, -5, 5, 5]


def test_each_step_goes_on_from_the_last() -> None:
    net = network(mesh_steps=4).train()
    beliefs = net(**images())
    assert len(beliefs) == 5  # the last step is taken twice
    for each in beliefs:
        assert [tuple(part.shape) for part in each] == [(3, 2), (3, 2), (3, 7)]
        assert all(part.dtype == torch.float32 and part.requires_grad for part in each)
    alone = InversionNet(replace(net.config, mesh_steps=1, mesh_again=0)).train()
    alone.load_state_dict(net.state_dict(), strict=False)
    (first,) = alone(**images())
    assert all(torch.equal(a, b) for a, b in zip(first, beliefs[0], strict=True))
    for before, after in pairwise(beliefs):
        assert not torch.equal(before.controls, after.controls)
    # Steps are taught one by one: no gradient passes from one to the one before.
    assert net.mesh is not None
    weights = [step.last.weight for step in net.mesh.steps]
    for number, each in enumerate(beliefs):
        found = torch.autograd.grad(each.controls.sum(), weights, allow_unused=True)
        taught = [grad is not None and grad.abs().sum().item() > 0 for grad in found]
        assert taught == [step == min(number, 3) for step in range(4)]
    with torch.no_grad():
        limited = net.eval()(**images())
    assert torch.equal(limited, beliefs[-1].controls.detach().clamp(net.low, net.high))


@pytest.mark.parametrize("steps", [1, 3])
def test_the_last_step_is_taken_again(steps: int) -> None:
    net, given = network(mesh_steps=steps, mesh_again=2).train(), images()
    once = InversionNet(replace(net.config, mesh_again=0)).train()
    once.load_state_dict(net.state_dict())  # no weights of their own
    with torch.no_grad():
        beliefs, before = net(**given), once(**given)
    assert (len(beliefs), len(before)) == (steps + 2, steps)
    for made, wanted in zip(beliefs[:steps], before, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(made, wanted, strict=True))
    mesh = net.mesh
    assert mesh is not None
    shown = mesh.surfaces(given)
    for believed, made in pairwise(beliefs[steps - 1 :]):
        where = mesh.within(believed)
        with torch.no_grad():
            change = mesh.steps[-1](mesh.seen(shown, where), mesh.units(where), torch.zeros(3, 0))
        wanted = mesh.belief(mesh.units(where) + change)
        for a, b in zip(made, wanted, strict=True):
            assert a.numpy() == pytest.approx(b.numpy(), abs=1e-6)
        assert (made.controls - believed.controls).abs().max().item() > 1e-3
    with torch.no_grad():
        assert torch.equal(net.eval()(**given), beliefs[-1].controls.clamp(net.low, net.high))


def test_a_network_before_training_changes_nothing() -> None:
    torch.manual_seed(0)
    net = InversionNet(config()).train()
    assert net.mesh is not None
    net.mesh.place(points())
    for step in net.mesh.steps:
        torch.nn.init.zeros_(step.last.bias)
    for each in net(**images()):
        assert not each.controls.any()
        assert not each.identity.any()
        assert torch.equal(each.pose, torch.tensor([USUAL_POSE] * 3))


def test_steps_change_beliefs_in_their_units() -> None:
    net = network(mesh_steps=1, mesh_again=0).train()
    assert net.mesh is not None
    (step,) = net.mesh.steps
    for layer in (step.last, *step.straight.values()):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    with torch.no_grad():
        step.last.bias.copy_(torch.arange(11.0))
    (found,) = net(**images(1))
    assert found.controls[0].tolist() == pytest.approx([0, CONTROL_SPREAD])
    assert found.identity[0].tolist() == pytest.approx([2, 3])
    spread = (0.14, 0.22, 0.06, 0.06, 0.05, 0.03, 0.6)
    wanted = [u + s * k for u, s, k in zip(USUAL_POSE, spread, range(4, 11), strict=True)]
    assert found.pose[0].tolist() == pytest.approx(wanted, rel=1e-5)


def test_whoever_prepared_points_is_ready() -> None:
    assert not MeshReader(config(), 0).is_ready
    assert reader().is_ready


def test_normals_reach_the_mesh_as_components() -> None:
    normal = torch.tensor([0.6, -0.2, 0.8])
    mean, spread = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    encoded = (((normal + 1) / 2 - mean) / spread)[None, :, None, None].expand(1, 3, 4, 4)
    rgb = torch.rand(1, 3, 4, 4)
    found = reader().surfaces({"rgb": rgb, "normal": encoded, "eyes_rgb": rgb})
    assert set(found) == {"rgb", "normal"}
    assert found["rgb"] is rgb
    assert found["normal"][0, :, 1, 2].tolist() == pytest.approx(normal.tolist(), abs=1e-6)
    assert set(reader().surfaces({"rgb": rgb})) == {"rgb"}


def test_backbones_come_first_where_there_are_both() -> None:
    torch.manual_seed(0)
    net = InversionNet(small_hiera(SPACE, "two", mesh_points=6, mesh_axes=4, identity=2, mesh_steps=2))
    beliefs = net.train()(**images(2, 64))
    # the head, two steps, the last step again
    assert [tuple(each.controls.shape) for each in beliefs] == [(2, 2)] * 4
    assert [each.pose.shape[1] for each in beliefs] == [0, 7, 7, 7]
    with torch.no_grad():
        assert net.eval()(**images(2, 64)).shape == (2, 2)


def test_a_checkpoint_predicts_the_same(tmp_path: Path) -> None:
    net, given = network(), images()
    assert net.mesh is not None
    net.mesh.place(replace(points(), neutral=np.array((0.25, -0.5), np.float32)))
    save_checkpoint(tmp_path / "net.safetensors", net)
    again = load_checkpoint(tmp_path / "net.safetensors", SPACE, rig="two")
    assert again.config == net.config
    assert again.mesh is not None
    assert again.mesh.is_ready
    assert again.mesh.neutral.tolist() == [0.25, -0.5]
    with torch.no_grad():
        wanted, found = net(**given), again(**given)
        same = copy.deepcopy(net)
        same.load_state_dict({name: value.half().float() for name, value in net.state_dict().items()})
        rounded = same(**given)
    assert 0.02 < wanted.std().item()
    assert torch.equal(found, rounded)
    assert found.numpy() == pytest.approx(wanted.numpy(), abs=0.02)  # random weights magnify what is rounded
    save_checkpoint(tmp_path / "net.safetensors", net, precision="float32")
    with torch.no_grad():
        assert torch.equal(load_checkpoint(tmp_path / "net.safetensors")(**given), wanted)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_arranged_for_speed_it_is_the_same(dtype: torch.dtype, limit: float) -> None:
    net, given = network(), images()
    fast = FastInversion(net, dtype)
    for part in (given, {"rgb": given["rgb"]}):
        with torch.no_grad():
            wanted = net(**part)
        assert (fast(**part) - wanted).abs().max().item() < limit


COUNTS = r"mesh_steps must be within 1\.\.16 and mesh_again within 0\.\.16"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mesh_points": 0}, "without a backbone needs mesh_points"),
        ({"align": "center"}, "needs crops that are aligned to the face"),
        ({"mesh_axes": 0}, r"mesh_axes must be within 1\.\.18, got 0"),
        ({"mesh_axes": 19}, r"mesh_axes must be within 1\.\.18, got 19"),
        ({"mesh_points": -1}, "mesh_points must be within"),
        ({"mesh_steps": 0}, rf"{COUNTS}, got 0 and 1"),
        ({"mesh_steps": 17}, rf"{COUNTS}, got 17 and 1"),
        ({"mesh_again": -1}, rf"{COUNTS}, got 4 and -1"),
        ({"mesh_again": 17}, rf"{COUNTS}, got 4 and 17"),
        ({"identity": -1}, "identity within"),
    ],
)
def test_impossible_readers_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        config(**changes)
    assert "\n" not in str(caught.value)


def test_the_shipped_network_travels_as_text() -> None:
    made = InversionConfig.shipped(SPACE, "two", identity=3)
    assert (made.backbone, made.size, made.mesh_points, made.identity) == ("none", 128, 1060, 3)
    assert (made.mesh_steps, made.mesh_again, made.mesh_axes, made.hidden) == (4, 1, 352, 640)
    assert (made.grid, made.eye_branch) == ((112, 96), False)  # no control's name speaks of eyes
    assert InversionConfig.from_json(made.to_json()) == made
    arkit = InversionConfig.shipped(ARKIT52, "arkit", identity=0)
    eyes = arkit.eye_controls
    assert arkit.agreed == ("eyeSquintLeft", "eyeSquintRight")
    assert len(eyes) == 14
    assert all(name.startswith("eye") for name in eyes)
