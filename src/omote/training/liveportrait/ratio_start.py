"""Before retargeting is trained: a small network learns to read how open eyes and lips are (`RatioNet`).

It learns from the same clips, whose landmarks say the ratio, in a minute or two. It stays in the run's folder and is
not shipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from omote.media import atomic_path
from omote.models.liveportrait.keypoints import eye_close_ratio, lip_close_ratio
from omote.models.liveportrait.published import load_tensors
from omote.models.liveportrait.ratios import RatioNet
from omote.training.datasets.clips import Clip
from omote.training.liveportrait.networks import shrink
from omote.training.liveportrait.pairs import PairSet, to_batch
from omote.weights.loading import load_safetensors

STEPS, BATCH, RATE = 600, 32, 2e-3
FILE = "ratios.safetensors"
_JITTER = 0.01  # of the landmarks that say where to look, -1..1
_BLURRED = (1.0, 0.75, 0.5)  # results are softer than photographs
_TOLD_EVERY = 50


def ready_ratios(
    folder: Path,
    clips: Sequence[Clip],
    seed: int,
    tell: Callable[[str], None] | None = None,
    *,
    afresh: bool = False,
    steps: int = STEPS,
) -> RatioNet:
    """The network of a run; trained if it is not there yet.

    Args:
        folder: of the run.
        clips: to learn from.
        seed: of everything random.
        tell: told how it goes.
        afresh: train it in any case.
        steps: of training.

    Raises:
        WeightsError: the file in the folder is damaged.
        FormatError: a damaged clip.
    """
    from safetensors.torch import save_file

    path = folder / FILE
    net = RatioNet()
    if path.exists() and not afresh:
        load_tensors(net, load_safetensors(path), where=str(path))
        return net.eval()
    net = train_ratios(clips, seed, tell, steps=steps)
    with atomic_path(path) as temporary:
        save_file(net.state_dict(), temporary)
    return net


def train_ratios(
    clips: Sequence[Clip], seed: int, tell: Callable[[str], None] | None = None, *, steps: int = STEPS
) -> RatioNet:
    """A network that reads ratios as `ready_ratios` needs it."""
    torch.manual_seed(seed)
    net = RatioNet().train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=max(steps, 2))
    chance = torch.Generator().manual_seed(seed)
    epoch, done = 0, 0
    while done < steps:
        data = PairSet(clips, 1, epoch, seed)
        for first in range(0, len(data), BATCH):
            batch = to_batch([data[k] for k in range(first, min(first + BATCH, len(data)))])
            errors = ratio_errors(net, batch, chance)
            optimizer.zero_grad(set_to_none=True)
            sum(errors.values(), torch.zeros(())).backward()
            optimizer.step()
            schedule.step()
            done += 1
            if tell is not None and done % _TOLD_EVERY == 0:
                shown = ", ".join(f"{name} {float(value.detach()):.3f}" for name, value in errors.items())
                tell(f"learning to measure ratios: {done} of {steps} ({shown})")
            if done >= steps:
                break
        epoch += 1
    return net.eval()


def ratio_errors(net: RatioNet, batch: Mapping[str, Tensor], chance: torch.Generator) -> dict[str, Tensor]:
    """Mean absolute errors of the ratios of a batch of pairs, "eye" and "lip"; pictures softened at random."""
    pictures = torch.cat([batch["source"], batch["driver"]]).float() / 255
    marks = torch.cat([batch["source_marks"], batch["driver_marks"]])
    size = pictures.shape[-1]
    share = _BLURRED[int(torch.randint(len(_BLURRED), (), generator=chance))]
    if share < 1:
        soft = shrink(pictures, int(share * size))
        pictures = torch.nn.functional.interpolate(soft, size=(size, size), mode="bilinear")
    near = marks + _JITTER * torch.randn(len(marks), 1, 2, generator=chance)
    wanted = {"eye": eye_close_ratio(marks), "lip": lip_close_ratio(marks)}
    return {name: (net(pictures, near, name) - value).abs().mean() for name, value in wanted.items()}
