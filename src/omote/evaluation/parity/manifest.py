"""The manifest of a parity folder: networks, cases, inputs and expected outputs, read as data and never evaluated.

The folders were written by different hands. What means the same is read the same: lists or dictionaries of inputs and
outputs, one seed or one each for weights and inputs, one file for each case or each output.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omote.errors import FormatError, InputError

MANIFEST = "manifest.json"
_LARGEST_BYTES = 64 << 20
_LARGEST_INPUT = 1 << 27
"""Elements of one input: 1 GiB of float64."""
_RULE_KEYS = {"name", "seed", "low", "high", "shape", "values", "note"}


@dataclass(frozen=True)
class InputSpec:
    """One input of a case.

    Attributes:
        name: how the case calls it.
        drawn_as: the name that it is drawn from.
        seed: that it is drawn from; None where nothing is drawn.
        low, high: limits of the uniform draw.
        shape: None where the manifest gives no limits and shape.
        values: given outright, instead of a draw.
        entry: the whole entry; what is not listed here is up to the system.
    """

    name: str
    drawn_as: str
    seed: int | None
    low: float
    high: float
    shape: tuple[int, ...] | None
    values: Any
    entry: Mapping[str, Any]

    @property
    def is_plain(self) -> bool:
        """Whether the common rule alone makes it."""
        return not set(self.entry) - _RULE_KEYS and (self.shape is not None or self.values is not None)


@dataclass(frozen=True)
class Piece:
    """A stored part of an output.

    Attributes:
        file: its name inside the folder.
        key: of the tensor inside the file.
        slice: which part of the output it is, as text; None is all of it.
        shape: of the part, if stated.
    """

    file: str
    key: str
    slice: str | None
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class OutputSpec:
    """One expected output.

    Attributes:
        name: of the output.
        shape: of all of it, if stated.
        pieces: what is stored of it.
        statistics: of ``mean``, ``std`` and ``max_abs`` of all of it, those that are stated.
        tolerance: largest absolute difference that passes, the words that state it, or None for the common rule.
    """

    name: str
    shape: tuple[int, ...] | None
    pieces: tuple[Piece, ...]
    statistics: Mapping[str, Any]
    tolerance: float | str | None


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        name: unique in its folder.
        network: that it is about; None where the manifest says null.
        seed: of the weights; None where the manifest gives none.
        inputs: in the manifest's order.
        outputs: in the manifest's order.
        overrides: changes to weights, as the manifest states them.
        entry: the whole entry, for what only its system understands.
    """

    name: str
    network: str | None
    seed: int | None
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    overrides: tuple[Mapping[str, Any], ...]
    entry: Mapping[str, Any]


@dataclass(frozen=True)
class NetworkSpec:
    """One network.

    Attributes:
        name: of the network.
        hyperparameters: what its constructor is given.
        parameters: how many numbers are trained, if stated.
        tensors: (name, shape, type) in the checkpoint's order, if listed.
    """

    name: str
    hyperparameters: Mapping[str, Any]
    parameters: int | None
    tensors: tuple[tuple[str, tuple[int, ...], str], ...] | None


@dataclass(frozen=True)
class Manifest:
    """A parity folder's manifest.

    Attributes:
        folder: where it lies.
        system: the published system.
        networks: by name.
        cases: in order.
        entry: the whole document.
    """

    folder: Path
    system: str
    networks: Mapping[str, NetworkSpec]
    cases: tuple[Case, ...]
    entry: Mapping[str, Any]


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of a folder.

    Raises:
        InputError: no such folder, or it has no manifest.
        FormatError: the manifest cannot be understood; the message says where.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        what = "there is no such folder" if not folder.is_dir() else f"the folder has no {MANIFEST}"
        raise InputError(
            what, where=folder, remedy=f"A parity folder holds a {MANIFEST} and .safetensors files."
        )
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise FormatError(f"is larger than {_LARGEST_BYTES >> 20} MiB", where=path)
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"is not a JSON document ({str(error)[:120]})", where=path) from error
    try:
        return _manifest(folder, _mapping(document, "the manifest"))
    except FormatError as error:
        raise FormatError(error.what, where=path) from error


def _manifest(folder: Path, document: Mapping[str, Any]) -> Manifest:
    networks = {
        name: _network(name, _mapping(entry, f"network {name}"))
        for name, entry in _mapping(document.get("networks", {}), "networks").items()
    }
    cases = tuple(_case(entry, document) for entry in _list(document.get("cases", []), "cases"))
    names = [case.name for case in cases]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise FormatError(f"two cases are called {twice}")
    return Manifest(folder, _text(document.get("system"), "system"), networks, cases, document)


def _network(name: str, entry: Mapping[str, Any]) -> NetworkSpec:
    where = f"network {name}"
    stated: Any = next((entry[k] for k in ("hyperparameters", "constructor", "hyper") if k in entry), {})
    listed = entry.get("tensors")
    tensors = None
    if isinstance(listed, list):
        tensors = tuple(_tensor(row, where) for row in listed)
    parameters = entry.get("parameters")
    return NetworkSpec(
        name,
        stated if isinstance(stated, Mapping) else {},
        None if parameters is None else _integer(parameters, f"{where}: parameters"),
        tensors,
    )


def _tensor(row: Any, where: str) -> tuple[str, tuple[int, ...], str]:
    if not isinstance(row, list) or len(row) != 3:
        raise FormatError(f"{where}: a tensor must be [name, shape, type], got {str(row)[:80]}")
    name = _text(row[0], f"{where}: a tensor's name")
    return name, _shape(row[1], f"{where}: {name}"), _text(row[2], f"{where}: {name}: type")


def _case(value: Any, document: Mapping[str, Any]) -> Case:
    entry = _mapping(value, "a case")
    name = _text(entry.get("name"), "a case's name")
    network = entry.get("network")
    seed = _seed(entry.get("seed", entry.get("weights_seed")), name)
    input_seed = _seed(entry.get("input_seed", seed), name)
    inputs = tuple(
        _input(key, _mapping(item, f"{name}: input {key}"), input_seed, name)
        for key, item in _named(entry.get("inputs", []), f"{name}: inputs")
    )
    outputs = tuple(
        _output(key, _mapping(item, f"{name}: output {key}"), entry, document)
        for key, item in _named(entry.get("outputs", []), f"{name}: outputs")
    )
    overrides = tuple(
        _mapping(item, f"{name}: override")
        for item in _list(entry.get("overrides", []), f"{name}: overrides")
    )
    network = None if network is None else _text(network, f"{name}: network")
    return Case(name, network, seed, inputs, outputs, overrides, entry)


def _input(key: str, entry: Mapping[str, Any], seed: int | None, case: str) -> InputSpec:
    where = f"{case}: input {key}"
    shape = None
    if {"low", "high", "shape"} <= set(entry):
        shape = _shape(entry["shape"], where)
        if math.prod(shape) > _LARGEST_INPUT:
            raise FormatError(f"{where}: a shape of {list(shape)} is too large")
    return InputSpec(
        name=key,
        drawn_as=_text(entry.get("name", key), where),
        seed=_seed(entry.get("seed", seed), where),
        low=_number(entry.get("low", 0.0), f"{where}: low"),
        high=_number(entry.get("high", 0.0), f"{where}: high"),
        shape=shape,
        values=entry.get("values"),
        entry=entry,
    )


def _output(
    name: str, entry: Mapping[str, Any], case: Mapping[str, Any], document: Mapping[str, Any]
) -> OutputSpec:
    where = f"{case['name']}: output {name}"
    file = entry.get("file", case.get("file"))
    parts = entry.get("tensors")
    if parts is None:
        key = entry.get("tensor", entry.get("key", name))
        stored = {"key": key, "slice": entry.get("slice", entry.get("stored"))}
        parts = [stored | ({"shape": entry["stored_shape"]} if "stored_shape" in entry else {})]
    tolerance = entry.get("tolerance", case.get("tolerance", document.get("tolerance")))
    if isinstance(tolerance, int | float):
        tolerance = _number(tolerance, f"{where}: tolerance")
        if tolerance < 0:
            raise FormatError(f"{where}: a negative tolerance")
    return OutputSpec(
        name=name,
        shape=_shape(entry["shape"], where) if entry.get("shape") is not None else None,
        pieces=tuple(_piece(_mapping(part, where), file, where) for part in _list(parts, where)),
        statistics={key: entry[key] for key in ("mean", "std", "max_abs") if key in entry},
        tolerance=None
        if tolerance is None
        else tolerance
        if isinstance(tolerance, float)
        else str(tolerance),
    )


def _piece(entry: Mapping[str, Any], file: Any, where: str) -> Piece:
    name = _text(entry.get("file", file), f"{where}: file")
    if Path(name).name != name or name in (".", ".."):
        raise FormatError(f"{where}: the file {name[:80]} is not inside the folder")
    text = entry.get("slice")
    return Piece(
        file=name,
        key=_text(entry.get("key"), f"{where}: key"),
        slice=None if text in (None, "whole") else _text(text, f"{where}: slice"),
        shape=_shape(entry["shape"], where) if entry.get("shape") is not None else None,
    )


def _named(value: Any, where: str) -> list[tuple[str, Any]]:
    """The (name, entry) pairs of a dictionary, or of a list whose entries say their names."""
    if isinstance(value, Mapping):
        pairs = list(value.items())
    else:
        pairs = [(_text(_mapping(item, where).get("name"), where), item) for item in _list(value, where)]
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise FormatError(f"{where}: a name stands there twice")
    return pairs


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise FormatError(f"{where} must be an object, got {type(value).__name__}")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise FormatError(f"{where} must be a list, got {type(value).__name__}")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.isprintable() or not value:
        raise FormatError(f"{where} must be a text, got {str(value)[:80]}")
    return value


def _integer(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise FormatError(f"{where} must be a whole number, got {str(value)[:80]}")
    return value


def _seed(value: Any, where: str) -> int | None:
    if value is None:
        return None
    if _integer(value, f"{where}: seed") < 0:
        raise FormatError(f"{where}: a negative seed")
    return int(value)


def _number(value: Any, where: str) -> float:
    if not is_number(value):
        raise FormatError(f"{where} must be a finite number, got {str(value)[:80]}")
    return float(value)


def is_number(value: Any) -> bool:
    """Whether it is a number that float64 can hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _shape(value: Any, where: str) -> tuple[int, ...]:
    sizes = tuple(_integer(n, f"{where}: shape") for n in _list(value, f"{where}: shape"))
    if any(n < 0 for n in sizes):
        raise FormatError(f"{where}: a shape of {list(sizes)}")
    return sizes
