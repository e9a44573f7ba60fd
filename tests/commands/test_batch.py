"""Worker processes: results, progress, a crash that takes others down, and a clean Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from omote.commands.batch import available_cores, run_batch

SCRIPT = """
import json, os, sys, time
from pathlib import Path
from omote.commands.batch import run_batch, WorkerLost
from omote.media import atomic_path

def work(task, report):
    kind, folder = task
    if kind == "crash":
        time.sleep(0.3)
        os._exit(3)
    if kind == "slow":
        with atomic_path(Path(folder) / "slow.txt") as path:
            path.write_text("half")
            Path(folder, f"started-{os.getpid()}").touch()
            time.sleep(30)
    for step in range(3):
        report(step + 1, 3)
        time.sleep(0.02)
    Path(folder, f"done-{kind}").touch()
    return {"kind": kind, "pid": os.getpid()}

if __name__ == "__main__":
    folder, kinds = sys.argv[1], sys.argv[2].split(",")
    seen, results = [], {}
    try:
        for index, result in run_batch([(k, folder) for k in kinds], work, jobs=2,
                                       on_progress=lambda *a: seen.append(a)):
            results[index] = "lost" if isinstance(result, WorkerLost) else result
    except KeyboardInterrupt:
        sys.exit(130)
    print(json.dumps({"results": results, "seen": seen, "pid": os.getpid()}))
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "batch_script.py"
    path.write_text(SCRIPT)
    (tmp_path / "out").mkdir()
    return path


def run_script(script: Path, kinds: str) -> dict:
    command = [sys.executable, str(script), str(script.parent / "out"), kinds]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def test_one_job_stays_in_this_process() -> None:
    seen: list[tuple[int, int, int | None]] = []

    def work(task: int, report) -> dict:
        report(1, 1)
        return {"square": task * task, "pid": os.getpid()}

    results = dict(run_batch([3, 4], work, jobs=1, on_progress=lambda *a: seen.append(a)))
    assert results == {0: {"square": 9, "pid": os.getpid()}, 1: {"square": 16, "pid": os.getpid()}}
    assert seen == [(0, 1, 1), (1, 1, 1)]


def test_processes_share_the_work(script: Path) -> None:
    told = run_script(script, "a,b,c,d")
    results = [told["results"][str(index)] for index in range(4)]
    assert [result["kind"] for result in results] == ["a", "b", "c", "d"]
    assert told["pid"] not in {result["pid"] for result in results}
    assert {index for index, done, total in told["seen"] if done == total == 3} == {0, 1, 2, 3}


def test_a_crash_costs_its_own_task_only(script: Path) -> None:
    told = run_script(script, "a,crash,b,c,crash,d,e,f,g,h")
    lost = [index for index, result in told["results"].items() if result == "lost"]
    assert sorted(lost) == ["1", "4"]
    assert len(told["results"]) == 10
    assert {p.name for p in (script.parent / "out").iterdir()} == {f"done-{k}" for k in "abcdefgh"}


@pytest.mark.skipif(os.name == "nt", reason="signals differ")
@pytest.mark.parametrize("to_group", [True, False], ids=["terminal", "kill -INT"])
def test_ctrl_c_leaves_nothing_half_written(script: Path, to_group: bool) -> None:
    out = script.parent / "out"
    process = subprocess.Popen(
        [sys.executable, str(script), str(out), "slow,slow,slow,slow"],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 30
        while len(list(out.glob("started-*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        workers = [int(path.name.removeprefix("started-")) for path in out.glob("started-*")]
        assert len(workers) == 2
        (os.killpg if to_group else os.kill)(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert sorted(p.name for p in out.iterdir()) == sorted(f"started-{pid}" for pid in workers)
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_available_cores() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
