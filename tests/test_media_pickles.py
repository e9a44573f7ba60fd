"""Pickles: what plain data needs is read in every protocol, everything else is refused and never run."""

from __future__ import annotations

import contextlib
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omote.errors import FormatError, InputError
from omote.media.pickle_writer import write_plain
from omote.media.pickles import LARGEST_BYTES, read_plain

FLOAT32 = st.floats(width=32, allow_nan=False)
ARRAYS = st.lists(FLOAT32, max_size=6).map(lambda values: np.array(values, np.float32))
PLAIN = st.recursive(
    st.integers(-(2**31), 2**31 - 1) | st.text(max_size=8) | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner)
    ),
    max_leaves=6,
)


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and np.array_equal(one, other)
    return bool(one == other)


class Runs:
    """Unpickles by calling whatever it is told to."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


# ---- what is read -----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "<i8", "|u1"])
def test_arrays_of_every_protocol(protocol: int, dtype: str) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype)
    value = {"plain": array, "by columns": np.asfortranarray(array), "view": array[:, ::2], "again": array}
    found = read_plain(pickle.dumps(value, protocol))
    for key, wanted in value.items():
        np.testing.assert_array_equal(found[key], wanted)
        assert found[key].dtype == wanted.dtype
        assert not found[key].flags.writeable


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_of_every_protocol(protocol: int) -> None:
    value = {
        "n": 16,
        "big": 2**70,
        "negative": -5,
        "rate": 29.97,
        "text": "åß\n",
        "none": None,
        "yes": [True, False, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "many": list(range(2000)),
        "scalar": [np.float32(0.5), np.int64(7)],
        3: {"nested": []},
    }
    assert read_plain(pickle.dumps(value, protocol)) == value


def test_both_spellings_of_numpy() -> None:
    data = pickle.dumps(np.arange(3.0), 2)
    new, old = b"cnumpy._core.multiarray", b"cnumpy.core.multiarray"
    assert data.count(new) + data.count(old) == 1
    for spelling in (new, old):
        np.testing.assert_array_equal(read_plain(data.replace(new, spelling)), [0, 1, 2])


# ---- what is written --------------------------------------------------------------------------------


@settings(max_examples=25)
@given(PLAIN)
def test_written_pickles_read_back_here_and_by_python(value: Any) -> None:
    data = write_plain(value)
    assert same(read_plain(data), value)
    assert same(pickle.loads(data), value)


def test_many_different_keys_are_remembered() -> None:
    value = [{f"key {number % 300}": number} for number in range(900)]
    assert pickle.loads(write_plain(value)) == value == read_plain(write_plain(value))


@pytest.mark.parametrize(
    "value",
    [1.5, 2**31, True, b"x", {1}, np.arange(3), [object()]],
    ids=lambda value: type(value).__name__,
)
def test_other_things_are_not_written(value: Any) -> None:
    with pytest.raises(InputError, match="is not written"):
        write_plain(value)


def test_numpy_2_is_not_named() -> None:
    assert b"numpy._core" not in write_plain([np.zeros(3, np.float32)])


# ---- what is refused --------------------------------------------------------------------------------

_HOSTILE = {
    "os.system": lambda mark: Runs(__import__("os").system, f"touch {mark}"),
    "subprocess": lambda mark: Runs(subprocess.call, ["touch", str(mark)]),
    "eval": lambda mark: Runs(eval, f"open({str(mark)!r}, 'w')"),
    "exec": lambda mark: Runs(exec, f"open({str(mark)!r}, 'w')"),
    "open": lambda mark: Runs(open, str(mark), "w"),
    "getattr chain": lambda mark: Runs(getattr, Runs(__import__, "os"), "system"),
    "numpy load": lambda mark: Runs(np.load, str(mark)),
    "numpy fromfile": lambda mark: Runs(np.fromfile, str(mark)),
    "object array": lambda mark: np.array([Runs(open, str(mark), "w")], dtype=object),
    "pickle loads": lambda mark: Runs(pickle.loads, pickle.dumps(Runs(open, str(mark), "w"))),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", _HOSTILE)
def test_code_is_refused_and_not_run(tmp_path: Path, name: str, protocol: int) -> None:
    mark = tmp_path / "was-run"
    data = pickle.dumps({"n_frames": 1, "motion": [{"exp": _HOSTILE[name](mark)}]}, protocol)
    with pytest.raises(FormatError, match="refused, and nothing in it was run"):
        read_plain(data, "evil.pkl")
    assert not mark.exists()


def test_the_payload_is_real(tmp_path: Path) -> None:
    """The usual reader does run it: so the test above can fail."""
    mark = tmp_path / "was-run"
    payload = pickle.dumps(_HOSTILE["os.system"](mark))
    subprocess.run([sys.executable, "-c", f"import pickle; pickle.loads({payload!r})"], check=True)
    assert mark.exists()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "it names os.system"),
        (b"cos\nsystem\n(S'true'\ntR.", "it names os.system"),
        (b"(S'true'\nios\nsystem\n.", "it uses STRING|it uses INST"),
        (b"\x80\x02cnumpy\nndarray\nK\x05\x85\x81.", "it uses NEWOBJ"),
        (b"\x80\x02cnumpy\nndarray\n\x8a\x08" + b"\x7f" * 8 + b"\x85R.", "it calls what is not"),
        (b"\x80\x02cnumpy\ndtype\n}X\x01\x00\x00\x00aK\x01sb.", "belongs"),
        (b"\x80\x02cnumpy\ndtype\nN}X\x01\x00\x00\x00aK\x01s\x86b.", "sets the state of what is not"),
        (b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R.", "not numbers"),
        (b"\x80\x02cnumpy\ndtype\nX\x06\x00\x00\x00V99999\x85R.", "not numbers"),
        (b"\x80\x02cnumpy\ndtype\n.", "holds a function"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.", "encodes"),
        (b"\x80\x02X\x01\x00\x00\x00aQ.", "it uses BINPERSID"),
        (b"\x80\x02\x82\x01.", "it uses EXT1"),
        (b"\x80\x04\x8f.", "it uses EMPTY_SET"),
        (b"\x80\x02}K\x01\x85K\x02s.", "keys that are not text"),
        (b"\x80\x04](\x8c\x02os\x93.", "it names what is not a name"),
    ],
)
def test_opcodes_that_data_does_not_need(data: bytes, told: str) -> None:
    with pytest.raises(FormatError, match=told):
        read_plain(data)


def array_pickle(shape: str, content: bytes = b"") -> bytes:
    """numpy's own pickle of an array whose state says what it likes; ``shape`` is protocol-0 text."""
    return (
        b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01"
        + shape.encode()
        + b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R\x89B"
        + struct.pack("<I", len(content))
        + content
        + b"tb."
    )


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ("(I2\nt", "does not have 4 bytes"),
        ("(L99999999999999999999L\nt", "impossible shape"),
        ("(I-1\nt", "impossible shape"),
        ("(" + "I268435455\n" * 8 + "t", "does not have"),
        ("(" + "I1\n" * 9 + "t", "impossible shape"),
        ("K\x01", "impossible shape"),
    ],
)
def test_arrays_larger_than_their_bytes(shape: str, told: str) -> None:
    np.testing.assert_array_equal(read_plain(array_pickle("(I1\nt", b"\0\0\x80?")), [1.0])
    with pytest.raises(FormatError, match=told):
        read_plain(array_pickle(shape, b"\0\0\x80?"))


def test_sizes_that_are_only_claimed() -> None:
    claimed = struct.pack("<Q", 1 << 60)
    for data in (b"\x80\x04\x8e" + claimed, b"\x80\x05\x96" + claimed, b"\x80\x04\x8d" + claimed):
        with pytest.raises(FormatError, match="cut short"):
            read_plain(data + b"abc.")
    with pytest.raises(FormatError, match="more than the 268435456"):
        read_plain(bytes(LARGEST_BYTES + 1))
    assert (
        read_plain(b"\x80\x02K\x05r\xff\xff\xff\xff.") == 5
    )  # a memory of 4 billion entries is not laid out


def test_text_that_is_encoded_again_and_again() -> None:
    text = b"X" + struct.pack("<I", 4000) + b"a" * 4000
    begin = b"\x80\x02c_codecs\nencode\nq\x00" + text + b"q\x01X\x06\0\0\0latin1q\x02"
    assert read_plain(begin + b"h\x00h\x01h\x02\x86R.") == b"a" * 4000
    with pytest.raises(FormatError, match="refused, and nothing in it was run: it repeats its content"):
        read_plain(begin + b"h\x00h\x01h\x02\x86R" * 100 + b".")
    shared = bytearray(b"\0\0\x80?" * 1000)
    first, second = (read_plain(pickle.dumps(np.frombuffer(shared, "<f4"), 5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_deep_and_swollen_nesting() -> None:
    for nest in (b"]" * 20_000 + b"a" * 19_999, b")" + b"\x85" * 20_000):
        with pytest.raises(FormatError, match="nested more than 16 deep"):
            read_plain(b"\x80\x02" + nest + b".")
    laughs = b"\x80\x02]q\x00"
    for level in range(12):  # each list holds the one before a hundred times
        laughs += b"](" + b"h" + bytes([level]) + (b"h" + bytes([level])) * 99 + b"eq" + bytes([level + 1])
    assert len(read_plain(laughs + b".")) == 100
    with pytest.raises(FormatError, match="nested more than"):
        read_plain(b"\x80\x02]q\x00h\x00a.")  # a list that holds itself


@given(st.binary(max_size=60), st.integers(0, 2000), st.integers(0, 255))
def test_damaged_pickles(noise: bytes, at: int, byte: int) -> None:
    whole = pickle.dumps({"motion": [{"exp": np.ones((1, 3), np.float32)}] * 3, "n_frames": 3}, 4)
    changed = bytearray(whole)
    changed[at % len(whole)] = byte
    for data in (noise, b"\x80\x04" + noise, bytes(changed)):
        with contextlib.suppress(FormatError):  # it may still be a pickle; nothing else is raised
            read_plain(data)
    with pytest.raises(FormatError):
        read_plain(whole[: at % len(whole)])
