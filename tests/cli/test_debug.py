"""`--debug`: each step of a container's first process, in the log, as it is taken; and nothing of it when not asked for."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from aiorun.init.state import Init
from aiorun.init.trace import LONGEST, begin
from aiorun.wire import ops
from tests.conftest import Bundles, CommandLine, need_root

_LINE = re.compile(r"init: (\d+\.\d{3}) ms: (.*)")


def entries(log: Path) -> list[dict[str, Any]]:
    """The lines of a JSON log, each of them whole."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def steps(log: Path) -> list[str]:
    """What the init said that it does, in order."""
    matches = [_LINE.fullmatch(entry["msg"]) for entry in entries(log)]
    times = [float(match[1]) for match in matches if match]
    assert times == sorted(times)
    return [match[2] for match in matches if match]


def planned(aiorun: CommandLine, bundle: Path) -> list[str]:
    document = json.loads(aiorun("plan", "--format", "json", "--bundle", bundle, check=True).stdout)
    return [step["describe"] for step in document["operations"]]


def test_every_step_of_the_plan_is_told_in_its_order(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    directory, log = bundle(), tmp_path / "log"
    ended = aiorun("--debug", "--log", log, "--log-format", "json", "run", "--bundle", directory, "c", check=True)
    assert (ended.stdout, ended.stderr) == ("", "")
    told = [step.replace('/c"', '/ID"').replace('_ses.c"', '_ses.ID"') for step in steps(log)]
    assert told == planned(aiorun, directory)
    assert {entry["level"] for entry in entries(log)} <= {"debug", "warning"}


def test_what_the_command_itself_does_is_told_too(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    log = tmp_path / "log"
    aiorun("--debug", "--log", log, "--log-format", "json", "create", "--bundle", bundle(), "c", check=True)
    pid = aiorun.state("c")["pid"]
    messages = [entry["msg"] for entry in entries(log)]
    assert re.fullmatch(rf"aiorun \S+: create --bundle \S+ c \(--root {re.escape(str(aiorun.root))}\)", messages[0]) or (
        messages[0].endswith(f"create c (--root {aiorun.root})")
    )
    assert f"the init is process {pid}" in messages
    aiorun("delete", "--force", "c", check=True)


def test_in_text_they_are_lines_of_logrus(aiorun: CommandLine, bundle: Bundles) -> None:
    ended = aiorun("--debug", "run", "--bundle", bundle(args=["sh", "-c", "echo said"]), "c", check=True)
    assert ended.stdout == "said\n"
    line = re.compile(r'time="[^"]+" level=(?:debug|warning) msg="(?:[^"\\]|\\.)*"')
    assert all(line.fullmatch(text) for text in ended.stderr.splitlines())
    assert 'ms: mount \\"proc\\" on \\"/proc\\" (mounts[0])"' in ended.stderr


def test_without_it_a_success_says_nothing(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    log = tmp_path / "log"
    ended = aiorun("--log", log, "run", "--bundle", bundle(), "c", check=True)
    assert (ended.stdout, ended.stderr, log.read_text()) == ("", "", "")


def test_the_last_step_that_is_told_is_the_one_that_failed(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    log = tmp_path / "log"
    directory = bundle(lambda config: config["mounts"][1]["options"].append("nosuch=1"))
    ended = aiorun("--debug", "--log", log, "--log-format", "json", "run", "--bundle", directory, "c")
    assert ended.returncode == 1
    assert steps(log)[-1] == 'mount "tmpfs" on "/dev" (mounts[1])'
    assert entries(log)[-1]["level"] == "error"


def test_the_steps_after_start_are_told_too(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    """They are in the log of create, which is who made the init."""
    log = tmp_path / "log"
    aiorun("--debug", "--log", log, "--log-format", "json", "create", "--bundle", bundle(args=["sh", "-c", ":"]), "c", check=True)
    assert steps(log)[-1] == "wait for start"
    aiorun("start", "c", check=True)
    assert steps(log)[-1] == 'exec "sh"'
    aiorun("delete", "--force", "c", check=True)


def test_the_program_does_not_get_the_log(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    directory = bundle(args=["sh", "-c", "ls -l /proc/self/fd"])
    ended = aiorun("--debug", "--log", tmp_path / "log", "run", "--bundle", directory, "c", check=True)
    links = [line.rpartition(" -> ")[2] for line in ended.stdout.splitlines()[1:]]
    assert len(links) == 4 and not any("log" in link for link in links)  # 0, 1, 2 and ls's own


def test_a_long_line_is_cut_and_still_one_line(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    log = tmp_path / "log"
    directory = bundle({"hostname": None}, args=["true", "\x1b\n" * 20000])
    aiorun("--debug", "--log", log, "--log-format", "json", "run", "--bundle", directory, "c", check=True)
    lines = log.read_bytes().splitlines(keepends=True)
    assert max(map(len, lines)) <= LONGEST
    assert steps(log)[-1].startswith('exec "true')


def test_a_waiting_init_does_not_hold_a_pipe_open(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    """Engines read create's standard error to its end, which comes only once nobody has it open."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "tty.sock"))
        listener.listen()
        reading, writing = os.pipe()
        heard = bytearray()

        def read_on() -> None:
            while chunk := os.read(reading, 65536):
                heard.extend(chunk)

        reader = threading.Thread(target=read_on)
        reader.start()
        directory = bundle(terminal=True)
        with open(os.devnull, "w") as null:
            arguments = ("--debug", "create", "--bundle", directory, "--console-socket", tmp_path / "tty.sock", "c")
            child = aiorun.popen(*arguments, stdin=null, stdout=writing, stderr=writing)
        os.close(writing)
        assert child.wait(60) == 0
        reader.join(60)
        assert not reader.is_alive()
        os.close(reading)
    assert heard.rstrip().endswith(b'ms: wait for start"')
    aiorun("delete", "--force", "c", check=True)


@pytest.mark.parametrize("closed", [False, True])
def test_a_pipe_that_nobody_reads_does_not_hold_the_init_up(closed: bool) -> None:
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    if closed:
        os.close(reading)
    else:
        os.set_blocking(writing, False)
        while True:
            try:
                os.write(writing, bytes(4096))
            except BlockingIOError:
                break
        os.set_blocking(writing, True)
    init = Init({"log": writing}, ours)
    begin(init, ops.Trace("log", False, 0))
    assert init.trace is not None
    init.trace(ops.NewSession())
    for fd in (writing, *([] if closed else [reading])):
        os.close(fd)
    ours.close()
    theirs.close()


def test_a_log_that_is_full_is_no_reason_to_fail(aiorun: CommandLine, bundle: Bundles) -> None:
    need_root()
    ended = aiorun("--debug", "--log", "/dev/full", "run", "--bundle", bundle(args=["sh", "-c", "echo said"]), "c", check=True)
    assert ended.stdout == "said\n"


def test_the_steps_of_an_exec_are_told_too(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    log = tmp_path / "log"
    aiorun("run", "--detach", "--bundle", bundle(args=["sleep", "100"]), "c", check=True)
    aiorun("--debug", "--log", log, "--log-format", "json", "exec", "c", "true", check=True)
    assert steps(log)[-1] == 'exec "true"'
    assert any(step.startswith("join the mount namespace") for step in steps(log))
    aiorun("delete", "--force", "c", check=True)


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_filter_is_not_met_by_what_tells_of_it(
    aiorun: CommandLine, bundle: Bundles, tmp_path: Path, no_new_privileges: bool
) -> None:
    """A profile that kills for what the log alone needs: without --debug the container runs, so it does with it."""
    rule = {"names": ["write", "clock_gettime", "poll"], "action": "SCMP_ACT_KILL_PROCESS"}
    if not no_new_privileges:
        rule["names"] = ["clock_gettime", "poll"]  # the fifo is written to below the filter
    seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    directory = bundle({"process": {"noNewPrivileges": no_new_privileges}, "linux": {"seccomp": seccomp}})
    log = tmp_path / "log"
    aiorun("--debug", "--log", log, "--log-format", "json", "run", "--bundle", directory, "c", check=True)
    assert steps(log)[-1] == "load the seccomp filter (linux.seccomp); what follows is not told"
    aiorun("--debug", "run", "--bundle", directory, "c", check=True)
