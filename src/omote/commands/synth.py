"""``omote synth``: render training data for rig inversion."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag
from omote.commands.rig_landmarks import open_with_landmarks
from omote.errors import OmoteError

if TYPE_CHECKING:
    from omote.commands.batch import Report
    from omote.rigs.protocol import Rig
    from omote.training.datasets.synthetic import SynthOptions


@dataclass(frozen=True)
class SynthArgs:
    """Render training data: pictures, normal maps, masks, rig controls, landmarks and vertices, as WebDataset shards.

    The recipe "paper" follows arXiv 2510.13933: every control alone, 20 combined expressions, then controls dropped,
    added and replaced at random; one camera, one three-point light. "wild" adds poses, cameras, skins, light,
    backgrounds, hair and glasses, heads and shapes of other hands, and what cameras and scanners do to pictures.
    A run that was stopped goes on where it was. The same seed gives the same samples, however many at a time.

    Examples:
      omote synth -o data/paper --recipe paper
      omote synth -o data/wild --recipe wild --count 40000 --size 320 --seed 1
      omote synth -o data/mine --rig hero.glb --count 5000 --no-vertices
    """

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")]
    """Folder of the shards; made if it is missing."""
    recipe: Annotated[Literal["paper", "wild"], tyro.conf.arg(metavar="paper|wild")] = "wild"
    """How expressions and pictures are chosen."""
    count: Annotated[int, tyro.conf.arg(metavar="N")] = 22_575
    """Samples in all."""
    size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 512
    """Width and height of the pictures."""
    seed: Annotated[int, tyro.conf.arg(metavar="NUMBER")] = 0
    """Of everything random; data sets of different seeds share no head."""
    rig: Annotated[str, tyro.conf.arg(metavar="facs|FILE")] = "facs"
    """The embedded rig, or a .glb, .gltf, .usd or a folder of .obj files with blendshapes."""
    identities: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """How many heads in all; 0: another one in each sample."""
    normals: Annotated[Literal["camera", "tangent"], tyro.conf.arg(metavar="camera|tangent")] = "camera"
    """Normals seen by the camera, as any scan can be rendered; or in the tangent frames of the neutral head."""
    per_shard: Annotated[int, tyro.conf.arg(metavar="N")] = 512
    """Samples in a shard."""
    vertices: Flag = True
    """Leave out the vertices (64 kB a sample)."""
    jobs: Annotated[int, tyro.conf.arg(metavar="N", help_behavior_hint=QUIET)] = 0
    """How many shards at a time; 0: one for each processor core."""
    json: Flag = False
    """Print what was made as JSON; no progress bars."""

    def run(self) -> int:
        """Render what is missing; return 0, or the exit code of the first shard that failed."""
        from omote.commands import batch
        from omote.media import write_image
        from omote.media.paths import sweep
        from omote.rigs.open import sha256_of_rig
        from omote.training.datasets.contact_sheet import dataset_sheet
        from omote.training.datasets.shards import is_whole, write_info
        from omote.training.datasets.synthetic import SynthOptions

        began = time.monotonic()
        options = SynthOptions(
            recipe=self.recipe,
            count=self.count,
            seed=self.seed,
            size=self.size,
            identities=self.identities,
            normals=self.normals,
            per_shard=self.per_shard,
            vertices=self.vertices,
        )
        rig, axes = open_with_landmarks(self.rig, quiet=self.json)
        info = options.describe(rig, sha256_of_rig(self.rig))
        write_info(self.output, info)
        sweep(self.output)
        names = info.shard_names()
        missing = [k for k, name in enumerate(names) if not is_whole(self.output / name)]
        tasks = [Shard(self.rig, axes, options, self.output, number) for number in missing]
        made, failed = 0, None
        with console.progress_bar(quiet=self.json) as progress:
            bar = progress.add_task("samples", total=len(missing) * self.per_shard)
            done: dict[int, int] = {}

            def on_progress(task: int, count: int, _: int | None) -> None:
                done[task] = count
                progress.update(bar, completed=sum(done.values()))

            jobs = self.jobs or batch.available_cores()
            for _, outcome in batch.run_batch(tasks, render_shard, jobs=jobs, on_progress=on_progress):
                if isinstance(outcome, batch.WorkerLost):
                    outcome = {"made": 0, "error": "a worker was killed", "exit_code": 1}
                made += outcome["made"]
                if outcome["error"]:
                    failed = failed or outcome
                    if outcome["exit_code"] == 2:  # a full disk stays full
                        break
        if failed:
            console.error(failed["error"])
            return int(failed["exit_code"])
        sheet = self.output / "contact_sheet.png"
        if made or not sheet.exists():
            write_image(sheet, dataset_sheet(self.output))
        seconds = time.monotonic() - began
        if self.json:
            facts = {"output": self.output, "shards": len(names), "samples": info.count, "rendered": made}
            console.say_json({**facts, "seconds": round(seconds, 2), "contact_sheet": sheet})
        elif made:
            rate = f"{made / max(seconds, 1e-6):.1f} a second"
            console.say(f"{self.output}: {made} samples rendered in {seconds:.1f} s ({rate})\n  {sheet}")
        else:
            console.say(f"{self.output}: already complete ({info.count} samples)\n  {sheet}")
        return 0


@dataclass(frozen=True)
class Shard:
    """One shard to render: the rig and its axes, the options and folder of the data set, and which."""

    rig: str
    axes: str
    options: SynthOptions
    folder: Path
    number: int


@lru_cache(maxsize=1)
def _rig(source: str, axes: str) -> Rig:
    return open_with_landmarks(source, axes=axes, quiet=True)[0]  # crops of the face need them


def render_shard(task: Shard, report: Report) -> dict[str, Any]:
    """Render one shard; gives how many samples were ``made``, the ``error`` if any, and its ``exit_code``."""
    import torch

    from omote.training.datasets.synthetic import make_shard

    torch.set_num_threads(1)
    try:
        made = make_shard(_rig(task.rig, task.axes), task.options, task.folder, task.number, report)
    except OmoteError as error:
        return {"made": 0, "error": str(error), "exit_code": error.exit_code}
    return {"made": made, "error": None, "exit_code": 0}
