"""``omote weights``: the model files, where they are and whether they are sound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from omote.commands import console
from omote.commands.console import Flag
from omote.errors import WeightsError

if TYPE_CHECKING:
    from omote.weights import Weight


@dataclass(frozen=True)
class WeightsListArgs:
    """List the model files that Omote uses: size, licence, and where each is on this machine.

    Examples:
      omote weights list
      omote weights list --json
    """

    json: Flag = False
    """Print a JSON list with one object for each file."""

    def run(self) -> int:
        """Print the table; return 0."""
        from omote import weights

        rows = [_describe(weight, _found(weight.name)) for weight in weights.list_weights()]
        if self.json:
            console.say_json(rows)
            return 0
        table = console.table("name", "MB", "licence", "permits", "where", right=["MB"])
        for row in rows:
            where = row["path"] or "not here: `omote weights fetch`"
            table.add_row(row["name"], f"{row['size'] / 1e6:.1f}", row["licence"], row["permits"], str(where))
        console.show(table)
        return 0


@dataclass(frozen=True)
class WeightsVerifyArgs:
    """Read the model files that are on this machine again and compare them with the published checksums.

    Examples:
      omote weights verify
    """

    json: Flag = False
    """Print a JSON list with one object for each file."""

    def run(self) -> int:
        """Print a line for each file; return 0, or 2 if one is missing or damaged."""
        from omote import weights

        rows, code = [], 0
        for weight in weights.list_weights():
            try:
                rows.append({**_describe(weight, weights.verify(weight.name)), "sound": True, "error": None})
            except WeightsError as error:
                code = error.exit_code
                rows.append({**_describe(weight, None), "sound": False, "error": str(error)})
        if self.json:
            console.say_json(rows)
            return code
        for row in rows:
            if row["sound"]:
                console.say(f"{row['name']}: sound ({row['path']})")
            else:
                console.error(f"{row['name']}: {row['error']}")
        return code


@dataclass(frozen=True)
class WeightsFetchArgs:
    """Get the model files that are missing. Capture does this by itself when it needs one.

    Examples:
      omote weights fetch
    """

    json: Flag = False
    """Print a JSON list with one object for each file."""

    def run(self) -> int:
        """Download what is missing; return 0."""
        from omote import weights

        rows = [_describe(weight, ensure(weight.name, quiet=self.json)) for weight in weights.list_weights()]
        if self.json:
            console.say_json(rows)
        else:
            for row in rows:
                console.say(f"{row['name']}: {row['path']}")
        return 0


@dataclass(frozen=True)
class WeightsArgs:
    """The model files: list them, check them, or get the missing ones.

    Examples:
      omote weights list
      omote weights verify
    """

    command: (
        Annotated[WeightsListArgs, tyro.conf.subcommand("list")]
        | Annotated[WeightsVerifyArgs, tyro.conf.subcommand("verify")]
        | Annotated[WeightsFetchArgs, tyro.conf.subcommand("fetch")]
    )

    def run(self) -> int:
        """Run the chosen command."""
        return self.command.run()


def ensure(name: str, *, quiet: bool) -> Path:
    """The path of a model file, downloaded with a progress bar if it is not on this machine.

    Raises:
        WeightsError: it is not here and cannot be downloaded.
    """
    from omote import weights

    found = _found(name)
    if found is not None:
        return found
    with console.progress_bar(quiet=quiet) as progress:
        bar = progress.add_task(f"downloading {name}", total=None)
        return weights.locate(
            name, progress=lambda done, total: progress.update(bar, completed=done, total=total)
        )


def _found(name: str) -> Path | None:
    from omote import weights

    try:
        return weights.locate(name, download=False)
    except WeightsError:
        return None


def _describe(weight: Weight, path: Path | None) -> dict[str, Any]:
    return {
        "name": weight.name,
        "size": weight.size,
        "sha256": weight.sha256,
        "licence": weight.licence,
        "permits": weight.permits,
        "path": None if path is None else str(path),
    }
