"""Hooks at all six places: when, where, with which state, and what becomes of the container when one fails. CONTRACT, "Hooks"."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Bundles, CommandLine
from tests.runtime.life import await_death, cgroups_of, dead, refused
from tests.waiting import until

KINDS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]

# Writes down what it sees, in one line, with tabs between, since there may be a blank in a path.
WITNESS = """#!/bin/sh
state=$(cat)
printf "%s\\t%s\\t%s\\t%s\\t%s\\n" "$1" "$2" "$(pwd)" "$AIORUN_TEST" "$state" >> "{log}"
"""


class Hooked:
    """A bundle whose hooks write into one log, which is the same file outside and, bind-mounted, inside."""

    def __init__(self, bundle: Bundles, log: Path) -> None:
        self.log = log
        log.touch()
        script = log.with_name("witness")
        busybox = shutil.which("busybox")
        script.write_text(WITNESS.format(log=log).replace("#!/bin/sh", f"#!{busybox} sh", 1))
        script.chmod(0o755)
        self.script = script
        bind = {"destination": str(log.parent), "type": "bind", "source": str(log.parent), "options": ["bind"]}
        tools = {"destination": str(busybox), "type": "bind", "source": str(busybox), "options": ["bind", "ro"]}
        hooks = {kind: [self.hook(kind, number) for number in (0, 1)] for kind in KINDS}
        self.path = bundle(args=["sleep", "1000"])
        config = bundle.read(self.path)
        config["hooks"] = hooks
        config["annotations"] = {"org.example.note": "kept"}
        config["root"]["readonly"] = False
        config["mounts"] += [bind, tools]
        bundle.write(self.path, config)

    def hook(self, kind: str, number: int) -> dict[str, Any]:
        return {
            "path": str(self.script),
            "args": ["witness", kind, str(number)],
            "env": ["AIORUN_TEST=given", "PATH=/bin:/usr/bin"],
        }

    def seen(self) -> list[dict[str, Any]]:
        """Each call: its kind, number, cwd, environment, state."""
        calls = []
        for line in self.log.read_text().splitlines():
            kind, number, cwd, variable, state = line.split("\t", 4)
            calls.append({"kind": kind, "number": int(number), "cwd": cwd, "env": variable, "state": json.loads(state)})
        return calls


@pytest.fixture
def hooked(bundle: Bundles, tmp_path: Path) -> Hooked:
    (tmp_path / "hooks").mkdir()
    return Hooked(bundle, tmp_path / "hooks" / "log")


def lives(program: CommandLine, hooked: Hooked) -> tuple[int, list[dict[str, Any]], list[int]]:
    """A whole life: the container's pid, all calls, and how many there were after create, start and delete."""
    program("create", "--bundle", hooked.path, "x", check=True)
    pid = program.state("x")["pid"]
    counts = [len(hooked.seen())]
    program("start", "x", check=True)
    counts.append(len(hooked.seen()))
    program("kill", "x", "KILL", check=True)
    await_death(pid)
    program("delete", "x", check=True)
    counts.append(len(hooked.seen()))
    return pid, hooked.seen(), counts


def test_hooks_run_in_order_with_their_state(aiorun: CommandLine, hooked: Hooked) -> None:
    pid, calls, counts = lives(aiorun, hooked)
    assert counts == [6, 10, 12]
    assert [(call["kind"], call["number"]) for call in calls] == [(kind, number) for kind in KINDS for number in (0, 1)]
    assert {call["env"] for call in calls} == {"given"}
    states = {call["kind"]: call["state"] for call in calls}
    assert {kind: (state["status"], state.get("pid")) for kind, state in states.items()} == {
        "prestart": ("creating", pid),
        "createRuntime": ("creating", pid),
        "createContainer": ("creating", 1),
        "startContainer": ("created", 1),
        "poststart": ("running", pid),
        "poststop": ("stopped", None),
    }
    for call in calls:
        state = call["state"]
        assert (state["id"], state["bundle"], state["annotations"]) == ("x", str(hooked.path), {"org.example.note": "kept"})
        if call["kind"] not in ("createContainer", "startContainer"):
            assert call["cwd"] == str(hooked.path)


def test_hooks_see_what_runcs_do(aiorun: CommandLine, runc: CommandLine, hooked: Hooked) -> None:
    def told(program: CommandLine) -> list[object]:
        hooked.log.write_text("")
        pid, calls, _ = lives(program, hooked)
        for call in calls:
            seen = call["state"].get("pid", 0)
            call["state"]["pid"] = "the host's" if seen == pid else seen
            if call["kind"] == "poststop":
                del call["cwd"]  # runc's is the caller's
        return [call for call in calls if call["kind"] != "poststart"]  # runc runs those in create, against the specification

    assert told(aiorun) == told(runc)


def with_hook(bundle: Bundles, kind: str, script: str, **hook: object) -> Path:
    """A bundle with one hook, a shell script of the host, which is bind-mounted for the inside."""
    busybox = str(shutil.which("busybox"))
    tools = {"destination": busybox, "type": "bind", "source": busybox, "options": ["bind", "ro"]}

    def change(config: dict[str, Any]) -> None:
        config["hooks"] = {kind: [{"path": busybox, "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], **hook}]}
        config["mounts"].append(tools)
        config["root"]["readonly"] = False

    return bundle(change, args=["sleep", "1000"])


def nothing_left(aiorun: CommandLine, cgroup_parent: str) -> bool:
    return not os.listdir(aiorun.root) and not cgroups_of(cgroup_parent)


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
@pytest.mark.parametrize("detached_run", [False, True])
def test_a_hook_of_create_that_fails_fails_it(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, kind: str, detached_run: bool
) -> None:
    made = with_hook(bundle, kind, "echo told you >&2; exit 7")
    command = ("run", "--detach") if detached_run else ("create",)
    said = refused(aiorun(*command, "--bundle", made, "x"))
    assert f"error running {kind} hook #0: exit status 7, stdout: , stderr: told you" in said
    assert nothing_left(aiorun, cgroup_parent)


def test_a_startcontainer_hook_that_fails_fails_the_start(aiorun: CommandLine, bundle: Bundles, cgroup_parent: str) -> None:
    made = with_hook(bundle, "startContainer", "echo told you >&2; exit 7")
    aiorun("create", "--bundle", made, "x", check=True)
    pid = aiorun.state("x")["pid"]
    said = refused(aiorun("start", "x"))
    assert "error running startContainer hook #0: exit status 7, stdout: , stderr: told you" in said
    await_death(pid)
    assert aiorun.state("x")["status"] == "stopped"
    aiorun("delete", "x", check=True)
    assert nothing_left(aiorun, cgroup_parent)
    assert "error running startContainer hook #0" in refused(aiorun("run", "--bundle", made, "x"))
    assert nothing_left(aiorun, cgroup_parent)


def test_a_poststart_hook_that_fails_ends_the_container(aiorun: CommandLine, bundle: Bundles, cgroup_parent: str) -> None:
    made = with_hook(bundle, "poststart", "echo told you >&2; exit 7")
    aiorun("create", "--bundle", made, "x", check=True)
    pid = aiorun.state("x")["pid"]
    assert refused(aiorun("start", "x")) == "error running poststart hook #0: exit status 7, stdout: , stderr: told you"
    assert dead(pid)
    assert nothing_left(aiorun, cgroup_parent)


def test_a_poststop_hook_that_fails_is_only_logged(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, tmp_path: Path
) -> None:
    made = with_hook(bundle, "poststop", "echo told you >&2; exit 7")
    for options in ((), ("--debug", "--log", tmp_path / "log")):
        aiorun("create", "--bundle", made, "x", check=True)
        ended = aiorun(*options, "delete", "x", check=True)
        assert (ended.stdout, ended.stderr) == ("", "")
        assert nothing_left(aiorun, cgroup_parent)
    assert "error running poststop hook #0: exit status 7, stdout: , stderr: told you" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"])
def test_after_a_hook_that_fails_the_poststop_hooks_run_once(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, tmp_path: Path, kind: str
) -> None:
    """runtime.md, "Lifecycle": on with step 12, the deletion. One that fails itself changes nothing."""
    made = with_hook(bundle, kind, "echo told you >&2; exit 7")
    config = bundle.read(made)
    log = {"path": str(shutil.which("busybox")), "args": ["sh", "-c", f"cat >> {tmp_path}/stopped; echo >> {tmp_path}/stopped"]}
    config["hooks"]["poststop"] = [log, {"path": "/bin/false"}]
    bundle.write(made, config)
    said = refused(aiorun("run", "--bundle", made, "x"))
    assert f"error running {kind} hook #0: exit status 7" in said
    (state,) = (tmp_path / "stopped").read_text().splitlines()
    assert (json.loads(state)["id"], json.loads(state)["status"]) == ("x", "stopped")
    assert nothing_left(aiorun, cgroup_parent)


def test_the_hooks_after_one_that_fails_do_not_run(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    made = with_hook(bundle, "createRuntime", f"echo 0 >> {tmp_path}/ran; exit 1")
    config = bundle.read(made)
    config["hooks"]["createRuntime"] *= 2
    config["hooks"]["createContainer"] = config["hooks"]["createRuntime"]
    bundle.write(made, config)
    refused(aiorun("create", "--bundle", made, "x"))
    assert (tmp_path / "ran").read_text() == "0\n"


def test_a_create_that_fails_runs_no_poststop_hook(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    made = with_hook(bundle, "poststop", f"touch {tmp_path}/stopped")
    config = bundle.read(made)
    config["process"]["args"] = ["/nosuch"]
    bundle.write(made, config)
    assert refused(aiorun("create", "--bundle", made, "x"))
    assert not (tmp_path / "stopped").exists()


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"])
def test_a_hook_past_its_timeout_is_killed(aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, kind: str) -> None:
    made = with_hook(bundle, kind, "echo $$ >&2; exec sleep 1000", timeout=1)
    said = refused(aiorun("run", "--bundle", made, "x"))
    found = re.search(rf"error running {kind} hook #0: hook ran past specified timeout of 1\.0s, stdout: , stderr: (\d+)$", said)
    assert found, said
    if kind not in ("createContainer", "startContainer"):  # the others' pid is of a namespace that is gone
        assert dead(int(found.group(1)))
    assert nothing_left(aiorun, cgroup_parent)


@pytest.mark.parametrize("script", ["true", "exec <&-", "exec <&-; echo x; echo y >&2"])
@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_a_hook_need_not_read_its_state(aiorun: CommandLine, bundle: Bundles, kind: str, script: str) -> None:
    made = with_hook(bundle, kind, script)
    config = bundle.read(made)
    config["annotations"] = {"big": "x" * 200_000}  # more than a pipe holds
    bundle.write(made, config)
    aiorun("create", "--bundle", made, "x", check=True)
    aiorun("delete", "x", check=True)


def test_a_state_larger_than_a_pipe_reaches_the_hook_whole(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    made = with_hook(bundle, "createRuntime", f"cat > {tmp_path}/state")
    config = bundle.read(made)
    config["annotations"] = {"big": "x" * 200_000}
    bundle.write(made, config)
    aiorun("create", "--bundle", made, "x", check=True)
    assert json.loads((tmp_path / "state").read_text())["annotations"] == config["annotations"]
    aiorun("delete", "x", check=True)


def test_what_a_hook_leaves_in_the_background_holds_nobody_up(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    made = with_hook(bundle, "createRuntime", f"sleep 1000 & echo $! > {tmp_path}/pid")
    aiorun("create", "--bundle", made, "x", check=True)
    aiorun("delete", "x", check=True)
    until((tmp_path / "pid").exists, "the hook")
    os.kill(int((tmp_path / "pid").read_text()), 9)


def test_a_hook_without_an_environment_has_the_callers(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    made = with_hook(bundle, "createRuntime", f'echo "$AIORUN_TEST" > {tmp_path}/env')
    config = bundle.read(made)
    del config["hooks"]["createRuntime"][0]["env"]
    bundle.write(made, config)
    aiorun("create", "--bundle", made, "x", check=True, env={**os.environ, "AIORUN_TEST": "the caller's"})
    assert (tmp_path / "env").read_text() == "the caller's\n"
    aiorun("delete", "x", check=True)


@pytest.mark.parametrize(
    "path, reason",
    [("/no/such/hook", "no such file or directory"), ("/etc/passwd", "permission denied"), ("/etc", "permission denied")],
)
@pytest.mark.parametrize("kind", ["prestart", "createContainer", "startContainer"])
def test_a_hook_that_cannot_be_run_is_named(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, kind: str, path: str, reason: str
) -> None:
    made = bundle({"hooks": {kind: [{"path": path}]}})
    said = refused(aiorun("run", "--bundle", made, "x"))
    assert said.endswith(f"error running {kind} hook #0: {path}: {reason}")
    assert nothing_left(aiorun, cgroup_parent)
