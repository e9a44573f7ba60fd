"""``omote capture``: photos, videos and folders become performances and the files made from them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag

if TYPE_CHECKING:
    from omote.commands.tasks import Task


@dataclass(frozen=True)
class CaptureArgs:
    """Capture photos, videos and scans: rig controls, head pose, identity and camera, saved as .omote files.

    Each result NAME.omote comes with a picture or video NAME_overlay of how the rig sits on the face, and
    with the files asked for by --to. A run that was stopped goes on where it was: what is complete is not
    made again, unless the input or the options have changed.

    Examples:
      omote capture me.jpg
      omote capture take.mp4 --to glb,livelink -o out
      omote capture photos/ -o out --jobs 4
      omote capture group.jpg --face all
      omote capture shaky.mp4 --smooth 0.8 --no-overlay --json
      omote capture scans/*.obj --to arkit
      omote capture render.png --method inversion --normals render_normals.png
      omote capture take.mp4 --method inversion --rig hero.glb --weights run/model.safetensors --to glb
    """

    paths: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="PHOTO|VIDEO|SCAN|FOLDER ...", help_behavior_hint=QUIET),
    ]
    """Photos, videos, scans (.obj, .ply, .glb), and folders of photos and videos (without their subfolders)."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")] = Path("omote_output")
    """Folder for the results; made if it is missing."""
    to: Annotated[str, tyro.conf.arg(metavar="FORMATS", help_behavior_hint=QUIET)] = ""
    """More files to write, such as glb,livelink (`omote export --help` lists all)."""
    method: Annotated[str, tyro.conf.arg(metavar="landmarks|inversion", help_behavior_hint=QUIET)] = ""
    """Fit the head to landmarks, or let a network read the controls off the picture. By default landmarks; for scans
    inversion."""
    weights: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint=QUIET)] = None
    """Another network for inversion, as `omote train inversion` writes it."""
    rig: Annotated[str, tyro.conf.arg(metavar="facs|FILE")] = "facs"
    """For inversion, the rig that --weights was trained for: the results are in its controls, and --to glb is its own
    file with the take as an animation."""
    normals: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint=QUIET)] = None
    """A photo's normal map for inversion: camera space, as large as the photo."""
    face: Annotated[str, tyro.conf.arg(metavar="largest|all|NUMBER")] = "largest"
    """Which face, if there are several: the largest, all, or a number counted from 0, largest first."""
    texture: Annotated[str, tyro.conf.arg(metavar="photo|photo-lit|paint", help_behavior_hint=QUIET)] = (
        "photo"
    )
    """What the head of a glb or obj wears: the photo with its light evened out, the photo as it is, or paint."""
    consent: Annotated[str | None, tyro.conf.arg(metavar="TEXT", help_behavior_hint=QUIET)] = None
    """Who agreed to what, in plain words; it travels in the .omote file and in what is signed later."""
    smooth: Annotated[float, tyro.conf.arg(metavar="0..1")] = 0.5
    """Strength of smoothing over time, 0 (off) to 1; without lag. Photos are not affected."""
    overlay: Flag = True
    """Leave out the overlay picture or video."""
    overwrite: Flag = False
    """Make everything again, even what is complete."""
    jobs: Annotated[int, tyro.conf.arg(metavar="N", help_behavior_hint=QUIET)] = 0
    """How many files at a time; 0: one for each processor core."""
    json: Flag = False
    """Print what was made as JSON; no progress bars."""

    def run(self) -> int:
        """Capture everything; return 0 if each file now has its results, else the highest exit code."""
        from omote.commands import tasks

        began = time.monotonic()
        results = capture_all(tasks.plan(self), jobs=self.jobs, quiet=self.json)
        if self.json:
            seconds = round(time.monotonic() - began, 3)
            console.say_json({"output": self.output, "seconds": seconds, "results": results})
        elif len(results) > 1:
            console.show(_summary(results))
        else:
            _tell(results[0])
        for result in results:
            if result["error"]:
                console.error(result["error"])
        return max(result["exit_code"] for result in results)


def capture_all(todo: Sequence[Task], *, jobs: int, quiet: bool) -> list[dict[str, Any]]:
    """Run the tasks, several at a time, with a bar for each and one for all.

    What another run is working on comes last; its results are waited for.

    Args:
        todo: at least one task.
        jobs: at a time; 0 is one for each core.
        quiet: no progress on standard error.

    Returns:
        One dictionary a task, in the order of the tasks; see `omote.commands.work.capture_task`.
    """
    from omote.commands import batch
    from omote.commands.weights import ensure

    jobs = jobs or batch.available_cores()
    ensure("face_landmarker", quiet=quiet)
    results = _run(todo, range(len(todo)), jobs=jobs, quiet=quiet)
    busy = [index for index, result in results.items() if result["status"] == "busy"]
    if busy:
        if not quiet:
            console.note(f"omote: note: {results[busy[0]]['error']}; waiting for it")
        waiting = {index: replace(todo[index], wait=True) for index in busy}
        results.update(_run({**dict(enumerate(todo)), **waiting}, busy, jobs=jobs, quiet=quiet))
    return [results[index] for index in range(len(todo))]


def _run(
    todo: Sequence[Task] | Mapping[int, Task], indices: Sequence[int], *, jobs: int, quiet: bool
) -> dict[int, dict[str, Any]]:
    from omote.commands import batch, work

    chosen = [todo[index] for index in indices]
    results: dict[int, dict[str, Any]] = {}
    bars: dict[int, Any] = {}
    with console.progress_bar(quiet=quiet) as progress:
        overall = progress.add_task("files", total=len(chosen), visible=len(chosen) > 1)

        def on_progress(position: int, done: int, total: int | None) -> None:
            if position not in bars:
                bars[position] = progress.add_task(chosen[position].source.name, total=total)
            progress.update(bars[position], completed=done, total=total)

        for position, outcome in batch.run_batch(
            chosen, work.capture_task, jobs=jobs, on_progress=on_progress
        ):
            task = chosen[position]
            result = work.lost(task) if isinstance(outcome, batch.WorkerLost) else outcome
            results[indices[position]] = result
            if position in bars:
                progress.remove_task(bars.pop(position))
            progress.advance(overall)
            if not quiet and progress.disable and len(chosen) > 1:
                console.note(f"[{len(results)}/{len(chosen)}] {task.source}: {result['status']}")
    return results


def _tell(result: dict[str, Any]) -> None:
    for warning in result["warnings"]:
        console.note(f"omote: note: {result['input']}: {warning}")
    if result["exit_code"]:
        return
    done = "already complete" if result["status"] == "complete" else f"captured in {result['seconds']:.1f} s"
    console.say(f"{result['input']}: {done}")
    for output in result["outputs"]:
        console.say(f"  {output}")


def _summary(results: list[dict[str, Any]]) -> Any:
    right = ("frames", "faces", "confidence", "seconds")
    table = console.table("input", "status", *right, "made", "note", right=right)
    for result in results:
        confidence = result["confidence"]
        table.add_row(
            Path(result["input"]).name,
            result["status"],
            str(result["frames"] or ""),
            str(result["faces"] or ""),
            "" if confidence is None else f"{confidence:.2f}",
            f"{result['seconds']:.1f}",
            " ".join(Path(output).name for output in result["outputs"]),
            "; ".join(result["warnings"]),
        )
    return table
