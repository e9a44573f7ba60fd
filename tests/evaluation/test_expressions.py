"""Heads of others: names, ranks, and a head of our own exported with ARKit shapes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.rigs.rig_files import little_rig

from omote.controls import ARKIT52, FACS102
from omote.errors import InputError, WeightsError
from omote.evaluation import expressions
from omote.evaluation.expression_report import write_expressions
from omote.evaluation.expressions import (
    Picture,
    RigPictures,
    arkit_name,
    arkit_names,
    is_pictures,
    rank_expressions,
    rank_of,
    read_pictures,
)
from omote.evaluation.inversion_methods import Sample
from omote.media import write_image
from omote.performance import Camera, Performance
from omote.rigs.blendshapes import BlendshapeRig
from omote.rigs.open import open_rig
from omote.rigs.protocol import Rig
from omote.weights import locate


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *((n, n) for n in ("jawOpen", "mouthLeft", "browInnerUp", "tongueOut")),
        ("browInnerUp_L", "browInnerUp"),
        ("cheekPuff_R", "cheekPuff"),
        ("EyeBlink_L", "eyeBlinkLeft"),
        ("mouth_smile_right", "mouthSmileRight"),
        ("head.jaw_left", "jawLeft"),
        ("noseSneer_R", "noseSneerRight"),
        *((spelt, "eyeBlinkLeft") for spelt in ("bs_eyeBlinkLeft", "head:EyeBlinkLeft", "eyeBlink.L")),
        ("EYEBLINKLEFT", "eyeBlinkLeft"),
        ("jaw.open", "jawOpen"),
        ("tongueOut.002", "tongueOut"),
        ("corner_pull_L", None),
        ("wrinkle", None),
    ],
)
def test_names(name: str, meant: str | None) -> None:
    assert arkit_name(name) == meant


def test_rank_by_hand() -> None:
    values = np.array([0.1, 0.7, 0.3, 0.7], np.float32)
    assert rank_of(values, 2) == (3, pytest.approx(-0.4))
    assert rank_of(values, 1) == (2, 0.0)  # equal ones count against it
    assert rank_of(np.array([0.0, 0.9, 0.2], np.float32), 1) == (1, pytest.approx(0.7))


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """The embedded rig, another identity, as a GLB with ARKit shapes."""
    from omote.export.gltf import write_glb

    who = np.random.default_rng(5).normal(0, 1, 90).astype(np.float32)
    zero = np.zeros((1, 3), np.float32)
    still = Performance(
        space=FACS102,
        controls=np.zeros((1, 102), np.float32),
        head_rotation=zero,
        head_translation=zero - np.float32([0, 0, 0.6]),
        confidence=np.ones(1, np.float32),
        times=np.zeros(1),
        camera=Camera(800, (256, 256), (512, 512)),
        identity={"facs": who},
    )
    path = tmp_path_factory.mktemp("head") / "other.glb"
    write_glb(still, path, targets="arkit", eyes="morphs")
    return open_rig(path)


class Guesser:
    """Says in turn what it is told to say."""

    name = "guesser"

    def __init__(self, answers: Sequence[NDArray[np.float32]]) -> None:
        self.answers = list(answers)

    def predict(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """(1, 102) the next answer."""
        return self.answers.pop(0)[None]


def test_a_head_shows_each_expression(head: Rig) -> None:
    pictures = RigPictures(head, size=96)
    assert len(pictures) == 53
    rest, first = islice(pictures, 2)
    assert (rest.name, rest.arkit) == ("neutral", None)
    assert first.arkit == head.space.names[0]
    assert rest.rgb.shape == (96, 96, 3)
    changed = np.abs(rest.rgb.astype(int) - first.rgb).max(2) > 8
    rows, columns = np.nonzero(changed)
    assert 0.2 * 96 < rows.mean() < 0.8 * 96
    assert 0.2 * 96 < columns.mean() < 0.8 * 96
    assert rest.normal is not None
    np.testing.assert_array_equal(rest.rgb[0, 0], 128)  # nothing is there
    assert np.abs(rest.normal[0, 0].astype(int) - (128, 128, 255)).max() <= 1


def test_ranking_of_a_head(head: Rig, tmp_path: Path) -> None:
    """Right for the jaw; for the blink the other eye leads by a constant that resting takes away."""
    try:
        locate("face_landmarker", download=False)
    except WeightsError as missing:
        pytest.skip(str(missing))
    rest = next(iter(RigPictures(head, size=256)))
    shown = [Picture(n, n, rest.rgb, rest.normal) for n in ("jawOpen", "eyeBlinkLeft")]
    answers = np.zeros((3, 102), np.float32)
    answers[:, FACS102.index("lid_close_R")] = 0.5
    answers[1, FACS102.index("jaw_open")] = 0.9
    answers[2, FACS102.index("lid_close_L")] = 0.4
    report = rank_expressions([rest, *shown], Guesser(answers), left_out=("ears",))
    jaw, blink = report.rows
    assert (jaw.rank, jaw.relative_rank, jaw.found) == (1, 1, True)
    assert jaw.margin == pytest.approx(0.4)
    assert (blink.rank, blink.leader, blink.relative_rank) == (2, "eyeBlinkRight", 1)
    assert blink.relative_margin == pytest.approx(0.4)
    summary = report.summary()
    assert summary["top1_percent"] == 50
    assert summary["top3_percent"] == summary["relative_top1_percent"] == 100
    table, sheet = write_expressions(report, tmp_path, "bob")
    assert "| eyeBlinkLeft | eyeBlinkLeft | 2 |" in table.read_text()
    assert "left out, no ARKit name or nothing moves: ears" in table.read_text()
    assert [line.split(",")[2] for line in sheet.read_text().splitlines()] == ["rank", "1", "2"]
    blank = Picture("blank", "jawOpen", np.full_like(rest.rgb, 128), None)
    assert not rank_expressions([rest, blank], Guesser(answers)).rows[0].found
    with pytest.raises(InputError, match="no face"):
        rank_expressions([blank], Guesser(answers))
    with pytest.raises(InputError, match="at rest"):
        rank_expressions([shown[0]], Guesser(answers))


def test_every_arkit_shape_of_the_export_is_known(head: Rig) -> None:
    assert {arkit_name(name) for name in head.space.names} == set(ARKIT52.names)


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    assert not is_pictures(tmp_path / "no.glb")
    assert not is_pictures(tmp_path)
    grey = np.full((40, 50, 3), 90, np.uint8)
    for name in (
        "jawOpen",
        "jawOpen_normal",
        "browInnerUp_L",
        "notes",
        "eyeBlinkLeft",
        "eyeBlinkLeft_Normals",
    ):
        write_image(tmp_path / f"{name}.png", grey)
    assert is_pictures(tmp_path)
    with pytest.raises(InputError, match="at rest"):
        read_pictures(tmp_path)
    write_image(tmp_path / "Neutral.png", grey)
    read, left_out = read_pictures(tmp_path)
    assert left_out == ("notes",)
    assert [(p.name, p.arkit) for p in read] == [
        ("Neutral", None), ("browInnerUp_L", "browInnerUp"), ("eyeBlinkLeft", "eyeBlinkLeft"), ("jawOpen", "jawOpen"),
    ]  # fmt: skip
    assert [p.normal is not None for p in read] == [False, False, True, True]
    write_image(tmp_path / "jawOpen_normal.png", grey[:20])
    with pytest.raises(InputError, match=r"jawOpen\.png: has another size than its normals"):
        read_pictures(tmp_path)


def lifted(shapes: dict[str, tuple[int, float]]) -> BlendshapeRig:
    """The little head with shapes that lift one vertex each."""
    deltas = {name: np.zeros((25, 3)) for name in shapes}
    for name, (where, far) in shapes.items():
        deltas[name][where, 2] = far
    return little_rig(deltas)


def test_controls_of_one_name_act_together_and_what_needs_the_jaw_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = lifted(
        {
            "a.jawOpen": (3, 0.05),
            "b.jawOpen": (7, 0.04),
            "mouthClose": (12, 0.03),
            "tongueOut": (13, 0.0),
            "fin": (1, 1),
        }
    )
    heads: list[NDArray[np.float32]] = []
    monkeypatch.setattr(expressions, "_render", lambda rig, head, size: (heads.append(head), (None, None))[1])
    pictures = RigPictures(rig)
    assert [(p.arkit, p.beside) for p in pictures] == [
        (None, None),
        ("jawOpen", None),
        ("mouthClose", "jawOpen"),
    ]
    assert set(pictures.left_out) == {"tongueOut", "fin"}
    _, jaw, close = (head[:, 2] - heads[0][:, 2] for head in heads)
    assert np.flatnonzero(jaw).tolist() == [3, 7]
    assert np.flatnonzero(close).tolist() == [3, 7, 12]


def test_what_acts_beside_does_not_take_the_lead() -> None:
    values = np.zeros(52, np.float32)
    values[[ARKIT52.index("jawOpen"), ARKIT52.index("tongueOut")]] = 0.9, 0.5
    blank = np.zeros((2, 2, 3), np.uint8)
    for beside, rank in ((None, 2), ("jawOpen", 1)):
        shown = Picture("t", "tongueOut", blank, None, beside)
        assert expressions._ranked(shown, values, np.zeros(52, np.float32), True).rank == rank


@pytest.mark.parametrize(
    "told",
    [
        "{}_Mesh",
        "{}Shape",
        "{}_geo",
        "{}_01",
        "{}_lod0",
        "00_{}",
        "head_{}_BS",
        "{}_head",
        "BS_node.{}",
        "Mesh:{}",
    ],
)
def test_names_with_what_says_nothing_around_them(told: str) -> None:
    names = [told.format(name) for name in ARKIT52.names]
    assert list(arkit_names(names).values()) == list(ARKIT52.names)
    snake = [told.format(re.sub("([A-Z])", r"_\1", name).lower()) for name in ARKIT52.names]
    assert list(arkit_names(snake).values()) == list(ARKIT52.names)


def test_numbers_of_copies_are_counted_one_by_one() -> None:
    names = [f"{number:02d}_{name}" for number, name in enumerate(ARKIT52.names)]
    assert list(arkit_names(names).values()) == list(ARKIT52.names)
    names = [f"{name}_{number}" for number, name in enumerate(ARKIT52.names)]
    assert list(arkit_names(names).values()) == list(ARKIT52.names)
    assert arkit_names(["jawOpen", "jawOpen_fix"]) == {"jawOpen": "jawOpen"}
