"""Networks for the cases: built once for each seed while memory allows, changed for one case, and put back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from omote.errors import FormatError, InputError
from omote.evaluation.parity.manifest import Case, Manifest, NetworkSpec, is_number
from omote.evaluation.parity.systems import System

if TYPE_CHECKING:
    from torch import Tensor, nn

_KEPT_BYTES = 3 << 30


class NetworkPool:
    """The seeded networks of one folder.

    Args:
        system: builds and fills them.
        manifest: says of what size they are.
        kept_bytes: how much memory unused ones may take; beyond it the longest unused are freed.
    """

    def __init__(self, system: System, manifest: Manifest, *, kept_bytes: int = _KEPT_BYTES) -> None:
        self._system, self._manifest, self._kept_bytes = system, manifest, kept_bytes
        self._kept: OrderedDict[tuple[str, int], nn.Module] = OrderedDict()
        self.built = 0

    @contextmanager
    def for_case(self, case: Case) -> Iterator[Callable[[str], nn.Module]]:
        """A function that gives the case's networks by name: its seed, its overrides, in evaluation mode.

        The overrides are undone when the block is left.
        """
        used: dict[str, nn.Module] = {}
        originals: list[tuple[Tensor, Tensor]] = []

        def network(name: str) -> nn.Module:
            if name not in used:
                if case.seed is None:
                    raise FormatError(f"the case gives no seed for the weights of {name}")
                used[name] = self._seeded(name, case.seed)
                originals.extend(_override(used[name], name, case))
            return used[name]

        _check_overrides(case, self._manifest)
        try:
            yield network
        finally:
            with torch.no_grad():
                for tensor, original in reversed(originals):
                    tensor.copy_(original)
            used.clear()
            self._free()

    def _seeded(self, name: str, seed: int) -> nn.Module:
        found = self._kept.get((name, seed))
        if found is None:
            spec = self._manifest.networks.get(name)
            found = self._system.build(name, spec.hyperparameters if spec else {})
            tensors = found.state_dict()
            values = self._system.fill(tensors, seed)
            with torch.no_grad():
                for key, tensor in tensors.items():
                    tensor.copy_(torch.from_numpy(values[key]))
            found.eval().requires_grad_(False)
            self._kept[name, seed] = found
            self.built += 1
        self._kept.move_to_end((name, seed))
        return found

    def _free(self) -> None:
        sizes = {key: _bytes(network) for key, network in self._kept.items()}
        while sum(sizes.values()) > self._kept_bytes:
            oldest = next(iter(self._kept))
            del self._kept[oldest], sizes[oldest]


def _bytes(network: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())


def _override(network: nn.Module, name: str, case: Case) -> Iterator[tuple[Tensor, Tensor]]:
    """Apply what the case changes in this network; yields (tensor, copy of what it was) before each change."""
    tensors = network.state_dict()
    for entry in case.overrides:
        if entry.get("network", case.network) != name:
            continue
        key, value = entry.get("key"), entry["value"]
        if key not in tensors:
            raise FormatError(f"an override names {str(key)[:80]}, which {name} does not have")
        tensor = tensors[key]
        yield tensor, tensor.clone()
        with torch.no_grad():
            if _word(entry) == "multiply":
                tensor.mul_(value)
            else:
                tensor.add_(value)


def _word(entry: Mapping[str, Any]) -> str:
    return str(entry.get("op")).split(" ")[0]  # more words may follow: "add (after the multiply)"


def _check_overrides(case: Case, manifest: Manifest) -> None:
    """Refuse changes that could be of no network, so that none is silently left out.

    Networks that the manifest has and the case does not call are not changed: manifests list some that are not needed.
    """
    for entry in case.overrides:
        name = entry.get("network", case.network)
        if name not in manifest.networks:
            raise FormatError(
                f"an override is for the network {str(name)[:80]}, which the manifest does not have"
            )
        if _word(entry) not in ("multiply", "add") or not is_number(entry.get("value")):
            raise FormatError(
                f"an override says '{str(entry.get('op'))[:40]}' with {str(entry.get('value'))[:40]}"
            )


def check_network(system: System, spec: NetworkSpec) -> list[str]:
    """What of a network differs from the manifest: names, shapes, order or types of its tensors, or parameters.

    No memory is taken for the weights. An empty list is agreement.
    """
    if spec.tensors is None and spec.parameters is None:
        return []
    try:
        with torch.device("meta"):
            network = system.build(spec.name, spec.hyperparameters)
    except InputError as error:
        return [str(error)]
    except (RuntimeError, TypeError, ValueError) as error:
        return [f"cannot be built ({str(error)[:120]})"]
    problems = []
    if spec.tensors is not None:
        problems = _compare_tensors(spec.tensors, network.state_dict())
    count = sum(parameter.numel() for parameter in network.parameters())
    if spec.parameters is not None and count != spec.parameters:
        problems.append(f"has {count} parameters, expected {spec.parameters}")
    return problems


def _compare_tensors(
    listed: tuple[tuple[str, tuple[int, ...], str], ...], own: Mapping[str, Any]
) -> list[str]:
    expected = {name: (shape, kind) for name, shape, kind in listed}
    problems = [f"{name} is missing" for name in expected if name not in own]
    problems += [f"{name} is not expected" for name in own if name not in expected]
    for name, (shape, kind) in expected.items():
        if name in own:
            got, got_kind = tuple(own[name].shape), str(own[name].dtype).removeprefix("torch.")
            if got != shape:
                problems.append(f"{name} has shape {got}, expected {shape}")
            if got_kind != kind:
                problems.append(f"{name} is {got_kind}, expected {kind}")
    if len(expected) < len(listed):
        problems.append("the manifest lists a tensor twice")
    if not problems and list(own) != [name for name, _, _ in listed]:
        first = next(name for name, row in zip(own, listed, strict=True) if name != row[0])
        problems.append(f"the order of the tensors differs from {first} on")
    return problems
