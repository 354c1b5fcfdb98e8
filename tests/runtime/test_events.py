"""events: a line of JSON for what a container uses, one for each kill for want of memory, until it ends."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiorun.cgroups import V1, layout
from tests.conftest import COMMAND_SECONDS, Bundles, CommandLine, Config
from tests.runtime.life import await_death, refused

Containers = Callable[..., str]
SMALL: Config = {"linux": {"resources": {"memory": {"limit": 1 << 25, "swap": 1 << 25}}}, "root": {"readonly": False}}
# Its child needs more than there is, once somebody says so.
HUNGRY = "mkfifo /go; echo ready; read word < /go; dd if=/dev/zero of=/dev/null bs=200M count=1; echo $?; exec sleep 1000"


@contextmanager
def watched(program: CommandLine, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command whose output can be read line by line."""
    process = program.popen(*arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def line(process: subprocess.Popen[bytes]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def test_stats_are_told_once_in_one_line(aiorun: CommandLine, runc: CommandLine, bundle: Bundles) -> None:
    told = []
    for program in (aiorun, runc):
        program("create", "--bundle", bundle(args=["sleep", "1000"]), "x", check=True)
        ended = program("events", "--stats", "x", check=True)
        assert ended.stderr == "" and ended.stdout.count("\n") == 1
        told.append(json.loads(ended.stdout))
        program("delete", "x", check=True)
    ours, theirs = told
    assert (list(ours), ours["type"], ours["id"]) == (list(theirs), "stats", "x")
    assert list(ours["data"]) == list(theirs["data"])


def test_stats_come_until_the_container_ends(aiorun: CommandLine, bundle: Bundles, container: Containers) -> None:
    id = container(bundle(args=["sleep", "1000"]))
    aiorun("start", id, check=True)
    with watched(aiorun, "events", "--interval", "10ms", id) as process:
        for _ in range(5):
            event = line(process)
            assert (event["type"], event["data"]["pids"]["current"]) == ("stats", 1)
        aiorun("kill", id, "KILL", check=True)
        assert process.stdout is not None and process.stdout.read() is not None
        assert process.wait(COMMAND_SECONDS) == 0


def test_an_event_tells_of_each_kill_for_want_of_memory(
    aiorun: CommandLine, bundle: Bundles, container: Containers, tmp_path: Path
) -> None:
    made = bundle(SMALL, args=["sh", "-c", HUNGRY])
    with open(tmp_path / "output", "wb") as output:
        id = container(made, stdout=output)
    aiorun("start", id, check=True)
    with watched(aiorun, "events", "--interval", "20ms", id) as process:
        assert line(process)["type"] == "stats"  # it watches
        (made / "rootfs" / "go").write_text("now\n")
        types = [line(process)["type"]]
        while types[-1] == "stats":
            types.append(line(process)["type"])
        assert types[-1] == "oom"
        while (event := line(process))["type"] == "oom":
            assert layout().version == V1, f"one kill was told twice: {event}"  # v1 may tell of one again while it is dying
    assert aiorun.state(id)["status"] == "running"


def test_the_kill_that_ends_the_container_is_told(aiorun: CommandLine, bundle: Bundles, container: Containers) -> None:
    script = "mkfifo /go; read word < /go; exec dd if=/dev/zero of=/dev/null bs=200M count=1"
    made = bundle(SMALL, args=["sh", "-c", script])
    id = container(made)
    aiorun("start", id, check=True)
    with watched(aiorun, "events", "--interval", "20ms", id) as process:
        assert line(process)["type"] == "stats"
        (made / "rootfs" / "go").write_text("now\n")
        assert process.stdout is not None
        events = [json.loads(text) for text in process.stdout]
        ooms = [event for event in events if event["type"] != "stats"]
        assert ooms == [{"type": "oom", "id": id}] * max(1, len(ooms)) and (len(ooms) == 1 or layout().version == V1)
        assert process.wait(COMMAND_SECONDS) == 0


def test_control_c_ends_it_without_a_word(aiorun: CommandLine, bundle: Bundles, container: Containers, tmp_path: Path) -> None:
    id = container(bundle(args=["sleep", "1000"]))
    said = tmp_path / "said"
    with (
        open(said, "wb") as errors,
        aiorun.popen(
            "events", "--interval", "10ms", id, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        assert line(process)["type"] == "stats"
        process.send_signal(signal.SIGINT)
        process.communicate()
        assert process.returncode == -signal.SIGINT
    assert said.read_text() == ""


def test_the_dead_have_no_events(aiorun: CommandLine, runc: CommandLine, bundle: Bundles) -> None:
    for program in (aiorun, runc):
        program("create", "--bundle", bundle(args=["sleep", "1000"]), "x", check=True)
        pid = program.state("x")["pid"]
        assert refused(program("events", "--interval", "0s", "x")) == "duration interval must be greater than 0"
        program("kill", "x", "KILL", check=True)
        await_death(pid)
        for flags in ((), ("--stats",)):
            assert refused(program("events", *flags, "x")) == "container with id x is not running"
        program("delete", "x", check=True)


def test_events_end_with_their_reader(aiorun: CommandLine, bundle: Bundles, container: Containers) -> None:
    id = container(bundle(args=["sleep", "1000"]))
    with watched(aiorun, "events", "--interval", "10ms", id) as process:
        assert line(process)["type"] == "stats"
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(COMMAND_SECONDS) == 1
        process.stdout = None
