"""The blend-shape rig: sums, products, identity, gradients, sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.rigs.rig_files import little_head, little_rig, little_shapes

from omote.errors import InputError
from omote.rigs.blendshapes import BlendshapeRig, space_of
from omote.rigs.combinations import combination_factors
from omote.rigs.names import other_side, side_of
from omote.rigs.protocol import Rig


def _rig(extra: dict[str, np.ndarray] | None = None, identity: tuple[str, ...] = ()) -> BlendshapeRig:
    return little_rig({**little_shapes(little_head()[0]), **(extra or {})}, identity=identity)


def _values(rig: BlendshapeRig, **values: float) -> torch.Tensor:
    row = torch.zeros(1, len(rig.space))
    for name, value in values.items():
        row[0, rig.space.index(name)] = value
    return row


NOBODY = torch.zeros(1, 0)


def test_vertices_are_the_neutral_and_the_weighted_shapes() -> None:
    rig = _rig()
    vertices, _ = little_head()
    deltas = little_shapes(vertices)
    got = rig(_values(rig, jawOpen=0.5, browOuterUpLeft=1.0), NOBODY)[0].numpy()
    wanted = vertices + 0.5 * deltas["jawOpen"] + deltas["browOuterUpLeft"]
    np.testing.assert_allclose(got, wanted, atol=1e-7)
    assert isinstance(rig, Rig)


def test_combinations_of_shapes_that_are_not_there_are_refused() -> None:
    with pytest.raises(InputError, match="has no shapes called fixx, which are said to be combinations"):
        little_rig(little_shapes(little_head()[0]), combinations={"fixx": ("jawOpen", "browOuterUpLeft")})


def test_combination_acts_as_the_product_of_its_factors() -> None:
    bump = np.zeros((25, 3))
    bump[12] = [0, 0, 0.01]
    rig = _rig({"corrective_jawOpen_mouthSmileLeft": bump})
    assert rig.combinations == {"corrective_jawOpen_mouthSmileLeft": ("jawOpen", "mouthSmileLeft")}
    assert len(rig.space) == 4
    for jaw, smile in ((1.0, 1.0), (0.5, 0.4), (1.0, 0.0), (-1.0, 1.0)):
        got = rig(_values(rig, jawOpen=jaw, mouthSmileLeft=smile), NOBODY)[0, 12, 2] - rig.neutral[12, 2]
        assert float(got) == pytest.approx(0.01 * max(jaw, 0) * smile, abs=1e-7)


def test_sparse_and_dense_shapes_move_alike_and_so_do_their_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    results = []
    for density in (2.0, 0.0):
        monkeypatch.setattr("omote.rigs.blendshapes.DENSE", density)
        rig = _rig()
        assert rig._deltas.is_sparse == (density == 2.0)
        controls = values.clone().requires_grad_(True)
        moved = rig(controls, NOBODY)
        (moved**2).sum().backward()
        results.append((moved.detach(), controls.grad))
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


def test_gradient_of_combinations_is_that_of_the_product() -> None:
    bump = np.full((25, 3), 0.01)
    rig = _rig({"jawOpen_mouthSmileLeft": bump}).double()
    controls = torch.tensor([[0.2, 0.3, 0.4, 0.6]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: rig(c, NOBODY.double()), (controls,))


def test_identity_shapes_are_apart_from_the_controls() -> None:
    wide = little_head()[0] * (0.1, 0, 0)
    rig = _rig({"identity000": wide}, identity=("identity000",))
    assert rig.identity_space == ("identity000",)
    got = rig(torch.zeros(2, 4), torch.tensor([[1.0], [-1.0]]))
    torch.testing.assert_close(got[0] - rig.neutral, torch.as_tensor(wide, dtype=torch.float32))
    torch.testing.assert_close(got[0] + got[1], 2 * rig.neutral.expand(25, 3))


def test_wrong_numbers_of_controls_are_refused() -> None:
    rig = _rig()
    with pytest.raises(InputError, match="controls"):
        rig(torch.zeros(1, 5), NOBODY)
    with pytest.raises(InputError, match="identity"):
        rig(torch.zeros(1, 4), torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("name", "partner", "side"),
    [
        ("browDownLeft", "browDownRight", "L"),
        ("browDown_L", "browDown_R", "L"),
        ("browDown.R", "browDown.L", "R"),
        ("L_browDown", "R_browDown", "L"),
        ("CTRL_L_brow_down", "CTRL_R_brow_down", "L"),
        ("LeftBrowDown", "RightBrowDown", "L"),
        ("brow_down_left", "brow_down_right", "L"),
        ("browRaiseInL", "browRaiseInR", "L"),
        ("mouth_right_up", "mouth_left_up", "R"),
        ("blink_l", "blink_r", "L"),
        ("head_cm0_color0_bl_browDownL", "head_cm0_color0_bl_browDownR", "L"),
        ("jawLeft", "jawRight", "L"),
    ],
)
def test_partners_are_found_by_name(name: str, partner: str, side: str) -> None:
    assert other_side(name, {name, partner, "jawOpen"}) == partner
    assert other_side(partner, {name, partner, "jawOpen"}) == name
    assert side_of(name) == side


@pytest.mark.parametrize(
    "name", ["jawOpen", "cheekPuff", "tongueOut", "mouthRollLower", "leftover", "A", "FL"]
)
def test_names_without_a_side_have_no_partner(name: str) -> None:
    assert side_of(name) == "C"
    assert other_side(name, {name, "browDownLeft", "browDownRight"}) is None


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=12, unique=True))
def test_any_names_make_a_control_space_with_partners_that_agree(names: list[str]) -> None:
    space = space_of("any", names)
    assert space.names == tuple(names)
    for control in space.controls:
        assert space.controls[space.index(str(control.mirror))].mirror == control.name


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a", "b", "a_b"], {"a_b": ("a", "b")}),
        (["a", "b", "a__b", "corrective_b_a"], {"a__b": ("a", "b"), "corrective_b_a": ("b", "a")}),
        (["a", "b", "c", "a_b_c", "a_b"], {"a_b_c": ("a", "b", "c"), "a_b": ("a", "b")}),
        (["jaw_open", "smile_L", "jaw_open+smile_L"], {"jaw_open+smile_L": ("jaw_open", "smile_L")}),
        (["brow_L", "smile_L", "brow_smile_L"], {"brow_smile_L": ("brow_L", "smile_L")}),
        (["a", "a_a", "a_x"], {}),
        (["jaw_open", "jaw", "open_wide"], {}),
        (["blink", "blink_L", "blink_R", "L", "R", "left"], {}),  # visemes, and sides
    ],
)
def test_combinations_are_found_by_name(names: list[str], found: dict[str, tuple[str, ...]]) -> None:
    assert combination_factors(names) == found
