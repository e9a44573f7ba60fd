"""What can be asked, what cannot, and how it is written on a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omote.animation.options import AnimateOptions, check_names, kind_of
from omote.animation.parse import (
    parse_changes,
    parse_driver_face,
    parse_faces,
    parse_gaze,
    parse_reference,
    parse_regions,
)
from omote.errors import InputError, OutputError


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strength": 6}, "--strength: 6 is not in 0..5"),
        ({"fps": 0}, "--fps"),
        ({"size": 4}, "--size"),
        ({"strip": 1}, "--strip"),
        ({"time": -1}, "--time"),
        ({"mode": "both"}, "neither relative nor absolute"),
        ({"regions": {"mouth"}}, "no region 'mouth'"),
        ({"regions": ()}, "names nothing"),
        ({"gaze": (120.0, 0.0)}, "gaze"),
        ({"offsets": {"mouthSmil": 0.1}}, "Did you mean mouthSmile"),
        ({"face": (0, 0)}, "different numbers"),
        ({"preset": "smile", "emotion": "happy"}, "one of --preset, --score, --emotion and --text"),
        ({"frame": 1, "time": 0.5}, "one of --frame, --time and --strip"),
        ({"strip": 3, "compare": True}, "one of --strip and --compare"),
        ({"duration": 2.0}, "--duration"),
        ({"text": "hello", "preset": "nod"}, "--preset talk"),
        ({"score": "0 neutral", "duration": 2.0}, "--duration"),
        ({"key": "a.pem"}, "go together"),
        ({"credentials": False, "consent": "yes"}, "--no-credentials"),
    ],
)
def test_what_cannot_be_asked(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as refused:
        AnimateOptions(**options)
    assert words in str(refused.value)


def test_a_misspelt_option_is_told_with_the_nearest() -> None:
    check_names({"strength": 1})
    with pytest.raises(InputError, match=r"'streng'.*Did you mean strength"):
        check_names({"streng": 1})


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("a.mp4", {}, "video"),
        ("a.MOV", {}, "video"),
        ("a.gif", {}, "loop"),
        ("a.webp", {}, "loop"),
        ("a.webp", {"frame": 3}, "still"),
        ("a.apng", {}, "loop"),
        ("a.png", {}, "still"),
        ("a.jpg", {"strip": 4}, "still"),
        ("frames", {}, "folder"),
        ("", {}, "folder"),
    ],
)
def test_the_name_decides(name: str, options: dict[str, Any], kind: str, tmp_path: Path) -> None:
    assert kind_of(tmp_path / name, AnimateOptions(**options)) == kind


def test_what_the_name_does_not_allow() -> None:
    with pytest.raises(OutputError, match=r"cannot write \.avi.*\.mp4"):
        kind_of(Path("a.avi"), AnimateOptions())
    with pytest.raises(InputError, match=r"a\.mp4: --frame makes a picture"):
        kind_of(Path("a.mp4"), AnimateOptions(frame=2))
    with pytest.raises(InputError, match="only a video has sound"):
        kind_of(Path("a.gif"), AnimateOptions(sound_from=Path("a.wav")))


def test_facts_tell_options_apart_but_not_what_leaves_the_result_the_same() -> None:
    plain = AnimateOptions().facts()
    assert AnimateOptions(overwrite=True, take=Path("a.omote")).facts() == plain
    for other in (
        {"strength": 0.9},
        {"regions": {"eyes"}},
        {"offsets": {"jawOpen": 0.1}},
        {"consent": "yes"},
    ):
        assert AnimateOptions(**other).facts() != plain


def test_faces() -> None:
    assert [parse_faces(t) for t in ("largest", "all", "3", "2,0", " 1, 2")] == [
        "largest",
        "all",
        3,
        (2, 0),
        (1, 2),
    ]
    with pytest.raises(InputError, match="Did you mean 'largest'"):
        parse_faces("larges")
    with pytest.raises(InputError, match="--face"):
        parse_faces("1,x")
    assert [parse_driver_face(t) for t in ("largest", "1")] == ["largest", 1]
    with pytest.raises(InputError, match="--driver-face"):
        parse_driver_face("all")


def test_references_gazes_regions() -> None:
    assert [parse_reference(t) for t in (None, "first", "neutral", "12")] == [None, "first", "neutral", 12]
    with pytest.raises(InputError, match="Did you mean 'neutral'"):
        parse_reference("neutrl")
    assert [parse_gaze(t) for t in (None, "camera", "-10,5.5")] == [None, "camera", (-10.0, 5.5)]
    with pytest.raises(InputError, match="--gaze"):
        parse_gaze("left")
    assert parse_regions("eyes, lips") == {"eyes", "lips"}
    assert parse_regions(None) is None


def test_changes() -> None:
    given = [
        "mouthSmile*=+0.2",
        "jaw_open = -.1",
        "jaw_open=-0.2",
        "jaw_open=x1.5",
        "brow_*=0",
        "mouthSmile=+x",
    ]
    offsets, others = parse_changes(given)
    assert offsets == {"mouthSmile*": 0.2, "jaw_open": pytest.approx(-0.3)}
    assert others == ("jaw_open=x1.5", "brow_*=0", "mouthSmile=+x")
    for wrong in ("mouthSmile=+x", "jaw_open", "jaw_opne=0.2"):
        with pytest.raises(InputError):
            AnimateOptions(changes=(wrong,))
