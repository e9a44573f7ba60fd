"""Running the cases of a parity folder: every published network against the numbers it has to reproduce."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from omote.errors import InputError, OmoteError
from omote.evaluation.parity.compare import Row, StoredFiles, compare
from omote.evaluation.parity.manifest import Case, Manifest, read_manifest
from omote.evaluation.parity.networks import NetworkPool, check_network
from omote.evaluation.parity.rules import draw_input
from omote.evaluation.parity.systems import Call, System, get_system

Array = np.ndarray
Progress = Callable[[int, int, str], None]
"""Called with (cases done, cases in all, the case that is next)."""


@dataclass(frozen=True)
class CaseResult:
    """How one case went.

    Attributes:
        case: its name.
        rows: one for each output.
        problem: why no output could be computed; None where they were.
        seconds: it took.
    """

    case: str
    rows: tuple[Row, ...] = ()
    problem: str | None = None
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether there are outputs and all agree."""
        return self.problem is None and bool(self.rows) and all(row.passed for row in self.rows)


@dataclass(frozen=True)
class FolderResult:
    """How one folder went.

    Attributes:
        folder: its path.
        system: of its manifest.
        networks: what of each network differs from the manifest; an empty list is agreement.
        cases: in the manifest's order.
        problem: why nothing could be run; None where it was.
    """

    folder: Path
    system: str | None = None
    networks: dict[str, list[str]] = field(default_factory=dict)
    cases: tuple[CaseResult, ...] = ()
    problem: str | None = None

    @property
    def passed(self) -> bool:
        """Whether all networks and cases agree; a folder without cases does not."""
        return (
            self.problem is None
            and bool(self.cases)
            and not any(self.networks.values())
            and all(case.passed for case in self.cases)
        )

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values, with the verdicts."""
        return {
            "folder": str(self.folder),
            "system": self.system,
            "passed": self.passed,
            "problem": self.problem,
            "networks": [
                {"network": name, "passed": not problems, "problems": problems}
                for name, problems in self.networks.items()
            ],
            "cases": [
                {
                    "case": case.case,
                    "passed": case.passed,
                    "problem": case.problem,
                    "seconds": round(case.seconds, 3),
                    "outputs": [asdict(row) | {"passed": row.passed} for row in case.rows],
                }
                for case in self.cases
            ],
        }


def run_folder(
    folder: str | Path, *, pattern: str = "*", progress: Progress | None = None, system: System | None = None
) -> FolderResult:
    """Run the cases of a folder.

    Args:
        folder: with a manifest.json and safetensors files.
        pattern: only cases whose name matches (shell wildcards); the networks are always checked.
        progress: called before each case and at the end.
        system: how networks are built and called; default: the registered one that the manifest names.

    Raises:
        InputError: no such folder, or it has no manifest.
    """
    folder = Path(folder)
    try:
        manifest = read_manifest(folder)
    except InputError:
        raise
    except OmoteError as error:
        return FolderResult(folder, problem=str(error))
    try:
        system = system or get_system(manifest.system)
    except InputError as error:
        return FolderResult(folder, manifest.system, problem=str(error))
    chosen = [case for case in manifest.cases if fnmatch.fnmatchcase(case.name, pattern)]
    if not chosen:
        what = "the manifest has no cases" if not manifest.cases else f"no case matches {pattern}"
        return FolderResult(folder, manifest.system, problem=what)
    networks = {spec.name: check_network(system, spec) for spec in manifest.networks.values()}
    results = _run_cases(chosen, manifest, system, progress)
    return FolderResult(folder, manifest.system, networks, results)


def _run_cases(
    cases: Sequence[Case], manifest: Manifest, system: System, progress: Progress | None
) -> tuple[CaseResult, ...]:
    # Seed by seed, so that the networks of one seed can be freed before those of the next are built.
    seeds = list(dict.fromkeys(case.seed for case in cases))
    results: dict[str, CaseResult] = {}
    with StoredFiles(manifest.folder) as files:
        for seed in seeds:
            pool = NetworkPool(system, manifest)
            for case in cases:
                if case.seed == seed:
                    if progress is not None:
                        progress(len(results), len(cases), case.name)
                    results[case.name] = _run_case(case, manifest, system, pool, files)
    if progress is not None:
        progress(len(cases), len(cases), "")
    return tuple(results[case.name] for case in cases)


def _run_case(
    case: Case, manifest: Manifest, system: System, pool: NetworkPool, files: StoredFiles
) -> CaseResult:
    import torch

    started = time.perf_counter()
    if not case.outputs:
        return CaseResult(case.name, problem="the manifest expects no outputs")
    files_named = {piece.file for spec in case.outputs for piece in spec.pieces}
    absent = sorted(name for name in files_named if not (manifest.folder / name).is_file())
    if absent and len(absent) == len(
        files_named
    ):  # of a partial folder: large networks need not run to say so
        return CaseResult(case.name, problem=f"the file {absent[0]} is missing")
    try:
        inputs = {spec.name: _input(spec, system) for spec in case.inputs}
        with pool.for_case(case) as network, torch.no_grad():
            computed = system.compute(Call(case, inputs, manifest.entry, network))
        rows = tuple(compare(case, spec, computed, files, system) for spec in case.outputs)
    except OmoteError as error:
        return CaseResult(case.name, problem=str(error), seconds=time.perf_counter() - started)
    except Exception as error:  # noqa: BLE001 - one case that cannot be computed must not keep the others from running
        text = " ".join(str(error).split())[:160]
        problem = f"could not be computed ({type(error).__name__}: {text})"
        return CaseResult(case.name, problem=problem, seconds=time.perf_counter() - started)
    return CaseResult(case.name, rows, seconds=time.perf_counter() - started)


def _input(spec: Any, system: System) -> Array:
    if spec.is_plain:
        return draw_input(spec)
    if system.make_input is None:
        raise InputError(f"input {spec.name}: its rule is not known for {system.name}")
    drawn = draw_input(spec) if spec.shape is not None or spec.values is not None else None
    return system.make_input(spec, drawn)
