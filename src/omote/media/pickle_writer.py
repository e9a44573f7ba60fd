"""Pickles of plain data and float32 arrays, written so that any Python 3 with any numpy reads them.

`pickle.dump` under numpy 2 names ``numpy._core``, which numpy before 1.26 does not have; here it is always the older
``numpy.core``, which all versions know. The same value gives the same bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from omote.errors import InputError

_SHORT = 256
_RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
_EMPTY = b"cnumpy\nndarray\nK\x00\x85C\x01b\x87"  # the arguments (ndarray, (0,), b"b")
_FLOAT32 = (  # dtype("f4", False, True), then its state (3, "<", None, None, None, -1, -1, 0)
    b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R"
    b"(K\x03X\x01\x00\x00\x00<NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
)


def write_plain(value: Any) -> bytes:
    """A pickle (protocol 3) of dictionaries with text keys, lists, text, whole numbers and float32 arrays.

    Raises:
        InputError: anything else is in it, or a number beyond 32 bits.
    """
    out = bytearray(b"\x80\x03")
    _Writer(out).put(value)
    return bytes(out + b".")


class _Writer:
    """Appends opcodes; what occurs often is written once and recalled after that."""

    def __init__(self, out: bytearray) -> None:
        self.out = out
        self.known: dict[bytes, int] = {}

    def put(self, value: Any) -> None:
        """Append a value."""
        if isinstance(value, dict):
            self.out += b"}("
            for key, part in value.items():
                self._once(_text(key))
                self.put(part)
            self.out += b"u"
        elif isinstance(value, list):
            self.out += b"]("
            for part in value:
                self.put(part)
            self.out += b"e"
        elif isinstance(value, str):
            self.out += _text(value)
        elif type(value) is int and -(1 << 31) <= value < 1 << 31:
            self.out += _whole(value)
        elif isinstance(value, np.ndarray) and value.dtype == np.float32:
            self._array(value)
        else:
            raise InputError(f"a {type(value).__name__} is not written to a pickle")

    def _array(self, array: np.ndarray) -> None:
        """What numpy's own ``__reduce__`` gives: an empty array, then its state."""
        self._once(_RECONSTRUCT)
        self._once(_EMPTY)
        self.out += b"R(K\x01(" + b"".join(map(_whole, array.shape)) + b"t"
        self._once(_FLOAT32)
        data = np.ascontiguousarray(array, "<f4").tobytes()
        self.out += b"\x89B" + len(data).to_bytes(4, "little") + data + b"tb"

    def _once(self, code: bytes) -> None:
        """Append what makes a value, or what recalls it."""
        known = code in self.known
        number = self.known.setdefault(code, len(self.known))
        if not known:
            self.out += code
        short, wide = (b"h", b"j") if known else (b"q", b"r")
        self.out += short + bytes([number]) if number < _SHORT else wide + number.to_bytes(4, "little")


def _text(text: str) -> bytes:
    data = text.encode("utf-8")
    return b"X" + len(data).to_bytes(4, "little") + data


def _whole(number: int) -> bytes:
    if 0 <= number < _SHORT:
        return b"K" + bytes([number])
    return b"J" + number.to_bytes(4, "little", signed=True)
