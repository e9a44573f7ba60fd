"""The ``.omote`` file: safetensors with one JSON header. Reading trusts nothing; writing is atomic.

Tensors: controls (T, C), head_rotation (T, 3), head_translation (T, 3), confidence (T,), optionally
control_confidence (T, C), and identity/<rig> (I,), all float32; times (T,) float64. The safetensors metadata
has one key, "omote": JSON with format, version, space, camera and source.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from omote.controls import Control, ControlSpace, space_by_name
from omote.errors import FormatError, InputError, OutputError
from omote.performance.camera import Camera

Array = npt.NDArray[Any]

VERSION = 1
_LARGEST_FILE = 4 << 30
_LARGEST_HEADER = 16 << 20
_TRACKS = ("controls", "head_rotation", "head_translation", "confidence")
_OPTIONAL = ("control_confidence",)
_IDENTITY = "identity/"
_DTYPES: dict[Any, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


def write(path: Path, tensors: Mapping[str, Array], header: Mapping[str, Any]) -> None:
    """Write tensors and header beside ``path``, then rename; on failure nothing is left.

    Raises:
        OutputError: the folder is missing, full or read-only.
    """
    from safetensors.numpy import save

    text = json.dumps({"format": "omote", "version": VERSION, **header}, sort_keys=True, ensure_ascii=False)
    data = save({name: np.ascontiguousarray(array) for name, array in tensors.items()}, {"omote": text})
    beside = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.part")
    try:
        with beside.open("xb") as file:
            file.write(data)
        os.replace(beside, path)
    except OSError as error:
        remedy = "Choose a folder that exists and can be written."
        raise OutputError(f"cannot write ({error.strerror or error})", where=path, remedy=remedy) from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def read(path: Path) -> dict[str, Any]:
    """Read a file into the fields of a Performance (their values are not checked yet, only their kinds).

    Raises:
        InputError: no such file, or it cannot be read.
        FormatError: not an Omote file, damaged, or written by a newer version.
    """
    data = _read_bytes(path)
    header = _header(path, data)
    version = header.get("version")
    if header.get("format") != "omote" or type(version) is not int or version < 1:
        _reject(path, "not an Omote performance")
    if version > VERSION:
        what = f"written in version {version} of the format, this Omote reads up to version {VERSION}"
        raise FormatError(what, where=path, remedy="Upgrade it: pip install --upgrade omote")
    tensors = _tensors(path, data)
    missing = [name for name in (*_TRACKS, "times") if name not in tensors]
    if missing:
        _reject(path, f"has no {', '.join(missing)}")
    for name, array in tensors.items():
        wanted = "F64" if name == "times" else "F32"
        if array.dtype != _DTYPES[wanted]:
            _reject(path, f"tensor {name} is {array.dtype}, expected {wanted}")
    try:
        fields: dict[str, Any] = {name: tensors[name] for name in (*_TRACKS, "times")}
        fields |= {name: tensors[name] for name in _OPTIONAL if name in tensors}
        fields["identity"] = {
            name.removeprefix(_IDENTITY): array
            for name, array in tensors.items()
            if name.startswith(_IDENTITY)
        }
        fields["space"], order = read_space(path, header.get("space"), fields["controls"])
        for name in ("controls", *_OPTIONAL):
            if order is not None and name in fields:
                fields[name] = fields[name][..., order]
        camera = header.get("camera")
        if not isinstance(camera, dict) or camera.keys() != {"focal", "principal", "size"}:
            _reject(path, "camera must have focal, principal and size")
        fields["camera"] = Camera(**camera)
        fields["source"] = header.get("source", {})
    except InputError as error:
        _reject(path, str(error))
    return fields


def describe_space(space: ControlSpace) -> dict[str, Any]:
    """The header's account of a control space: name, control names, and definitions unless built in."""
    account: dict[str, Any] = {"name": space.name, "controls": list(space.names)}
    if space != _built_in(space.name):
        account["definitions"] = [dataclasses.asdict(control) for control in space.controls]
        account |= {"learned": True} if space.learned else {}
    return account


def _built_in(name: str) -> ControlSpace | None:
    try:
        return space_by_name(name)
    except InputError:
        return None


def _reject(path: Path, what: str) -> NoReturn:
    remedy = "It may be damaged or cut short; write it again."
    raise FormatError(what, where=path, remedy=remedy) from None


def _read_bytes(path: Path) -> bytes:
    try:
        if path.is_dir() or (path.exists() and not path.is_file()):
            raise InputError("not a file", where=path)
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            _reject(path, f"{size} bytes is more than the {_LARGEST_FILE} a performance may have")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError("no such file", where=path) from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be read ({getattr(error, 'strerror', None) or error})", where=path
        ) from None


def _header(path: Path, data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 10 or not 2 <= length <= min(_LARGEST_HEADER, len(data) - 8):
        _reject(path, "not an Omote performance")
    try:
        outer = _parse(data[8 : 8 + length].decode("utf-8"))
        inner = _parse(outer["__metadata__"]["omote"])
        json.dumps(inner, ensure_ascii=False).encode(
            "utf-8"
        )  # refuses lone surrogates, which no console can show
    except (ValueError, KeyError, TypeError, RecursionError):
        _reject(path, "not an Omote performance")
    if not isinstance(inner, dict):
        _reject(path, "not an Omote performance")
    return inner


def _parse(text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def _tensors(path: Path, data: bytes) -> dict[str, Array]:
    from safetensors import SafetensorError, deserialize

    try:
        entries: list[tuple[str, Any]] = list(deserialize(data))
    except (SafetensorError, ValueError, OverflowError) as error:
        _reject(path, f"damaged ({error})")
    tensors = {}
    for name, entry in entries:
        kind, shape, content = str(entry["dtype"]), entry["shape"], entry["data"]
        if kind not in _DTYPES:
            _reject(path, f"tensor {name} is of type {kind}, expected F32 or F64")
        tensors[name] = np.frombuffer(content, _DTYPES[kind]).reshape(shape)
    return tensors


def read_space(path: Path, account: Any, controls: Array) -> tuple[ControlSpace, list[int] | None]:
    """The inverse of `describe_space`, and how to reorder the file's controls into its order (None: as they are).

    Args:
        path: the file, for messages.
        account: what it says of its space.
        controls: (T, C) of the file.

    Raises:
        FormatError: an account of another form, or of other controls.
    """
    if not isinstance(account, dict) or not isinstance(account.get("name"), str):
        _reject(path, "names no control space")
    name, names, definitions = account["name"], account.get("controls"), account.get("definitions")
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        _reject(path, "lists no control names")
    if controls.ndim != 2 or controls.shape[1] != len(names):
        _reject(path, f"controls are {controls.shape}, expected (frames, {len(names)})")
    if definitions is not None:
        if not isinstance(definitions, list):
            _reject(path, "control definitions must be a list")
        learned = account.get("learned") is True
        space = ControlSpace(name, tuple(_control(path, d) for d in definitions), learned)
        if list(space.names) != names:
            _reject(path, "control names and definitions do not agree")
        return space, None
    space_or_none = _built_in(name)
    if space_or_none is None or sorted(space_or_none.names) != sorted(names):
        _reject(path, f"control space {name} is not the one this version knows")
    if list(space_or_none.names) == names:
        return space_or_none, None
    return space_or_none, [names.index(n) for n in space_or_none.names]


def _control(path: Path, entry: Any) -> Control:
    numbers, texts = ("low", "high", "neutral", "mirror_sign"), ("name", "mirror", "side", "unit", "doc")
    if (
        not isinstance(entry, dict)
        or entry.keys() != {*numbers, *texts, "action_units"}
        or not all(type(entry[key]) in (int, float) and abs(entry[key]) < 1e30 for key in numbers)
        or not all(isinstance(entry[key], str) and entry[key].isprintable() for key in texts)
        or not isinstance(entry["action_units"], list)
        or not all(isinstance(unit, str) for unit in entry["action_units"])
        or entry["side"] not in ("L", "R", "C")
    ):
        _reject(path, "a control definition is malformed")
    return Control(**{**entry, "action_units": tuple(entry["action_units"])})
