"""Where the networks of LivePortrait come from, and what they run on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from omote.errors import InputError, WeightsError
from omote.models.liveportrait import BASE_FILES, RETARGETING_FILE, LivePortraitConfig, LivePortraitNets
from omote.models.liveportrait.checkpoint import read_config
from omote.models.processor import multiplies_bfloat16
from omote.models.seeded import fill_seeded
from omote.weights import load_safetensors, load_set, load_torch_checkpoint, read_description
from omote.weights.nesting import unflatten
from omote.weights.sets import TRAINED_HERE

SEEDED = "seeded:"
RANDOM_NOTE = "random weights: the result shows the machinery, not a face"

_FOLDERS = (
    "",
    "base_models",
    "retargeting_models",
    "liveportrait/base_models",
    "liveportrait/retargeting_models",
)


@dataclass(frozen=True)
class Processor:
    """What the networks run on.

    Attributes:
        device: of all networks.
        dtype: of the warping network and the generator; all else stays float32, because less precision in the motion
            extractor is seen as jitter.
    """

    device: torch.device
    dtype: torch.dtype


def choose_processor(*, exact: bool = False) -> Processor:
    """CUDA or the CPU, in bfloat16 where that is faster, else in float32.

    Args:
        exact: float32 in any case.

    Half precision of 16 bits (float16) is never chosen: on some cards it gives black pictures. Apple's MPS has no
    sampling of volumes.
    """
    if torch.cuda.is_available():
        name, half = "cuda", torch.cuda.is_bf16_supported()
    else:
        name, half = "cpu", multiplies_bfloat16()
    return Processor(torch.device(name), torch.bfloat16 if half and not exact else torch.float32)


def is_seeded(weights: str | Path | None) -> bool:
    """Whether random weights are asked for."""
    return isinstance(weights, str) and weights.startswith(SEEDED)


def check_weights(weights: str | Path | None) -> str:
    """What tells these weights from others: the seed, or names, sizes and times of their files, which are not opened.

    Raises:
        InputError: a seed that is no number.
        WeightsError: a folder or a file in it that is not there, or published weights that are not on this machine.
    """
    from omote.weights import locate_set

    if is_seeded(weights):
        return f"{SEEDED}{_seed_of(str(weights))}"
    paths = locate_set("liveportrait") if weights is None else _files_in(Path(weights))
    facts = [(str(path), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in paths.values()]
    return repr(facts)


def load_nets(weights: str | Path | None = None) -> LivePortraitNets:
    """All networks, in evaluation mode and without gradients.

    Args:
        weights: None for the published ones in the cache (`omote weights get liveportrait`); a folder that holds the
            five files of `BASE_FILES` and `RETARGETING_FILE` as ``.safetensors`` or ``.pth``, in it or in the published
            folders below, of the sizes in its ``omote.json`` if it has one (`omote train liveportrait` writes it); or
            "seeded:N" for random weights by the rule of `omote.models.seeded`, which show the machinery and not a face.

    Raises:
        InputError: a seed that is no number.
        WeightsError: files that are missing, damaged or of other networks.
    """
    if is_seeded(weights):
        nets = _seeded(_seed_of(str(weights)))
    elif weights is None:
        nets = LivePortraitNets.from_published(load_set("liveportrait"))
    else:
        folder = Path(weights)
        found = {name: _tensors(path) for name, path in _files_in(folder).items()}
        config = _config_in(folder)
        try:
            nets = LivePortraitNets.from_published(found, config)
        except WeightsError as error:
            raise WeightsError(error.what, where=f"{folder}: {error.where}", remedy=error.remedy) from error
    return nets.eval().requires_grad_(False)


def _seed_of(weights: str) -> int:
    number = weights.removeprefix(SEEDED)
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise InputError(f"'{weights}' is no seed", where="--weights", remedy="Write seeded:0.")
    return int(number)


def _seeded(seed: int) -> LivePortraitNets:
    with torch.device("meta"):
        nets = LivePortraitNets()
    nets.to_empty(device="cpu")
    for network in nets.children():
        fill_seeded(network, seed)
    return nets


def _files_in(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        remedy = "Give the folder of the five model files, or seeded:0 for random weights."
        what = "this is a file, not a folder" if folder.exists() else "there is no such folder"
        raise WeightsError(what, where=folder, remedy=remedy)
    found = {}
    for name in (*BASE_FILES, RETARGETING_FILE):
        places = [
            folder / place / (name + suffix) for place in _FOLDERS for suffix in (".safetensors", ".pth")
        ]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            remedy = f"All five are needed: {', '.join((*BASE_FILES, RETARGETING_FILE))}."
            raise WeightsError(f"holds no {name}.safetensors or .pth", where=folder, remedy=remedy)
        found[name] = path
    return found


def _tensors(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".pth":
        held: Mapping[str, Any] = load_torch_checkpoint(path)
        return held
    tensors = load_safetensors(path)
    with suppress(WeightsError):  # not a file of our cache: then nothing was flattened
        stored = read_description(path)
        if stored is not None and stored.nested:
            return unflatten(tensors)
    return tensors


def _config_in(folder: Path) -> LivePortraitConfig | None:
    path = folder / TRAINED_HERE
    return read_config(path) if path.is_file() else None
