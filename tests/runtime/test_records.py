"""What a container is known by: the pid file, the pidfd, state.json, and what state, list and ps print of it, beside runc."""

from __future__ import annotations

import json
import os
import re
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiorun.errors import AiorunError
from aiorun.store import Store
from tests.conftest import Bundles, CommandLine, need
from tests.runtime.life import cgroups_of, refused
from tests.waiting import until

Containers = Callable[..., str]


def sleeper(bundle: Bundles) -> Path:
    return bundle(args=["sleep", "1000"])


@pytest.mark.parametrize("runtime", ["aiorun", "runc"])
@pytest.mark.parametrize("relative", [False, True])
def test_the_pid_file_is_a_decimal_without_a_newline(
    runtime: str, request: pytest.FixtureRequest, bundle: Bundles, tmp_path: Path, relative: bool
) -> None:
    program: CommandLine = request.getfixturevalue(runtime)
    where = tmp_path / "pids"
    where.mkdir()
    (where / "pid").write_text("an older one's")
    path = Path("pids/pid") if relative else where / "pid"  # the caller's directory counts, not the bundle
    program("create", "--bundle", sleeper(bundle), "--pid-file", path, "x", check=True, cwd=tmp_path)
    assert (where / "pid").read_bytes() == str(program.state("x")["pid"]).encode()
    assert os.listdir(where) == ["pid"]
    program("delete", "--force", "x", check=True)


def test_a_pid_file_that_cannot_be_written_fails_create(aiorun: CommandLine, bundle: Bundles, cgroup_parent: str) -> None:
    said = refused(aiorun("create", "--bundle", sleeper(bundle), "--pid-file", "/no/such/directory/pid", "x"))
    assert said == 'aiorun create failed: write the pid file "/no/such/directory/pid": no such file or directory'
    assert os.listdir(aiorun.root) == []
    assert cgroups_of(cgroup_parent) == []


def test_the_pidfd_socket_receives_the_inits_pidfd(
    aiorun: CommandLine, bundle: Bundles, container: Containers, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "pidfd.sock"))
        listener.listen()
        id = container(sleeper(bundle), "--pidfd-socket", tmp_path / "pidfd.sock")
        connection, _ = listener.accept()
        with connection:
            payload, fds, _, _ = socket.recv_fds(connection, 4096, 8)
            assert connection.recv(1) == b""
    assert payload
    assert len(fds) == 1
    try:
        fdinfo = Path(f"/proc/self/fdinfo/{fds[0]}").read_text()
        assert f"Pid:\t{aiorun.state(id)['pid']}\n" in fdinfo
        aiorun("kill", id, "KILL", check=True)
        poll = select.poll()
        poll.register(fds[0], select.POLLIN)
        assert poll.poll(30_000)
    finally:
        os.close(fds[0])


def test_a_pidfd_socket_that_nobody_listens_at_fails_create(aiorun: CommandLine, bundle: Bundles, cgroup_parent: str) -> None:
    said = refused(aiorun("create", "--bundle", sleeper(bundle), "--pidfd-socket", "/no/such.sock", "x"))
    assert said == 'aiorun create failed: send the pidfd to "/no/such.sock": no such file or directory'
    assert os.listdir(aiorun.root) == []
    assert cgroups_of(cgroup_parent) == []


def test_bundle_and_root_may_be_relative(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    made = sleeper(bundle)
    near = CommandLine(aiorun.command, Path("relative-root"))
    near("create", "--bundle", made.name, "x", check=True, cwd=tmp_path)
    near("start", "x", check=True, cwd=tmp_path)
    elsewhere = CommandLine(aiorun.command, tmp_path / "relative-root")
    assert elsewhere.state("x")["bundle"] == str(made)
    elsewhere("delete", "--force", "x", check=True, cwd="/")
    assert os.listdir(tmp_path / "relative-root") == []


def test_a_state_survives_everything_but_delete(aiorun: CommandLine, bundle: Bundles) -> None:
    made = sleeper(bundle)
    aiorun("create", "--bundle", made, "x", check=True)
    created = aiorun.state("x")
    aiorun("start", "x", check=True)
    assert aiorun.state("x") == {**created, "status": "running"}
    aiorun("kill", "x", "KILL", check=True)
    until(lambda: aiorun.state("x")["status"] == "stopped", "the container to stop")
    (made / "config.json").unlink()  # nobody needs it any more
    assert aiorun.state("x") == {**created, "status": "stopped", "pid": 0}
    aiorun("delete", "x", check=True)
    assert refused(aiorun("state", "x")) == "container does not exist"


def shape(document: Any) -> Any:
    """A document with what differs by nature made equal: numbers of processes, times, fractions of seconds."""
    text = json.dumps(document)
    text = re.sub(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"', '"TIME"', text)
    return json.loads(re.sub(r'"pid": [1-9]\d*', '"pid": "PID"', text))


def test_state_and_list_are_runcs(aiorun: CommandLine, runc: CommandLine, bundle: Bundles) -> None:
    made = bundle({"annotations": {"org.example.b": "2", "org.example.a": 'quote " and \u00fc'}}, args=["sleep", "1000"])
    printed = []
    for program in (runc, aiorun):
        seen: list[object] = [program("list").stdout, program("list", "--format", "json").stdout, program("list", "-q").stdout]
        program("create", "--bundle", made, "x", check=True)
        for step in (None, "start", "kill"):
            if step:
                program(step, "x", *["KILL"] * (step == "kill"), check=True)
            if step == "kill":
                until(lambda: program.state("x")["status"] == "stopped", "the container to stop")  # noqa: B023
            state = program("state", "x", check=True).stdout
            listed = program("list", "--format", "json", check=True).stdout
            seen.append([member for member in shape(json.loads(state)).items() if member[0] != "owner"])  # runc leaves it empty
            assert list(json.loads(state))[-1] == "owner"
            seen += [[list(entry) for entry in json.loads(listed)], shape(json.loads(listed))]
            seen += [program("list", "-q").stdout, columns(program("list").stdout)]
        program("delete", "x", check=True)
        printed.append(seen)
    assert printed[1] == printed[0]


def columns(table: str) -> list[list[str]]:
    """A table's cells, without the pid and the time."""
    rows = [line.split() for line in table.splitlines()]
    return [rows[0], *([row[0], "0" if row[1] == "0" else "PID", *row[2:4], row[5]] for row in rows[1:])]


def test_state_is_indented_as_runcs(aiorun: CommandLine, runc: CommandLine, bundle: Bundles) -> None:
    made = sleeper(bundle)
    texts = []
    for program in (runc, aiorun):
        program("create", "--bundle", made, "x", check=True)
        text = program("state", "x", check=True).stdout
        texts.append(re.sub(r'"pid": \d+|"created": "[^"]*"|"owner": "[^"]*"', "_", text).rstrip("\n"))
        program("delete", "--force", "x", check=True)
    assert texts[1] == texts[0]


def test_list_warns_of_what_is_broken_and_goes_on(aiorun: CommandLine, bundle: Bundles, container: Containers) -> None:
    id = container(sleeper(bundle))
    (aiorun.root / "broken").mkdir()
    (aiorun.root / "broken" / "state.json").write_text("{")
    ended = aiorun("list", "--format", "json", check=True)
    assert [entry["id"] for entry in json.loads(ended.stdout)] == [id]
    assert ended.stderr.startswith("load container broken: ")
    aiorun("delete", "--force", "broken", check=True)


def test_ps_shows_what_runcs_does(aiorun: CommandLine, runc: CommandLine, bundle: Bundles) -> None:
    need("ps")
    made = bundle(args=["sh", "-c", "sleep 1000 & exec sleep 1000"])
    printed = []
    for program in (runc, aiorun):
        program("create", "--bundle", made, "x", check=True)
        program("start", "x", check=True)
        until(lambda: len(json.loads(program("ps", "--format", "json", "x").stdout)) == 2, "two processes")  # noqa: B023
        pids = json.loads(program("ps", "--format", "json", "x", check=True).stdout)
        assert program.state("x")["pid"] in pids
        until(lambda: program("ps", "x").stdout.count("sleep 1000") == 2, "both programs")  # noqa: B023
        rows = [line.split() for line in program("ps", "x", check=True).stdout.splitlines()]
        assert sorted(int(row[1]) for row in rows[1:]) == sorted(pids)
        short = program("ps", "x", "-o", "pid,comm", check=True).stdout.splitlines()
        printed.append([rows[0], [row[7:] for row in rows[1:]], re.sub(r"\d+", "N", "\n".join(line.strip() for line in short))])
        wrong = program("ps", "x", "-o", "comm")
        printed[-1] += [wrong.returncode, "PID field" in wrong.stderr]
        program("delete", "--force", "x", check=True)
    assert printed[1] == printed[0]


def test_ps_of_a_created_and_of_a_stopped_container(aiorun: CommandLine, bundle: Bundles) -> None:
    aiorun("create", "--bundle", sleeper(bundle), "x", check=True)
    assert json.loads(aiorun("ps", "--format", "json", "x", check=True).stdout) == [aiorun.state("x")["pid"]]
    aiorun("kill", "x", "KILL", check=True)
    until(lambda: aiorun.state("x")["status"] == "stopped", "the container to stop")
    until(lambda: aiorun("ps", "--format", "json", "x", check=True).stdout.strip() == "null", "an empty cgroup")
    aiorun("delete", "x", check=True)


def limited(limit: int) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        config["linux"]["resources"]["memory"] = {"limit": limit}

    return change


def test_a_mebibyte_is_enough(aiorun: CommandLine, bundle: Bundles) -> None:
    ended = aiorun("run", "--bundle", bundle(limited(1024 * 1024), args=["echo", "ran"]), "x", check=True)
    assert ended.stdout == "ran\n"


def test_under_any_limit_a_container_runs_or_says_what_killed_it(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str
) -> None:
    made = bundle(args=["echo", "ran"])
    said = []
    for kibibytes in (4, *range(64, 1024, 64)):
        config = bundle.read(made)
        limited(kibibytes * 1024)(config)
        bundle.write(made, config)
        ended = aiorun("run", "--bundle", made, "x")
        assert os.listdir(aiorun.root) == []
        assert cgroups_of(cgroup_parent) == []
        if ended.returncode == 1:
            said.append(refused(ended))
            assert "possibly OOM-killed" in said[-1], kibibytes
        else:  # the program's own end: it ran, or was killed itself
            assert (ended.returncode, ended.stdout, ended.stderr) in ((0, "ran\n", ""), (137, "", "")), kibibytes
    assert said


def test_the_document_is_kept_as_the_container_was_made_from_it(
    aiorun: CommandLine, bundle: Bundles, container: Containers
) -> None:
    made = bundle({"annotations": {"word": "ä"}}, args=["sleep", "1000"])
    config = bundle.read(made)
    id = container(made)
    (made / "config.json").unlink()
    with Store(str(aiorun.root)).open(id) as directory:
        assert directory.read_config() == config
        os.truncate(f"{directory.path}/config.json", 10)
        with pytest.raises(AiorunError, match=f'^read "{directory.path}/config.json": '):
            directory.read_config()
        os.unlink(f"{directory.path}/config.json")
        with pytest.raises(AiorunError, match=f'^open "{directory.path}/config.json": no such file or directory$'):
            directory.read_config()
    assert os.stat(aiorun.root / id / "state.json").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("keyring", [True, False])
def test_whether_there_is_a_keyring_is_kept(aiorun: CommandLine, bundle: Bundles, container: Containers, keyring: bool) -> None:
    id = container(sleeper(bundle), *([] if keyring else ["--no-new-keyring"]))
    with Store(str(aiorun.root)).open(id) as directory:
        assert directory.read().no_new_keyring is not keyring
