"""Which controls are the same in a mirror."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
from tests.rigs.rig_files import little_head, little_rig, little_shapes

from omote.rigs.blendshapes import BlendshapeRig
from omote.rigs.facs import load_rig
from omote.rigs.symmetry import asymmetric_controls, symmetry_note


def rig(shift: float = 0.0, **deltas: np.ndarray) -> BlendshapeRig:
    return little_rig(deltas, shift)


VERTICES, _ = little_head()
SHAPES = little_shapes(VERTICES)
PAIRS = {name: SHAPES[name] for name in ("browOuterUpLeft", "browOuterUpRight", "jawOpen")}
ONE_SIDED = SHAPES["mouthSmileLeft"]


@pytest.mark.parametrize("shift", [0.0, 0.07])
def test_pairs_and_controls_of_the_middle_are_symmetric_wherever_the_head_stands(shift: float) -> None:
    assert asymmetric_controls(rig(shift, **PAIRS)) == ()


def test_a_control_without_its_partner_is_not() -> None:
    assert asymmetric_controls(rig(**PAIRS, mouthSmileLeft=ONE_SIDED)) == ("mouthSmileLeft",)
    assert asymmetric_controls(rig(**PAIRS, smirk=ONE_SIDED)) == ("smirk",)


def test_partners_that_move_alike_without_a_mirror_are_not() -> None:
    swapped = {"mouthSmileLeft": ONE_SIDED, "mouthSmileRight": ONE_SIDED}
    assert asymmetric_controls(rig(**PAIRS, **swapped)) == ("mouthSmileLeft", "mouthSmileRight")


def test_a_partner_that_does_nothing_is_told_by_both_names() -> None:
    shapes = {"mouthSmileLeft": ONE_SIDED, "mouthSmileRight": 0 * ONE_SIDED}
    assert asymmetric_controls(rig(**PAIRS, **shapes)) == ("mouthSmileLeft", "mouthSmileRight")
    assert asymmetric_controls(rig(**PAIRS, cheekPuff=0 * ONE_SIDED)) == (), "what moves nothing is symmetric"


def test_the_embedded_head_is_symmetric() -> None:
    head = deepcopy(load_rig())
    assert asymmetric_controls(head) == ()
    del head.identity_mirror
    assert asymmetric_controls(head) == (), "measured, too"


def test_the_note_names_a_few() -> None:
    assert symmetry_note(("smirk",)) == "smirk moves no face as in a mirror: its pictures are not mirrored"
    assert "and 2 more move no face" in symmetry_note(tuple("abcdefg"))
