"""Parity: whether our networks give the numbers that published ones have to give.

A parity folder holds a manifest and expected outputs; weights and inputs are made from names and seeds, so that no
published checkpoint is needed.
"""

from omote.evaluation.parity.compare import Row
from omote.evaluation.parity.manifest import Manifest, read_manifest
from omote.evaluation.parity.runner import CaseResult, FolderResult, run_folder
from omote.evaluation.parity.systems import SYSTEMS, Call, System, get_system

__all__ = [
    "SYSTEMS",
    "Call",
    "CaseResult",
    "FolderResult",
    "Manifest",
    "Row",
    "System",
    "get_system",
    "read_manifest",
    "run_folder",
]
