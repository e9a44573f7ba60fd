"""Slices as text: what NumPy would do, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omote.errors import FormatError
from omote.evaluation.parity.slices import parse_slice

VOLUME = np.arange(4 * 5 * 6).reshape(4, 5, 6)


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("[:]", VOLUME[:]),
        ("[:, ::2]", VOLUME[:, ::2]),
        ("[0, 1:3, -2]", VOLUME[0, 1:3, -2]),
        ("[...,0]", VOLUME[..., 0]),
        ("  [ 1 : 4 : 2 , 3 ]  ", VOLUME[1:4:2, 3]),
        ("[0:1,0:4,0:4]", VOLUME[0:1, 0:4, 0:4]),
        ("[2,]", VOLUME[2,]),
        ("[::-1]", VOLUME[::-1]),
        ("[None, 3]", VOLUME[None, 3]),
        ("[:9, 4]", VOLUME[:9, 4]),
    ],
)
def test_slices_are_those_of_numpy(text: str, taken: np.ndarray) -> None:
    assert np.array_equal(VOLUME[parse_slice(text)], taken)


limits = st.none() | st.integers(-7, 7)
parts = st.integers(-4, 3) | st.builds(slice, limits, limits, st.none() | st.sampled_from([1, 2, 3, -1]))


def written(part: int | slice) -> str:
    if isinstance(part, int):
        return str(part)
    start, stop, step = ("" if n is None else str(n) for n in (part.start, part.stop, part.step))
    return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"


@given(st.lists(parts, min_size=1, max_size=3))
def test_whatever_is_written_is_read(index: list[int | slice]) -> None:
    text = "[" + ", ".join(map(written, index)) + "]"
    assert parse_slice(text) == tuple(index)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[]",
        ":, 1",
        "[:, ,1]",
        "[1.5]",
        "[1e3]",
        "[::0]",
        "[:::]",
        "[0x10]",
        "[a]",
        "[True]",
        "[[0, 1]]",
        "[(0)]",
        "[__import__('os').system('true')]",
        "[slice(1)]",
        "[1 2]",
        "[1\n:, `id`]",
        "rows 0,25,50",
        "[" + "9" * 5000 + "]",
        "[9999999999999]",
        "[" + ":," * 600 + ":]",
        "[١]",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_slice(text)
