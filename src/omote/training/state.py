"""What a training writes down to go on after a kill, and the check that it goes on with the same options."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from omote.errors import FormatError, InputError, OutputError
from omote.media import atomic_path

_VERSION = 1


@dataclass
class Position:
    """Where a training is.

    Attributes:
        step: optimiser steps done.
        epoch: passes over the data done.
        batch: batches of the present pass done.
        seconds: spent, over all resumptions.
        best: the smallest validation loss so far; infinite before the first.
        stale: validations since.
        done: why it ended, or "".
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    stale: int = 0
    done: str = ""


def save_state(path: Path, position: Position, options: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Write the whole state of a training, replacing the last one only when complete.

    Args:
        path: such as ``RUN/last.pt``.
        position: where it is.
        options: what a resumption must agree with; plain JSON values.
        parts: state dictionaries by name (network, average, optimiser, random numbers).

    Raises:
        OutputError: the place cannot be written to, or the disk is full.
    """
    whole = {"version": _VERSION, "position": asdict(position), "options": dict(options), **parts}
    try:
        with atomic_path(path) as temporary:
            torch.save(whole, temporary)
    except RuntimeError as error:  # torch's writer hides the reason; a short write means a full disk
        what = "the state of the training cannot be written; is the disk full?"
        raise OutputError(
            what, where=path, remedy="Free some space and run the same command again."
        ) from error


def load_state(path: Path, options: Mapping[str, Any]) -> tuple[Position, dict[str, Any]]:
    """Read what `save_state` wrote.

    Returns:
        Where the training was, and the parts, on the CPU.

    Raises:
        FormatError: not such a file, or damaged.
        InputError: it was started with other options; the message names those that differ.
    """
    try:
        whole = torch.load(path, map_location="cpu", weights_only=True)
        if whole.pop("version") != _VERSION:
            raise ValueError("another version")
        position, before = Position(**whole.pop("position")), dict(whole.pop("options"))
    except (
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        pickle.UnpicklingError,
    ) as e:
        remedy = "Start again with --overwrite."
        raise FormatError("the state of a training cannot be read from it", where=path, remedy=remedy) from e
    old, new = _flat(before), _flat(options)
    differing = [
        f"{name} {_short(old.get(name))} -> {_short(new.get(name))}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    if differing:
        remedy = "Use the same options, another output folder, or --overwrite to start again."
        raise InputError(
            f"started with other options: {', '.join(differing)}", where=path.parent, remedy=remedy
        )
    return position, whole


def random_state() -> dict[str, Any]:
    """The state of torch's random numbers."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """The inverse of `random_state`."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options within options become entries of their own: {"rate": {"peak": 1}} is {"rate.peak": 1}."""
    made: dict[str, Any] = {}
    for name, value in options.items():
        inner = {f"{name}.{n}": v for n, v in value.items()} if isinstance(value, Mapping) else {name: value}
        made |= inner
    return made


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
