"""`aiorun run` with the caller's pipes, and without a terminal of any kind: the program's stdio is the caller's own."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from tests.conftest import Bundles, CommandLine
from tests.waiting import until

SIZE = 10 << 20

Container = Callable[..., str]


@pytest.fixture(params=["runc", "aiorun"])
def runtime(request: pytest.FixtureRequest) -> CommandLine:
    """One runtime after the other."""
    chosen: CommandLine = request.getfixturevalue(request.param)
    return chosen


def stream(of: IO[bytes] | None) -> IO[bytes]:
    assert of is not None
    return of


def start(runtime: CommandLine, made: Path, *flags: str | Path, **popen: Any) -> subprocess.Popen[bytes]:
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0, **popen}
    return runtime.popen("run", "--bundle", made, *flags, "box", **options)


def is_gone(runtime: CommandLine) -> bool:
    return runtime("list", "-q", check=True).stdout == ""


# --- stdin, stdout, stderr -------------------------------------------------------------------------------------


def test_ten_mebibytes_go_in_and_out_whole_and_the_end_of_stdin_reaches_the_program(aiorun: CommandLine, bundle: Bundles) -> None:
    large = random.Random(1).randbytes(SIZE)
    with start(aiorun, bundle(args=["sh", "-c", "cat; echo -n end >&2; exit 7"]), stderr=subprocess.PIPE) as process:
        out, err = process.communicate(large, timeout=60)
    assert (process.returncode, err) == (7, b"end")
    assert hashlib.sha256(out).digest() == hashlib.sha256(large).digest()
    assert is_gone(aiorun)


def test_a_closed_stdin_is_an_empty_one(aiorun: CommandLine, bundle: Bundles) -> None:
    made = bundle(args=["sh", "-c", "cat; readlink /proc/self/fd/0"])
    with start(aiorun, made, stdin=None, preexec_fn=lambda: os.close(0)) as process:
        assert stream(process.stdout).read() == b"/dev/null\n"
    assert process.returncode == 0


def test_a_program_whose_reader_is_gone_ends_and_nothing_is_left(runtime: CommandLine, bundle: Bundles) -> None:
    with start(runtime, bundle(args=["sh", "-c", "yes 2>/dev/null; exit 9"])) as process:
        assert stream(process.stdout).read(2) == b"y\n"
        stream(process.stdout).close()
        assert process.wait() == 9
    assert is_gone(runtime)


def test_the_output_of_a_program_that_is_killed_arrives_and_the_exit_code_says_which_signal(
    runtime: CommandLine, bundle: Bundles
) -> None:
    with start(runtime, bundle(args=["sh", "-c", "echo last; exec sleep 1000"])) as process:
        assert stream(process.stdout).readline() == b"last\n"
        runtime("kill", "box", "KILL", check=True)
        assert process.wait() == 128 + signal.SIGKILL
    assert is_gone(runtime)


# --- signals ---------------------------------------------------------------------------------------------------

TRAPS = """
for name in TERM INT USR1 HUP WINCH; do trap "echo $name" $name; done
trap 'echo USR2; exit 4' USR2
grep -E 'SigBlk|SigIgn' /proc/self/status
while :; do read line; done
"""


@pytest.mark.parametrize("ignored", [False, True], ids=["", "nohup"])
def test_every_signal_but_a_new_size_is_passed_on(runtime: CommandLine, bundle: Bundles, ignored: bool) -> None:
    def ignore() -> None:
        for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)

    with start(runtime, bundle(args=["sh", "-c", TRAPS]), preexec_fn=ignore if ignored else None) as process:
        masks = [stream(process.stdout).readline().split() for _ in range(2)]
        assert masks == [[b"SigBlk:", b"0" * 16], [b"SigIgn:", b"0" * 16]]
        process.send_signal(signal.SIGWINCH)
        for name in ("TERM", "INT", "USR1", "HUP", "USR2"):
            process.send_signal(signal.Signals[f"SIG{name}"])
            assert stream(process.stdout).readline() == f"{name}\n".encode()
        assert process.wait() == 4


def test_interrupted_before_there_is_a_program_it_leaves_nothing(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        for kind in ("createRuntime", "createContainer", "startContainer"):
            started = tmp_path / f"started-{number}-{kind}"
            made = bundle({"hooks": {kind: [hook(kind, started)]}, "mounts": [*_MOUNTS, shared(tmp_path)]}, args=["true"])
            with start(aiorun, made, stderr=subprocess.PIPE) as process:
                until(started.exists, f"the {kind} hook")
                process.send_signal(number)
                said = stream(process.stderr).read().decode()
            if kind == "startContainer":  # the container is there by then, and the signal is passed on to its init
                assert (process.returncode, "container process is already dead" in said) == (1, True), said
            else:
                assert (process.returncode, "run failed: interrupted" in said) == (128 + number, True), said
            assert is_gone(aiorun)


_MOUNTS = json.loads((Path(__file__).parent.parent / "default_config.json").read_text())["mounts"]


def shared(directory: Path) -> dict[str, Any]:
    return {"destination": "/shared", "type": "bind", "source": str(directory), "options": ["bind"]}


def hook(kind: str, started: Path) -> dict[str, Any]:
    """A hook that says that it has begun, and never ends."""
    where = f"/shared/{started.name}" if kind == "startContainer" else str(started)
    return {"path": "/bin/sh", "args": ["sh", "-c", f": >{where}; exec sleep 1000"]}
