"""A published system of one small network, and a parity folder of it whose numbers come from plain NumPy."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn

from omote.errors import InputError
from omote.evaluation.parity import Call, System

TENSORS = [["layer.weight", [4, 3], "float32"], ["layer.bias", [4], "float32"]]


class Tiny(nn.Module):
    """y = W x + b."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def build(name: str, hyper: Mapping[str, Any]) -> nn.Module:
    if name != "tiny":
        raise InputError(f"no network {name}")
    return Tiny(hyper.get("width", 4))


def compute(call: Call) -> dict[str, Any]:
    y = call.network("tiny")(torch.from_numpy(call.inputs["x"]))
    return {"y": y, "sum": y.sum(-1).numpy()}


TINY = System("tiny", build, compute)


def draw(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def expected(seed: int, rows: int, scale: float = 1.0) -> dict[str, np.ndarray]:
    """What the network has to give, worked out by hand."""
    weight = (draw("layer.weight", seed).standard_normal((4, 3)) / np.sqrt(3)).astype(np.float32)
    bias = (0.1 * draw("layer.bias", seed).standard_normal(4)).astype(np.float32)
    x = draw("x", seed).uniform(-1, 2, (rows, 3)).astype(np.float32)
    y = x @ (scale * weight).T + bias
    return {"y": y, "sum": y.sum(-1)}


def statistics(value: np.ndarray) -> dict[str, Any]:
    wide = value.astype(np.float64)
    return {"mean": wide.mean(), "std": wide.std(), "max_abs": np.abs(wide).max()}


def case(folder: Path, seed: int, rows: int, **more: Any) -> dict[str, Any]:
    """A case whose files are written: y in two slices, sum whole."""
    name = more.pop("name", f"tiny_s{seed}")
    made = expected(seed, rows, more.pop("scale", 1.0))
    save_file(
        {"y.0": made["y"][:, ::2].copy(), "y.1": made["y"][0, 1:3].copy(), "sum": made["sum"]},
        folder / f"{name}.safetensors",
    )
    return {
        "name": name,
        "network": "tiny",
        "seed": seed,
        "inputs": [{"name": "x", "shape": [rows, 3], "low": -1, "high": 2}],
        "outputs": [
            {
                "name": "y",
                "shape": [rows, 4],
                **statistics(made["y"]),
                "stored": "slices",
                "tensors": [
                    {"key": "y.0", "slice": "[:, ::2]", "shape": [rows, 2]},
                    {"key": "y.1", "slice": "[0, 1:3]", "shape": [2]},
                ],
            },
            {
                "name": "sum",
                "shape": [rows],
                **statistics(made["sum"]),
                "stored": "whole",
                "tensors": [{"key": "sum", "slice": None}],
                "tolerance": 2e-5,
            },
        ],
        "file": f"{name}.safetensors",
        **more,
    }


def write_folder(folder: Path, *, seeds: tuple[int, ...] = (0, 7), rows: int = 5) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {
        "system": "tiny",
        "default_tolerance": "as the kit says",
        "networks": {"tiny": {"hyperparameters": {"width": 4}, "parameters": 16, "tensors": TENSORS}},
        "cases": [case(folder, seed, rows) for seed in seeds],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the manifest."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def change_stored(folder: Path, file: str, edit: Callable[[dict[str, np.ndarray]], None]) -> None:
    """Rewrite stored values."""
    from safetensors.numpy import load_file

    tensors = {key: value.copy() for key, value in load_file(folder / file).items()}
    edit(tensors)
    save_file(tensors, folder / file)
