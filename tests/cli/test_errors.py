"""What a person or an engine is told when a bundle is wrong: one sentence, runc's words and exit code, and nothing left."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Bundles, Change, CommandLine, Config

Prepare = Callable[[Path], object]

# What a message may not say in capitals, since dockerd and the docker CLI look for these words as Go writes them.
CAPITALS = re.compile("No such|Permission|Operation not|Not a directory|Is a directory|Exec format|Invalid argument|Errno")


class Case:
    """A bundle that is wrong: a change of config.json, of the files, or both; and what is said of it.

    `text` is what aiorun says, `runc` what it has in common with runc's sentence (the same if it isn't given).
    """

    def __init__(
        self,
        text: str,
        change: Change = None,
        *,
        args: list[str] | None = None,
        prepare: Prepare | None = None,
        runc: str | None = None,
    ) -> None:
        self.text, self.change, self.args, self.prepare = text, change, args, prepare
        self.runc = text if runc is None else runc

    def make(self, bundle: Bundles) -> Path:
        made = bundle(self.change, args=self.args)
        if self.prepare is not None:
            self.prepare(made)
        return made


def writes(content: str, path: str = "config.json", mode: int = 0o644) -> Prepare:
    def prepare(made: Path) -> None:
        (made / path).write_text(content)
        (made / path).chmod(mode)

    return prepare


def makes_link_of_rootfs(made: Path) -> None:
    (made / "rootfs").rename(made / "real")
    (made / "rootfs").symlink_to("real")


def makes_file_of_rootfs(made: Path) -> None:
    shutil.rmtree(made / "rootfs")
    (made / "rootfs").touch()


def adds(*path: str, value: object) -> Callable[[Config], object]:
    """Appends `value` to the list at `path`."""

    def change(config: Config) -> None:
        at: Any = config
        for name in path:
            at = at[name]
        at.append(value)

    return change


def mounts(destination: str, type: str, source: str, *options: str) -> Callable[[Config], object]:
    return adds("mounts", value={"destination": destination, "type": type, "source": source, "options": list(options)})


def as_alice(config: Config) -> None:
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    config["process"]["capabilities"] = {}


PROGRAM = "unable to start container process: "
NO_RUNC = ""  # runc takes it, or crashes

BAD_CONFIG = {
    "missing": Case("JSON specification file config.json not found", prepare=lambda made: (made / "config.json").unlink()),
    "empty": Case("config.json is not valid JSON: ", prepare=writes(""), runc=": EOF"),
    "cut off": Case("config.json is not valid JSON: ", prepare=writes('{"ociVersion": "1.0.2",'), runc="unexpected EOF"),
    "an array": Case("config.json must hold a JSON object", prepare=writes("[]"), runc="cannot unmarshal array"),
    "null": Case("config.json must hold a JSON object", prepare=writes("null"), runc=NO_RUNC),
    "bytes": Case("config.json is not valid", prepare=lambda made: (made / "config.json").write_bytes(b"\xff{}"), runc="invalid"),
    "deep": Case("config.json is not valid JSON: ", prepare=writes("[" * 100_000), runc="exceeded max depth"),
    "args is a string": Case(
        "process.args: must be an array, not a string", {"process": {"args": "true"}}, runc="process.args of type []string"
    ),
    "cwd is a number": Case(
        "process.cwd: must be a string, not an integer", {"process": {"cwd": 3}}, runc="process.cwd of type string"
    ),
    "no process": Case("process property must not be empty", {"process": None}),
    "no args": Case("args must not be empty", {"process": {"args": []}}),
    "relative cwd": Case("process.cwd: Cwd must be an absolute path", {"process": {"cwd": "x"}}, runc="Cwd must be an absolute"),
    "no cwd": Case("Cwd property must not be empty", {"process": {"cwd": ""}}),
    "no root": Case("root must be specified", {"root": None}),
    "version 2": Case("ociVersion: version 2.0.0 of the specification is not", {"ociVersion": "2.0.0"}, runc=NO_RUNC),
    "no destination": Case("mounts[7].destination: is required", adds("mounts", value={"type": "tmpfs"}), runc=NO_RUNC),
    "unknown namespace": Case(
        'linux.namespaces[5].type: must be one of mount, pid, network, uts, ipc, user, cgroup, time, not "frob"',
        adds("linux", "namespaces", value={"type": "frob"}),
        runc="frob",
    ),
    "pid namespace twice": Case(
        'linux.namespaces[5].type: duplicated: "pid"', adds("linux", "namespaces", value={"type": "pid"}), runc="duplicated ns"
    ),
    "unknown limit": Case(
        "process.rlimits[1].type: must be one of",
        adds("process", "rlimits", value={"type": "RLIMIT_FROB", "soft": 1, "hard": 1}),
        runc="RLIMIT_FROB",
    ),
    "hostname without a namespace": Case(
        "unable to set hostname without a private UTS namespace",
        lambda config: config["linux"].update(namespaces=[n for n in config["linux"]["namespaces"] if n["type"] != "uts"]),
    ),
    "a sysctl of the host": Case(
        'linux.sysctl.kernel.frob: sysctl "kernel.frob" is not in a separate kernel namespace',
        {"linux": {"sysctl": {"kernel.frob": "1"}}},
        runc='sysctl "kernel.frob" is not in a separate kernel namespace',
    ),
}

BAD_FILES = {
    "no rootfs": Case(
        "rootfs (root.path): no such file or directory",
        prepare=lambda made: shutil.rmtree(made / "rootfs"),
        runc="rootfs: no such file or directory",
    ),
    "rootfs is a link": Case("invalid rootfs: not an absolute path, or a symlink", prepare=makes_link_of_rootfs),
    "rootfs is a file": Case("rootfs (root.path): not a directory", prepare=makes_file_of_rootfs, runc="not a directory"),
    "a mount's source is missing": Case(
        'mount "/nosuch" on "/m" (mounts[7]): no such file or directory',
        mounts("/m", "bind", "/nosuch", "bind"),
        runc="no such file or directory",
    ),
    "an unknown file system": Case(
        'mount "x" on "/m" (mounts[7]): no such device', mounts("/m", "frobfs", "x"), runc="no such device"
    ),
    "an unknown mount option": Case(
        'mount "x" on "/m" (mounts[7]): option "frob=1": invalid argument',
        mounts("/m", "tmpfs", "x", "frob=1"),
        runc="invalid argument",
    ),
    "a file on a directory": Case(
        'mount "/etc/passwd" on "/tmp" (mounts[7]): not a directory',
        mounts("/tmp", "bind", "/etc/passwd", "bind"),
        runc="not a directory",
    ),
    "a directory on a file": Case(
        'mount "/etc" on "/bin/busybox" (mounts[7]): not a directory',
        mounts("/bin/busybox", "bind", "/etc", "bind"),
        runc="not a directory",
    ),
    "a namespace that is gone": Case(
        'open "/proc/1/ns/nosuch" (linux.namespaces[5].path): no such file or directory',
        lambda config: config["linux"]["namespaces"].append({"type": "cgroup", "path": "/proc/1/ns/nosuch"}),
        runc="no such file or directory",
    ),
    "a sysctl that isn't there": Case(
        "(linux.sysctl.net.frob): no such file or directory",
        {"linux": {"sysctl": {"net.frob": "1"}}},
        runc="no such file or directory",
    ),
    "too little memory": Case(
        "possibly OOM-killed", {"linux": {"resources": {"memory": {"limit": 4096}}}}, runc="unable to set memory limit to 4096"
    ),
}

BAD_PROGRAMS = {
    "not in PATH": Case('exec: "nosuch": executable file not found in $PATH', args=["nosuch"]),
    "empty": Case('exec: "": executable file not found in $PATH', args=[""]),
    "no PATH": Case('exec: "true": executable file not found in $PATH', {"process": {"env": []}}, args=["true"]),
    "no such path": Case('exec: "/nosuch/x": stat /nosuch/x: no such file or directory', args=["/nosuch/x"]),
    "below a file": Case('exec: "/bin/sh/x": stat /bin/sh/x: not a directory', args=["/bin/sh/x"]),
    "a link to itself": Case(
        'exec: "/x": stat /x: too many levels of symbolic links',
        args=["/x"],
        prepare=lambda made: (made / "rootfs" / "x").symlink_to("x"),
    ),
    "not executable": Case('exec: "/x": permission denied', args=["/x"], prepare=writes("#!/bin/sh\n", "rootfs/x")),
    "not executable in PATH": Case(
        'exec: "x": executable file not found in $PATH', args=["x"], prepare=writes("#!/bin/sh\n", "rootfs/bin/x")
    ),
    "a directory": Case('exec: "/tmp": is a directory', args=["/tmp"], runc='exec: "/tmp": '),
    "out of the user's reach": Case(
        'exec: "/secret/x": stat /secret/x: permission denied',
        as_alice,
        args=["/secret/x"],
        prepare=lambda made: (made / "rootfs" / "secret").mkdir(mode=0o700),
    ),
    "cwd is a file": Case(
        'chdir to cwd ("/bin/busybox") set in config.json failed: not a directory',
        {"process": {"cwd": "/bin/busybox"}},
        runc="not a directory",
    ),
}


def sentence_of(line: str) -> str:
    """The message of a logrus line."""
    found = re.fullmatch(r'time="[^"]+" level=error msg="(.*)"\n', line)
    assert found, line
    return json.loads(f'"{found[1]}"')  # type: ignore[no-any-return]


def entry_of(log: Path) -> dict[str, str]:
    """The one object that a log in JSON holds."""
    entry: dict[str, str] = json.loads(log.read_text())
    log.unlink()
    return entry


def nothing_is_left(runtime: CommandLine) -> bool:
    return not runtime.root.exists() or not list(runtime.root.iterdir())


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=name) for cases in (BAD_CONFIG, BAD_FILES, BAD_PROGRAMS) for name, case in cases.items()]
)
def test_a_bundle_that_is_wrong_fails_create_and_run_with_one_sentence_and_leaves_nothing(
    aiorun: CommandLine, bundle: Bundles, tmp_path: Path, case: Case
) -> None:
    made = case.make(bundle)
    pid_file = tmp_path / "pid"
    for command in ("create", "run"):
        ended = aiorun(command, "--bundle", made, "--pid-file", pid_file, "box")
        assert (ended.returncode, ended.stdout) == (1, "")
        said = sentence_of(ended.stderr)
        assert said.startswith(f"aiorun {command} failed: ")
        assert case.text in said
        assert not CAPITALS.search(said)
        assert nothing_is_left(aiorun)
        assert not pid_file.exists()
    log = tmp_path / "log.json"
    ended = aiorun("--log", log, "--log-format", "json", "create", "--bundle", made, "box")
    entry = entry_of(log)
    assert (ended.returncode, entry["level"], set(entry)) == (1, "error", {"level", "msg", "time"})
    assert case.text in entry["msg"]
    assert "\n" not in ended.stderr[:-1]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name)
        for cases in (BAD_CONFIG, BAD_FILES, BAD_PROGRAMS)
        for name, case in cases.items()
        if case.runc is not NO_RUNC
    ],
)
def test_runc_refuses_the_same_with_the_words_that_engines_look_for(
    runc: CommandLine, bundle: Bundles, cgroup_parent: str, case: Case
) -> None:
    ended = runc("create", "--bundle", case.make(bundle), "box")
    assert ended.returncode == 1
    last = sentence_of(ended.stderr.splitlines(keepends=True)[-1])
    assert case.runc in last
    assert last.startswith("runc create failed: ")


# --- what only the kernel knows, at the very last ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [("#!/nosuch\n", "no such file or directory"), ("no magic\n", "exec format error"), ("", "exec format error")],
    ids=["no interpreter", "text", "empty"],
)
def test_what_the_kernel_will_not_execute_is_told_by_start_and_run(
    aiorun: CommandLine, runc: CommandLine, bundle: Bundles, content: str, reason: str
) -> None:
    made = bundle(args=["/x"])
    writes(content, "rootfs/x", 0o755)(made)
    aiorun("create", "--bundle", made, "box", check=True)
    ended = aiorun("start", "box")  # runc's says nothing and exits 0
    assert (ended.returncode, ended.stdout, sentence_of(ended.stderr)) == (1, "", f'exec "/x": {reason}')
    assert aiorun.state("box")["status"] == "stopped"
    aiorun("delete", "box", check=True)
    ours, theirs = aiorun("run", "--bundle", made, "box"), runc("run", "--bundle", made, "box")
    assert (ours.returncode, sentence_of(ours.stderr)) == (1, f'aiorun run failed: exec "/x": {reason}')
    assert theirs.returncode == 1
    assert f"exec /x: {reason}" in theirs.stderr
    assert nothing_is_left(aiorun)


def test_what_config_json_has_beyond_the_specification_is_no_fault(aiorun: CommandLine, bundle: Bundles) -> None:
    made = bundle({"frob": 1, "process": {"frob": {}}, "linux": {"frob": []}}, args=["echo", "fine"])
    assert aiorun("run", "--bundle", made, "box", check=True).stdout == "fine\n"


def test_create_and_run_make_a_missing_cwd(aiorun: CommandLine, runc: CommandLine, bundle: Bundles) -> None:
    for runtime in (aiorun, runc):
        made = bundle({"process": {"cwd": "/made/on/the/way"}, "root": {"readonly": False}}, args=["pwd"])
        assert runtime("run", "--bundle", made, "box", check=True).stdout == "/made/on/the/way\n"
        assert (made / "rootfs/made/on/the/way").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "../a", "a b", "ü", "a\nb"])
def test_an_id_that_is_none_is_refused_in_runcs_words(aiorun: CommandLine, runc: CommandLine, bundle: Bundles, id: str) -> None:
    made = bundle()
    for command in ("create", "run"):
        ours, theirs = aiorun(command, "--bundle", made, id), runc(command, "--bundle", made, id)
        assert ours.returncode == theirs.returncode == 1
        assert sentence_of(ours.stderr) == sentence_of(theirs.stderr).replace("runc", "aiorun", 1)
    assert nothing_is_left(aiorun)


def test_an_id_that_is_taken_is_refused_and_its_container_unharmed(
    aiorun: CommandLine, bundle: Bundles, container: Callable[..., str]
) -> None:
    id = container(bundle(args=["echo", "unharmed"]))
    for command in ("create", "run"):
        ended = aiorun(command, "--bundle", bundle(), id)
        assert ended.returncode == 1
        assert sentence_of(ended.stderr) == f"aiorun {command} failed: container with given ID already exists"
    assert aiorun.state(id)["status"] == "created"
    aiorun("start", id, check=True)


# --- the life of a container, in words that engines match --------------------------------------------------------


def test_each_state_refuses_what_it_cannot_do_in_runcs_words(aiorun: CommandLine, runc: CommandLine, bundle: Bundles) -> None:
    made = bundle(args=["sleep", "1000"])

    def both(*words: str) -> None:
        ours, theirs = aiorun(*words), runc(*words)
        assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
        assert sentence_of(ours.stderr) == sentence_of(theirs.stderr), words

    for word in ("start", "state", "kill", "delete", "ps"):
        both(word, "box")
    for runtime in (aiorun, runc):
        runtime("create", "--bundle", made, "box", check=True)
        made = bundle(args=["sleep", "1000"])
        runtime("start", "box", check=True)
    both("start", "box")
    both("delete", "box")
    both("kill", "box", "frob")
    for runtime in (aiorun, runc):
        runtime("kill", "box", "KILL", check=True)
        while runtime.state("box")["status"] != "stopped":
            os.sched_yield()
    both("start", "box")
    both("kill", "box")
    both("kill", "box", "9")
    for runtime in (aiorun, runc):
        runtime("kill", "--all", "box", "9", check=True)
        runtime("delete", "box", check=True)
        runtime("delete", "--force", "box", check=True)


# --- poor and strange surroundings -------------------------------------------------------------------------------

LOOK = """
echo environment; env | sort
echo files; ls /proc/self/fd | tr '\\n' ' '; echo
grep -E 'Sig(Blk|Ign)' /proc/self/status; true
"""


@pytest.mark.parametrize(
    "env", [{}, {"XDG_RUNTIME_DIR": ""}, {"LANG": "xx_YY.utf7", "LC_ALL": "C", "PYTHONHOME": "/nosuch", "PYTHONPATH": "/nosuch"}]
)
def test_nothing_of_the_callers_environment_is_needed_or_reaches_the_program(
    aiorun: CommandLine, bundle: Bundles, env: dict[str, str]
) -> None:
    made = bundle({"process": {"env": ["PATH=/bin", "WORD=ä\U0001f40d"]}}, args=["sh", "-c", LOOK])
    out = aiorun("run", "--bundle", made, "box", check=True, env=env).stdout
    assert out.split("files\n")[0] == "environment\nHOME=/root\nPATH=/bin\nPWD=/\nSHLVL=1\nWORD=ä\U0001f40d\n"


def test_foreign_files_and_signal_settings_do_not_reach_the_program(aiorun: CommandLine, bundle: Bundles) -> None:
    made = bundle(args=["sh", "-c", LOOK])
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]

    def spoil() -> None:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM, signal.SIGCHLD})

    out = aiorun("run", "--bundle", made, "box", check=True, pass_fds=fds, preexec_fn=spoil).stdout
    for fd in fds:
        os.close(fd)
    files, _, rest = out.split("files\n")[1].partition("\n")
    assert files.split() == ["0", "1", "2", "3"]  # 3 is ls' own
    assert rest.split() == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16]


def test_a_current_directory_that_is_gone_is_no_hindrance(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()

    def leave() -> None:
        os.chdir(gone)
        gone.rmdir()

    made = bundle(args=["pwd"])
    assert aiorun("run", "--bundle", made, "box", check=True, preexec_fn=leave).stdout == "/\n"
    gone.mkdir()
    ended = aiorun("run", "box", preexec_fn=leave)
    last = ended.stderr.splitlines(keepends=True)[-1]  # dash, which runs the start script, has a word of its own before it
    assert (ended.returncode, sentence_of(last)) == (1, "aiorun run failed: chdir .: no such file or directory")
    assert nothing_is_left(aiorun)


def test_the_init_is_the_callers_child_once_create_has_returned_and_its_exit_code_is_waited_for(
    aiorun: CommandLine, bundle: Bundles, tmp_path: Path
) -> None:
    # The test run is a subreaper, as conmon, the shim and buildah's helper are.
    aiorun("create", "--bundle", bundle(args=["sh", "-c", "exit 42"]), "--pid-file", tmp_path / "pid", "box", check=True)
    pid = int((tmp_path / "pid").read_text())
    status = Path(f"/proc/{pid}/status").read_text()
    assert re.search(rf"^PPid:\t{os.getpid()}$", status, re.MULTILINE)
    orphans = {int(word) for word in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}
    assert pid in orphans
    others = [Path(f"/proc/{orphan}/cmdline").read_bytes() for orphan in orphans - {pid}]
    assert not [line for line in others if b"aiorun" in line]
    aiorun("start", "box", check=True)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42
    aiorun("delete", "box", check=True)


def test_the_parents_death_does_not_reach_the_init(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    import ctypes

    libc = ctypes.CDLL(None)
    made = bundle(args=["sleep", "1000"])

    def ask_for_death() -> None:
        libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG, as conmon, the shim and buildah do

    aiorun("create", "--bundle", made, "--pid-file", tmp_path / "pid", "box", check=True, preexec_fn=ask_for_death)
    pid = int((tmp_path / "pid").read_text())
    aiorun("start", "box", check=True)
    assert aiorun.state("box")["status"] == "running"
    assert os.getsid(pid) == pid  # so that a kill of conmon's process group passes it by
    aiorun("delete", "--force", "box", check=True)
