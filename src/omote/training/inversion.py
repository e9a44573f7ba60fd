"""Train an inversion network on rendered faces (arXiv 2510.13933, §3.3-3.4).

Published: AdamW at 1e-4, 200 epochs, batches of 32, mean squared error of the controls plus L1 of the mesh. Ours: a
modality is left out of whole batches (their compute is saved, and the network learns to do without), and the mesh term
may be taken on some samples of each batch only.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from omote.errors import InputError, OmoteError, WeightsError
from omote.models.inversion import (
    InversionConfig,
    InversionNet,
    load_checkpoint,
    load_pretrained,
    save_checkpoint,
)
from omote.models.processor import without_denormals
from omote.rigs.symmetry import asymmetric_controls, symmetry_note
from omote.training.datasets.crops import CropStore
from omote.training.datasets.shards import check_same
from omote.training.engine import Batch, Engine, EngineOptions, Tell
from omote.training.losses import (
    LOSSES,
    MESH_WEIGHT,
    control_loss,
    mesh_loss,
    pick_samples,
    step_loss,
)
from omote.training.mesh_start import FOR_STEPS, prepare_mesh
from omote.training.schedule import Budget, LearningRate
from omote.training.state import Position

if TYPE_CHECKING:
    from omote.rigs.protocol import Rig

logger = logging.getLogger("omote.training")

Samples = Callable[[str, int], Iterable[dict[str, Any]]]
"""Called with "train" or "validation" and the number of the pass; gives samples as
`omote.training.datasets.loader.InversionData` does, in the order of that pass."""

_IMAGES = ("rgb", "normal", "eyes_rgb", "eyes_normal")
_MESHES_VALIDATED = 8  # of each batch


@dataclass(frozen=True)
class InversionOptions:
    """What an inversion network is trained on, and for.

    Args:
        data: folders of shards (`omote synth`); they may still be growing: each pass lists them afresh.
        validate_on: other folders to validate on; none: the part of ``data`` that is held out.
        batch: samples in a step.
        loss: "controls", "mesh" or "both".
        mesh_weight: of the mesh term (`omote.training.losses.MESH_WEIGHT` says why).
        mesh_samples: on how many samples of a batch the mesh term is taken; None for all.
        mesh_every: it is taken in every k-th step only, with k times the weight.
        start_samples: that a network which reads the mesh is prepared from (`omote.training.mesh_start`).
        validation: at most so many samples are validated on.
        augment: whether training pictures are varied.
        workers: processes that read samples ahead; 0 reads them between the steps.
        cache: folder that keeps the crops of each shard for later passes; None decodes the pictures anew each time.
        seed: of the order, the variations and the choices.

    Raises:
        InputError: an entry that makes no training.
    """

    data: tuple[Path, ...]
    validate_on: tuple[Path, ...] = ()
    batch: int = 32
    loss: str = "both"
    mesh_weight: float = MESH_WEIGHT
    mesh_samples: int | None = None
    mesh_every: int = 1
    start_samples: int = FOR_STEPS
    validation: int = 512
    augment: bool = True
    workers: int = 1
    cache: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InputError(f"no loss is called '{self.loss}'", remedy=f"There are: {', '.join(LOSSES)}.")
        counts = {"--batch": self.batch, "--mesh-samples": self.mesh_samples, "--mesh-every": self.mesh_every}
        for name, count in counts.items():
            if count is not None and count < 1:
                raise InputError(f"must be at least 1, got {count}", where=name)
        if not 0 <= self.seed < 1 << 31:
            raise InputError(f"must be within 0..{(1 << 31) - 1}, got {self.seed}", where="--seed")
        if self.validation < 0 or self.workers < 0 or not self.mesh_weight >= 0:
            raise InputError("--validation, --workers and --mesh-weight must not be negative")


def paper_recipe(budget: Budget | None = None, **changes: Any) -> EngineOptions:
    """The published optimisation; ``changes`` replace single entries."""
    options = EngineOptions(budget or Budget(epochs=200), LearningRate(1e-4), ema=0.0)
    return replace(options, **changes)


def shipped_recipe(budget: Budget | None = None, **changes: Any) -> EngineOptions:
    """Ours for a network from random weights: a higher rate that warms up and falls, clipped, averaged."""
    rate = LearningRate(1e-3, warmup=100, cosine=True)
    options = EngineOptions(
        budget or Budget(epochs=200), rate, weight_decay=0.05, betas=(0.9, 0.99), clip=0.02, ema=0.998
    )
    return replace(options, **changes)


class InversionTask:
    """The `omote.training.engine.Task` of an inversion network.

    Args:
        net: the network.
        rig: makes meshes of controls.
        options: data and losses.
        samples: where samples come from; the folders of ``options`` by default.

    Raises:
        InputError: the data or the network are of another rig.
    """

    def __init__(
        self, net: InversionNet, rig: Rig, options: InversionOptions, samples: Samples | None = None
    ) -> None:
        self.net: InversionNet = net
        self.rig, self.options = rig, options
        if net.config.controls != rig.space.names:
            what = f"predicts controls of the rig '{net.config.rig}', not of '{rig.name}'"
            raise InputError(what, where="network")
        if samples is None:
            info = check_same([*options.data, *options.validate_on])
            if info.controls != rig.space.names or info.identity != tuple(rig.identity_space):
                what = f"made with the rig '{info.rig}', not with '{rig.name}', or with another version of it"
                raise InputError(
                    what, where=options.data[0], remedy=f"Make some: omote synth --rig {rig.name}"
                )
            if info.normals != net.config.normals:
                what = (
                    f"holds normals of the kind '{info.normals}', the network is for '{net.config.normals}'"
                )
                raise InputError(what, where=options.data[0], remedy="Render others: omote synth --normals.")
            trained = {Path(folder).resolve() for folder in options.data}
            for folder in options.validate_on:
                if Path(folder).resolve() in trained:
                    what = "is trained on: to validate on it would flatter"
                    raise InputError(what, where=folder, remedy="Name it once; another --seed makes others.")
        self.samples = samples or self._stored
        one_sided = asymmetric_controls(rig) if options.augment else ()
        self.mirrors = not one_sided
        if one_sided:
            logger.warning("%s", symmetry_note(one_sided))
        # Alone, the mesh term must teach the head's turn too; beside the controls' own it would only drown the face.
        turns = (
            [i for i, n in enumerate(rig.space.names) if n.startswith("head_")]
            if options.loss == "both"
            else []
        )
        self.given = torch.tensor(turns, dtype=torch.int64)
        self.drop = net.config.modality_dropout if len(net.config.modalities) > 1 else (0.0, 0.0)

    def to(self, device: torch.device) -> None:
        """Move the rig."""
        self.rig = self.rig.to(device)
        self.given = self.given.to(device)

    def batches(self, epoch: int, skip: int, rank: int, ranks: int) -> Iterator[Batch]:
        """The batches of one pass; each of several processes takes every so-many-th of them."""
        whole = self._batched("train", epoch, drop_last=True)
        every = itertools.islice(whole, skip * ranks, None)
        if ranks == 1:
            yield from every
            return
        while len(group := list(itertools.islice(every, ranks))) == ranks:
            yield group[rank]

    def validation(self) -> Iterator[Batch]:
        """The first held-out samples."""
        left = self.options.validation
        for batch in self._batched("validation", 0, drop_last=False) if left else ():
            taken = {name: value[:left] for name, value in batch.items()}
            left -= len(taken["controls"])
            yield taken
            if left <= 0:
                return

    def loss(self, net: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """The loss of one batch, and its terms."""
        chance = torch.Generator().manual_seed((self.options.seed << 32) + step)
        images = self._without({k: batch.get(k) for k in _IMAGES}, float(torch.rand((), generator=chance)))
        beliefs = net(**images)
        most, target = self.options.mesh_samples, batch["controls"]
        picked = pick_samples(len(target), most, chance).to(target.device)
        every = self.options.mesh_every
        found = self._losses(beliefs[-1].controls, batch, picked, every if step % every == 0 else 0)
        if self.net.mesh is not None:
            known = batch["controls"], batch["identity"], batch["pose"]
            found["steps"] = step_loss(beliefs, *known, of_controls=self.options.loss != "mesh")
            found["loss"] = found["loss"] + found["steps"]
        return found

    def measure(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Errors with all modalities, and with each alone where the network was trained for that."""
        images = {name: batch.get(name) for name in _IMAGES}
        picked = torch.arange(min(_MESHES_VALIDATED, len(batch["controls"])), device=batch["controls"].device)
        found: dict[str, Tensor] = {}
        losses = []
        for suffix, draw in (("", 1.0), ("_normal", 0.0), ("_rgb", self.drop[0])):
            if suffix and not self.drop[suffix == "_rgb"]:
                continue
            predicted = net(**(self._without(images, draw) if suffix else images))
            part = self._losses(predicted, batch, picked, 1)
            losses.append(part["loss"])
            p, t = predicted.double(), batch["controls"].double()
            part |= {
                "p": p.mean(),
                "t": t.mean(),
                "pp": (p * p).mean(),
                "tt": (t * t).mean(),
                "pt": (p * t).mean(),
            }
            part["mae"] = (p - t).abs().mean()
            found |= {f"{name}{suffix}": value for name, value in part.items()}
        found["loss"] = torch.stack(losses).mean()
        return found

    def summary(self, means: Mapping[str, float]) -> dict[str, float]:
        """Turn the moments of `measure`, averaged over all batches, into correlations pooled over all controls."""
        made = dict(means)
        for suffix in ("", "_rgb", "_normal"):
            if f"pt{suffix}" in made:
                p, t, pp, tt, pt = (made.pop(f"{name}{suffix}") for name in ("p", "t", "pp", "tt", "pt"))
                spread = max((pp - p * p) * (tt - t * t), 0.0) ** 0.5
                made[f"correlation{suffix}"] = (pt - p * t) / spread if spread else 0.0
        return made

    def save(self, net: nn.Module, path: Path, notes: Mapping[str, Any]) -> None:
        """Write the network in float16."""
        if not isinstance(net, InversionNet):
            raise InputError("only inversion networks can be saved here")
        save_checkpoint(path, net, **notes)

    def _losses(self, predicted: Tensor, batch: Batch, picked: Tensor, weight: float) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        kind, target = self.options.loss, batch["controls"]
        found["controls"] = control_loss(predicted, target)
        total = found["controls"] if kind != "mesh" else torch.zeros_like(found["controls"])
        if kind != "controls" and weight:
            with torch.autocast(target.device.type, enabled=False):
                identity = batch["identity"][picked]
                mesh = mesh_loss(self.rig, predicted[picked], target[picked], identity, given=self.given)
            found["mesh"] = mesh * (weight if predicted.requires_grad else 1)
            total = total + self.options.mesh_weight * weight * mesh
        elif kind == "mesh":
            total = total + 0 * predicted.sum()  # a step without the mesh term still has a gradient
        return {**found, "loss": total}

    def _without(self, images: dict[str, Tensor | None], draw: float) -> dict[str, Tensor | None]:
        """All images, or those of one modality, as ``draw`` (0..1) falls."""
        rgb, normal = self.drop
        gone = "rgb" if draw < rgb else "normal" if draw < rgb + normal else None
        return {name: None if gone and gone in name else image for name, image in images.items()}

    @cached_property
    def _store(self) -> CropStore:
        return CropStore(self.net.config, self.rig, self.options.cache)

    def _batched(self, split: str, epoch: int, *, drop_last: bool) -> Iterator[Batch]:
        from torch.utils.data import DataLoader

        ahead: dict[str, Any] = {}
        if self.options.workers and self.samples == self._stored:
            ahead = {"num_workers": self.options.workers, "worker_init_fn": _deaf, "prefetch_factor": 3}
        stream = _Stream(self.samples, split, epoch, self.options.batch, drop_last)
        chance = torch.Generator().manual_seed((self.options.seed << 32) + epoch)
        loader: Any = DataLoader(stream, batch_size=None, generator=chance, **ahead)
        for batch in loader:
            if isinstance(batch, OmoteError):
                raise batch
            yield batch

    def _stored(self, split: str, epoch: int) -> Iterable[dict[str, Any]]:
        from omote.training.datasets.loader import InversionData

        options, train = self.options, split == "train"
        apart = not train and bool(options.validate_on)
        mirror = getattr(self.rig, "identity_mirror", None)
        data = InversionData(
            options.validate_on if apart else options.data,
            self._store,
            split="all" if apart else split,
            augment=options.augment and train,
            space=self.rig.space if train and self.mirrors else None,
            identity_mirror=None if mirror is None else mirror.cpu().numpy(),
            seed=options.seed,
        )
        data.epoch = epoch
        return data


class _Stream(torch.utils.data.IterableDataset[Any]):
    """Batches of one pass; what goes wrong travels as a value, so that a worker process does not wrap it."""

    def __init__(self, samples: Samples, split: str, epoch: int, batch: int, drop_last: bool) -> None:
        self.samples, self.split, self.epoch = samples, split, epoch
        self.batch, self.drop_last = batch, drop_last

    def __iter__(self) -> Iterator[Batch | OmoteError]:
        from omote.training.datasets.loader import collate

        try:
            stored = iter(self.samples(self.split, self.epoch))
            while group := list(itertools.islice(stored, self.batch)):
                if len(group) == self.batch or not self.drop_last:
                    yield collate(group)
        except OmoteError as error:
            yield error


def _deaf(worker: int) -> None:
    """Ctrl-C and SIGTERM reach the whole group; the leading process saves, then ends its workers itself."""
    import signal

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)


def make_net(config: InversionConfig, *, seed: int, must_have: bool = False) -> InversionNet:
    """A network with the pretrained backbones of its configuration, or random ones.

    Args:
        config: ``pretrained`` names the first weights.
        seed: of the random weights.
        must_have: fail where the pretrained weights cannot be had; else train from random weights, with nothing frozen,
            since frozen random stages would learn nothing, and say so.

    Raises:
        InputError: pretrained weights for a network without a backbone.
        WeightsError: the pretrained weights cannot be had, or do not fit.
    """
    torch.manual_seed(seed)
    net = InversionNet(config)
    if config.pretrained is None:
        return net
    if config.backbone == "none":
        raise InputError(
            "this network has no backbone that could have pretrained weights", where="--pretrained"
        )
    try:
        load_pretrained(net, config.pretrained)
    except WeightsError as error:
        if must_have:
            raise
        logger.warning("%s; training from random weights, with no stage frozen", error.what)
        torch.manual_seed(seed)
        return InversionNet(replace(config, pretrained=None, frozen_stages=0))
    return net


def train_inversion(
    net: InversionNet,
    rig: Rig,
    options: InversionOptions,
    engine: EngineOptions,
    folder: Path,
    *,
    samples: Samples | None = None,
    tell: Tell | None = None,
    overwrite: bool = False,
    notes: Mapping[str, Any] | None = None,
) -> Position:
    """Train a network in a folder; go on where a former run in it stopped.

    Args:
        net: with its first weights (`make_net`, or `load_checkpoint` to refine one).
        rig: of the controls.
        options: data and losses.
        engine: optimisation and budget.
        folder: gets ``model.safetensors``, ``last.pt``, ``log.jsonl`` and ``loss.png``.
        samples: in place of the folders of ``options``.
        tell: told how it goes.
        overwrite: start again, whatever is in the folder.
        notes: further options that a resumption must share.

    Returns:
        Where it ended.

    Raises:
        InputError: no data, data of another rig, or other options than the run in the folder was started with.
        FormatError: a damaged shard or state.
        OutputError: the folder cannot be written to, or the loss is no longer a number.
    """
    # Outside of the block: scipy's trees of vertices crash without denormal numbers.
    task = InversionTask(net, rig, options, samples)
    with without_denormals():
        return _trained(task, engine, folder, tell, overwrite, notes or {})


def _trained(
    task: InversionTask,
    engine: EngineOptions,
    folder: Path,
    tell: Tell | None,
    overwrite: bool,
    notes: Mapping[str, Any],
) -> Position:
    net, rig, options = task.net, task.rig, task.options
    if net.mesh is not None and not net.mesh.is_ready and (overwrite or not (folder / "last.pt").exists()):
        prepare_mesh(net, rig, task.samples("train", 0), count=options.start_samples, tell=_saying(tell))
    decisive = decisive_options(net.config, options, engine) | dict(notes)
    return Engine(task, engine, folder, decisive, tell=tell, overwrite=overwrite).run()


def _saying(tell: Tell | None) -> Callable[[str], None] | None:
    return None if tell is None else lambda what: tell("preparing", {"what": what})


def decisive_options(
    config: InversionConfig, options: InversionOptions, engine: EngineOptions
) -> dict[str, Any]:
    """What a resumed run must share with the one it goes on: all but the budget, threads, workers and reports."""
    free = ("budget", "threads", "validate_every", "patience", "checkpoint_s", "report_every")
    found = {"network": asdict(config), "training": asdict(options), "optimisation": asdict(engine)}
    for name in free:
        del found["optimisation"][name]
    for name in ("workers", "cache", "validation", "validate_on"):
        del found["training"][name]
    found["training"]["data"] = [str(Path(folder).resolve()) for folder in options.data]
    flat = {name: value for part in found.values() for name, value in part.items()}
    plain: dict[str, Any] = json.loads(json.dumps(flat))
    return plain


__all__ = [
    "InversionOptions",
    "InversionTask",
    "Samples",
    "load_checkpoint",
    "make_net",
    "paper_recipe",
    "shipped_recipe",
    "train_inversion",
]
