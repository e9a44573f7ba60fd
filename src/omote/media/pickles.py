"""Pickles of plain data and numpy arrays, read without running anything in them.

A pickle is a program: the usual reader runs what it names. This one is a small machine of its own that knows
only how to build dictionaries, lists, tuples, numbers, text and numeric arrays. Names of functions are looked up in a
table of five, all of them stand-ins written here; nothing is imported, called or given attributes, whatever the file
says. Opcodes are split by the standard library's `pickletools`, which executes nothing.

Source of the layout: Python's pickle protocols 0 to 5 and numpy's ``ndarray.__reduce_ex__`` (``numpy.core`` before
version 2 of numpy, ``numpy._core`` from then on).
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.errors import FormatError

Array = npt.NDArray[Any]

LARGEST_BYTES = 256 << 20
_MOST_STEPS = 30_000_000
_DEEPEST = 16
_MOST_DIMENSIONS = 8
_KINDS = frozenset(
    f"{kind}{size}" for kind, sizes in (("f", "248"), ("i", "1248"), ("u", "1248")) for size in sizes
)
_PLAIN = frozenset(
    "BINUNICODE SHORT_BINUNICODE BINUNICODE8 UNICODE BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 BININT BININT1 "
    "BININT2 INT LONG LONG1 LONG4 FLOAT BINFLOAT".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_MARK = object()


class _Refused(Exception):
    """Something a file of plain arrays has no need of; the message says what."""


@dataclass
class _Kind:
    """A dtype in the making: its name until its byte order is known."""

    name: str
    order: str = "<"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.name)


@dataclass
class _Shell:
    """An array in the making: empty until its state is set."""

    array: Array | None = None


def read_plain(data: bytes, where: str | Path | None = None) -> Any:
    """The value in a pickle that holds only dictionaries, lists, tuples, numbers, text, bytes and numeric arrays.

    Args:
        data: the file's content; at most 256 MB.
        where: the file, for messages.

    Returns:
        The value; arrays are read-only.

    Raises:
        FormatError: it is cut short or damaged, too large or too deep, or names anything that is not data (a
            function, a class): that is refused, and nothing of it was run.
    """
    if len(data) > LARGEST_BYTES:
        raise FormatError(f"{len(data)} bytes is more than the {LARGEST_BYTES} that are read", where=where)
    machine = _Machine(len(data))
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > _MOST_STEPS:
                raise _Refused("it has too many parts")
            machine.step(opcode.name, argument)
        return _finished(machine.stack.pop(), {})
    except _Refused as refused:
        what = f"refused, and nothing in it was run: {refused}"
        raise FormatError(
            what, where=where, remedy="Only numbers, text and numeric arrays are read."
        ) from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError, AttributeError) as error:
        told = str(error)[:100] or type(error).__name__
        raise FormatError(f"cut short or damaged ({told})", where=where) from None


class _Machine:
    """The stack and the memory of a pickle of some bytes, for the opcodes of plain data."""

    def __init__(self, size: int) -> None:
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}
        self._may_encode = size  # bytes: no content is longer than the text that it is stored as

    def step(self, name: str, argument: Any) -> None:
        """Do one opcode."""
        if name in _PLAIN:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise _Refused(f"it uses {name}, which plain data does not need")

    def since_mark(self) -> list[Any]:
        """What was put on the stack after the last mark; both are taken off."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("no mark")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def group(self, count: int) -> None:
        """A tuple of the last few values."""
        if len(self.stack) < count:
            raise IndexError("stack is empty")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(items)

    def extend(self, items: list[Any]) -> None:
        """More elements for the list on top."""
        _of(list, self.stack[-1]).extend(items)

    def update(self, items: list[Any]) -> None:
        """More entries for the dictionary on top."""
        target = _of(dict, self.stack[-1])
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):
                raise _Refused("it has keys that are not text")
            target[key] = value

    def name(self, module: Any, name: Any) -> None:
        """The stand-in for a name, if it is one of those that arrays need."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise _Refused("it names what is not a name")
        if (module, name) not in _STAND_INS:
            raise _Refused(f"it names {module[:60]}.{name[:60]}")
        self.stack.append(_STAND_INS[module, name])

    def reduce(self) -> None:
        """Make what a stand-in makes of its arguments."""
        arguments, maker = _of(tuple, self.stack.pop()), self.stack.pop()
        if not isinstance(maker, _Maker):
            raise _Refused("it calls what is not a function of numpy's arrays")
        made = maker.make(*arguments)
        if isinstance(made, bytes):
            self._may_encode -= len(made)
            if self._may_encode < 0:
                raise _Refused("it repeats its content to fill the memory")
        self.stack.append(made)

    def build(self) -> None:
        """Fill the array or the dtype on top."""
        state, target = _of(tuple, self.stack.pop()), self.stack[-1]
        if isinstance(target, _Kind):
            if len(state) < 2 or state[1] not in ("<", ">", "|", "="):
                raise _Refused("it has a number type of unknown byte order")
            target.order = "<" if state[1] == "=" else state[1]
        elif isinstance(target, _Shell) and len(state) == 5:
            _, shape, kind, by_columns, content = state
            target.array = _array(content, kind, shape, "F" if by_columns else "C")
        else:
            raise _Refused("it sets the state of what is not an array")


def _of(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _array(content: Any, kind: Any, shape: Any, order: Any) -> Array:
    """A read-only array over bytes that are in the file; never larger than they are."""
    if not isinstance(kind, _Kind) or not isinstance(content, bytes | bytearray):
        raise _Refused("it has an array of objects")
    if (
        not isinstance(shape, tuple)
        or len(shape) > _MOST_DIMENSIONS
        or not all(type(n) is int and 0 <= n <= LARGEST_BYTES for n in shape)
        or order not in ("C", "F")
    ):
        raise _Refused("it has an array of an impossible shape")
    if math.prod(shape) * kind.dtype.itemsize != len(content):
        raise ValueError(f"an array of shape {str(shape)[:60]} does not have {len(content)} bytes")
    array = np.frombuffer(content, kind.dtype).reshape(shape, order=order)
    array.flags.writeable = False
    return array


def _kind(name: Any, *_: Any) -> _Kind:
    text = name.decode("latin-1") if isinstance(name, bytes) else name
    bare = text.lstrip("<>|=") if isinstance(text, str) else ""
    if bare not in _KINDS:
        raise _Refused(f"it has an array of type '{bare[:30]}', which are not numbers")
    return _Kind(bare, ">" if text.startswith(">") else "<")


def _shell(*_: Any) -> _Shell:
    return _Shell()


def _scalar(kind: Any, content: Any) -> Any:
    return _array(content, kind, (), "C").item()


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused("it encodes what is not the content of an array")
    return text.encode("latin-1")


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any) -> _Shell:
    return _Shell(_array(content, kind, shape, order))


@dataclass(frozen=True)
class _Maker:
    """What stands for a function that a pickle names."""

    make: Callable[..., Any]


_ARRAY_TYPE = object()
_STAND_INS: Mapping[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _ARRAY_TYPE,
    ("numpy", "dtype"): _Maker(_kind),
    ("_codecs", "encode"): _Maker(_encoded),  # bytes in protocols 0 to 2
    **{
        (f"numpy.{core}.{module}", name): _Maker(make)
        for core in ("core", "_core")
        for module, name, make in (
            ("multiarray", "_reconstruct", _shell),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


def _finished(value: Any, done: dict[int, Any], depth: int = 0) -> Any:
    """The value with arrays in the place of their shells; each part is visited once however often it is shared."""
    if value is None or isinstance(value, bool | int | float | str | bytes | bytearray):
        return value
    if id(value) in done:
        return done[id(value)]
    if depth > _DEEPEST:
        raise _Refused(f"it is nested more than {_DEEPEST} deep")
    made: Any
    if isinstance(value, dict):
        made = {key: _finished(part, done, depth + 1) for key, part in value.items()}
    elif isinstance(value, list | tuple):
        made = type(value)([_finished(part, done, depth + 1) for part in value])
    elif isinstance(value, _Shell) and value.array is not None:
        made = value.array
    else:
        raise _Refused("it holds a function or a type")
    done[id(value)] = made
    return made


def _remember(machine: _Machine, key: Any) -> None:
    machine.memory[len(machine.memory) if key is None else key] = machine.stack[-1]


def _recall(machine: _Machine, key: Any) -> None:
    machine.stack.append(machine.memory[key])


def _append(machine: _Machine, _: Any) -> None:
    machine.extend([machine.stack.pop()])


def _set_item(machine: _Machine, _: Any) -> None:
    machine.group(2)
    machine.update(list(machine.stack.pop()))


def _new_dict(machine: _Machine, _: Any) -> None:
    items = machine.since_mark()
    machine.stack.append({})
    machine.update(items)


def _stack_name(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.name(module, name)


_ACTIONS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "DICT": _new_dict,
    "LIST": lambda machine, _: machine.stack.append(machine.since_mark()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.group(1),
    "TUPLE2": lambda machine, _: machine.group(2),
    "TUPLE3": lambda machine, _: machine.group(3),
    "APPEND": _append,
    "APPENDS": lambda machine, _: machine.extend(machine.since_mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: machine.update(machine.since_mark()),
    **dict.fromkeys(("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"), _remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _recall),
    "GLOBAL": lambda machine, text: machine.name(*text.split(" ", 1)),
    "STACK_GLOBAL": _stack_name,
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
}
