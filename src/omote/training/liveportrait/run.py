"""Train a stage of LivePortrait in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omote.drive.liveportrait.networks import load_nets
from omote.errors import InputError
from omote.media.paths import sha256_of
from omote.models.liveportrait import LivePortraitNets
from omote.models.processor import without_denormals
from omote.training.datasets.clip_import import gather_clips
from omote.training.engine import Engine, EngineOptions, Tell
from omote.training.liveportrait.base import BaseTask
from omote.training.liveportrait.networks import start
from omote.training.liveportrait.options import LivePortraitOptions
from omote.training.liveportrait.pairs import resolved
from omote.training.liveportrait.ratio_start import ready_ratios
from omote.training.liveportrait.refine import RetargetingTask, StitchingTask
from omote.training.state import Position

MODEL = "liveportrait"
"""Folder in a run's folder that holds the networks; `omote.drive.liveportrait.networks.load_nets` reads it."""


@without_denormals()
def train_liveportrait(
    options: LivePortraitOptions,
    engine: EngineOptions,
    folder: Path,
    *,
    tell: Tell | None = None,
    overwrite: bool = False,
) -> Position:
    """Train a stage; go on where a former run in the folder stopped.

    Args:
        options: stage, data and losses.
        engine: optimisation and budget.
        folder: gets ``liveportrait/`` (all networks, by their published names), ``last.pt``, ``log.jsonl`` and
            ``loss.png``.
        tell: told how it goes.
        overwrite: start again, whatever is in the folder.

    Returns:
        Where it ended.

    Raises:
        InputError: no data, or other options than the run in the folder was started with.
        FormatError: a damaged clip or state.
        WeightsError: networks to go on from, or of losses, that do not fit.
        OutputError: the folder cannot be written to, or the loss is no longer a number.
    """

    def say(what: str) -> None:
        if tell is not None:
            tell("preparing", {"what": what})

    def look(name: str, number: int, total: int) -> None:
        say(f"cropping faces: {name} ({number + 1} of {total})")

    nets = _networks(options)
    with _first_process():
        clips = gather_clips(options.data, options.crops, options.sizes.size, look).clips
    task: BaseTask | StitchingTask | RetargetingTask
    if options.stage == "base":
        task = BaseTask(nets, options, clips)
    elif options.stage == "stitching":
        task = StitchingTask(nets, options, clips)
    else:
        with _first_process():
            fresh = _leads() and (overwrite or not (folder / "last.pt").exists())
            ratios = ready_ratios(folder, clips, options.seed, say, afresh=fresh)
        task = RetargetingTask(nets, options, clips, ratios)
    decisive = decisive_options(options, engine)
    return Engine(task, engine, folder, decisive, tell=tell, overwrite=overwrite, model=MODEL).run()


def _networks(options: LivePortraitOptions) -> LivePortraitNets:
    if options.base is None:
        return start(options.sizes.network, options.seed)
    nets = load_nets(options.base)
    if nets.config != options.sizes.network:
        what = f"its networks have other sizes than the preset {options.preset}"
        raise InputError(what, where=options.base, remedy="Give the --preset that it was trained with.")
    return start_small(nets, options)


def start_small(nets: LivePortraitNets, options: LivePortraitOptions) -> LivePortraitNets:
    """Trained networks, but the small ones of the stage from new weights."""
    fresh = start(nets.config, options.seed)
    for name in ("stitching",) if options.stage == "stitching" else ("eye", "lip"):
        nets.get_submodule(name).load_state_dict(fresh.get_submodule(name).state_dict())
    return nets


def _first_process() -> Any:
    """Within the block the leading process runs before all others, which find what it made."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    # As `Accelerator` would ask for it; whoever comes first decides.
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU")).main_process_first()


def _leads() -> bool:
    from accelerate import PartialState

    return bool(PartialState().is_main_process)


def decisive_options(options: LivePortraitOptions, engine: EngineOptions) -> dict[str, Any]:
    """What a resumed run must share with the one it goes on: all but the budget, threads, workers and reports."""
    optimisation = asdict(engine)
    for name in ("budget", "threads", "validate_every", "patience", "checkpoint_s", "report_every"):
        del optimisation[name]
    training: dict[str, Any] = {
        "stage": options.stage,
        "preset": options.preset,
        "data": resolved(options.data),
        "batch": options.batch or options.sizes.batch,
        "repeats": options.repeats,
        "adversarial": options.adversarial,
        "adversarial_start": options.adversarial_start,
        "weights": asdict(options.loss_weights),
        **_bytes_of(options),
    }
    plain: dict[str, Any] = json.loads(json.dumps(training | optimisation))
    return plain


def _bytes_of(options: LivePortraitOptions) -> Mapping[str, str | None]:
    """The sha256 of what the training is given beside data."""
    found: dict[str, str | None] = {"base": None if options.base is None else str(options.base.resolve())}
    for name in ("vgg", "face_id"):
        path: Path | None = getattr(options, name)
        found[name] = sha256_of(path) if path is not None and path.is_file() else None
    return found
