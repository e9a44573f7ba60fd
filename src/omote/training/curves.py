"""The record of a training: one JSON line for each report, and the picture of its losses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omote.errors import InputError, OutputError
from omote.media import atomic_path


class Log:
    """``log.jsonl`` and ``loss.png`` of a run.

    Args:
        folder: of the run.
        step: lines after this step are dropped: they were lost in a kill and come again.

    Raises:
        OutputError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path, self.picture = folder / "log.jsonl", folder / "loss.png"
        self.entries = [e for e in _read(self.path) if e["step"] <= step]
        with atomic_path(self.path) as temporary:
            temporary.write_text("".join(json.dumps(e) + "\n" for e in self.entries) or "\n", "utf-8")

    def add(self, entry: dict[str, Any]) -> None:
        """Append one entry, which has a "step".

        Raises:
            OutputError: it cannot be written.
        """
        self.entries.append(entry)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise OutputError(f"cannot be written ({error.strerror or error})", where=self.path) from error

    def draw(self) -> None:
        """Draw training and validation loss over steps, both axes of the loss logarithmic.

        Raises:
            OutputError: the picture cannot be written.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        for kind, style in (("train", "-"), ("validation", "o-")):
            points = [(e["step"], e["loss"]) for e in self.entries if e.get("kind") == kind and e["loss"] > 0]
            if points:
                steps, losses = zip(*points, strict=True)
                axes.plot(steps, losses, style, label=kind, linewidth=1, markersize=3)
                axes.legend()
        axes.set(xlabel="step", ylabel="loss", yscale="log")
        axes.grid(alpha=0.3, which="both")
        with atomic_path(self.picture) as temporary:
            figure.savefig(temporary)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The entries of a run's log.

    Raises:
        InputError: there is none.
    """
    path = folder / "log.jsonl"
    if not path.is_file():
        raise InputError("no training was run here (there is no log.jsonl)", where=folder)
    return _read(path)


def _read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; the last one may be cut off."""
    found = []
    if path.is_file():
        for line in path.read_text("utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and isinstance(entry.get("step"), int):
                found.append(entry)
    return found
