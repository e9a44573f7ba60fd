"""``omote info``: what is in a performance, a photo or a video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag
from omote.errors import InputError


@dataclass(frozen=True)
class InfoArgs:
    """Tell what is in performances, photos and videos.

    Examples:
      omote info me.omote
      omote info take.livelink.csv laugh.pkl me.mp4
      omote info out/*.omote --json
    """

    paths: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE ...", help_behavior_hint=QUIET)
    ]
    """Performances (.omote, CSV, JSON, .npz, .pkl), photos and videos."""
    json: Flag = False
    """Print a JSON list with one object for each file."""

    def run(self) -> int:
        """Print the facts; return 0."""
        if not self.paths:
            raise InputError("no file was given", remedy="Try `omote info me.omote`.")
        facts = [{"file": str(path), **describe(path)} for path in self.paths]
        if self.json:
            console.say_json(facts)
            return 0
        for index, entry in enumerate(facts):
            if index:
                console.say()
            console.say(str(entry.pop("file")))
            for line in _lines(entry, "  "):
                console.say(line)
        return 0


def describe(path: Path) -> dict[str, Any]:
    """The facts about one file, by its kind.

    Raises:
        InputError: missing, unreadable, or of no kind that Omote knows.
        FormatError: malformed.
    """
    from omote import media

    kind = media.classify(path)
    if kind == "image":
        height, width = media.read_image(path).shape[:2]
        return {"kind": "photo", "size": f"{width} x {height} px"}
    if kind == "video":
        with media.open_video(path) as video:
            width, height = video.size
            return {
                "kind": "video",
                "size": f"{width} x {height} px",
                "frames per second": round(video.fps, 3),
                "seconds": None if video.duration is None else round(video.duration, 3),
                "sound": video.has_audio,
            }
    from omote import export

    return {"kind": "performance", **export.read(path).info()}


def _lines(facts: Mapping[str, Any], indent: str) -> list[str]:
    """Indented ``key: value`` lines; nested mappings one step further in."""
    lines = []
    for key, value in facts.items():
        name = str(key).replace("_", " ")
        if isinstance(value, Mapping):
            lines += [f"{indent}{name}:", *_lines(value, indent + "  ")]
        elif isinstance(value, list | tuple) and value and all(isinstance(item, Mapping) for item in value):
            lines += [f"{indent}{name}:", *(f"{indent}  {_entry(item)}" for item in value)]
        else:
            lines.append(f"{indent}{name}: {_plain(value)}")
    return lines


def _entry(item: Mapping[str, Any]) -> str:
    """One line for a small mapping; a control and its span as ``name: low..high``."""
    if item.keys() == {"control", "low", "high"}:
        low, high = _plain(item["low"]), _plain(item["high"])
        return f"{item['control']}: {low if low == high else f'{low}..{high}'}"
    return ", ".join(f"{key} {_plain(value)}" for key, value in item.items())


def _plain(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value) or "none"
    return str(value)
