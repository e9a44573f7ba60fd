"""The published checkpoints of LivePortrait, by their own tensor names, both ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from omote.errors import WeightsError
from omote.models.liveportrait.appearance import AppearanceFeatureExtractor
from omote.models.liveportrait.config import LivePortraitConfig
from omote.models.liveportrait.generator import SpadeGenerator
from omote.models.liveportrait.motion import MotionExtractor
from omote.models.liveportrait.retargeting import RetargetingNet
from omote.models.liveportrait.warping import WarpingModule

Layout = Literal["official", "community"]

BASE_FILES = ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator")
"""The stems of the four files that hold one network each."""

RETARGETING_FILE = "stitching_retargeting_module"
"""The stem of the file that holds the three small networks."""

RETARGETING_KEYS = {"stitching": "retarget_shoulder", "lip": "retarget_mouth", "eye": "retarget_eye"}
"""Under which name of that file each of them is."""

_WRAPPER = "module."


class LivePortraitNets(nn.Module):
    """All networks of LivePortrait (arXiv 2407.03168), in evaluation mode unless asked otherwise.

    Args:
        config: sizes; default: published.

    Attributes:
        appearance_feature_extractor: F.
        motion_extractor: M.
        warping_module: W.
        spade_generator: G.
        stitching: S.
        lip: R_lip.
        eye: R_eyes.
    """

    def __init__(self, config: LivePortraitConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LivePortraitConfig()
        self.appearance_feature_extractor = AppearanceFeatureExtractor(config.appearance)
        self.motion_extractor = MotionExtractor(config.motion)
        self.warping_module = WarpingModule(config.warping)
        self.spade_generator = SpadeGenerator(config.generator)
        self.stitching = RetargetingNet(config.stitching)
        self.lip = RetargetingNet(config.lip)
        self.eye = RetargetingNet(config.eye)
        self.eval()

    @classmethod
    def from_published(
        cls, files: Mapping[str, Mapping[str, Any]], config: LivePortraitConfig | None = None
    ) -> LivePortraitNets:
        """The networks with the weights of the published files, which are copied.

        Args:
            files: what each file holds, by the stem of its name: the four of `BASE_FILES` as plain dictionaries of
                tensors, and `RETARGETING_FILE` either as the official dictionary of dictionaries (whose further
                entries are passed over) or as the flat dictionary of the community's safetensors. Other files are
                passed over.
            config: sizes; default: published.

        Raises:
            WeightsError: a file or tensor is missing, has another shape, is not finite or unexpected; names the first.
        """
        missing = [name for name in (*BASE_FILES, RETARGETING_FILE) if name not in files]
        if missing:
            raise WeightsError("is missing", where=missing[0], remedy="All five files are needed.")
        with torch.device("meta"):
            nets = cls(config)
        nets.to_empty(device="cpu")
        for name in BASE_FILES:
            load_tensors(nets.get_submodule(name), files[name], where=name)
        for name, key in RETARGETING_KEYS.items():
            found = _retargeting_tensors(files[RETARGETING_FILE], key)
            load_tensors(nets.get_submodule(name), found, where=f"{RETARGETING_FILE}: {key}")
        return nets

    def to_published(self, layout: Layout = "official") -> dict[str, dict[str, Any]]:
        """What the published files would hold, by the stems of their names; the inverse of `from_published`.

        Args:
            layout: "official" for the ``.pth`` files, "community" for the flat safetensors.
        """
        files: dict[str, dict[str, Any]] = {name: _tensors(self.get_submodule(name)) for name in BASE_FILES}
        retargeting: dict[str, Any] = {}
        for name, key in RETARGETING_KEYS.items():
            tensors = _tensors(self.get_submodule(name))
            if layout == "official":
                retargeting[key] = {f"{_WRAPPER}{tensor}": value for tensor, value in tensors.items()}
            else:
                retargeting |= {f"{key}_module.{tensor}": value for tensor, value in tensors.items()}
        files[RETARGETING_FILE] = retargeting
        return files


def load_tensors(network: nn.Module, tensors: Mapping[str, Any], *, where: str) -> None:
    """Copy published tensors into a network: all of them, and no others.

    Args:
        network: any of ours.
        tensors: by the published names.
        where: how messages call the file.

    Raises:
        WeightsError: names the first tensor that is missing, has another shape, is no tensor, is not finite, or is
            unexpected.
    """
    if not isinstance(tensors, Mapping):
        raise WeightsError(f"is a {type(tensors).__name__}, not a dictionary of tensors", where=where)
    own = network.state_dict()
    for name, target in own.items():
        wanted = tuple(target.shape)
        if name not in tensors:
            raise WeightsError(f"the tensor {name} is missing, expected shape {wanted}", where=where)
        value = tensors[name]
        if not isinstance(value, Tensor):
            what = f"{name} is a {type(value).__name__}, expected a tensor of shape {wanted}"
            raise WeightsError(what, where=where)
        if tuple(value.shape) != wanted:
            what = f"the tensor {name} has shape {tuple(value.shape)}, expected {wanted}"
            raise WeightsError(what, where=where)
        if value.is_floating_point() != target.is_floating_point():
            what = f"the tensor {name} is {value.dtype}, expected {target.dtype}"
            raise WeightsError(what, where=where)
        if not bool(value.isfinite().all()):
            remedy = "Get the file again; or the training that made it failed."
            raise WeightsError(
                f"the tensor {name} has values that are not finite", where=where, remedy=remedy
            )
    unexpected = next((name for name in tensors if name not in own), None)
    if unexpected is not None:
        remedy = "Is this the checkpoint of another network?"
        raise WeightsError(f"the tensor {unexpected} is unexpected", where=where, remedy=remedy)
    with torch.no_grad():
        for name, target in own.items():
            target.copy_(tensors[name])


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _retargeting_tensors(held: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The tensors of one small network, by their bare names, from either layout."""
    if not isinstance(held, Mapping):
        raise WeightsError(f"is a {type(held).__name__}, not a dictionary", where=RETARGETING_FILE)
    found = held.get(key)
    if found is None:
        prefix = f"{key}_module."
        found = {str(name)[len(prefix) :]: value for name, value in _flat(held, prefix)}
    if not isinstance(found, Mapping) or not found:
        what = f"holds no {key}, neither as an entry nor as tensors called {key}_module..."
        raise WeightsError(what, where=RETARGETING_FILE)
    return {str(name).replace(_WRAPPER, ""): value for name, value in found.items()}


def _flat(held: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in held.items() if str(name).startswith(prefix))
