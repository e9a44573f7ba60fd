"""Reading files of tensors that strangers made: nothing in them runs, and nothing in them fills the memory."""

from __future__ import annotations

import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from omote.errors import WeightsError

if TYPE_CHECKING:
    import torch

_MOST_RECORDS = 100_000
_MOST_PICKLE = 64 << 20  # bytes: names, shapes and small values; weights are in records of their own
_MOST_REPEATED = 16 << 20  # characters of text that is told once and named again
_OLD_PICKLES = 5
"""How many pickles a checkpoint of the old format begins with."""


def load_safetensors(path: str | Path) -> dict[str, torch.Tensor]:
    """The named tensors of a safetensors file, on the CPU.

    Raises:
        WeightsError: missing, damaged or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = _existing(path)
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(
            f"this is not a sound safetensors file ({_short(error)})", where=path, remedy="Download it again."
        ) from error


def load_torch_checkpoint(path: str | Path) -> Any:
    """What a PyTorch checkpoint (.pt, .pth, .ckpt, .tar) holds, on the CPU: tensors and plain containers.

    Loaded with ``weights_only=True``: no code inside the file ever runs. Archives whose records are compressed,
    or larger than the file, are refused: PyTorch writes neither, and they can fill any memory.

    Raises:
        WeightsError: missing, damaged, or a pickle that needs more than tensors and plain containers.
    """
    import torch

    path = _existing(path)
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about protocols of pickles, which it then refuses
            with path.open("rb") as file:  # by a path's suffix, torch would take it for another format
                return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        what = "the checkpoint is damaged or not a PyTorch file; nothing in it was run"
        if re.search(r"Unsupported (global|class)|GLOBAL ", str(error)):
            what = "the checkpoint holds Python objects besides tensors, which could run code: not loaded"
        remedy = "Get it as .safetensors or from its official address."
        raise WeightsError(what, where=path, remedy=remedy) from error
    except Exception as error:  # damaged archives and pickles raise anything: EOFError, KeyError ...
        raise WeightsError(
            f"the checkpoint is damaged or not a PyTorch file ({_short(error)})",
            where=path,
            remedy="Download it again.",
        ) from error


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors files do, whatever its name.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise WeightsError(f"cannot be read ({error.strerror or error})", where=path) from error
    return head[8:] == b"{" and not head.startswith(b"PK")


def _check_archive(path: Path) -> None:
    """Refuse zip archives, and pickles, that unpack to more than their own size."""
    try:
        with path.open("rb") as file:
            is_archive = file.read(2) == b"PK"  # as torch decides it
        if not is_archive:  # the old format: of the weights torch reads just the bytes that there are
            with path.open("rb") as file:
                if any(_swells(file) for _ in range(_OLD_PICKLES)):
                    raise _unsafe(path)
            return
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            pickled = [record for record in records if record.filename.endswith(".pkl")]
            packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
            swollen = sum(record.file_size for record in records) > path.stat().st_size
            swollen |= sum(record.file_size for record in pickled) > _MOST_PICKLE
            if packed or swollen or len(records) > _MOST_RECORDS:
                raise _unsafe(path)
            for record in pickled:
                with archive.open(record) as content:
                    if _swells(content):
                        raise _unsafe(path)
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:  # RuntimeError: it is encrypted
        raise WeightsError(
            f"the checkpoint is damaged or not a PyTorch file ({_short(error)})",
            where=path,
            remedy="Download it again.",
        ) from error


def _unsafe(path: Path) -> WeightsError:
    what = "the archive would unpack to more than it holds, which no checkpoint does: not loaded"
    return WeightsError(what, where=path, remedy="Get it from its official address.")


def _swells(stream: IO[bytes]) -> bool:
    """Whether a pickle, read to its end without running it, makes far more bytes than it has.

    The reader of PyTorch knows two functions that make new bytes: one of a number, which no checkpoint needs, and one
    of a text, which may have been told once and be named any number of times.
    """
    told: dict[Any, int] = {}
    last, repeated, encodes = 0, 0, False
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            name = opcode.name
            if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
                told[len(told) if name == "MEMOIZE" else argument] = last
                continue
            if name in ("GET", "BINGET", "LONG_BINGET"):
                last = told.get(argument, 0)
                repeated += last
            else:
                last = len(argument) if isinstance(argument, str | bytes | bytearray) else 0
                repeated += last if name == "DUP" else 0
                if isinstance(argument, str):
                    encodes |= argument.startswith("_codecs")
                    if argument in ("bytearray", "builtins bytearray", "__builtin__ bytearray"):
                        return True
    except (ValueError, UnicodeDecodeError, EOFError, IndexError, OverflowError):
        return False  # damaged: what reads it will say so
    return encodes and repeated > _MOST_REPEATED


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise WeightsError("there is no such file", where=path)
    return path


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
