"""The ``omote`` command: parses the arguments, runs one command, and turns every error into one line.

Exit codes: 0 done, 1 a fault in Omote, 2 something the user can mend, 130 stopped by Ctrl-C, 141 the reader
of a pipe went away. ``OMOTE_DEBUG=1`` shows tracebacks.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, Any, Protocol, Union

import tyro

from omote.commands import console
from omote.commands.animate import AnimateArgs
from omote.commands.bundle import BundleArgs
from omote.commands.capture import CaptureArgs
from omote.commands.convert import ConvertArgs
from omote.commands.demo import DemoArgs
from omote.commands.edit import EditArgs
from omote.commands.eval import EvalArgs
from omote.commands.export import ExportArgs
from omote.commands.info import InfoArgs
from omote.commands.notes import notes_to
from omote.commands.parity import ParityArgs
from omote.commands.perform import PerformArgs
from omote.commands.rig import RigArgs
from omote.commands.synth import SynthArgs
from omote.commands.train import TrainArgs
from omote.commands.verify import VerifyArgs
from omote.commands.version import VersionArgs
from omote.commands.weights import WeightsArgs
from omote.errors import OmoteError, is_interrupt

_DESCRIPTION = """Photo or video in; named facial rig controls, a mesh and an animation out.

Examples:
  omote capture me.jpg
  omote capture take.mp4 --to glb,livelink -o out
  omote info out/take.omote
  omote export out/take.omote --to arkit-csv
  omote animate me.jpg --preset smile
"""

_COMMANDS: dict[str, type[Any]] = {
    "capture": CaptureArgs,
    "info": InfoArgs,
    "export": ExportArgs,
    "convert": ConvertArgs,
    "perform": PerformArgs,
    "edit": EditArgs,
    "animate": AnimateArgs,
    "bundle": BundleArgs,
    "verify": VerifyArgs,
    "rig": RigArgs,
    "synth": SynthArgs,
    "train": TrainArgs,
    "eval": EvalArgs,
    "parity": ParityArgs,
    "demo": DemoArgs,
    "weights": WeightsArgs,
    "version": VersionArgs,
}


class Command(Protocol):
    """Parsed arguments that know how to run."""

    def run(self) -> int:
        """Do the work; return the exit code."""


def parse(argv: Sequence[str]) -> Command:
    """The command that the arguments ask for.

    Raises:
        SystemExit: help was asked for (0) or the arguments are wrong (2).
    """
    arguments = list(argv) or ["--help"]
    if arguments[0] in ("--version", "-V"):
        arguments[0] = "version"
    if arguments[0] in _COMMANDS:  # build the parser of one command only
        name = arguments.pop(0)
        form, prog = _COMMANDS[name], f"omote {name}"
        description = inspect.getdoc(form)
    else:
        kinds = [
            Annotated[
                form, tyro.conf.subcommand(name, description=(inspect.getdoc(form) or "").partition("\n")[0])
            ]
            for name, form in _COMMANDS.items()
        ]
        form, prog, description = Union[tuple(kinds)], "omote", _DESCRIPTION  # type: ignore[assignment] # noqa: UP007
    command: Command = tyro.cli(
        form,
        prog=prog,
        description=description,
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    _quiet_libraries()
    debug = _debugging()
    try:
        signal.signal(signal.SIGTERM, _terminated)
        command = parse(sys.argv[1:] if argv is None else argv)
        with notes_to(lambda line: console.note(f"omote: note: {line}")):
            code = command.run()
        sys.stdout.flush()
        return code
    except OmoteError as error:
        if debug:
            traceback.print_exc()
        console.error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return _stopped()
    except BrokenPipeError:  # the reader of our output went away, as in `omote info x | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:  # noqa: BLE001 - the last line of defence: a fault of ours, told in one line
        if is_interrupt(error):
            return _stopped()
        if debug:
            traceback.print_exc()
        text = " ".join(str(error).split()) or "no message"
        hint = "" if debug else " This is a fault in Omote; OMOTE_DEBUG=1 shows where."
        console.error(f"{type(error).__name__}: {text[:300]}.{hint}")
        return 1


def _stopped() -> int:
    console.note("stopped; run the same command again to resume")
    return 130


def entry() -> None:
    """The console script."""
    if not _debugging():
        _silence_native_code()
    sys.exit(main())


def _debugging() -> bool:
    return os.environ.get("OMOTE_DEBUG", "") not in ("", "0")


def _silence_native_code() -> None:
    """Send what C++ libraries write to standard error to nowhere; Python's own standard error stays as it is.

    MediaPipe, TensorFlow Lite and Warp greet and warn there past every setting of theirs. Worker processes inherit it.
    """
    try:
        own = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        sys.stderr = os.fdopen(own, "w", buffering=1, encoding=encoding, errors="backslashreplace")
        os.dup2(nowhere, 2)
        os.close(nowhere)
    except OSError:  # started without a standard error
        return


def _terminated(number: int, frame: FrameType | None) -> None:
    """On SIGTERM leave by an exception, so that unfinished files are removed."""
    raise SystemExit(128 + number)


def _quiet_libraries() -> None:
    """Keep the native libraries' chatter off the terminal, and their threads off small work."""
    for name, value in {
        "GLOG_minloglevel": "2",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }.items():
        os.environ.setdefault(name, value)


if __name__ == "__main__":
    entry()
