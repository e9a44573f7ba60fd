"""Train what reads the unwrapped face alone, the mesh reader as it is.

    python -m tools.inversion.unwrapped --init net.safetensors --data wild_b --data paper_a --of-rgb wild_b \
        --validate-on wild_a --cache crops --store unwrapped --minutes 65 --lr 1e-3 -o trained.safetensors

`omote train inversion` trains both at once, each picture strayed a little and looked at anew in each pass. Here every
sample is unwrapped once, as uncertain landmarks would crop it, and kept (145 kB), after which a step costs only the
small network's own time. Mirrored faces, shifts by a pixel, eye crops that stray, other tones, patches of another face
and missing modalities vary the samples. From RGB alone the mesh reader finds a face less exactly: what is unwrapped by
what it believes then (--of-rgb) is kept apart, 70 kB a sample, and makes up 45 % of the batches. Controls that are
seldom used count more in the loss than their variance gives them: otherwise they are learned last. The crop networks
are also asked by themselves, the eyes' for the controls of eyes, the window's for all, through a layer that is thrown
away: what they see would else be learned last, too.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import math
import mmap
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from omote.errors import InputError
from omote.models.inversion import InversionNet, load_checkpoint, save_checkpoint
from omote.models.inversion.config import IMAGENET_MEAN, IMAGENET_STD, MODALITIES
from omote.models.inversion.mesh import CONTROL_SPREAD, POSE, Belief, MeshReader
from omote.models.inversion.unwrapped import UnwrappedReader
from omote.models.processor import keep_memory
from omote.rigs.open import open_rig
from omote.training.datasets.crops import CropStore
from omote.training.datasets.loader import collate, stray, stray_eyes
from omote.training.datasets.shards import complete_shards
from omote.training.mesh_start import mirror_of
from omote.training.numerics import pick_precision

PICTURES, NUMBERS = ("seen", "framed", "eyes"), ("state", "truth")
CROPS = {"window": "framed", "eyes": "eyes"}
"""What each crop network looks at."""
BATCH, DROP, DECAY, WARMUP = 128, 0.12, 0.998, 100
OF_RGB = 0.45
"""Share of the batches that are unwrapped from RGB alone, where there are such."""
ASIDE = 0.3
"""How much what the crop networks say by themselves counts in the loss."""
SELDOM = 0.7
"""Controls count in the loss by this power of their precision (1 / variance)."""
TONE = 0.25
"""Standard deviation of the logarithm of gamma, of colours."""
HIDDEN, PATCH = 0.2, (0.1, 0.45)
"""How many pictures have a patch of another face; its sides, as shares of the picture's."""
Shard = dict[str, np.ndarray]


def check_apart(training: Sequence[Path], validation: Sequence[Path]) -> None:
    """Refuse folders that both are to learn from and to validate on.

    Raises:
        InputError: one is.
    """
    both = {folder.resolve() for folder in training} & {folder.resolve() for folder in validation}
    if both:
        raise InputError("it is trained on", where=f"--validate-on {min(both)}")


def stored(net: InversionNet, store: CropStore, shard: Path, folder: Path, strayed: bool) -> Shard:
    """What is seen of the samples of a shard, as they are or strayed. A folder is for one mesh reader.

    "seen" (N, H, W, K), "framed" (N, h, w, K) and "eyes" (N, 2, h, w, K; never strayed) uint8, "state" and "truth"
    (N, S). K is 6, or 3 for a store of RGB alone.
    """
    kinds = store.config.modalities
    of_rgb = ".rgb" if kinds == ("rgb",) else ""
    if of_rgb and net.mesh is not None and net.mesh.picture is not None:
        weights = net.mesh.picture.last.weight.detach().float().numpy()
        of_rgb += f"-{hashlib.sha256(weights.tobytes()).hexdigest()[:8]}"
    stem = f"{shard.parent.name}_{shard.stem}{of_rgb}{'.strayed' if strayed else ''}"
    where = {part: folder / f"{stem}.{part}.npy" for part in (*PICTURES, *NUMBERS)}
    if not where[NUMBERS[-1]].exists():
        samples, rng = list(store.read(shard)), np.random.default_rng(0)
        looks = [stray(sample, rng) for sample in samples] if strayed else samples
        parts = [unwrap(net, looks[first : first + 64]) for first in range(0, len(looks), 64)]
        made = {part: np.concatenate([found[part] for found in parts]) for part in parts[0]}
        made["eyes"] = np.stack([np.concatenate([s[f"eyes_{kind}"] for kind in kinds], -1) for s in samples])
        for part, path in where.items():
            np.save(path.with_suffix(".part.npy"), made[part])
        for path in where.values():  # the last one tells that all are there
            path.with_suffix(".part.npy").replace(path)
    return {part: mapped(path) for part, path in where.items()}


def mapped(path: Path) -> np.ndarray:
    """An array on disk, of which rows will be read here and there."""
    array = np.load(path, mmap_mode="r")
    array._mmap.madvise(mmap.MADV_RANDOM)  # or the system reads megabytes around each
    return array


@torch.inference_mode()
def unwrap(net: InversionNet, samples: list[dict[str, Any]]) -> Shard:
    """One batch of `stored`, without the eyes."""
    (mesh, reader), batch = readers(net), collate(samples)
    with autocast():
        images = mesh.surfaces(batch)
        found = mesh(images, torch.zeros(len(samples), 0))[-1]
        belief = mesh.within(Belief(*(part.float() for part in found)))
    seen = as_pixels(reader.unwrap(mesh, images, belief))
    framed = as_pixels(reader.look_through(images, belief))
    pose = torch.where(batch["pose"].isfinite(), batch["pose"], mesh.usual_pose)
    truth = mesh.units(Belief(batch["controls"], batch["identity"], pose))
    return {"seen": seen, "framed": framed, "state": mesh.units(belief).numpy(), "truth": truth.numpy()}


def readers(net: InversionNet) -> tuple[MeshReader, UnwrappedReader]:
    """Of a network that has both.

    Raises:
        InputError: it has not.
    """
    if net.mesh is None or net.unwrapped is None:
        remedy = "Train one with omote train inversion --preset shipped."
        raise InputError("it does not unwrap faces", where="--init", remedy=remedy)
    return net.mesh, net.unwrapped


def autocast() -> torch.autocast:
    """bfloat16 where the processor is faster with it."""
    precision = pick_precision("auto", torch.device("cpu"))
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16)


def as_pixels(seen: dict[str, torch.Tensor]) -> np.ndarray:
    """The inverse of `as_images`, rounded."""
    mean, spread = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    pictures = [(seen["rgb"] * spread + mean) * 255]
    if "normal" in seen:
        pictures.append((seen["normal"] + 1) * 127.5)
    return torch.cat(pictures, 1).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def as_images(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """(..., h, w, 6) uint8 to RGB (ImageNet-normalised) and normals (-1..1), (..., 3, h, w) each."""
    mean, spread = (torch.tensor(values) * 255 for values in (IMAGENET_MEAN, IMAGENET_STD))
    scale = torch.cat([1 / spread, torch.full((3,), 1 / 127.5)])
    shift = torch.cat([-mean / spread, torch.full((3,), -1.0)])
    made = torch.addcmul(shift, pixels.float(), scale).movedim(-1, -3)
    return {"rgb": made[..., :3, :, :], "normal": made[..., 3:, :, :]}


class Feed:
    """Batches of varied samples, with some of their pictures, made on another thread."""

    def __init__(
        self, shards: list[Shard], pictures: tuple[str, ...], mirror: tuple[np.ndarray, np.ndarray], seed: int
    ) -> None:
        self.shards, self.mirror, self.rng = shards, mirror, np.random.default_rng(seed)
        self.pictures = pictures
        self.where = np.array([(i, j) for i, shard in enumerate(shards) for j in range(len(shard["truth"]))])
        if len(self.where) <= BATCH:
            raise InputError(f"{len(self.where)} samples are not even two batches of {BATCH}", where="--data")
        self.ready: queue.Queue[Shard] = queue.Queue(4)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            order = self.rng.permutation(len(self.where))
            for first in range(0, len(order) - BATCH, BATCH):
                self.ready.put(self._varied(self.where[order[first : first + BATCH]]))

    def _varied(self, where: np.ndarray) -> Shard:
        names = (*self.pictures, *NUMBERS)
        batch = {name: np.stack([self.shards[i][name][j] for i, j in where]) for name in names}
        batch |= {name: with_normals(batch[name]) for name in self.pictures}
        mirrored = self.rng.random(len(where)) < 0.5
        for name in self.pictures:
            if name == "eyes":
                strayed = np.stack([stray_eyes(eyes, self.rng) for eyes in batch[name]])
                strayed[mirrored] = strayed[mirrored][:, ::-1]
                batch[name] = strayed
                continue
            if self.rng.random() < 0.5:
                batch[name] = np.roll(batch[name], self.rng.integers(-1, 2, 2), (1, 2))
            turned = batch[name][mirrored][:, :, ::-1].copy()
            turned[..., 3] = 255 - turned[..., 3]  # x of the normals
            batch[name][mirrored] = turned
            hide(batch[name], self.rng)
        tone([batch[name] for name in self.pictures], self.rng)
        for name in NUMBERS:
            batch[name][mirrored] = batch[name][mirrored][:, self.mirror[0]] * self.mirror[1]
        return batch


def with_normals(pictures: np.ndarray) -> np.ndarray:
    """(..., 6) of (..., 3), which have none, or of (..., 6)."""
    blank = pictures[..., :3] if pictures.shape[-1] == 3 else pictures[..., :0]
    return np.concatenate([pictures, np.zeros_like(blank)], -1)


def hide(pictures: np.ndarray, rng: np.random.Generator) -> None:
    """Cover a patch of some pictures (B, H, W, 6) by the same place of the picture before, in place."""
    before, (height, width) = np.roll(pictures, 1, 0), pictures.shape[1:3]
    for i in np.flatnonzero(rng.random(len(pictures)) < HIDDEN):
        h, w = (int(side * rng.uniform(*PATCH)) for side in (height, width))
        y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
        pictures[i, y : y + h, x : x + w] = before[i, y : y + h, x : x + w]


def tone(pictures: list[np.ndarray], rng: np.random.Generator) -> None:
    """Raise the colours of each sample, in all of its pictures (B, ..., 6), to a power; in place."""
    steps = np.tile(np.arange(256, dtype=np.uint8)[:, None], 6)[None]
    for i in range(len(pictures[0])):
        table = steps.copy()
        table[..., :3] = 255 * (steps[..., :3] / 255) ** np.exp(rng.normal(0, TONE)) + 0.5
        for part in pictures:
            flat = part[i].reshape(-1, part.shape[-2], 6)
            cv2.LUT(flat, table, dst=flat)


def shown(batch: Shard, names: tuple[str, ...], gone: str | None) -> list[dict[str, torch.Tensor]]:
    """Some of a batch's pictures, as when one modality is missing."""
    pictures = [as_images(torch.from_numpy(np.array(batch[name]))) for name in names]
    return [{kind: part[kind] for kind in MODALITIES if kind != gone} for part in pictures]


def read(reader: Any, batch: Shard, gone: str | None = None) -> torch.Tensor:
    """(B, C) controls of a batch, as when one modality is missing."""
    with autocast():
        found: torch.Tensor = reader.read(
            *shown(batch, PICTURES, gone), torch.from_numpy(np.array(batch["state"]))
        )
    return found


def glance(reader: Any, names: list[str], batch: Shard, gone: str | None = None) -> None:
    """Let crop networks look without the rest, for `Asides`."""
    for name in names:
        (crops,) = shown(batch, (CROPS[name],), gone)
        if name == "eyes":
            crops = {kind: both.flatten(0, 1) for kind, both in crops.items()}
        with autocast():
            getattr(reader, name)(reader._whole(crops))


class Asides(torch.nn.Module):
    """What some of a reader's crop networks say by themselves, with the pose."""

    def __init__(self, reader: Any, names: list[str]) -> None:
        super().__init__()
        self.heard: dict[str, torch.Tensor] = {}
        self.layers = torch.nn.ModuleDict()
        self.controls = {"eyes": reader.eye_index, "window": torch.arange(reader.face.last.out_features)}
        for name in names:
            net = getattr(reader, name)
            width = (2 if name == "eyes" else 1) * net.project.out_features + len(POSE)
            self.layers[name] = torch.nn.Linear(width, len(self.controls[name]))
            net.register_forward_hook(lambda _, __, made, name=name: self.heard.update({name: made}))

    def forward(self, state: torch.Tensor, wanted: torch.Tensor) -> list[torch.Tensor]:
        """The squared error of each, of what was read last."""
        pose = state[:, -len(POSE) :]
        errors = []
        for name, layer in self.layers.items():
            said = layer(torch.cat([self.heard[name].float().reshape(len(pose), -1), pose], 1))
            errors.append((said * CONTROL_SPREAD - wanted[:, self.controls[name]]).square().mean())
        return errors


def validate(net: InversionNet, reader: Any, shards: list[Shard]) -> dict[str, float]:
    """Correlation and mean absolute error of the controls."""
    gone = "normal" if shards[0]["seen"].shape[-1] == 3 else None
    made, truth = [], []
    count = len(net.config.controls)
    reader.eval()
    with torch.no_grad():
        for shard in shards:
            for first in range(0, len(shard["truth"]), BATCH):
                part = {name: values[first : first + BATCH] for name, values in shard.items()}
                part |= {name: with_normals(part[name]) for name in PICTURES}
                made.append(read(reader, part, gone).clamp(net.low, net.high))
                truth.append(torch.from_numpy(part["truth"][:, :count] * CONTROL_SPREAD))
    p, t = torch.cat(made), torch.cat(truth)
    together = torch.stack([p.flatten(), t.flatten()])
    return {"correlation": float(torch.corrcoef(together)[0, 1]), "mae": float((p - t).abs().mean())}


def precision(shards: list[Shard], count: int) -> torch.Tensor:
    """(C,) how much each control counts in the loss; together as much as if all counted one."""
    controls = np.concatenate([shard["truth"][:, :count] for shard in shards])
    variance = torch.from_numpy(controls.var(0))
    weight = (variance + 0.05).pow(-SELDOM)
    return weight * (variance.sum() / (weight * variance).sum())


def main() -> None:
    """Unwrap, train, save."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("init", "cache", "store"):
        arguments.add_argument(f"--{name}", type=Path, required=True)
    arguments.add_argument("-o", "--output", type=Path, required=True)
    for name in ("data", "validate-on"):
        arguments.add_argument(f"--{name}", type=Path, action="append", required=True)
    arguments.add_argument(
        "--of-rgb", type=Path, action="append", default=[], help="data that is also unwrapped from RGB alone"
    )
    arguments.add_argument("--minutes", type=float, default=60)
    arguments.add_argument(
        "--alone", type=float, default=0, help="of these, minutes of the crop networks alone"
    )
    arguments.add_argument(
        "--frozen", action="append", default=[], help="a part of the reader that stays as it is"
    )
    arguments.add_argument("--lr", type=float, default=1e-3)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--threads", type=int, default=2)
    options = arguments.parse_args()
    keep_memory()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)

    check_apart([*options.data, *options.of_rgb], options.validate_on)
    net = load_checkpoint(options.init)
    reader = readers(net)[1]
    rig = open_rig(net.config.rig)
    store = CropStore(net.config, rig, options.cache)
    of_rgb = CropStore(replace(net.config, modalities=("rgb",)), rig)
    options.store.mkdir(parents=True, exist_ok=True)

    count = len(net.config.controls)
    chosen = [shard for folder in options.data for shard in complete_shards(folder)[:-1]]
    training = [stored(net, store, shard, options.store, True) for shard in chosen]
    more = [shard for folder in options.of_rgb for shard in complete_shards(folder)[:-1]]
    training_of_rgb = [stored(net, of_rgb, shard, options.store, True) for shard in more]
    held_out = {
        f"{folder.name}{told}": [
            stored(net, crops, shard, options.store, False) for shard in complete_shards(folder)
        ]
        for folder in options.validate_on
        for told, crops in (("", store), (" from RGB", of_rgb))
        if crops is store or more
    }
    names = [name for name in CROPS if name not in options.frozen]
    whole = options.alone < options.minutes
    pictures = PICTURES if whole else tuple(CROPS[name] for name in names)
    feed = Feed(training, pictures, mirror_of(rig), options.seed)
    feed_of_rgb = Feed(training_of_rgb, pictures, mirror_of(rig), options.seed + 1) if more else None
    weight = precision(training, count)
    print(f"{len(feed.where)} samples", flush=True)
    reader.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    average = copy.deepcopy(reader)
    for name in options.frozen:
        reader.get_submodule(name).requires_grad_(False)
    asides = Asides(reader, names)
    learned = [part for part in (*reader.parameters(), *asides.parameters()) if part.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=options.lr, weight_decay=0.02)
    rng, began, losses, step, told = np.random.default_rng(options.seed), time.monotonic(), [], 0, 0.0
    while (spent := (time.monotonic() - began) / 60) < options.minutes:
        rate = min(1, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * spent / options.minutes))
        for group in optimiser.param_groups:
            group["lr"] = options.lr * rate
        draw = rng.random()
        gone = "rgb" if draw > 1 - DROP else "normal" if draw < (OF_RGB if feed_of_rgb else DROP) else None
        batch = (feed_of_rgb if feed_of_rgb and gone == "normal" else feed).ready.get()
        wanted = torch.from_numpy(batch["truth"][:, :count]) * CONTROL_SPREAD
        alone = spent < options.alone
        if alone:
            glance(reader, names, batch, gone)
        error = torch.zeros(count) if alone else (read(reader, batch, gone) - wanted).square().mean(0)
        aside = asides(torch.from_numpy(batch["state"]), wanted)
        optimiser.zero_grad()
        (10 * ((error * weight).mean() + ASIDE * sum(aside))).backward()
        optimiser.step()
        step += 1
        if gone is None:
            losses.append([each.item() for each in (error.mean(), *aside)])
        with torch.no_grad():
            decay = min(DECAY, step / (step + 20))
            torch._foreach_lerp_(list(average.parameters()), list(reader.parameters()), 1 - decay)
        if spent - told > 5:
            told = spent
            net.unwrapped = average
            save_checkpoint(options.output, net)
            # What is not trained yet does not know what to make of crop networks that are.
            found = "" if alone else {name: validate(net, average, part) for name, part in held_out.items()}
            lost = " ".join(f"{value:.5f}" for value in np.mean(losses[-200:], 0))
            print(f"{spent:.0f} min, {step} steps, losses {lost}, {found}", flush=True)
    net.unwrapped = average
    save_checkpoint(options.output, net, trained="see the card")
    found = {name: validate(net, average, shards) for name, shards in held_out.items()}
    print(f"{step} steps of {BATCH} in {options.minutes:g} min: {found}")


if __name__ == "__main__":
    main()
