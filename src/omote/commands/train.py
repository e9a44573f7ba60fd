"""``omote train``: networks learn from rendered data, or from videos and images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from omote.commands import console
from omote.commands.console import Flag, subcommand
from omote.commands.rig_landmarks import open_with_landmarks
from omote.commands.train_liveportrait import TrainClipsArgs, TrainLivePortraitArgs
from omote.commands.train_options import TrainingArgs, option
from omote.commands.train_progress import SHOWN, Progress, span
from omote.errors import InputError

if TYPE_CHECKING:
    from omote.models.inversion import InversionConfig
    from omote.rigs.protocol import Rig
    from omote.training.engine import EngineOptions
    from omote.training.inversion import InversionOptions


@dataclass(frozen=True)
class TrainInversionArgs:
    """Train the network that predicts a rig's controls from pictures of a face, from normal maps, or from both.

    The preset "paper" is the published recipe (arXiv 2510.13933): two Hiera-T at 512 px, 200 passes, batches of 32,
    AdamW at 1e-4. "shipped" is the network that Omote ships, which finds the rig's mesh, reads the face unwrapped, and
    trains on a CPU in hours. Any option given replaces that of the preset. A run that was stopped goes on where it was
    when the same command is given again; `accelerate launch -m omote.cli train inversion ...` uses several GPUs or
    machines.

    Examples:
      omote train inversion --rig facs --data shards -o run
      omote train inversion --data shards --data more --preset shipped --minutes 120 -o run
      omote train inversion --data shards --preset shipped --modalities normal --loss controls --steps 5000 -o normals
    """

    data: Annotated[
        tyro.conf.UseAppendAction[tuple[Path, ...]],
        tyro.conf.arg(metavar="DIR", help_behavior_hint="(may be given several times)"),
    ]
    """A folder of shards made by `omote synth`; it may still be growing."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")]
    """Folder of the run: model.safetensors (the best so far), last.pt (to go on from), log.jsonl, loss.png."""
    rig: Annotated[str, tyro.conf.arg(metavar="RIG")] = "facs"
    """The rig: facs (the embedded one), a .glb, a .usd, or a folder of .obj shapes."""
    preset: Literal["paper", "shipped"] = "paper"
    """Network and recipe that the other options start from."""
    batch: Annotated[int | None, option("N")] = None
    """Samples in a step, of each process (paper: 32, shipped: 256)."""
    lr: Annotated[float | None, option("RATE")] = None
    """Learning rate (paper: 0.0001, shipped: 0.001)."""
    warmup: Annotated[int | None, option("STEPS")] = None
    """Steps over which the rate rises (paper: 0, shipped: 100)."""
    schedule: Annotated[Literal["constant", "cosine"] | None, option("constant|cosine")] = None
    """What the rate does then (paper: constant, shipped: cosine to zero at the end of the budget)."""
    weight_decay: Annotated[float | None, option("X")] = None
    """Of AdamW (paper: 0.01, shipped: 0.05)."""
    ema: Annotated[float | None, option("0..1")] = None
    """Decay of the averaged weights that are validated and saved; 0 for none (paper: 0, shipped: 0.998)."""
    loss: Annotated[Literal["controls", "mesh", "both"] | None, option("controls|mesh|both")] = None
    """Error of the controls, of the mesh that they make, or both (paper: both, shipped: controls)."""
    mesh_weight: Annotated[float | None, option("X")] = None
    """Weight of the mesh error in centimetres (0.1)."""
    mesh_samples: Annotated[int | None, option("N")] = None
    """Take the mesh error on so many samples of a batch (paper: all, shipped: 8)."""
    mesh_every: Annotated[int, tyro.conf.arg(metavar="K")] = 1
    """Take the mesh error in every k-th step only, with k times the weight."""
    modalities: Literal["both", "rgb", "normal"] = "both"
    """What the network sees."""
    backbone: Annotated[Literal["hiera", "resnet50", "none"] | None, option("hiera|resnet50|none")] = None
    """Kind of backbone (paper: hiera, shipped: none: the face is read on its mesh)."""
    size: Annotated[int | None, option("PIXELS")] = None
    """Side of the pictures that the network sees (paper: 512, shipped: 128)."""
    align: Annotated[Literal["face", "center"] | None, option("face|center")] = None
    """Crop along the face's landmarks, or the middle of the picture (paper: center, shipped: face)."""
    eye_branch: Annotated[Literal["on", "off"] | None, option("on|off")] = None
    """Look at the eyes at full resolution too (paper: off, shipped: on)."""
    modality_dropout: Annotated[float | None, option("0..0.5")] = None
    """Share of the batches that go without RGB, and as many without normals, so that the network learns to do with
    one of them (paper: 0, shipped: 0.15)."""
    frozen_stages: Annotated[int | None, option("0..4")] = None
    """First stages of the backbones that are not trained (paper: 3, shipped: 0)."""
    pretrained: Annotated[str | None, option("NAME|DIR|none")] = None
    """First weights of the backbones: a Hugging Face name, a folder, or none (paper: facebook/hiera-tiny-224-hf)."""
    init: Annotated[Path | None, option("FILE")] = None
    """Refine this model.safetensors; its network replaces the preset's."""
    start_samples: Annotated[int | None, option("N")] = None
    """Samples that the mesh reader is prepared from before it trains (24,000)."""
    validate_on: Annotated[tyro.conf.UseAppendAction[tuple[Path, ...]], option("DIR")] = ()
    """Other shards to validate on, instead of the held-out part of --data."""
    validation: Annotated[int, tyro.conf.arg(metavar="N")] = 512
    """Validate on at most so many samples; 0 for no validation."""
    augment: Flag = True
    """Show the pictures as they are: no mirroring, no shifts."""
    workers: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Processes that read pictures ahead."""
    cache: Annotated[Path | None, option("DIR")] = None
    """Keep cropped pictures here: later passes are many times faster (140 kB a sample at 128 px)."""
    training: TrainingArgs = field(default_factory=TrainingArgs)

    def run(self) -> int:
        """Train; return 0."""
        from omote.models.processor import keep_memory
        from omote.training.datasets.shards import check_same
        from omote.training.inversion import load_checkpoint, make_net, train_inversion

        keep_memory()
        if not self.data:
            raise InputError("no data", where="--data", remedy="Make some: omote synth -o shards")
        rig, _ = open_with_landmarks(self.rig, quiet=self.training.json)
        engine = self._engine()
        options = self._options()
        if self.init is not None:
            net = load_checkpoint(self.init, rig.space)
        else:
            config = replace(self._network(rig), normals=check_same(self.data).normals)
            net = make_net(config, seed=self.training.seed, must_have=self.pretrained is not None)
        with Progress(quiet=self.training.json) as progress:
            place = train_inversion(
                net,
                rig,
                options,
                engine,
                self.output,
                tell=progress.tell,
                overwrite=self.training.overwrite,
                notes={"init": None if self.init is None else str(self.init.resolve())},
            )
        self.training.tell_end(self.output / "model.safetensors", place, progress)
        return 0

    def _network(self, rig: Rig) -> InversionConfig:
        from omote.models.inversion import MODALITIES, InversionConfig
        from omote.rigs.surface_points import face_points
        from omote.rigs.symmetry import can_be_mirrored

        if self.preset == "paper":
            config = InversionConfig.paper(rig.space, rig.name)
        else:
            points = len(face_points(rig))
            config = InversionConfig.shipped(
                rig.space,
                rig.name,
                identity=len(rig.identity_space),
                points=points,
                mirrors=can_be_mirrored(rig),
            )
        changes: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("backbone", "size", "align", "frozen_stages", "pretrained")
            if getattr(self, name) is not None
        }
        if self.backbone == "resnet50" and self.pretrained is None:
            changes |= {"pretrained": None, "frozen_stages": self.frozen_stages or 0}
        if str(self.pretrained).lower() == "none":  # frozen random stages would learn nothing
            changes |= {"pretrained": None, "frozen_stages": self.frozen_stages or 0}
        if self.modality_dropout is not None:
            changes["modality_dropout"] = (self.modality_dropout, self.modality_dropout)
        if self.eye_branch is not None:
            changes["eye_branch"] = self.eye_branch == "on"
        if self.modalities != "both":
            changes["modalities"] = tuple(m for m in MODALITIES if m == self.modalities)
        return replace(config, **changes)

    def _options(self) -> InversionOptions:
        from omote.training.inversion import InversionOptions
        from omote.training.losses import MESH_WEIGHT
        from omote.training.mesh_start import FOR_STEPS

        shipped = self.preset == "shipped"
        return InversionOptions(
            data=tuple(self.data),
            validate_on=tuple(self.validate_on),
            batch=(256 if shipped else 32) if self.batch is None else self.batch,
            loss=self.loss or ("controls" if shipped else "both"),
            mesh_weight=MESH_WEIGHT if self.mesh_weight is None else self.mesh_weight,
            mesh_samples=8 if shipped and self.mesh_samples is None else self.mesh_samples,
            mesh_every=self.mesh_every,
            start_samples=FOR_STEPS if self.start_samples is None else self.start_samples,
            validation=self.validation,
            augment=self.augment,
            workers=self.workers,
            cache=self.cache,
            seed=self.training.seed,
        )

    def _engine(self) -> EngineOptions:
        from omote.training.inversion import paper_recipe, shipped_recipe
        from omote.training.schedule import LearningRate

        base = (paper_recipe if self.preset == "paper" else shipped_recipe)(self.training.budget())
        rate = LearningRate(
            base.rate.peak if self.lr is None else self.lr,
            base.rate.warmup if self.warmup is None else self.warmup,
            base.rate.cosine if self.schedule is None else self.schedule == "cosine",
        )
        decay = base.weight_decay if self.weight_decay is None else self.weight_decay
        made = replace(base, rate=rate, weight_decay=decay, ema=base.ema if self.ema is None else self.ema)
        return self.training.applied_to(made)


@dataclass(frozen=True)
class TrainShowArgs:
    """Show how a training went, or goes: its validations, from the log in its folder.

    Examples:
      omote train show run
      omote train show run --json
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run."""
    json: Flag = False
    """Print a JSON object."""

    def run(self) -> int:
        """Print the validations; return 0."""
        from omote.training.curves import read_log

        entries = read_log(self.folder)
        found = [entry for entry in entries if entry.get("kind") == "validation"]
        latest = next((entry for entry in reversed(entries) if entry.get("kind") == "train"), None)
        if self.json:
            console.say_json({"latest": latest, "validations": found})
            return 0
        wanted = dict.fromkeys(("loss", "controls", "mesh", *SHOWN))
        names = [n for n in wanted if any(n in e for e in found)]
        table = console.table("step", "time", *names, right=["step", "time", *names])
        for entry in found:
            values = [f"{entry[name]:.4g}" if name in entry else "" for name in names]
            table.add_row(str(entry["step"]), span(entry.get("seconds", 0.0)), *values)
        console.show(table)
        if latest is not None:
            speed = f"{latest['images_per_second']:.0f} images/s"
            console.say(f"step {latest['step']}, loss {latest['loss']:.4g}, {speed}")
        return 0


@dataclass(frozen=True)
class TrainArgs:
    """Train a network: rig inversion on what `omote synth` made, portrait animation on videos and images of faces.

    Examples:
      omote train inversion --rig facs --data shards -o run
      omote train inversion --data shards --preset shipped --minutes 120 -o run
      omote train liveportrait --data videos --preset small --minutes 30 -o run
      omote train show run
    """

    command: (
        Annotated[TrainInversionArgs, subcommand("inversion", TrainInversionArgs)]
        | Annotated[TrainLivePortraitArgs, subcommand("liveportrait", TrainLivePortraitArgs)]
        | Annotated[TrainClipsArgs, subcommand("clips", TrainClipsArgs)]
        | Annotated[TrainShowArgs, subcommand("show", TrainShowArgs)]
    )

    def run(self) -> int:
        """Run the chosen command."""
        return self.command.run()
