"""Who an exec'd process is: the container's program, changed by flags, or what a process.json says. Beside runc."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Bundles, CommandLine
from tests.exec.conftest import Box, Boxes

CAPS = "grep -h '^Cap' /proc/self/status"
KILL, TIME = 1 << 5, 1 << 25


def capabilities(text: str) -> dict[str, int]:
    return {line.split(":")[0].removeprefix("Cap"): int(line.split()[1], 16) for line in text.splitlines()}


def test_it_is_in_every_namespace_and_cgroup_of_the_container(box: Box) -> None:
    script = "for n in /proc/self/ns/*; do readlink $n; done; cat /proc/self/cgroup"
    init = [os.readlink(f"/proc/{box.pid}/ns/{name}") for name in sorted(os.listdir("/proc/self/ns"))]
    assert box("sh", "-c", script).splitlines() == init + Path(f"/proc/{box.pid}/cgroup").read_text().splitlines()


def test_its_root_is_the_containers(box: Box) -> None:
    (box.rootfs / "mark").touch()
    assert "mark" in box("ls", "/").split()
    assert box("stat", "-c", "%d:%i", "/") == "{0.st_dev}:{0.st_ino}".format(os.stat(f"/proc/{box.pid}/root"))


def test_a_container_with_the_hosts_namespaces_is_still_joined_at_its_root(aiorun: CommandLine, boxes: Boxes) -> None:
    """runc 1.1.5 leaves the process at the host's root."""

    def without(config: dict[str, Any]) -> None:
        config["linux"] = {"namespaces": [], "cgroupsPath": config["linux"]["cgroupsPath"]}
        config["mounts"] = []
        config.pop("hostname")

    box = boxes(aiorun, without)
    (box.rootfs / "mark").touch()
    assert "mark" in box("ls", "/").split()


def test_a_container_without_pivot_root_is_joined_at_its_root(aiorun: CommandLine, container: Any, bundle: Bundles) -> None:
    made = bundle(args=["sleep", "1000"])
    (made / "rootfs" / "mark").touch()
    box = Box(aiorun, container(made, "--no-pivot"), made)
    assert "mark" in box("ls", "/").split()


def test_it_has_the_containers_environment_directory_ids_and_limits(runtime: CommandLine, boxes: Boxes) -> None:
    process = {
        "user": {"uid": 1000, "gid": 1001, "additionalGids": [7]},
        "env": ["PATH=/bin", "A=1"],
        "cwd": "/tmp",
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 200, "hard": 200}],  # Go raises soft ones
    }
    box = boxes(runtime, {"process": process})
    script = "id -u; id -g; id -G; pwd; echo $A $B $HOME; ulimit -n; ulimit -Hn"
    assert box("sh", "-c", script) == "1000\n1001\n1001 7\n/tmp\n1 /tmp\n200\n200"


def test_flags_change_what_the_container_says(box: Box) -> None:
    script = "id -u; id -g; id -G; pwd; echo $A $B $HOME; grep NoNewPrivs /proc/self/status | cut -f2"
    flags: list[str | Path] = [
        "--user", "1000:8", "-g", "9", "-g", "10", "--cwd", "/tmp", "-e", "A=1", "-e", "B=2", "-e", "A=3",
        "--no-new-privs=false",
    ]  # fmt: skip
    assert box("sh", "-c", script, flags=flags) == "1000\n8\n8 9 10\n/tmp\n3 2 /tmp\n0"
    assert box("id", "-g", flags=["-u", "1000"]) == "0"


def test_capabilities_are_the_containers_and_those_asked_for_but_never_inheritable(box: Box) -> None:
    """CVE-2022-29162."""
    plain, more = capabilities(box("sh", "-c", CAPS)), capabilities(box("sh", "-c", CAPS, flags=["--cap", "CAP_SYS_TIME"]))
    assert plain["Inh"] == more["Inh"] == more["Amb"] == 0
    assert {name: more[name] ^ plain[name] for name in plain} == {"Inh": 0, "Prm": TIME, "Eff": TIME, "Bnd": TIME, "Amb": 0}
    assert plain["Bnd"] & KILL


def process_json(tmp_path: Path, **members: object) -> list[str | Path]:
    path = tmp_path / "process.json"
    path.write_text(json.dumps({"cwd": "/", "env": ["PATH=/bin"], **members}))
    return ["--process", path]


def test_a_process_of_its_own_is_what_the_file_says(box: Box, tmp_path: Path) -> None:
    script = "id -u; id -G; pwd; echo $A; grep NoNewPrivs /proc/self/status | cut -f2"
    flags = process_json(
        tmp_path,
        args=["sh", "-c", script],
        user={"uid": 1000, "gid": 5, "additionalGids": [6]},
        cwd="/tmp",
        env=["PATH=/bin", "A=b"],
        noNewPrivileges=True,
    )
    assert box(flags=flags) == "1000\n5 6\n/tmp\nb\n1"


def test_what_the_file_leaves_open_is_the_containers(runtime: CommandLine, boxes: Boxes, tmp_path: Path) -> None:
    process = {
        "oomScoreAdj": 77,
        "user": {"uid": 0, "gid": 0},
        "noNewPrivileges": True,
    }
    box = boxes(runtime, {"process": process})
    script = f"cat /proc/self/oom_score_adj; grep NoNewPrivs /proc/self/status | cut -f2; {CAPS}"
    adjustment, no_new_privs, *caps = box(flags=process_json(tmp_path, args=["sh", "-c", script])).splitlines()
    assert (adjustment, no_new_privs) == ("77", "0")
    assert capabilities("\n".join(caps))["Bnd"] & KILL


def test_the_limits_are_the_containers_where_the_file_has_none(aiorun: CommandLine, boxes: Boxes, tmp_path: Path) -> None:
    """runc 1.1.5 leaves its own."""
    box = boxes(aiorun, {"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]}})
    assert box(flags=process_json(tmp_path, args=["sh", "-c", "ulimit -n; ulimit -Hn"])) == "100\n200"


def test_the_containers_umask_counts_unless_the_file_has_one(aiorun: CommandLine, boxes: Boxes, tmp_path: Path) -> None:
    """runc 1.1.5 knows none in an exec."""
    box = boxes(aiorun, {"process": {"user": {"uid": 0, "gid": 0, "umask": 0o027}}})
    assert box("sh", "-c", "umask") == "0027"
    assert box(flags=process_json(tmp_path, args=["sh", "-c", "umask"])) == "0027"
    user = {"uid": 0, "gid": 0, "umask": 0o077}
    assert box(flags=process_json(tmp_path, args=["sh", "-c", "umask"], user=user)) == "0077"


def test_flags_change_what_the_file_says(ours: Box, tmp_path: Path) -> None:
    """runc passes over them in silence."""
    flags = process_json(tmp_path, args=["sh", "-c", "id -u; pwd; echo $A"], user={"uid": 1000, "gid": 5})
    assert ours(flags=[*flags, "-u", "7", "--cwd", "/tmp", "-e", "A=b"]) == "7\n/tmp\nb"
    assert ours("echo", "other", flags=flags) == "other"


def test_later_edits_of_config_json_have_no_effect(ours: Box) -> None:
    """runc reads it again."""
    (ours.bundle / "config.json").unlink()
    assert ours("id", "-u") == "0"


def test_home_comes_from_the_containers_passwd(box: Box) -> None:
    for user, home in (("0", "/root"), ("1000", "/tmp"), ("4242", "/")):
        assert box("sh", "-c", "echo $HOME", flags=["--user", user]) == home
    assert box("sh", "-c", "echo $HOME", flags=["--env", "HOME=/x"]) == "/x"


def test_it_leads_a_session_and_has_its_signals_at_their_defaults(box: Box) -> None:
    pid, _, _, _, group, session, terminal = box("cat", "/proc/self/stat").split()[:7]
    assert (group, session, terminal) == (pid, pid, "0")
    signals = box("grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status").splitlines()
    assert [int(line.split()[1], 16) for line in signals] == [0, 0, 0]


def test_it_has_three_files_and_those_preserved(box: Box) -> None:
    def with_files(*argv: str) -> str:
        words = ["sh", "-c", 'exec "$@" 3</etc/passwd 4</dev/null', "sh", *box.command_line.argv("exec", *argv)]
        return subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True).stdout

    # ls has the directory itself open, as the first free number
    assert with_files(box.id, "ls", "/proc/self/fd").split() == ["0", "1", "2", "3"]
    assert with_files("--preserve-fds", "1", box.id, "ls", "/proc/self/fd").split() == ["0", "1", "2", "3", "4"]
    assert with_files("--preserve-fds", "1", box.id, "sh", "-c", "cat <&3") == Path("/etc/passwd").read_text()


def test_a_file_to_preserve_that_is_not_open_is_an_error(ours: Box) -> None:
    assert ours.refuses("true", flags=["--preserve-fds", "1"]) == "--preserve-fds 1: file descriptor 3 is not open"


@pytest.mark.parametrize("flags", [[], ["--no-new-keyring"]])
def test_it_has_the_containers_session_keyring(aiorun: CommandLine, container: Any, bundle: Bundles, flags: list[str]) -> None:
    made = bundle({"linux": {"maskedPaths": []}}, args=["sleep", "1000"])
    box = Box(aiorun, container(made, *flags), made)
    assert (f"_ses.{box.id}" in box("cat", "/proc/keys")) is not bool(flags)


# --- cgroups


def own_cgroup(box: Box, hierarchy: str) -> Path:
    for line in Path(f"/proc/{box.pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if hierarchy in controllers.split(","):
            return Path(f"/sys/fs/cgroup/{hierarchy}{path}")
    pytest.skip(f"this host has no {hierarchy} hierarchy of cgroup v1")


@pytest.mark.parametrize("asked", ["pids:below", "pids,freezer:below/", "pids:/below"])
def test_a_cgroup_below_the_containers_can_be_asked_for(box: Box, asked: str) -> None:
    own = own_cgroup(box, "pids")
    made = [own_cgroup(box, name) / "below" for name in asked.partition(":")[0].split(",")]
    for cgroup in made:
        cgroup.mkdir()
    text = box("cat", "/proc/self/cgroup", flags=["--cgroup", asked])
    assert any(line.endswith(f"pids:/{own.relative_to('/sys/fs/cgroup/pids')}/below") for line in text.splitlines())
    assert any(line.endswith(f"memory:/{own.relative_to('/sys/fs/cgroup/pids')}") for line in text.splitlines())
    for cgroup in made:
        cgroup.rmdir()


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (["a:b:c"], "invalid --cgroup argument: a:b:c"),
        (["a", "b"], "invalid --cgroup argument: a (missing <controller>: prefix)"),
        (["../.."], "../.. is not a sub cgroup path"),
        (["pids:../x"], "../x is not a sub cgroup path"),
        (["nosuch:a"], "unknown controller nosuch in SubCgroupPaths"),
    ],
)
def test_a_cgroup_elsewhere_is_refused_in_runcs_words(box: Box, asked: list[str], why: str) -> None:
    own_cgroup(box, "pids")
    said = box.refuses("true", flags=[word for text in asked for word in ("--cgroup", text)])
    assert said.removeprefix("unable to create new parent process: ") == why


def test_a_cgroup_whose_name_begins_like_the_containers_is_not_below_it(ours: Box) -> None:
    """runc compares the beginnings of the names."""
    own = own_cgroup(ours, "pids")
    other = own.with_name(own.name + "-other")
    other.mkdir()
    try:
        assert ours.refuses("true", flags=["--cgroup", f"pids:../{other.name}"]).endswith("is not a sub cgroup path")
    finally:
        other.rmdir()


def test_a_cgroup_that_is_not_there_is_named(ours: Box) -> None:
    own = own_cgroup(ours, "pids")
    said = ours.refuses("true", flags=["--cgroup", "pids:nosuch"])
    assert said == f'unable to start container process: join the cgroup "{own}/nosuch" (--cgroup): no such file or directory'


def test_it_runs_in_a_container_with_very_little_memory(aiorun: CommandLine, boxes: Boxes) -> None:
    box = boxes(aiorun, {"linux": {"resources": {"memory": {"limit": 512 * 1024}}}})
    assert box("echo", "fits") == "fits"


# --- CPU affinity


def test_the_cpus_are_the_final_ones_of_the_document(aiorun: CommandLine, boxes: Boxes, tmp_path: Path) -> None:
    last = max(os.sched_getaffinity(0))
    box = boxes(aiorun, {"process": {"execCPUAffinity": {"initial": "0", "final": f"{last}"}}})
    script = "grep Cpus_allowed_list /proc/self/status | cut -f2"
    assert box("sh", "-c", script) == str(last)
    assert box(flags=process_json(tmp_path, args=["sh", "-c", script], execCPUAffinity={"final": "0"})) == "0"
    whole = Path("/proc/self/status").read_text().partition("Cpus_allowed_list:\t")[2].splitlines()[0]
    assert Path(f"/proc/{box.pid}/status").read_text().partition("Cpus_allowed_list:\t")[2].splitlines()[0] == whole


def test_cpus_that_there_are_not_are_named(aiorun: CommandLine, boxes: Boxes) -> None:
    box = boxes(aiorun, {"process": {"execCPUAffinity": {"final": "4000"}}})
    assert box.refuses("true") == (
        "unable to start container process: set the CPU affinity (process.execCPUAffinity.final): invalid argument"
    )
