"""`aiorun check` says what is missing before a container is made, and what to do about it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from aiorun.linux import probe
from aiorun.linux.process import CLONE_NEWNS, CLONE_NEWUSER
from tests.cli.program import AIORUN, PYTHON, run
from tests.conftest import CHECKOUT, Bundles, CommandLine, need, need_root

Findings = dict[str, dict[str, Any]]


def findings(*arguments: str | Path, status: int = 0, cwd: Path | None = None) -> Findings:
    """What check says, by name; of several with the same name the last."""
    ended = run(*AIORUN, "check", "--format", "json", *arguments, cwd=cwd)
    assert (ended.returncode, ended.stderr) == (status, ""), ended.stdout
    return {finding["name"]: finding for finding in json.loads(ended.stdout)}


def needed(found: Findings) -> list[tuple[str, list[str]]]:
    return [(finding["name"], finding["at"]) for finding in found.values() if finding["status"] == "needed"]


# --- the host


def test_without_a_bundle_the_host_alone_is_looked_at(tmp_path: Path) -> None:
    need_root()
    found = findings(cwd=tmp_path)
    assert found.keys() >= {"user", "interpreter", "root directory", "cgroups", "namespaces", "file systems", "seccomp", "criu"}
    assert {finding["status"] for finding in found.values()} <= {"ok", "absent"}
    assert found["user"]["found"] == "root"


def test_each_line_that_is_not_ok_says_what_to_do(tmp_path: Path) -> None:
    need_root()
    for finding in findings(cwd=tmp_path).values():
        assert bool(finding["remedy"]) == (finding["status"] != "ok"), finding


def test_the_table_has_a_line_for_each_finding_and_one_for_what_to_do(tmp_path: Path) -> None:
    need_root()
    ended = run(*AIORUN, "check", cwd=tmp_path)
    lines = ended.stdout.splitlines()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert lines[0].split() == ["STATUS", "WHAT", "FOUND"]
    column = lines[0].index("FOUND")
    assert {line[column - 2 : column] for line in lines} == {"  "}
    assert sum(line.startswith(" ") for line in lines) == sum(line.startswith(("absent", "needed")) for line in lines)


def test_it_leaves_nothing(tmp_path: Path, leaves_nothing: None) -> None:
    need_root()
    before = Path("/proc/self/mountinfo").read_text()
    findings("--bundle", tmp_path, status=1)
    assert Path("/proc/self/mountinfo").read_text() == before
    assert list(tmp_path.iterdir()) == []


def test_a_root_directory_that_cannot_be_written_to_is_needed(tmp_path: Path) -> None:
    need_root()
    ended = run(*AIORUN, "--root", "/proc/nowhere", "check", "--format", "json", cwd=tmp_path)
    found = {finding["name"]: finding for finding in json.loads(ended.stdout)}
    assert (ended.returncode, needed(found)) == (1, [("root directory", [])])


def test_a_user_hears_of_the_ids_that_he_lacks() -> None:
    need_root()
    as_nobody = [need("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"]
    if run(*as_nobody, "test", "-r", AIORUN[-1]).returncode:
        pytest.skip("the checkout is closed to other users")
    ended = run(*as_nobody, *AIORUN, "check", "--format", "json", cwd="/")
    found = {finding["name"]: finding for finding in json.loads(ended.stdout)}
    assert found["user"]["found"].startswith("user 65534")
    assert found["/etc/subuid"]["status"] == "absent"
    assert "usermod --add-subuids" in found["/etc/subuid"]["remedy"]


def without_calls(*names: str) -> str:
    """A statement that has the probes find these system calls missing: their number is one that no kernel has."""
    return "".join(f"probe._REFUSED[{name!r}] = (9999, probe._REFUSED[{name!r}][1]);" for name in names)


def test_a_system_call_that_is_missing_is_named_with_what_aiorun_does_without() -> None:
    statement = f"from aiorun.linux import probe;{without_calls('openat2', 'fsopen')}"
    script = f"import sys; sys.path.append({str(CHECKOUT)!r}); {statement}from aiorun.cli.main import main; main(sys.argv[1:])"
    ended = run(*PYTHON, "-c", script, "check", "--format", "json", cwd="/")
    found = {finding["name"]: finding for finding in json.loads(ended.stdout)}
    assert (found["system call openat2"]["status"], found["system call fsopen"]["status"]) == ("absent", "needed")
    assert "walked step by step" in found["system call openat2"]["found"]
    assert "system calls" not in found


def test_a_root_that_is_no_mount_is_needed_to_be_one(tmp_path: Path) -> None:
    """As in a chroot. `create` could only say "invalid argument"."""
    need_root()
    root = tmp_path / "root"
    root.mkdir()
    # A directory of the host's in which the checkout and its Python are, and that is no mount of its own.
    for name in ("usr", "proc", *{path.parts[1] for path in (CHECKOUT, Path(PYTHON[0]).resolve())}):
        (root / name).mkdir(exist_ok=True)
    for name in ("bin", "lib", "lib64"):
        if Path(f"/{name}").is_symlink():
            (root / name).symlink_to(os.readlink(f"/{name}"))
    binds = "; ".join(f"mount --rbind /{path.name} {path}" for path in root.iterdir() if not path.is_symlink())
    command = f"{binds}; chroot {root} {' '.join(AIORUN)} check --format json"
    found = {finding["name"]: finding for finding in json.loads(run("unshare", "--mount", "sh", "-c", command, cwd="/").stdout)}
    assert (found["root mount"]["status"], found["root mount"]["found"]) == ("needed", "/ is not a mount point")
    assert "mount --bind" in found["root mount"]["remedy"]


def test_a_probe_says_why_it_failed() -> None:
    need_root()
    assert probe.errno_of(lambda: None, CLONE_NEWNS) == 0
    assert probe.errno_of(lambda: probe.make_file_system("nosuchfs"), CLONE_NEWNS) == 19  # ENODEV
    assert probe.errno_of(lambda: probe.make_file_system("proc"), CLONE_NEWUSER) == 1  # EPERM: no pid namespace of its own
    assert probe.errno_of(lambda: [][1]) == 255


# --- a bundle


def test_a_bundle_that_has_all_is_said_to(bundle: Bundles) -> None:
    need_root()
    directory = bundle()
    found = findings("--bundle", directory)
    assert found["bundle"]["found"] == f'"{directory}" has all that it needs here'
    assert findings(cwd=directory)["bundle"] == found["bundle"]


FAULTS: list[tuple[str, Any, list[tuple[str, list[str]]]]] = [
    ("a fault of the document", {"process": {"cwd": "x"}}, [("config.json", ["process.cwd"])]),
    ("no process", {"process": None}, [("config.json", ["process"])]),
    ("what does not fit", {"linux": {"sysctl": {"kernel.x": "1"}}}, [("config.json", ["linux.sysctl.kernel.x"])]),
    ("an option of no use", lambda c: c["mounts"].append({"destination": "/x", "source": "/", "options": ["bind", "x=1"]}),
     [("config.json", ["mounts[7].options[1]"])]),
    ("no root", {"root": {"path": "nowhere"}}, [("root file system", ["root.path"])]),
    ("a program that is not there", {"process": {"args": ["nosuch"]}}, [("program", ["process.args[0]"])]),
    ("a program by its path", {"process": {"args": ["/bin/nosuch"]}}, [("program", ["process.args[0]"])]),
    ("a directory for a program", {"process": {"args": ["/bin"]}}, [("program", ["process.args[0]"])]),
    ("a volume that is not there", lambda c: c["mounts"].append({"destination": "/x", "source": "/nowhere", "options": ["bind"]}),
     [("source of a bind mount", ["mounts[7].source"])]),
    ("a namespace that is gone", lambda c: c["linux"]["namespaces"][1].update(path="/run/netns/nowhere"),
     [("namespace network", ["linux.namespaces[1].path"])]),
    ("a hook that is not there", {"hooks": {"prestart": [{"path": "/nowhere"}]}},
     [("prestart hook", ["hooks.prestart[0].path"])]),
    ("a hook that is no program", {"hooks": {"poststop": [{"path": "/etc/passwd"}]}},
     [("poststop hook", ["hooks.poststop[0].path"])]),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_a_fault_of_a_bundle_is_named_and_ends_in_1(bundle: Bundles, change: Any, expected: list[tuple[str, list[str]]]) -> None:
    need_root()
    assert needed(findings("--bundle", bundle(change), status=1)) == expected


def test_a_loader_that_is_missing_is_named(bundle: Bundles) -> None:
    """The kernel says "no such file" of the program, which is there."""
    need_root()
    directory = bundle(args=["/bin/hello"])
    script = directory / "rootfs" / "bin" / "hello"
    for content, loader in ((b"#! /usr/bin/nosuch -x\n", "/usr/bin/nosuch"), (Path("/bin/true").read_bytes(), "/lib64/ld-linux")):
        script.write_bytes(content)
        script.chmod(0o755)
        (found,) = [f for f in findings("--bundle", directory, status=1).values() if f["status"] == "needed"]
        assert (found["name"], found["at"]) == ("program", ["root.path"])
        assert f'"/bin/hello" needs "{loader}' in found["found"]


def test_a_program_may_come_with_a_volume(bundle: Bundles, tmp_path: Path) -> None:
    need_root()
    volume = {"destination": "/opt", "source": str(tmp_path), "type": "bind", "options": ["rbind"]}
    directory = bundle(lambda config: config["mounts"].append(volume), args=["/opt/bin/nosuch"])
    assert needed(findings("--bundle", directory)) == []


def test_a_fifo_for_a_program_is_not_opened(bundle: Bundles) -> None:
    need_root()
    directory = bundle(args=["/bin/pipe"])
    os.mkfifo(directory / "rootfs" / "bin" / "pipe", 0o755)
    assert needed(findings("--bundle", directory, status=1)) == [("program", ["process.args[0]"])]


def test_a_controller_that_the_host_lacks_is_needed_by_its_limit(bundle: Bundles, tmp_path: Path) -> None:
    need_root()
    lacking = [name for name in findings(cwd=tmp_path) if name.startswith("cgroup ")]
    limits: Findings = {
        "cgroup rdma": {"rdma": {"mlx5_1": {"hcaHandles": 1}}},
        "cgroup hugetlb": {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]},
        "cgroup net_cls": {"network": {"classID": 1}},
        "cgroup net_prio": {"network": {"priorities": [{"name": "lo", "priority": 1}]}},
    }
    tried = limits.keys() & set(lacking)
    if not tried:
        pytest.skip("this host has every controller")
    for name in tried:
        found = findings("--bundle", bundle({"linux": {"resources": limits[name]}}), status=1)
        assert [name for name, _ in needed(found)] == [name]
        assert found[name]["at"][0].startswith("linux.resources.")


def test_a_cgroup_in_use_is_needed_free(aiorun: CommandLine, bundle: Bundles, cgroup_parent: str) -> None:
    need_root()
    first = bundle(args=["sleep", "100"])
    second = bundle({"linux": {"cgroupsPath": Bundles.read(first)["linux"]["cgroupsPath"]}})
    aiorun("create", "--bundle", first, "c", check=True)
    try:
        assert needed(findings("--bundle", second, status=1)) == [("cgroup", ["linux.cgroupsPath"])]
    finally:
        aiorun("delete", "--force", "c", check=True)


def test_a_bundle_without_a_document_is_told_how_to_get_one(tmp_path: Path) -> None:
    need_root()
    found = findings("--bundle", tmp_path, status=1)
    assert needed(found) == [("config.json", [])]
    assert found["config.json"]["found"] == "JSON specification file config.json not found"
    assert "aiorun spec" in found["config.json"]["remedy"]


@pytest.mark.parametrize("arguments", [["--format", "x"], ["--bundle", "/nowhere"], ["x"]])
def test_a_mistake_is_an_error(arguments: list[str]) -> None:
    ended = run(*AIORUN, "check", *arguments)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)


def test_the_systemd_driver_needs_systemd(tmp_path: Path, bundle: Bundles) -> None:
    need_root()
    made = bundle()
    config = bundle.read(made)
    config["linux"]["cgroupsPath"] = "system.slice:aiorun:check"
    bundle.write(made, config)
    ended = run(*AIORUN, "--systemd-cgroup", "check", "--format", "json", "--bundle", made)
    (finding,) = [finding for finding in json.loads(ended.stdout) if finding["name"] == "systemd"]
    if os.path.isdir("/run/systemd/system"):
        assert finding["status"] == "ok"
    else:
        assert (finding["status"], finding["at"], ended.returncode) == ("needed", ["--systemd-cgroup"], 1)
