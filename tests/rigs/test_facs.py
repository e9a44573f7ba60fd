"""The embedded rig as a whole: what moves, what stays, what mirrors, what it costs."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from omote.controls import ARKIT52, FACS102
from omote.errors import InputError
from omote.rigs.facs import FacsRig

from .conftest import Pose, identities

ASSETS = Path(__file__).parents[2] / "src/omote/assets"
JAW = FACS102.index("jaw_open")
DELIBERATE = {
    "lid_close_L",  # rescaled so that the lids meet at 1
    "lid_close_R",
    "lips_together_upper_L",  # 36 %: the open jaw's lip hangs in a U, so the upper one has further to go
    "lips_together_upper_R",
    "tongue_yaw",  # the same angles with the pivot at the joint of the tongue, not behind it
    "tongue_pitch",
    "tongue_curl",
    "head_pitch",  # the same angles about the upper neck
    "head_roll",
}
"""Controls whose largest move differs from the specification's table by more than 35 %, on purpose."""


def _extreme(rig: FacsRig, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(3, 102) base, low and high of one control; controls that only act with an open jaw get one."""
    base = torch.zeros(3, 102)
    if name.startswith(("lips_together", "sticky_corner")):
        base[:, JAW] = 1
    moved = base.clone()
    control = FACS102.controls[FACS102.index(name)]
    moved[1, FACS102.index(name)], moved[2, FACS102.index(name)] = control.low, control.high
    return base, moved


def _largest_move(rig: FacsRig, name: str) -> float:
    """Metres."""
    base, moved = _extreme(rig, name)
    zero = torch.zeros(1, len(rig.identity_space))
    return float((rig(moved, zero) - rig(base, zero)).norm(dim=2).max())


def test_neutral_is_the_template_exactly(rig: FacsRig) -> None:
    vertices = rig(torch.zeros(1, 102), torch.zeros(1, len(rig.identity_space)))
    assert float((vertices[0] - rig.template[rig.expand]).abs().max()) < 1e-7


def test_shapes_of_everything(rig: FacsRig) -> None:
    count = len(rig.uv)
    assert rig.faces.shape == (9980, 3)
    assert rig.face_part.shape == (9980,)
    assert rig(torch.zeros(2, 102), torch.zeros(2, 90)).shape == (2, count, 3)
    assert rig.faces.max() == count - 1
    assert rig.weld.shape == (count,)
    assert len(rig.identity_space) == 90
    assert 0 <= rig.uv.min()
    assert rig.uv.max() <= 1
    assert torch.equal(rig.template[rig.expand], rig.template[rig.expand][rig.weld])


def test_head_space(rig: FacsRig) -> None:
    centres = rig.eye_centres(torch.zeros(1, 90))[0]
    assert centres[0, 0] > 0.028
    assert torch.allclose(centres[0] * torch.tensor([-1.0, 1, 1]), centres[1], atol=1e-6)
    assert centres.mean(0).abs().max() < 1e-5
    assert float(centres[0, 0] - centres[1, 0]) == pytest.approx(0.063, abs=0.002)
    assert (
        rig.template[:, 2].argmax() == (rig.template - torch.tensor([0, -0.041, 0.043])).norm(dim=1).argmin()
    )  # nose


@pytest.mark.parametrize("name", FACS102.names)
def test_every_control_moves_something(rig: FacsRig, name: str) -> None:
    assert _largest_move(rig, name) > 1e-4


def test_largest_moves_are_those_of_the_specification(rig: FacsRig, shared_dir: Path) -> None:
    text = (shared_dir / "spec/embedded_rig.md").read_text()
    table = {m[1]: float(m[0].split("|")[7]) for m in re.finditer(r"^\| \d+ \| `(\w+)` \|.*$", text, re.M)}
    assert len(table) == 102
    ratio = {name: _largest_move(rig, name) * 100 / size for name, size in table.items()}
    off = {name for name, value in ratio.items() if not 0.65 < value < 1.35}
    assert off == DELIBERATE


def test_rank_of_the_controls_is_102(rig: FacsRig) -> None:
    """Each control says something that no mixture of the others says."""
    at = torch.zeros(1, 102)
    at[0, JAW] = 0.5
    steps = torch.cat([at + 0.1 * torch.eye(102), at])
    moved = rig(steps, torch.zeros(1, 90)).flatten(1)
    jacobian = (moved[:-1] - moved[-1]).double().numpy()
    jacobian /= np.linalg.norm(jacobian, axis=1, keepdims=True)
    values = np.linalg.svd(jacobian, compute_uv=False)
    assert values[-1] > 0.015  # 0.037 in the specification's own build
    assert np.linalg.matrix_rank(jacobian, tol=0.01) == 102


def test_mirrored_performance_is_a_mirrored_face(rig: FacsRig, welded: np.ndarray) -> None:
    generator = torch.Generator().manual_seed(3)
    low, high = torch.tensor(FACS102.low), torch.tensor(FACS102.high)
    controls = low + (high - low) * torch.rand(24, 102, generator=generator)
    identity = identities(rig, 24, seed=4)
    mirrored = torch.as_tensor(FACS102.mirror(controls.numpy()), dtype=torch.float32)
    one = rig(controls, identity)[:, welded] * torch.tensor([-1.0, 1.0, 1.0])
    other = rig(mirrored, identity * rig.identity_mirror)[:, welded]
    assert float((one[:, rig._mirror] - other).norm(dim=2).max()) < 1e-5


def test_expressions_adapt_to_the_identity(rig: FacsRig, pose: Pose) -> None:
    """Wide faces smile wider and long faces open the jaw further; with fixed displacements neither would correlate."""
    people = identities(rig, 120, seed=5)
    still, smile, jaw = (
        rig.landmarks.apply(rig(pose(120, **values), people).numpy())
        for values in ({}, {"corner_pull": 1.0}, {"jaw_open": 1.0})
    )

    def distance(points: np.ndarray, one: int, other: int) -> np.ndarray:
        return np.linalg.norm(points[:, one] - points[:, other], axis=1)

    gain = distance(smile, 61, 291) - distance(still, 61, 291)
    assert np.corrcoef(gain, distance(still, 205, 425))[0, 1] > 0.6  # cheek to cheek
    assert np.corrcoef(distance(smile, 61, 291), distance(still, 61, 291))[0, 1] > 0.9
    drop = np.linalg.norm(jaw[:, 14] - still[:, 14], axis=1)
    assert np.corrcoef(drop, distance(still, 1, 152))[0, 1] > 0.5  # nose to chin


def test_batch_equals_one_by_one(rig: FacsRig) -> None:
    controls = torch.rand(5, 102, generator=torch.Generator().manual_seed(6)) * 0.7
    people = identities(rig, 5, seed=7)
    together = rig(controls, people)
    alone = torch.cat([rig(controls[i : i + 1], people[i : i + 1]) for i in range(5)])
    assert float((together - alone).abs().max()) < 1e-6
    shared = rig(controls, people[:1])
    assert float((shared - rig(controls, people[:1].expand(5, -1))).abs().max()) < 1e-6


def test_gradients_are_right(rig: FacsRig) -> None:
    """Against finite differences in float64, on a part of the vertices, away from the kinks of the products at 0."""
    double = copy.deepcopy(rig).double()
    chosen = [
        FACS102.index(n)
        for n in ("jaw_open", "corner_pull_L", "lid_close_R", "gaze_yaw_L", "tongue_curl", "head_yaw")
    ]
    base = torch.full((1, 102), 0.15, dtype=torch.float64)
    person = 0.4 * torch.randn(1, 90, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    some = torch.arange(0, len(rig.uv), 97)

    def through(values: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
        controls = base.index_copy(1, torch.tensor(chosen), values)
        return double(controls, torch.cat([coefficients, person[:, 4:]], dim=1))[:, some]

    values = torch.tensor([[0.4, 0.3, 0.6, 0.35, 0.3, 0.2]], dtype=torch.float64, requires_grad=True)
    coefficients = person[:, :4].clone().requires_grad_(True)
    assert torch.autograd.gradcheck(through, (values, coefficients), eps=1e-6, atol=1e-6, rtol=1e-4)


def test_gradients_stay_finite_everywhere(rig: FacsRig) -> None:
    controls = torch.stack([torch.zeros(102), torch.ones(102), torch.tensor(FACS102.low)]).requires_grad_(
        True
    )
    people = identities(rig, 3, seed=9).requires_grad_(True)
    rig(controls, people).square().sum().backward()
    assert controls.grad is not None
    assert people.grad is not None
    assert controls.grad.isfinite().all()
    assert people.grad.isfinite().all()
    assert (controls.grad[1] != 0).all()
    assert (people.grad[1] != 0).all()


def test_arkit_scores_drive_the_rig(rig: FacsRig) -> None:
    scores = np.zeros((2, 52), np.float32)
    scores[0, ARKIT52.index("jawOpen")] = 0.7
    scores[1, ARKIT52.index("mouthSmileLeft")] = 0.8
    controls = torch.as_tensor(ARKIT52.convert(scores, FACS102), dtype=torch.float32)
    moved = rig(controls, torch.zeros(1, 90)) - rig.template[rig.expand]
    chin = rig.landmarks.vertices[152, 0]
    left, right = rig.landmarks.vertices[291, 0], rig.landmarks.vertices[61, 0]
    assert float(moved[0, chin, 1]) < -0.015
    assert float(moved[1, left].norm()) > 0.006 > 3 * float(moved[1, right].norm())


@pytest.mark.parametrize(
    "name", ["corner_pull_L", "brow_lower_R", "cheek_puff_L", "lip_stretch_R", "jaw_open"]
)
def test_below_rest_a_shape_is_taken_away(rig: FacsRig, pose: Pose, name: str) -> None:
    """What relaxes below 0 goes the way it came, on the other side of rest."""
    zero = torch.zeros(1, 90)
    rest, there, back = (rig(pose(**{name: v}), zero)[0] for v in (0.0, 0.2, -0.2))
    skin = rig.faces[rig.face_part == rig.part_names.index("skin")].unique()
    lids = torch.cat([torch.as_tensor(getattr(rig, f"_lid_{side}")) for side in "LR"])
    free = skin[~torch.isin(rig.expand[skin], lids)]  # lids are kept outside the eyeballs
    assert float((there - rest)[free].norm(dim=1).max()) > 5e-4
    assert float(((there - rest) + (back - rest))[free].abs().max()) < 1e-6


def test_below_rest_nothing_else_moves(rig: FacsRig) -> None:
    """Signed controls keep a shape for each side, and combinations vanish as soon as one of them is below 0."""
    one_sided = torch.tensor(FACS102.low >= 0)
    below = torch.where(one_sided, -0.25, 0.0)[None]
    activation = rig.activate(below)[0]
    for value, factors in zip(activation.tolist(), rig.activations, strict=True):
        if len(factors) == 2 or not one_sided[factors[0][0]]:
            assert value == 0
        else:
            assert value == pytest.approx(-0.25)
    signed = torch.where(one_sided, 0.0, -0.25)[None]
    assert float(rig.activate(signed).min()) == 0
    assert float(rig.activate(signed).max()) == pytest.approx(0.25)
    mixed = torch.full((1, 102), 0.3)
    mixed[0, JAW] = -0.25
    combined = [len(f) == 2 and JAW in (f[0][0], f[1][0]) for f in rig.activations]
    assert sum(combined) == 6  # lips together and sticky corners
    assert (rig.activate(mixed)[0, combined] == 0).all()


def test_wrong_shapes_say_what_is_expected(rig: FacsRig) -> None:
    with pytest.raises(InputError, match="controls"):
        rig(torch.zeros(1, 52), torch.zeros(1, 90))
    with pytest.raises(InputError, match="identity"):
        rig(torch.zeros(1, 102), torch.zeros(1, 60))


def test_assets_are_small() -> None:
    assert sum(p.stat().st_size for p in ASSETS.iterdir()) < 5e6


def test_loads_fast() -> None:
    script = (
        "import torch, time, omote.rigs.facs as f; torch.set_num_threads(1); t = time.perf_counter(); f.load_rig();"
        " print(time.perf_counter() - t)"
    )
    seconds = min(
        float(
            subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        )
        for _ in range(2)
    )
    assert seconds < 0.6  # 0.14 s measured on an idle core; twice 0.3 s for a busy one
