"""The rig on a face: it lies on the detected landmarks, and knows what the photo shows."""

from __future__ import annotations

import numpy as np
import pytest

from omote.capture.pipeline import Captured
from omote.drive import Portrait
from omote.drive.puppet.binding import Bound, bind, layout, ramp
from omote.drive.puppet.mouth import Opening, interior_light
from omote.drive.puppet.stage import Stage
from omote.geometry import cameras
from omote.rigs.facs import load_rig

from .conftest import Scene, marks_of, posed, take_of


def drawn_marks(head: Bound) -> np.ndarray:
    """(478, 2) px of the bound rig's landmarks in the photo."""
    points = head.poses(head.source)[0]
    return np.asarray(cameras.project(head.camera, load_rig().landmarks.apply(points)))


def miss(one: np.ndarray, other: np.ndarray) -> float:
    """px, mean over the landmarks of the skin."""
    return float(np.linalg.norm(one[:468] - other[:468], axis=1).mean())


def test_a_perfect_fit_is_not_bent(stage: Stage, scene: Scene) -> None:
    assert miss(drawn_marks(stage.heads[0].bound), scene.face.landmarks[0]) < 0.1


def test_a_real_face_is_laid_onto_its_landmarks(portrait_stage: Stage, portrait: Portrait) -> None:
    face = portrait.faces[0]
    before = miss(marks_of(face.performance)[0], face.landmarks[0])
    after = miss(drawn_marks(portrait_stage.heads[0].bound), face.landmarks[0])
    assert before > 0.3
    assert after < 0.4 * before


def test_a_wrong_fit_is_bent_onto_the_landmarks(scene: Scene) -> None:
    marks = scene.face.landmarks.copy()
    wide = marks.mean(1, keepdims=True) + (marks - marks.mean(1, keepdims=True)) * (1.06, 0.97)
    head = bind(Captured(scene.take, wide.astype(np.float32), scene.face.error))
    assert miss(drawn_marks(head), wide[0]) < 0.35 * miss(marks[0], wide[0])


def test_front_is_seen_and_back_is_not(stage: Stage) -> None:
    head, table = stage.heads[0].bound, layout()
    rest = posed(take_of(place=(0, 0, 0)))[0]
    skin = table.is_part("skin")
    assert head.seen[skin & (table.interior > 0.9) & (head.facing > 0.5)].mean() > 0.95
    assert head.seen[skin & (rest[:, 2] < -0.15)].max() < 0.05
    assert head.seen[table.is_part("tongue")].max() < 0.05
    assert head.seen.min() >= 0
    assert head.seen.max() <= 1


def test_vertices_outside_the_photo_are_not_seen(stage: Stage) -> None:
    half_out = take_of(place=(0.16, 0.03, -0.62))
    head = bind(Captured(half_out, marks_of(half_out), np.zeros(1, np.float32)))
    outside = head.screen[:, 0] >= half_out.camera.size[0]
    assert outside.sum() > 500
    assert (head.seen[outside] == 0).all()


def test_the_wider_the_mouth_the_more_light_inside() -> None:
    mouth, levels = layout().inside_mouth, []
    for jaw in (0.0, 0.3, 0.8):
        points = posed(take_of(jaw_open=jaw))[0]
        light = interior_light(points, np.array((0, 0, 1), np.float32), Opening.of(points))
        assert (light[~mouth] == 1).all()
        assert light[mouth].min() > 0
        assert light[mouth].max() <= 1
        levels.append(light[mouth].mean())
    assert levels[0] < levels[1] < levels[2]
    assert light[layout().is_part("teeth_upper")].mean() > light[layout().is_part("mouth")].min()


@pytest.mark.parametrize(("value", "wanted"), [(-1.0, 0.0), (2.0, 0.0), (3.0, 0.5), (4.0, 1.0), (9.0, 1.0)])
def test_ramps(value: float, wanted: float) -> None:
    assert float(ramp(value, 2.0, 4.0)) == pytest.approx(wanted)
