"""Every network that `benchmarks/inversion_ablations.py` compares can be made."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from omote.models.inversion import InversionConfig, InversionNet
from omote.rigs.facs import load_rig

_PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "inversion_ablations.py"


def test_every_run_has_a_network_that_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("inversion_ablations", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    rig = load_rig()
    base = InversionConfig.shipped(rig.space, rig.name, identity=len(rig.identity_space))
    made = {run.name: InversionNet(replace(base, **run.changes)) for run in module.RUNS}
    reads = {name: (net.mesh is not None, net.unwrapped is not None) for name, net in made.items()}
    assert reads["main"] == reads["hiera_mesh"] == (True, True)
    assert reads["no_unwrapping"] == (True, False)
    assert reads["hiera"] == reads["tuned"] == reads["frozen"] == reads["resnet50"] == (False, False)
    assert all(run.start in made for run in module.RUNS if run.start)
