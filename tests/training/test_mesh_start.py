"""What a mesh reader knows before it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.small_networks import small_hiera, small_mesh, small_unwrapped
from tests.training.few_controls import FewControls

from omote.errors import InputError
from omote.models.inversion import InversionNet
from omote.models.inversion.mesh import USUAL_POSE
from omote.rigs.surface_points import face_points
from omote.rigs.symmetry import can_be_mirrored
from omote.training.mesh_start import _Normal, place_mesh, prepare_mesh


@pytest.mark.parametrize("points", [6, 1059, 1061])
def test_a_network_of_another_number_of_points_is_refused(points: int) -> None:
    rig = FewControls()
    net = InversionNet(small_mesh(rig.space, "few", points=points))

    def samples() -> Iterator[dict[str, Any]]:
        raise AssertionError("data were read")
        yield

    with pytest.raises(InputError) as caught:
        prepare_mesh(net, rig, samples())  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"network: reads {points} points, the rig 'few' has 1060")
    assert caught.value.remedy == "Give its configuration as many mesh_points."
    assert net.mesh is not None
    assert not net.mesh.is_ready


class UnknownMirror(FewControls):
    """A rig that does not say how its identity is mirrored."""

    def __init__(self) -> None:
        super().__init__()
        del self.identity_mirror

    def __getattr__(self, name: str) -> Any:
        if name == "identity_mirror":
            raise AttributeError(name)
        return super().__getattr__(name)


def test_a_rig_whose_identity_has_no_mirror_is_read_one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """With both ways its mirrored belief would lack the identity."""
    monkeypatch.setattr("omote.training.mesh_start.face_points", lambda which: face_points(which, 40))
    known, unknown = FewControls(), UnknownMirror()
    assert [can_be_mirrored(rig) for rig in (known, unknown)] == [True, False]  # type: ignore[arg-type]
    for rig in (known, unknown):
        mirrors = rig is known
        config = small_unwrapped(rig.space, "few", points=100, identity=2, both_ways=mirrors)
        net = InversionNet(config)
        place_mesh(net, rig)  # type: ignore[arg-type]
        assert net.unwrapped is not None
        assert bool((net.unwrapped.mirror_sign < 0).any()) == mirrors


def test_no_more_samples_are_read_than_it_is_prepared_from(monkeypatch: pytest.MonkeyPatch) -> None:
    rig, rng = FewControls(), np.random.default_rng(0)
    monkeypatch.setattr("omote.training.mesh_start.face_points", lambda which: face_points(which, 40))
    net = InversionNet(small_unwrapped(rig.space, "few", points=100))
    mesh, unwrapped = net.mesh, net.unwrapped
    assert mesh is not None
    assert unwrapped is not None
    read = []

    def samples() -> Iterator[dict[str, Any]]:
        for number in range(9):
            read.append(number)
            pictures = {name: rng.integers(0, 256, (32, 32, 3), np.uint8) for name in ("rgb", "normal")}
            truth = {"controls": np.full(3, 0.3, np.float32), "identity": np.full(2, -1, np.float32)}
            yield {**pictures, **truth, "pose": np.full(7, np.nan, np.float32)}

    said: list[str] = []
    prepare_mesh(net, rig, samples(), count=6, tell=said.append)  # type: ignore[arg-type]
    assert read == [0, 1, 2, 3, 4, 5]
    assert said == [
        "reading samples",
        "finding axes",
        "solving for rgb",
        "solving for normal",
        "solving for rgb and normal",
        "finding axes of the unwrapped face",
    ]
    assert mesh.is_ready
    assert all(getattr(unwrapped, f"{name}_axes").any(0).all() for name in ("rgb", "normal"))
    assert unwrapped.weight.sum(1).numpy() == pytest.approx(1, abs=1e-5)
    assert int(unwrapped.index.max()) < 40  # none inside the mouth
    # All samples have the same truth, and the usual pose where it is not known: the straight parts alone know it.
    for layer in (step.last for step in mesh.steps):
        torch.nn.init.zeros_(layer.bias)
    with torch.no_grad():
        beliefs = mesh({"normal": torch.randn(2, 3, 32, 32)}, torch.zeros(2, 0))
    assert len(beliefs) == 5
    for each in beliefs:
        assert each.controls.numpy() == pytest.approx(np.full((2, 3), 0.3), abs=1e-4)
        assert each.identity.numpy() == pytest.approx(np.full((2, 2), -1), abs=1e-4)
        assert each.pose.numpy() == pytest.approx(np.array([USUAL_POSE] * 2), abs=1e-4)


def test_without_a_ridge_it_is_least_squares() -> None:
    rng = np.random.default_rng(0)
    known, wanted = rng.normal(2, 1, (60, 4)), rng.normal(1, 1, (60, 3))
    normal = _Normal.of(*(torch.tensor(part, dtype=torch.float32) for part in (known, wanted)))
    weight, bias = normal.solution(0.0)
    truth = np.linalg.lstsq(np.column_stack([known, np.ones(60)]), wanted, rcond=None)[0]
    assert weight.numpy() == pytest.approx(truth[:4], abs=1e-4)
    assert bias.numpy() == pytest.approx(truth[4], abs=1e-4)
    change = normal.change(0.0, torch.tensor(known, dtype=torch.float32)).numpy()
    assert change == pytest.approx(known @ truth[:4] + truth[4], abs=1e-4)


def test_a_ridge_holds_back_the_weights_and_not_the_mean() -> None:
    rng = np.random.default_rng(1)
    known = torch.tensor(rng.normal(0, 1, (80, 4)), dtype=torch.float32)
    wanted = known @ torch.ones(4, 2) + 7
    weight, bias = _Normal.of(known, wanted).solution(1e6)
    assert weight.abs().max().item() < 1e-4
    assert bias.numpy() == pytest.approx(wanted.mean(0).numpy(), abs=1e-3)
    # For one unit input of variance 1, a ridge of the number of samples halves the weight.
    one = torch.tensor([[1.0], [-1.0]]).repeat(20, 1)
    weight, bias = _Normal.of(one, 3 * one + 2).solution(1.0)
    assert weight.item() == pytest.approx(1.5)
    assert bias.item() == pytest.approx(2)


def test_sums_of_halves_are_the_sums_of_all() -> None:
    known, wanted = torch.randn(30, 3), torch.randn(30, 2)
    halves = _Normal.of(known[:10], wanted[:10]) + _Normal.of(known[10:], wanted[10:])
    for a, b in zip(halves.solution(0.1), _Normal.of(known, wanted).solution(0.1), strict=True):
        assert a.numpy() == pytest.approx(b.numpy(), abs=1e-5)
    whole = _Normal.of(known, wanted)
    error = (whole.change(0.1, known) - wanted)[:, :1].square().mean().item()
    assert whole.error(0.1, known, wanted, 1) == pytest.approx(error)


def test_a_network_without_a_mesh_is_refused() -> None:
    rig = FewControls()
    with pytest.raises(InputError, match="network: reads no mesh"):
        prepare_mesh(InversionNet(small_hiera(rig.space, "few")), rig, [])  # type: ignore[arg-type]
