"""What the commands print: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from omote.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress


QUIET = ""
"""For ``tyro.conf.arg(help_behavior_hint=QUIET)``: no "(default: None)" after a text that says it all."""

Flag = Annotated[bool, tyro.conf.arg(help_behavior_hint=QUIET)]
"""A switch, whose help text does not repeat that it is off."""


def subcommand(name: str, form: type) -> Any:
    """What a subcommand's type is annotated with, so that its help keeps the examples of its docstring."""
    return tyro.conf.subcommand(name, description=inspect.getdoc(form))


def say(text: str = "") -> None:
    """Write a line of result to standard output."""
    sys.stdout.write(f"{text}\n")


def note(text: str) -> None:
    """Write a line for the person at the terminal to standard error."""
    if sys.stderr is not None:  # None where the program was started without one
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def error(text: str) -> None:
    """Write the one line that says what went wrong to standard error."""
    note(f"omote: error: {text}")


def say_json(value: Any) -> None:
    """Write one JSON document to standard output: NumPy numbers, arrays and paths become plain JSON."""
    say(json.dumps(value, indent=2, ensure_ascii=False, default=_plain, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, tensors
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def show(renderable: RenderableType) -> None:
    """Print a rich table or text to standard output."""
    stdout_console().print(renderable)


def stdout_console() -> Console:
    """A console on standard output; not cut to 80 columns in a pipe."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=200)


def progress_bar(*, quiet: bool = False) -> Progress:
    """Bars on standard error; nothing where that is not a terminal, or when ``quiet``."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
        transient=True,
    )


def table(*columns: str, title: str | None = None, right: Iterable[str] = ()) -> Any:
    """A plain rich table; the columns named in ``right`` are aligned to the right."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in set(right) else "left", overflow="fold")
    return made


def pick(value: str, choices: Sequence[str], what: str, option: str) -> str:
    """``value`` if it is one of ``choices``.

    Raises:
        InputError: with the nearest spelling, or all choices.
    """
    if value in choices:
        return value
    near = get_close_matches(value.lower(), choices, n=1, cutoff=0.5)
    remedy = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(choices)}."
    raise InputError(f"no {what} is called '{value}'", where=option, remedy=remedy)
