"""How a training goes, for people who wait: a bar, and a line for each validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omote.commands import console

SHOWN = ("loss", "mae", "correlation", "psnr", "gain", "eye_ratio", "lip_ratio", "shoulders")
"""What of a validation fits on a line, where it is there."""


class Progress:
    """How a training goes: a bar on a terminal, and a line on standard error for each validation."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.validation: dict[str, float] = {}
        self._bar = console.progress_bar(quiet=quiet)
        self._task = self._bar.add_task("starting", total=1.0)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, kind: str, numbers: Mapping[str, Any]) -> None:
        """Show what the engine says."""
        if kind == "preparing":
            self._bar.update(self._task, description=numbers["what"])
        elif kind == "step":
            speed = f"{numbers['images_per_second']:.0f} images/s"
            text = f"step {numbers['step']} pass {numbers['epoch'] + 1}  loss {numbers['loss']:.4g}  {speed}"
            self._bar.update(self._task, description=text, completed=numbers["progress"])
        elif kind == "validation":
            plain = {n: v for n, v in numbers.items() if isinstance(v, float) and n != "seconds"}
            self.validation = plain
            if not self.quiet:
                shown = "  ".join(f"{name} {plain[name]:.4g}" for name in SHOWN if name in plain)
                best = "  (best)" if plain.get("loss") == plain.get("best") else ""
                self._bar.console.print(
                    f"step {numbers['step']}, {span(numbers['seconds'])}: validation {shown}{best}",
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )


def span(seconds: float) -> str:
    """Such as "1 h 05 min"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
