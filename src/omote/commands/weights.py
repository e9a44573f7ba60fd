"""``omote weights``: the model files, where they are and whether they are sound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag, subcommand
from omote.errors import WeightsError

if TYPE_CHECKING:
    from omote.weights import WeightSet

Names = Annotated[
    tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME ...", help_behavior_hint=QUIET)
]


@dataclass(frozen=True)
class WeightsListArgs:
    """List the model files that Omote uses: size, licence, and where each is on this machine.

    With the name of a published system, each of its files: where it comes from and its sha256.

    Examples:
      omote weights list
      omote weights list liveportrait
      omote weights list --commercial-safe
      omote weights list --json
    """

    names: Names = ()
    """Which; default: all."""
    commercial_safe: Flag = False
    """Leave out what its licence forbids to use commercially, and say so."""
    json: Flag = False
    """Print a JSON list with one object for each file or set of files."""

    def run(self) -> int:
        """Print the table; return 0."""
        from omote import weights
        from omote.commands.weights_rows import not_needed_row, set_row, weight_row

        singles, sets = _chosen(self.names)
        rows = [weight_row(weights.get_weight(name), _found(name)) for name in singles]
        rows += [set_row(known) for known in sets]
        spare = [] if self.names else [not_needed_row(known) for known in weights.list_not_needed()]
        if self.commercial_safe:
            for row in (*rows, *spare):
                if not row["commercial"]:
                    console.note(f"omote: note: {row['name']} left out: {row['licence']}, {row['permits']}")
            rows = [row for row in rows if row["commercial"]]
            spare = [row for row in spare if row["commercial"]]
        if self.json:
            console.say_json(rows + spare)
            return 0
        if self.names:
            for row in rows:
                _show_files(row)
            return 0
        table = console.table("name", "MB", "licence", "permits", "where", right=["MB"])
        for row in rows:
            size = f"{row['size'] / 1e6:.1f}"
            table.add_row(row["name"], size, row["licence"], row["permits"], _whereabouts(row))
        for row in spare:
            table.add_row(row["name"], "", row["licence"], row["permits"], f"not needed: {row['not_needed']}")
        console.show(table)
        return 0


@dataclass(frozen=True)
class WeightsGetArgs:
    """Download the model files of a published system, going on where an earlier attempt stopped.

    Size and sha256 are checked where they are published. Checkpoints are read without running anything in them
    and kept as safetensors. HF_ENDPOINT names a mirror of the Hugging Face hub, OMOTE_HOME the folder they go to.

    Examples:
      omote weights get liveportrait
      omote weights get liveportrait_animals --commercial-safe
      omote weights get face_landmarker
    """

    names: Names
    """Which; `omote weights list` has the names."""
    commercial_safe: Flag = False
    """Refuse what its licence forbids to use commercially."""
    json: Flag = False
    """Print a JSON list with one object for each file or set of files."""

    def run(self) -> int:
        """Download what is missing; return 0."""
        from omote import weights
        from omote.commands.weights_rows import set_row, weight_row

        if not self.names:
            raise WeightsError("no name was given", remedy="Try `omote weights get liveportrait`.")
        for name in self.names if self.commercial_safe else ():
            weights.require_commercial(name)
        singles, sets = _chosen(self.names)
        rows = []
        for name in singles:
            rows.append(weight_row(weights.get_weight(name), ensure(name, quiet=self.json)))
        for known in sets:
            ensure_set(known.name, quiet=self.json)
            rows.append(set_row(known))
        if self.json:
            console.say_json(rows)
            return 0
        for row in rows:
            console.say(f"{row['name']}: {row['path']} ({row['licence']}: {row['permits']})")
        return 0


@dataclass(frozen=True)
class WeightsImportArgs:
    """Take model files from a folder, or a single file, into the cache.

    They are recognised by their published paths, or by their names anywhere below the folder: the official .pth
    files and the community's safetensors. Names and shapes of all tensors are compared with the networks', nothing
    in a checkpoint is run, and what is kept is safetensors. The folder itself stays as it is.

    Examples:
      omote weights import LivePortrait/pretrained_weights
      omote weights import ComfyUI/models/liveportrait
      omote weights import Downloads/motion_extractor.pth --set liveportrait
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER", help_behavior_hint=QUIET)]
    """Where the files are."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...", help_behavior_hint=QUIET)] = ()
    """Only these systems; default: those of which something is found."""
    commercial_safe: Flag = False
    """Refuse what its licence forbids to use commercially."""
    json: Flag = False
    """Print a JSON list with one object for each file."""

    def run(self) -> int:
        """Print what was found, what is missing and what was already there; return 0, or 2 if a file was refused."""
        from omote import weights
        from omote.commands.weights_check import check_tensors
        from omote.commands.weights_rows import bytes_are, imported_row

        with console.progress_bar(quiet=self.json) as progress:
            bar = progress.add_task("reading", total=None)
            results = weights.import_files(
                self.folder,
                self.set,
                commercial_safe=self.commercial_safe,
                check=check_tensors,
                step=lambda name, done, total: progress.update(
                    bar, description=f"reading {name}".rstrip(), completed=done, total=total
                ),
            )
        code = max((one.error.exit_code for one in results if one.error is not None), default=0)
        if self.json:
            console.say_json([imported_row(one) for one in results])
            return code
        for one in results:
            name = f"{one.owner.name} {one.file.key}"
            if one.error is not None:
                console.error(str(one.error))
            elif one.stored is not None:
                whence = "" if one.source is None else f" from {one.source}"
                if one.status == "already here" and one.source is not None:
                    whence = f", the same as {one.source}"
                console.say(f"{name}: {one.status}{whence} ({bytes_are(one.published)})")
            else:
                console.say(f"{name}: missing; it is {one.file.origins[0].path} at {one.owner.page}")
        for path, other in weights.find_not_needed(self.folder):
            console.say(f"{other.name} {path.name}: not needed, left where it is ({other.licence.permits})")
        return code


@dataclass(frozen=True)
class WeightsVerifyArgs:
    """Read the model files that are on this machine again and compare them with the published checksums.

    Files of published systems are compared with what was put into the cache, and their origin with what is
    published. Systems of which nothing is here are passed over, unless they are named.

    Examples:
      omote weights verify
      omote weights verify liveportrait
      omote weights verify --commercial-safe
    """

    names: Names = ()
    """Which; default: all that is here."""
    commercial_safe: Flag = False
    """Report what is here and its licence forbids to use commercially."""
    json: Flag = False
    """Print a JSON list with one object for each file."""

    def run(self) -> int:
        """Print a line for each file; return 0, or 2 if one is missing, damaged or not permitted."""
        from omote import weights
        from omote.commands.weights_rows import bytes_are, verified_rows, weight_row

        singles, sets = _chosen(self.names)
        rows: list[dict[str, Any]] = []
        for name in singles:
            weight = weights.get_weight(name)
            try:
                row = {
                    **weight_row(weight, weights.verify(name)),
                    "sound": True,
                    "published": True,
                    "error": None,
                }
            except WeightsError as error:
                row = {**weight_row(weight, None), "sound": False, "published": None, "error": str(error)}
            rows.append(row)
        for known in sets:
            found = verified_rows(known)
            own = [row for row in found if row["of"] == known.name]
            if self.names:
                rows += found
            elif any(row["sound"] or row["error"] for row in own):
                rows += own
        for row in rows:
            if row["error"] is None and not row["sound"]:
                row["error"] = f"not on this machine: `omote weights get {row['name']}`"
            if self.commercial_safe and row["error"] is None:
                row["error"] = _refusal(row["name"])
        if self.json:
            console.say_json(rows)
        else:
            for row in rows:
                name = f"{row['name']} {row.get('key', '')}".strip()
                if row["error"] is None:
                    console.say(f"{name}: sound, {bytes_are(row['published'])} ({row['path']})")
                else:
                    console.error(f"{name}: {row['error']}")
        return 2 if any(row["error"] is not None for row in rows) else 0


@dataclass(frozen=True)
class WeightsFetchArgs:
    """Get the model files that everything needs. Capture does this by itself when it needs one.

    Examples:
      omote weights fetch
    """

    json: Flag = False
    """Print a JSON list with one object for each file."""

    def run(self) -> int:
        """Download what is missing; return 0."""
        from omote import weights
        from omote.commands.weights_rows import weight_row

        rows = [weight_row(weight, ensure(weight.name, quiet=self.json)) for weight in weights.list_weights()]
        if self.json:
            console.say_json(rows)
        else:
            for row in rows:
                console.say(f"{row['name']}: {row['path']}")
        return 0


@dataclass(frozen=True)
class WeightsArgs:
    """The model files: list them, check them, get the missing ones, or import what you have.

    Examples:
      omote weights list
      omote weights get liveportrait
      omote weights import LivePortrait/pretrained_weights
      omote weights verify
    """

    command: (
        Annotated[WeightsListArgs, subcommand("list", WeightsListArgs)]
        | Annotated[WeightsGetArgs, subcommand("get", WeightsGetArgs)]
        | Annotated[WeightsImportArgs, subcommand("import", WeightsImportArgs)]
        | Annotated[WeightsVerifyArgs, subcommand("verify", WeightsVerifyArgs)]
        | Annotated[WeightsFetchArgs, subcommand("fetch", WeightsFetchArgs)]
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
    with _Bars(quiet) as bars:
        return weights.locate(name, progress=lambda done, total: bars.update(name, done, total))


def ensure_set(name: str, *, quiet: bool) -> dict[str, Path]:
    """The files of a published system, downloaded with a progress bar for each that is not on this machine.

    Raises:
        WeightsError: some are not here and cannot be downloaded.
    """
    from omote import weights
    from omote.commands.weights_check import check_tensors

    with _Bars(quiet) as bars:
        return weights.fetch_set(name, check=check_tensors, progress=bars.update)


class _Bars:
    """A progress bar for each file."""

    def __init__(self, quiet: bool) -> None:
        self._progress = console.progress_bar(quiet=quiet)
        self._bars: dict[str, Any] = {}

    def __enter__(self) -> _Bars:
        self._progress.__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        self._progress.__exit__(*reason)

    def update(self, name: str, done: int, total: int) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(f"downloading {name}", total=total)
        self._progress.update(self._bars[name], completed=done, total=total)


def _chosen(names: tuple[str, ...]) -> tuple[list[str], list[WeightSet]]:
    """The single files and the sets of these names; all, if there are none.

    Raises:
        WeightsError: no such name, or one that Omote does without.
    """
    from omote import weights

    singles = [weight.name for weight in weights.list_weights()]
    if not names:
        return singles, list(weights.list_sets())
    return [name for name in names if name in singles], [
        weights.get_set(name) for name in names if name not in singles
    ]


def _refusal(name: str) -> str | None:
    from omote import weights

    try:
        weights.require_commercial(name)
    except WeightsError as error:
        return error.what
    return None


def _whereabouts(row: dict[str, Any]) -> str:
    if row["path"] is not None:
        return str(row["path"])
    files = row.get("files")
    if files is None:
        return "not here: `omote weights fetch`"
    here = sum(file["path"] is not None for file in files)
    some = f"{here} of {len(files)} files here" if here else "not here"
    return f"{some}: `omote weights get {row['name']}`"


def _show_files(row: dict[str, Any]) -> None:
    """What there is to know of one file, or of each file of a set."""
    console.say(f"{row['name']}: {row['licence']}, {row['permits']}")
    console.say(f"  from {row['origin']}")
    for file in row.get("files", ()):
        size = f"{file['size'] / 1e6:.1f} MB" if file["size"] else f"about {file['about'] / 1e6:.0f} MB"
        console.say(f"{file['key']}: {file['published_path']}, {size}")
        console.say(f"  address  {file['url'] or 'none: to be had from the page above'}")
        console.say(f"  sha256   {file['sha256'] or 'not published'}")
        console.say(f"  here     {file['error'] or file['path'] or 'no'}")
        if file["from_sha256"] not in (None, file["sha256"]):
            console.say(f"           made from {file['from']}, sha256 {file['from_sha256']}")
    if "files" not in row:
        console.say(f"  sha256   {row['sha256']}, {row['size']} bytes")
        console.say(f"  here     {row['path'] or 'no'}")


def _found(name: str) -> Path | None:
    from omote import weights

    try:
        return weights.locate(name, download=False)
    except WeightsError:
        return None
