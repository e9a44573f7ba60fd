"""``omote parity``: whether the networks here give the numbers that the published ones have to give."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag
from omote.errors import InputError

if TYPE_CHECKING:
    from omote.evaluation.parity import CaseResult, FolderResult


@dataclass(frozen=True)
class ParityArgs:
    """Run the cases of parity folders: our networks against expected numbers of the published ones.

    A folder holds a manifest.json and the expected outputs. Weights and inputs are made from names and seeds, so no
    checkpoint is needed. Every output is compared, and names, shapes and order of all tensors. The exit code is 0 if
    everything agrees, 1 if a case fails, is missing or cannot be compared.

    Examples:
      omote parity parity/liveportrait
      omote parity parity/liveportrait --case 'motion_extractor*'
      omote parity parity/* --json
    """

    folders: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR ...", help_behavior_hint=QUIET)
    ]
    """Parity folders."""
    case: Annotated[str, tyro.conf.arg(metavar="PATTERN", help_behavior_hint=QUIET)] = "*"
    """Only cases whose name matches, such as 'warping*' or '*_s1'."""
    json: Flag = False
    """Print a JSON list with one object for each folder."""

    def run(self) -> int:
        """Run the folders and print the table; return 0 if everything agrees, else 1."""
        from omote.evaluation.parity import run_folder
        from omote.evaluation.parity.manifest import MANIFEST

        if not self.folders:
            raise InputError("no folder was given", remedy="Try `omote parity DIR`.")
        for folder in self.folders:  # before anything takes its time
            if not (folder / MANIFEST).is_file():
                what = f"the folder has no {MANIFEST}" if folder.is_dir() else "there is no such folder"
                raise InputError(what, where=folder)
        results = []
        started = time.perf_counter()
        with console.progress_bar(quiet=self.json) as bars:
            for folder in self.folders:
                bar = bars.add_task(folder.name, total=None)

                def show(done: int, total: int, case: str, bar: object = bar, folder: Path = folder) -> None:
                    bars.update(bar, completed=done, total=total, description=f"{folder.name} {case}")  # type: ignore[arg-type]

                results.append(run_folder(folder, pattern=self.case, progress=show))
        if self.json:
            console.say_json([result.to_json() for result in results])
        else:
            for result in results:
                _show(result)
            if any(result.cases for result in results):
                _summarise(results, time.perf_counter() - started)
        return 0 if all(result.passed for result in results) else 1


def _show(result: FolderResult) -> None:
    """The table of one folder, or the one line that says why there is none."""
    if result.problem is not None:
        console.error(f"{result.folder}: {result.problem}")
        return
    table = console.table(
        "case",
        "output",
        "largest difference",
        "tolerance",
        "verdict",
        right=["largest difference", "tolerance"],
    )
    for name, problems in result.networks.items():
        table.add_row(f"network {name}", "tensors", "", "", _verdict(problems))
    for case in result.cases:
        if case.problem is not None:
            table.add_row(case.case, "", "", "", _verdict([case.problem]))
        for row in case.rows:
            difference = "" if row.difference is None else f"{row.difference:.2e}"
            tolerance = "" if row.tolerance is None else f"{row.tolerance:.2e}"
            table.add_row(case.case, row.output, difference, tolerance, _verdict(row.problems))
    console.show(table)


def _verdict(problems: list[str] | tuple[str, ...]) -> str:
    if not problems:
        return "pass"
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return f"FAIL: {'; '.join(problems[:3])}{more}"


def _summarise(results: list[FolderResult], seconds: float) -> None:
    cases: list[CaseResult] = [case for result in results for case in result.cases]
    outputs = [row for case in cases for row in case.rows]
    failed = [case.case for case in cases if not case.passed]
    failed += [
        f"network {name}" for result in results for name, problems in result.networks.items() if problems
    ]
    failed += [str(result.folder) for result in results if result.problem is not None]
    words = f"cases {len(cases)}, outputs {len(outputs)}, {seconds:.0f} s"
    if failed:
        names = f"{', '.join(failed[:8])}{' ...' if len(failed) > 8 else ''}"
        console.say(f"FAIL ({len(failed)}): {names}; {words}")
    else:
        console.say(f"pass: {words}")
