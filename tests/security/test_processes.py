"""What a container's processes can do to an init, to the host's cgroups and to the caller's terminal. docs/security.md."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ptyprocess import PtyProcess

from tests.conftest import Bundles, CommandLine, Config, need
from tests.security.attacks import Trace, bind
from tests.waiting import until

MARKER = "the-callers-secret"

# Runs in a container. Of each process that isn't its own it tries whatever needs the right to trace.
_SPY = """\
while [ ! -e /volume/go ]; do sleep 0.01; done
for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    [ $pid = 1 ] || [ $pid = $$ ] && continue
    echo seen $pid
    for file in environ maps auxv mem stack syscall io; do
        head -c 1000 $process/$file >/dev/null 2>>/volume/why && echo read $pid $file
    done
    for link in exe cwd root ns/pid fd/0 fd/3 fd/4 fd/5; do
        readlink $process/$link >/dev/null && echo followed $pid $link
    done
    for fd in $(ls $process/fd); do
        (: < $process/fd/$fd) && echo opened $pid $fd
    done
    grep -q $MARKER $process/environ 2>/dev/null && echo marker $pid
done > /volume/seen
mv /volume/seen /volume/done
sleep 1000
"""


def test_a_created_init_is_closed_to_a_container_that_shares_its_pids(
    aiorun: CommandLine, bundle: Bundles, container: Callable[..., str], tmp_path: Path
) -> None:
    """CVE-2016-9962, P8, P14. Both are root with the same capabilities, which is all that tracing takes of a dumpable process."""
    volume = tmp_path / "volume"
    volume.mkdir()

    def spying(config: Config) -> None:
        config["mounts"].append(bind(volume, "/volume"))
        config["process"]["env"].append(f"MARKER={MARKER}")

    spy = container(bundle(spying, args=["sh", "-c", _SPY]))
    aiorun("start", spy, check=True)
    pid = aiorun.state(spy)["pid"]

    def sharing(config: Config) -> None:
        namespaces = config["linux"]["namespaces"]
        namespaces[:] = [n for n in namespaces if n["type"] != "pid"] + [{"type": "pid", "path": f"/proc/{pid}/ns/pid"}]

    victim = container(bundle(sharing), env={**os.environ, "SECRET": MARKER})
    assert aiorun.state(victim)["status"] == "created"
    (volume / "go").touch()
    until((volume / "done").exists, "the spy's report")
    victim_pid = aiorun.state(victim)["pid"]
    aiorun("delete", victim, check=True)
    os.waitpid(victim_pid, 0)  # pid_namespaces(7): while a zombie of ours is in it, the spy's init can't end
    seen = (volume / "done").read_text().splitlines()
    assert [line for line in seen if line.startswith("seen")], "the spy didn't find the init"
    assert [line for line in seen if not line.startswith("seen")] == []


@pytest.mark.parametrize("joined", [("user", "pid"), ("user", "pid", "net", "ipc", "uts")], ids="+".join)
def test_who_joins_a_user_namespace_is_closed_to_it(
    aiorun: CommandLine, bundle: Bundles, container: Callable[..., str], tmp_path: Path, joined: tuple[str, ...]
) -> None:
    """CVE-2016-9962. Its root may trace whoever is in it: the joiner and the init that it clones, before and after they are."""
    volume = tmp_path / "volume"
    volume.mkdir()
    users = {"linux": {f"{kind}Mappings": [{"containerID": 0, "hostID": 0, "size": 65536}] for kind in ("uid", "gid")}}

    def spying(config: Config) -> None:
        config["mounts"].append(bind(volume, "/volume"))
        config["process"]["env"].append(f"MARKER={MARKER}")
        config["process"]["capabilities"] = {
            name: ["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_PERFMON"] for name in ("bounding", "permitted", "effective")
        }
        config["linux"] |= users["linux"]
        config["linux"]["namespaces"].append({"type": "user"})

    spy = container(bundle(spying, args=["sh", "-c", _SPY]))
    aiorun("start", spy, check=True)
    pid = aiorun.state(spy)["pid"]

    def sharing(config: Config) -> None:
        types = {"net": "network"}
        paths = {types.get(name, name): f"/proc/{pid}/ns/{name}" for name in joined}
        others = [n for n in config["linux"]["namespaces"] if n["type"] not in paths]
        config["linux"]["namespaces"] = others + [{"type": kind, "path": path} for kind, path in paths.items()]
        if "uts" in joined:
            config.pop("hostname")

    victim = container(bundle(sharing), env={**os.environ, "SECRET": MARKER})
    (volume / "go").touch()
    until((volume / "done").exists, "the spy's report")
    victim_pid = aiorun.state(victim)["pid"]
    aiorun("delete", victim, check=True)
    os.waitpid(victim_pid, 0)  # pid_namespaces(7): while a zombie of ours is in it, the spy's init can't end
    seen = (volume / "done").read_text().splitlines()
    assert [line for line in seen if line.startswith("seen")], "the spy didn't find the init"
    assert [line for line in seen if not line.startswith("seen")] == []


def test_a_joiner_is_closed_before_it_joins_anything(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    holder = subprocess.Popen([need("unshare"), "--user", "--map-root-user", "sleep", "1000"], stdin=subprocess.DEVNULL)
    try:
        until(lambda: b"sleep" in Path(f"/proc/{holder.pid}/cmdline").read_bytes().split(b"\0")[0], "sleep")
        path = {"type": "user", "path": f"/proc/{holder.pid}/ns/user"}
        made = bundle(lambda config: config["linux"]["namespaces"].append(path))
        trace = tmp_path / "trace"
        argv = [need("strace"), "-ff", "-e", "trace=prctl,setns,clone,clone3", "-o", str(trace)]
        subprocess.run([*argv, *aiorun.argv("run", "--bundle", made, "x")], stdin=subprocess.DEVNULL, check=False, timeout=60)
    finally:
        holder.kill()
        holder.wait()
    joiners = [text for file in tmp_path.glob("trace.*") if "setns(" in (text := file.read_text()) and "clone3(" in text]
    assert joiners
    for text in joiners:
        assert text.index("PR_SET_DUMPABLE, SUID_DUMP_DISABLE") < text.index("setns("), text


def test_an_init_is_closed_again_after_each_change_of_who_it_is(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    """prctl(2): a change of ids or capabilities makes a process what fs.suid_dumpable says, which may be dumpable."""
    changed = bundle({"process": {"user": {"uid": 1000, "gid": 1000}}})
    calls = Trace(aiorun, tmp_path / "trace", "run", "--bundle", changed, "x").of_init()
    closing = [index for index, line in enumerate(calls) if line.startswith("prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE")]
    joining = [index for index, line in enumerate(calls) if line.startswith(("setns(", "unshare(")) or "Proceed" in line]
    assert closing[0] < joining[0], "it wasn't closed before all else"
    for change in ("setresuid(", "setresgid(", "capset("):
        at = max(index for index, line in enumerate(calls) if line.startswith(change))
        assert closing[-1] > at, change
    assert not [line for line in calls if line.startswith("prctl(PR_SET_DUMPABLE, SUID_DUMP_USER")]


def test_the_inheritable_capabilities_are_those_of_the_config_and_else_none(aiorun: CommandLine, bundle: Bundles) -> None:
    """CVE-2022-29162."""
    looking = bundle(args=["grep", "^CapInh", "/proc/self/status"])
    assert aiorun("run", "--bundle", looking, "x", check=True).stdout.split() == ["CapInh:", f"{0:016x}"]
    config = bundle.read(looking)
    config["process"]["capabilities"]["inheritable"] = ["CAP_KILL"]
    bundle.write(looking, config)
    assert aiorun("run", "--bundle", looking, "x", check=True).stdout.split() == ["CapInh:", f"{1 << 5:016x}"]


# --- cgroups: CVE-2023-25809


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("option", ["ro", "rw"])
def test_a_container_sees_its_own_cgroups_alone_and_writes_them_if_it_may(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, private: bool, option: str
) -> None:
    """With a cgroup namespace of its own and without; with all capabilities, since it's the mounts that are to keep it in."""
    script = """\
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*/; do
    mkdir $hierarchy/made 2>/dev/null && rmdir $hierarchy/made && echo wrote $hierarchy
    [ -e $hierarchy/release_agent ] && echo the root of $hierarchy
    [ -e $hierarchy/AIORUN ] && echo the parent of $hierarchy
done
mount -o remount,rw /sys/fs/cgroup 2>/dev/null && echo remounted
true
"""
    everything = ["CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL"]

    def change(config: Config) -> None:
        config["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), everything)
        config["mounts"][-1]["options"] = ["nosuid", "noexec", "nodev", option]
        if private:
            config["linux"]["namespaces"].append({"type": "cgroup"})

    said = aiorun("run", "--bundle", bundle(change, args=["sh", "-c", script]), "x", check=True).stdout
    assert "root" not in said
    assert "remounted" not in said
    assert bool("wrote /sys/fs/cgroup" in said) == (option == "rw")


# --- the caller's terminal


def test_a_program_without_a_terminal_cannot_type_into_the_callers(
    aiorun: CommandLine, bundle: Bundles, terminal: Callable[..., PtyProcess]
) -> None:
    """TIOCSTI, TIOCLINUX: `run` on a terminal hands that on as stdio, but it's nobody's controlling terminal in there."""
    looking = bundle(args=["sh", "-c", "cut -d' ' -f6,7 /proc/self/stat; (: < /dev/tty); ls -l /proc/self/fd/0"])
    child = terminal(aiorun.argv("run", "--bundle", looking, "x"))
    said = ""
    while True:
        try:
            said += child.read().decode()
        except EOFError:
            break
    child.wait()
    session, controlling = said.split()[:2]
    assert (int(session) > 0, int(controlling)) == (True, 0), said
    assert "/dev/tty" in said and "No such device or address" in said
    assert "/dev/pts" in said, "it wasn't run on a terminal at all"


# --- a sealed interpreter is what a container gets to see


def test_an_init_runs_from_the_sealed_interpreter(aiorun: CommandLine, bundle: Bundles, container: Callable[..., str]) -> None:
    """CVE-2019-5736 is played in tests/launch/test_self_exe.py; this is that the command really seals."""
    pid = aiorun.state(container(bundle()))["pid"]
    exe = os.stat(f"/proc/{pid}/exe")
    host = os.stat(os.path.realpath("/proc/self/exe"))
    assert (exe.st_dev, exe.st_ino) != (host.st_dev, host.st_ino)
    opened = subprocess.run(["sh", "-c", f": >> /proc/{pid}/exe"], capture_output=True, text=True, check=False)
    assert opened.returncode != 0
    assert "Text file busy" not in opened.stderr  # that would only be as long as it runs
