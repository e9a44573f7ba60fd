"""The part that all stages of LivePortrait's training share: clips as batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omote.errors import InputError
from omote.models.liveportrait import LivePortraitNets
from omote.models.liveportrait.checkpoint import save_nets
from omote.training.datasets.clips import Clip, split_people
from omote.training.engine import Batch
from omote.training.liveportrait.networks import shrink
from omote.training.liveportrait.options import LivePortraitOptions
from omote.training.liveportrait.pairs import PairSet, held_out_pairs, to_batch


class StageTask:
    """A stage's data, and how its networks are saved; what it learns is added by each stage.

    Args:
        options: data and losses.
        clips: to train and to validate on.

    Raises:
        InputError: fewer clips than make a batch.
    """

    def __init__(self, options: LivePortraitOptions, clips: Sequence[Clip]) -> None:
        self.options, self.sizes = options, options.sizes
        self.weights = options.loss_weights
        self.batch = options.batch or self.sizes.batch
        self.clips, self.held_out = split_people(clips)
        self.device = torch.device("cpu")
        pairs = len(self.clips) * options.repeats
        if pairs < self.batch:
            what = f"{len(self.clips)} clips make {pairs} pairs a pass, fewer than a batch of {self.batch}"
            raise InputError(what, where="--data", remedy="Use a smaller --batch or a larger --repeats.")

    def to(self, device: torch.device) -> None:
        """Move what the losses need."""
        self.device = device

    def batches(self, epoch: int, skip: int, rank: int, ranks: int) -> Iterator[Batch]:
        """The batches of one pass; each of several processes takes every so-many-th of them."""
        data = PairSet(self.clips, self.options.repeats, epoch, self.options.seed)
        groups = [
            list(range(first, first + self.batch))
            for first in range(0, len(data) - self.batch + 1, self.batch)
        ]
        whole = len(groups) // ranks * ranks
        yield from self._loaded(data, groups[skip * ranks + rank : whole : ranks])

    def validation(self) -> Iterator[Batch]:
        """Held-out pairs."""
        left = held_out_pairs(self.held_out, self.options.validation)
        while group := list(itertools.islice(left, self.batch)):
            yield to_batch(group)

    def chance(self, step: int) -> torch.Generator:
        """What is random in a step."""
        return torch.Generator().manual_seed((self.options.seed << 32) + step)

    def shown(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) RGB in 0..1 of uint8, at full size and as the networks see it."""
        whole = picture.float() / 255
        return whole, shrink(whole, self.sizes.network.input_size)

    def summary(self, means: Mapping[str, float]) -> dict[str, float]:
        """Means over the whole validation, as they are."""
        return dict(means)

    def save(self, net: nn.Module, path: Path, notes: Mapping[str, Any]) -> None:
        """Write all networks by their published names into a folder."""
        nets = getattr(net, "nets", None)
        if not isinstance(nets, LivePortraitNets):
            raise InputError("only networks of LivePortrait can be saved here")
        save_nets(path, nets, notes)

    def _loaded(self, data: PairSet, groups: list[list[int]]) -> Iterator[Batch]:
        from torch.utils.data import DataLoader

        ahead: dict[str, Any] = {}
        if self.options.workers:
            ahead = {"num_workers": self.options.workers, "worker_init_fn": _quiet, "prefetch_factor": 3}
        loader: Any = DataLoader(
            data, batch_sampler=groups, collate_fn=list, generator=torch.Generator(), **ahead
        )
        for pairs in loader:
            yield to_batch(pairs)


def _quiet(worker: int) -> None:
    """Ctrl-C and SIGTERM reach the whole group; the leading process saves, then ends its workers itself."""
    import signal

    torch.set_num_threads(1)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
