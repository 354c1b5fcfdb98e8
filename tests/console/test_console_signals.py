"""Signals of a foreground command are caught, passed on, and as before afterwards; and the console stays cheap to import."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

from aiorun.console.signals import CAUGHT, Signals, forward_until_exit
from aiorun.waiter import PollWaiter, drive

DEAR = "typing dataclasses enum contextlib re json argparse subprocess socket functools collections logging pathlib ctypes trio"


def test_what_came_is_readable_and_in_order() -> None:
    with Signals() as signals:
        for number in (signal.SIGUSR1, signal.SIGWINCH, signal.SIGRTMIN + 3, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        assert select.select([signals.fd], [], [], 0)[0]
        assert list(signals.take()) == [signal.SIGUSR1, signal.SIGWINCH, signal.SIGRTMIN + 3, signal.SIGUSR1]
        assert signals.take() == b""


def test_dispositions_are_as_before_afterwards_ignored_ones_too() -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    before = {number: signal.getsignal(number) for number in CAUGHT}
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGUSR2)
        assert list(signals.take()) == [signal.SIGUSR2]
    assert {number: signal.getsignal(number) for number in CAUGHT} == before
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)


@pytest.mark.parametrize("name", ["SIGCHLD", "SIGURG", "SIGPIPE", "SIGSEGV", "SIGKILL", "SIGSTOP", "SIGTTIN", "SIGTTOU"])
def test_what_is_not_the_programs_is_left_alone(name: str) -> None:
    assert getattr(signal, name) not in CAUGHT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGRTMIN + 3])
def test_a_signal_is_passed_on_and_a_new_size_is_not(number: int) -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        pidfd = os.pidfd_open(process.pid)
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGWINCH)
            os.kill(os.getpid(), number)
            drive(forward_until_exit(PollWaiter(), pidfd, signals))
        os.close(pidfd)
        assert process.wait() == -number


def test_a_signal_for_a_program_that_has_ended_is_no_error() -> None:
    process = subprocess.Popen(["true"])
    pidfd = os.pidfd_open(process.pid)
    process.wait()
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.forward(pidfd) == {signal.SIGTERM}
    os.close(pidfd)


def test_the_console_imports_nothing_dear() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import aiorun.console.relay, aiorun.console.signals, aiorun.console.terminal, aiorun.console.listener\n"
        f"print(*sorted(set('{DEAR}'.split()) & sys.modules.keys()))"
    )
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, checkout], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
