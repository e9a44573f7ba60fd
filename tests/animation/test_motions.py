"""Which driver moves which face, relative to what, on which time line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omote.animation.drivers import Driving
from omote.animation.motions import Motions, choose_faces, deal, motion_options, motions_of, resized
from omote.animation.options import AnimateOptions
from omote.errors import InputError, NoFaceError
from omote.performance import Performance

from .conftest import JAW, PLACES, face_at, take_of

GREY = np.full((65, 96, 3), 128, np.uint8)


def driving(take: Performance, kind: Any = "take") -> Driving:
    return Driving(take, kind, "take", None, "")


def moved(*takes: Performance, kind: Any = "take", eased: bool = True, **options: Any) -> Motions:
    drivings = [driving(take, kind) for take in takes]
    sources = [face_at(x).performance for x in PLACES[: len(takes)]]
    return motions_of(sources, drivings, AnimateOptions(**options), eased=eased)


def jaw(motions: Motions, face: int = 0) -> list[float]:
    return [round(float(v), 3) for v in motions.takes[face].controls[:, JAW]]


def test_all_faces_come_from_left_to_right_and_numbers_in_their_order() -> None:
    def chosen(face: Any) -> list[float]:
        found = choose_faces(GREY, AnimateOptions(face=face), Path("a.png"))
        return [round(float(f.landmarks[..., 0].mean())) for f in found]

    assert chosen("all") == [16, 48, 80]
    assert chosen((1, 2)) == [80, 16]
    assert chosen("largest") == [48]
    with pytest.raises(NoFaceError, match=r"a\.png: there is no face 5"):
        chosen((0, 5))


def test_one_driver_for_all_or_one_for_each() -> None:
    one, two = driving(take_of([0])), driving(take_of([1]))
    assert deal([one], 3) == [one] * 3
    assert deal([one, two], 2) == [one, two]
    with pytest.raises(InputError, match=r"2 drivers for 3 faces.*--face all"):
        deal([one, two], 3)
    with pytest.raises(InputError, match="2 drivers for 1 face"):
        deal([one, two], 1)


def test_a_take_is_relative_to_its_first_frame_and_a_script_to_neutral() -> None:
    raised = take_of([0.2, 0.5, 0.2])
    assert jaw(moved(raised)) == [0.048, 0.348, 0.048]
    assert jaw(moved(raised, reference=1)) == [0.0, 0.048, 0.0]
    assert jaw(moved(raised, kind="script")) == [0.248, 0.548, 0.248]
    assert jaw(moved(raised, reference="neutral")) == [0.248, 0.548, 0.248]
    assert jaw(moved(raised, mode="absolute")) == [0.2, 0.5, 0.2]
    with pytest.raises(InputError, match="--reference"):
        moved(raised, reference=3)


def test_a_single_expression_is_taken_on_and_leaves_the_head() -> None:
    options = motion_options(driving(take_of([0.6])), AnimateOptions(), "neutral")
    assert (options.mode, options.regions) == ("absolute", {"eyes", "lips", "expression"})
    options = motion_options(driving(take_of([0.6]), "script"), AnimateOptions(), "neutral")
    assert (options.mode, options.regions) == ("relative", {"eyes", "lips", "expression", "pose"})
    options = motion_options(
        driving(take_of([0.6])), AnimateOptions(mode="relative", regions={"pose"}), "neutral"
    )
    assert (options.mode, options.regions) == ("relative", {"pose"})


def test_a_single_expression_comes_and_goes_in_a_video() -> None:
    still = moved(take_of([0.6]), eased=False)
    assert jaw(still) == [0.6]
    motions = moved(take_of([0.6]), ease=0.4)
    values = motions.takes[0].controls[:, JAW]
    assert motions.times[-1] == pytest.approx(1.8)
    assert values[[0, -1]] == pytest.approx([0.048, 0.048], abs=1e-3)
    held = (motions.times >= 0.4) & (motions.times <= 1.4)
    assert values[held] == pytest.approx(np.full(held.sum(), 0.6), abs=1e-3)
    assert (np.diff(values[: held.argmax() + 1]) > 0).all()


def test_several_drivers_share_the_time_line_of_the_longest() -> None:
    motions = moved(take_of([0, 1]), take_of([0, 0.2, 0.4, 0.6, 0.8]), reference="neutral")
    assert motions.leader == 1
    assert len(motions) == 5
    assert jaw(motions, 0) == [0.048, 1.0, 1.0, 1.0, 1.0]
    assert jaw(motions, 1) == [0.08, 0.28, 0.48, 0.68, 0.88]
    assert (motions.takes[0].times == motions.takes[1].times).all()


def test_sliders_change_the_result() -> None:
    raised = take_of([0.2, 0.5])
    assert jaw(moved(raised, offsets={"jawOpen": 0.1})) == [0.148, 0.448]
    assert jaw(moved(raised, offsets={"jawOpen": 0.1}, changes=("jaw_open=x0.5",))) == [0.074, 0.224]
    assert jaw(moved(raised, changes=("jaw_open=0.3",))) == [0.3, 0.3]


def test_another_rate_keeps_the_reference_moment() -> None:
    ramp = take_of(np.linspace(0, 0.9, 10).tolist(), np.arange(10) / 10)
    motions = moved(ramp, fps=20, reference=4)
    assert len(motions) == 19
    assert jaw(motions)[8] == 0.048, "the frame at 0.4 s is the one to compare with"
    assert jaw(motions)[18] == pytest.approx(0.548, abs=1e-3)


def test_moments_of_a_motion() -> None:
    take = take_of([0.0, 0.1, 0.7, 0.1], [5.0, 5.1, 5.2, 5.4])
    motions = moved(take)
    assert motions.times == pytest.approx([0, 0.1, 0.2, 0.4])
    assert motions.peak([face_at(PLACES[0]).performance]) == 2
    assert [motions.nearest(t) for t in (0, 0.14, 0.32, 0.45)] == [0, 1, 3, 3]
    with pytest.raises(InputError, match=r"0\.9 s is after the end at 0\.40 s"):
        motions.nearest(0.9)
    assert jaw(motions.at([0, 2])) == [0.048, 0.748]


def test_a_face_in_a_smaller_picture() -> None:
    face = resized(face_at(48.0), (48, 32))
    assert face.performance.camera.size == (48, 32)
    assert face.performance.camera.principal == pytest.approx((24.0, 16.0))
    assert face.performance.camera.focal == pytest.approx(85.0, rel=0.01)
    assert face.landmarks[0, :, 0].mean() == pytest.approx(24.0)
