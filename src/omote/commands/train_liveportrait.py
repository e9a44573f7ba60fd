"""``omote train liveportrait`` and ``omote train clips``: portrait animators learn from clips of faces."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag
from omote.commands.train_options import TrainingArgs, option
from omote.errors import InputError, OmoteError

if TYPE_CHECKING:
    from omote.commands.batch import Report
    from omote.rigs.protocol import Rig
    from omote.training.datasets.clip_render import ClipOptions
    from omote.training.engine import EngineOptions
    from omote.training.liveportrait import LivePortraitOptions


@dataclass(frozen=True)
class TrainLivePortraitArgs:
    """Train LivePortrait (arXiv 2407.03168): its base model, then stitching, then eye and lip retargeting.

    The losses are the published ones; weights and schedules never were, so that they are face vid2vid's or our choice
    (docs/train.md says which). Without --vgg pictures are compared by pixels and edges instead of a pretrained
    network's features, which gives softer results; without --face-id nothing holds the person but the pictures.

    --data takes folders of videos, images and clips (`omote train clips`), mixed. Faces are found and cropped once. The
    preset "small" learns on a CPU, 64 px in and 128 px out; "published" has the published sizes, 256 px in and 512 px
    out, and needs GPUs. A run that was stopped goes on where it was when the same command is given again;
    `accelerate launch -m omote.cli train liveportrait ...` uses several GPUs or machines.

    Examples:
      omote train clips -o clips --clips 200
      omote train liveportrait --data clips --preset small --minutes 30 -o run
      omote train liveportrait --stage stitching --base run/liveportrait --data clips --preset small --steps 500 -o seam
      omote train liveportrait --data videos --data photos --vgg vgg19.pth --epochs 100 -o mine
    """

    data: Annotated[
        tyro.conf.UseAppendAction[tuple[Path, ...]],
        tyro.conf.arg(metavar="DIR", help_behavior_hint="(may be given several times)"),
    ]
    """A folder of videos, images and clips (not its subfolders)."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")]
    """Folder of the run: liveportrait/ (the networks at their best), last.pt (to go on from), log.jsonl, loss.png."""
    stage: Literal["base", "stitching", "retargeting"] = "base"
    """What is trained; the later stages need --base."""
    preset: Literal["published", "small"] = "published"
    """Sizes and recipe that the other options start from."""
    base: Annotated[Path | None, option("DIR")] = None
    """Trained networks for the later stages: RUN/liveportrait, or the published files as safetensors."""
    batch: Annotated[int | None, option("N")] = None
    """Pairs in a step, of each process (published: 13 on each of 8 GPUs, small: 8)."""
    lr: Annotated[float | None, option("RATE")] = None
    """Learning rate (published: 0.0002, small: 0.0008)."""
    repeats: Annotated[int, tyro.conf.arg(metavar="N")] = 4
    """Pairs drawn from each clip in a pass."""
    vgg: Annotated[Path | None, option("FILE")] = None
    """Weights of VGG-19 as PyTorch publishes them, for the perceptual loss (pixels and edges without)."""
    face_id: Annotated[Path | None, option("FILE")] = None
    """Weights of an ArcFace ResNet by their published names, for the loss of identity (left out without)."""
    gan: Flag = True
    """Train without the three discriminators."""
    gan_start: Annotated[int | None, option("STEP")] = None
    """Step from which the discriminators join (published: 0, small: 2000; our choice)."""
    crops: Annotated[Path | None, option("DIR")] = None
    """Keep the crops of images and videos here (in the run's folder, unless given)."""
    validation: Annotated[int, tyro.conf.arg(metavar="N")] = 64
    """Validate on at most so many pairs of people who are held out; 0 for no validation."""
    workers: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Processes that read pictures ahead; 0: between the steps."""
    training: TrainingArgs = field(default_factory=TrainingArgs)

    def run(self) -> int:
        """Train; return 0."""
        from omote.commands.train_progress import Progress
        from omote.commands.weights import ensure
        from omote.media import list_media
        from omote.models.processor import keep_memory
        from omote.training.liveportrait import MODEL, train_liveportrait

        keep_memory()
        if not self.data:
            raise InputError("no data", where="--data", remedy="Make some: omote train clips -o clips")
        options, engine = self._options(), self._engine()
        if any(folder.is_dir() and list_media(folder) for folder in self.data):  # faces have to be found
            ensure("face_landmarker", quiet=self.training.json)
        if self.vgg is None and self.stage == "base" and not self.training.json:
            console.note("no --vgg: pictures are compared by pixels and edges, not by a perceptual loss")
        with Progress(quiet=self.training.json) as progress:
            place = train_liveportrait(
                options, engine, self.output, tell=progress.tell, overwrite=self.training.overwrite
            )
        self.training.tell_end(self.output / MODEL, place, progress)
        return 0

    def _options(self) -> LivePortraitOptions:
        from omote.training.liveportrait import LivePortraitOptions

        return LivePortraitOptions(
            data=tuple(self.data),
            crops=self.crops or self.output / "crops",
            stage=self.stage,
            preset=self.preset,
            base=self.base,
            batch=self.batch,
            repeats=self.repeats,
            adversarial=self.gan,
            adversarial_start=self.gan_start,
            vgg=self.vgg,
            face_id=self.face_id,
            validation=self.validation,
            workers=self.workers,
            seed=self.training.seed,
        )

    def _engine(self) -> EngineOptions:
        from omote.training.liveportrait import recipe
        from omote.training.schedule import Budget

        base = recipe(self.preset, self.training.budget() or Budget(epochs=100))
        rate = base.rate if self.lr is None else replace(base.rate, peak=self.lr)
        return self.training.applied_to(replace(base, rate=rate))


@dataclass(frozen=True)
class TrainClipsArgs:
    """Render clips of faces with our own rig, to try a training without any data: heads, skins, lights, backgrounds.

    Landmarks and head pose are the rig's own. A run that was stopped goes on where it was; the same seed gives the same
    clips, however many at a time.

    Examples:
      omote train clips -o clips --clips 200
      omote train clips -o large --clips 50 --frames 30 --size 512 --seed 1
    """

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")]
    """Folder of the clips; made if it is missing."""
    clips: Annotated[int, tyro.conf.arg(metavar="N")] = 200
    """Clips, each of another head."""
    frames: Annotated[int, tyro.conf.arg(metavar="N")] = 16
    """Frames of each."""
    size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 128
    """Side of the pictures: 128 for the preset small, 512 for published."""
    seed: Annotated[int, tyro.conf.arg(metavar="NUMBER")] = 0
    """Of everything random; data of different seeds share no head."""
    jobs: Annotated[int, tyro.conf.arg(metavar="N", help_behavior_hint=QUIET)] = 0
    """How many clips at a time; 0: one for each processor core."""
    json: Flag = False
    """Print what was made as JSON; no progress bars."""

    def run(self) -> int:
        """Render what is missing; return 0, or the exit code of the first clip that failed."""
        from omote.commands import batch
        from omote.training.datasets.clip_render import ClipOptions
        from omote.training.datasets.clips import SUFFIX

        if not 1 <= self.clips <= 1_000_000:
            raise InputError(f"must be 1 to 1,000,000, got {self.clips}", where="--clips")
        options = ClipOptions(self.frames, self.size, self.seed)
        name = f"rig-{self.seed}-{self.frames}x{self.size}"
        paths = [self.output / f"{name}-{index:06d}{SUFFIX}" for index in range(self.clips)]
        tasks = [RigClip(options, index, path) for index, path in enumerate(paths) if not path.exists()]
        failed: dict[str, Any] | None = None
        with console.progress_bar(quiet=self.json) as progress:
            bar = progress.add_task("clips", total=len(tasks))
            jobs = self.jobs or batch.available_cores()
            for _, outcome in batch.run_batch(tasks, render_rig_clip, jobs=jobs, on_progress=lambda *_: None):
                if isinstance(outcome, batch.WorkerLost):
                    outcome = {"error": "a worker was killed", "exit_code": 1}
                progress.advance(bar)
                if outcome["error"]:
                    failed = failed or outcome
                    if outcome["exit_code"] == 2:  # a full disk stays full
                        break
        if failed is not None:
            console.error(failed["error"])
            return int(failed["exit_code"])
        if self.json:
            facts = {"output": self.output, "clips": len(paths), "rendered": len(tasks)}
            console.say_json({**facts, "frames": self.frames, "size": self.size})
        else:
            console.say(
                f"{self.output}: {len(paths)} clips of {self.frames} frames, {len(tasks)} of them new"
            )
        return 0


@dataclass(frozen=True)
class RigClip:
    """One clip to render: the options of all, its index, and its file."""

    options: ClipOptions
    index: int
    path: Path


@lru_cache(maxsize=1)
def _rig() -> Rig:
    from omote.rigs.facs import load_rig

    return load_rig()


def render_rig_clip(task: RigClip, report: Report) -> dict[str, Any]:
    """Render one clip; gives the ``error`` if any, and its ``exit_code``."""
    import torch

    from omote.training.datasets.clip_render import render_clip
    from omote.training.datasets.clips import write_clip

    torch.set_num_threads(1)
    try:
        task.path.parent.mkdir(parents=True, exist_ok=True)
        person = f"rig-{task.options.seed}-{task.index}"
        write_clip(task.path, render_clip(_rig(), task.options, task.index), person)
    except OmoteError as error:
        return {"error": str(error), "exit_code": error.exit_code}
    except OSError as error:
        return {"error": f"{task.path}: cannot be written ({error.strerror or error})", "exit_code": 2}
    return {"error": None, "exit_code": 0}
