"""Folders of OBJ shapes become rigs; what cannot is refused in one clear line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.rigs.rig_files import little_head, little_shapes, write_obj, write_obj_folder

from omote.errors import FormatError, InputError
from omote.rigs.load_obj import read_obj, read_obj_folder
from omote.rigs.open import open_rig


def test_folder_gives_the_neutral_and_every_shape_in_the_order_of_its_vertices(tmp_path: Path) -> None:
    vertices, quads = little_head()
    shapes = read_obj_folder(write_obj_folder(tmp_path / "head"))
    assert shapes.name == "head"
    np.testing.assert_allclose(shapes.vertices, vertices, atol=1e-7)
    assert len(shapes.faces) == 2 * len(quads)
    assert shapes.faces[:2].tolist() == [[0, 5, 6], [0, 6, 1]]
    for shape in shapes.shapes:
        dense = np.zeros_like(vertices)
        dense[shape.index] = shape.delta
        np.testing.assert_allclose(dense, little_shapes(vertices)[shape.name], atol=1e-7)


@pytest.mark.parametrize("name", ["Neutral", "base_mesh", "generic_neutral_mesh", "MeanFace", "basis"])
def test_neutral_is_found_by_its_name(tmp_path: Path, name: str) -> None:
    shapes = read_obj_folder(write_obj_folder(tmp_path, neutral=name))
    assert shapes.notes == (f"neutral: {name}.obj",)
    assert name not in [shape.name for shape in shapes.shapes]


def renamed(folder: Path, names: dict[str, str]) -> Path:
    """The little head's files, by other names."""
    write_obj_folder(folder)
    for path in sorted(folder.glob("*.obj")):
        path.rename(path.with_stem(names.get(path.stem, names["*"].format(path.stem))))
    return folder


def test_a_word_that_all_files_share_says_nothing(tmp_path: Path) -> None:
    shapes = read_obj_folder(renamed(tmp_path / "a", {"neutral": "BaseHead", "*": "BaseHead_{}"}))
    assert shapes.notes == ("neutral: BaseHead.obj",)
    shapes = read_obj_folder(renamed(tmp_path / "b", {"neutral": "Default_neutral", "*": "Default_{}"}))
    assert shapes.notes == ("neutral: Default_neutral.obj",)
    with pytest.raises(FormatError, match="no file is called as the neutral is"):
        read_obj_folder(renamed(tmp_path / "c", {"neutral": "default_frown", "*": "default_{}"}))


def test_an_expression_that_is_called_rest_is_none(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no file is called as the neutral is"):
        read_obj_folder(renamed(tmp_path, {"neutral": "mouthRest", "*": "{}"}))


def test_identity_files_become_identity_shapes(tmp_path: Path) -> None:
    write_obj_folder(tmp_path)
    vertices, quads = little_head()
    write_obj(tmp_path / "identity000.obj", vertices * (1.1, 1, 1), quads)
    rig = open_rig(tmp_path, unit="m")
    assert rig.identity_space == ("identity000",)
    assert "identity000" not in rig.space.names
    wide = rig(torch.zeros(1, 4), torch.ones(1, 1))[0].numpy()
    np.testing.assert_allclose(wide, vertices * (1.1, 1, 1), atol=1e-6)


def test_texture_seams_split_vertices_after_those_of_the_file(tmp_path: Path) -> None:
    quads = [[0, 1, 2, 3]]
    square = np.array([[0, 0, 0], [0.2, 0, 0], [0.2, 0.2, 0], [0, 0.2, 0]])
    seams = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nvt 0.5 0.25\nf 1/1 2/2 3/3\nf 1/5 3/3 4/4"
    write_obj(tmp_path / "neutral.obj", square, [], seams)
    write_obj(tmp_path / "jawOpen.obj", square + [[0, -0.1, 0], *[[0, 0, 0]] * 3], [], seams)
    shapes = read_obj_folder(tmp_path)
    assert shapes.vertices.shape == (5, 3)
    assert shapes.weld.tolist() == [0, 1, 2, 3, 0]
    assert shapes.faces.tolist() == [[0, 1, 2], [4, 2, 3]]
    assert shapes.uv is not None
    np.testing.assert_allclose(shapes.uv[[0, 2, 4]], [[0, 1], [1, 0], [0.5, 0.75]])
    assert shapes.shapes[0].index.tolist() == [0, 4]
    assert quads


def test_negative_indices_and_groups_are_read(tmp_path: Path) -> None:
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\ng one\nf -3 -2 -1\nv 0 0 1\ng two\nf 1 2 -1\n"
    (tmp_path / "a.obj").write_text(text)
    mesh = read_obj(tmp_path / "a.obj")
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 1, 3]]
    assert mesh.part_names == ("one", "two")
    assert mesh.face_part.tolist() == [0, 1]


def test_tabs_and_spaces_before_lines(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("g\tone\n v 0 0 0\nv\t1 0 0\n\tv 0\t1 0\nf\t1 2\t3\n  f 3 2 1\n")
    mesh = read_obj(tmp_path / "a.obj")
    assert mesh.faces.tolist() == [[0, 1, 2], [2, 1, 0]]
    assert mesh.part_names == ("one",)


def test_a_head_that_turns_is_not_the_head_at_rest(tmp_path: Path) -> None:
    write_obj_folder(tmp_path, neutral="bobHead")
    assert read_obj_folder(tmp_path).notes == ("neutral: bobHead.obj",)
    (tmp_path / "bobHead.obj").rename(tmp_path / "head_left.obj")
    with pytest.raises(FormatError, match="no file is called as the neutral is"):
        read_obj_folder(tmp_path)


@pytest.mark.parametrize(
    "lines",
    [
        ("v 0 0 0", "v 1 0 0", "v 1 2 0 1 0 0"),
        ("v 0 0 0 # middle", "v 1 0 0 # end", "v 1 2 0"),
        ("v 0 0 0", "v 1 0 0 # x", "v 1 2 0"),
        ("v 0 0 0 0.5 0.5 0.5", "v 1 0 0", "v 1 2 0"),
        ("v 0 0 0 1", "v 1 0 0 1", "v 1 2 0 1"),
    ],
)
def test_vertex_lines_may_hold_more_than_three_numbers(tmp_path: Path, lines: tuple[str, ...]) -> None:
    (tmp_path / "a.obj").write_text("\n".join([*lines, "f 1 2 3", ""]))
    assert read_obj(tmp_path / "a.obj").vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 2, 0]]


def test_hidden_files_of_other_systems_are_passed_over(tmp_path: Path) -> None:
    folder = write_obj_folder(tmp_path)
    (folder / "._jawOpen.obj").write_bytes(b"\0\5\x16\7")
    assert len(open_rig(folder).space) == 4


def _spoil(folder: Path, how: str) -> None:
    vertices, quads = little_head()
    match how:
        case "no neutral":
            (folder / "neutral.obj").rename(folder / "mouthFrown.obj")
        case "fewer vertices":
            write_obj(folder / "jawOpen.obj", vertices[:20], quads[:12])
        case "other faces":
            write_obj(folder / "jawOpen.obj", vertices, quads[::-1])
        case "no shapes":
            for name in little_shapes(vertices):
                (folder / f"{name}.obj").unlink()
        case "not a number":
            write_obj(folder / "jawOpen.obj", np.where(vertices > 0.09, np.nan, vertices), quads)
        case "text in a vertex":
            (folder / "jawOpen.obj").write_text("v 0 0 zero\n")
        case "face outside":
            write_obj(folder / "neutral.obj", vertices, [[0, 1, 99]])
        case "nothing moves":
            for name in little_shapes(vertices):
                write_obj(folder / f"{name}.obj", vertices, quads)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no neutral", "no file is called as the neutral is"),
        ("fewer vertices", "has 20 vertices, neutral.obj 25"),
        ("other faces", "has other faces than neutral.obj"),
        ("no shapes", "holds a mesh but no blend shapes"),
        ("not a number", "shape 'jawOpen' has coordinates that are not finite numbers"),
        ("text in a vertex", "a vertex line does not hold 3 numbers"),
        ("face outside", "a face is malformed: f 1 2 100"),
        ("nothing moves", "none of its shapes moves anything"),
    ],
)
def test_what_cannot_be_a_rig_is_refused_in_one_line(tmp_path: Path, how: str, said: str) -> None:
    _spoil(write_obj_folder(tmp_path), how)
    with pytest.raises(FormatError, match=said) as caught:
        open_rig(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_zero_shape_is_kept_and_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    vertices, quads = little_head()
    write_obj(write_obj_folder(tmp_path) / "tongueOut.obj", vertices, quads)
    rig = open_rig(tmp_path, unit="m")
    assert "tongueOut" in rig.space.names
    assert "tongueOut" in caplog.text


@pytest.mark.parametrize("name", ["empty", "missing", "head.obj", "head.fbx"])
def test_other_things_are_no_rigs(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    for file in ("head.obj", "head.fbx"):
        (tmp_path / file).write_text("v 0 0 0\n")
    with pytest.raises((FormatError, InputError), match=name):
        open_rig(tmp_path / name)
