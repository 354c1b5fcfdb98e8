"""Docker with aiorun as its default runtime: docs/engines.md."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ptyprocess import PtyProcess

from tests.engines.daemons import Docker
from tests.leaks import cgroup_mounts

LOOP = "trap 'exit 5' TERM; echo up; while :; do sleep 1000 & wait; done"


def test_a_container_runs_with_its_output_and_its_exit_code(docker: Docker) -> None:
    ended = docker("run", "--rm", "--hostname", "box", "--env", "WORD=ä", "--", "sh", "-c", "hostname; echo $WORD >&2; exit 7")
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "box\n", "ä\n")
    info = docker.checked("info", "--format", "{{.DefaultRuntime}} {{json .Runtimes}}")
    assert info.startswith("aiorun ") and '"aiorun"' in info


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH'),
        ("/nosuch", 127, 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
        ("/etc", 126, 'exec: "/etc": is a directory'),
    ],
)
def test_what_cannot_be_run_has_the_exit_code_that_scripts_look_for(docker: Docker, program: str, status: int, said: str) -> None:
    ended = docker("run", "--rm", "--", program)
    assert ended.returncode == status
    assert said in ended.stderr.replace("\\", "")


def test_a_life_from_run_to_rm(docker: Docker) -> None:
    docker.checked("run", "--detach", "--name", "box", "--", "sh", "-c", LOOP)
    executed = docker("exec", "box", "sh", "-c", "echo inside; echo $HOME; exit 3")
    assert (executed.returncode, executed.stdout) == (3, "inside\n/root\n")
    assert docker("exec", "box", "nosuch").returncode in (126, 127)
    assert "sleep 1000" in docker.checked("top", "box")
    docker.checked("pause", "box")
    assert docker.checked("inspect", "--format", "{{.State.Status}}", "box") == "paused\n"
    docker.checked("unpause", "box")
    docker.checked("update", "--memory", "64m", "--memory-swap", "128m", "box")
    assert limit_of(docker, "box") == 64 * 2**20
    docker.checked("exec", "box", "sh", "-c", "echo >/dev/null")  # an update takes no device away
    docker.checked("restart", "--time", "5", "box")
    docker.checked("stop", "--time", "5", "box")
    assert docker.checked("wait", "box") == "5\n"
    assert docker.checked("logs", "box") == "up\nup\n"
    docker.checked("rm", "box")
    assert os.listdir(docker.runtime_root) == []


def limit_of(docker: Docker, name: str) -> int:
    """The memory limit that the kernel has for a container."""
    pid = docker.checked("inspect", "--format", "{{.State.Pid}}", name).strip()
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for hierarchy in cgroup_mounts():
            for file in ("memory.limit_in_bytes", "memory.max"):
                found = hierarchy / path.lstrip("/") / file
                if found.exists() and controllers in ("memory", ""):
                    return int(found.read_text())
    raise AssertionError(f"no memory limit of process {pid}")


def test_a_paused_container_is_killed(docker: Docker) -> None:
    docker.checked("run", "--detach", "--name", "box", "--", "sh", "-c", LOOP)
    docker.checked("pause", "box")
    docker.checked("rm", "--force", "box")
    assert os.listdir(docker.runtime_root) == []


def test_flags_of_run_reach_the_program(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from outside\n")
    tmp_path.chmod(0o755)
    script = "id -u; pwd; cat /volume/file; touch /volume/x /x || echo refused; grep CapEff /proc/self/status; ulimit -n"
    ended = docker(
        "run", "--rm", "--user", "1000:1000", "--workdir", "/tmp", "--volume", f"{tmp_path}:/volume:ro", "--read-only",
        "--tmpfs", "/scratch", "--cap-drop", "ALL", "--memory", "32m", "--pids-limit", "50", "--ulimit", "nofile=100:200",
        "--", "sh", "-c", script,
    )  # fmt: skip
    assert ended.stdout.split("\n")[:6] == ["1000", "/tmp", "from outside", "refused", "CapEff:\t0000000000000000", "100"]
    assert ended.returncode == 0


def test_a_terminal_has_its_size_its_keys_and_its_exit_code(docker: Docker, terminal: Callable[..., PtyProcess]) -> None:
    # The client sets the size once the program runs.
    script = "tty; read line; until stty size | grep '33 99'; do usleep 10000; done 2>/dev/null; echo got $line; exit 9"
    child = terminal(docker.run_argv("--rm", "-i", "-t", "--", "sh", "-c", script), size=(33, 99))
    screen = b""
    while b"/dev/pts/0" not in screen:
        screen += child.read()
    child.write(b"a word\r")
    while b"got a word" not in screen:
        screen += child.read()
    assert b"33 99" in screen
    assert child.wait() == 9


def test_what_was_killed_for_memory_is_said_to_be(docker: Docker) -> None:
    script = "x=$(dd if=/dev/zero bs=1M count=64 2>/dev/null | tr '\\0' x); echo $x | wc -c"
    ended = docker("run", "--name", "box", "--memory", "16m", "--memory-swap", "16m", "--", "sh", "-c", script)
    state = json.loads(docker.checked("inspect", "--format", "{{json .State}}", "box"))
    assert (ended.returncode, state["ExitCode"]) == (137, 137)


def test_the_default_profile_holds(docker: Docker) -> None:
    ended = docker(
        "run", "--rm", "--", "sh", "-c", "grep Seccomp: /proc/self/status; unshare -U true 2>/dev/null || echo no namespaces"
    )
    assert (ended.returncode, ended.stdout) == (0, "Seccomp:\t2\nno namespaces\n")


def test_an_image_is_built(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM box\nRUN echo built >/made\nRUN cat /made\n")
    env = {**os.environ, "DOCKER_BUILDKIT": "0"}
    command = docker.argv("build", "--network", "none", "--tag", "made", str(tmp_path))
    built = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)
    assert built.returncode == 0, built.stderr
    assert "\nbuilt\n" in built.stdout
