"""What `aiorun --version` says, found without starting anything."""

from __future__ import annotations

import os
import sys

from aiorun._version import COMMIT, VERSION

# aiorun.spec.defaults.OCI_VERSION, to which a test holds it: an import of that room loads all the checks of config.json.
SPEC_VERSION = "1.3.0"

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def version_lines() -> list[str]:
    """The lines of `--version`.

    Docker looks for `commit:` and takes the last line with the word "version", so only the first may have it.
    """
    lines = [
        f"aiorun version {VERSION}",
        f"commit: {COMMIT or checkout_commit(os.path.dirname(_PACKAGE)) or 'unknown'}",
        f"spec: {SPEC_VERSION}",
        "python: " + ".".join(str(number) for number in sys.version_info[:3]),
    ]
    libseccomp = libseccomp_version()
    if libseccomp:
        lines.append(f"libseccomp: {libseccomp}")
    return lines


def checkout_commit(directory: str) -> str:
    """The commit that the git checkout at `directory` stands at; empty where there is none. gitrepository-layout(5)."""
    git = f"{directory}/.git"
    pointer = _first_line(git)
    if pointer.startswith("gitdir: "):  # a linked worktree or a submodule
        git = os.path.join(directory, pointer.removeprefix("gitdir: "))
    head = _first_line(f"{git}/HEAD")
    if head.startswith("ref: "):
        ref = head.removeprefix("ref: ")
        common = os.path.join(git, _first_line(f"{git}/commondir") or ".")
        head = _first_line(f"{common}/{ref}") or _packed(f"{common}/packed-refs", ref)
    return head if len(head) in (40, 64) and not head.strip("0123456789abcdef") else ""


def libseccomp_version() -> str:
    """The version of the installed libseccomp, from the name that its symlink has; empty if none is where it usually is."""
    machine = os.uname().machine
    for directory in (f"/usr/lib/{machine}-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"):
        try:
            return os.readlink(f"{directory}/libseccomp.so.2").rpartition(".so.")[2]
        except OSError:
            continue
    return ""


def _packed(path: str, ref: str) -> str:
    for line in _read(path).splitlines():
        if line.endswith(f" {ref}"):
            return line.partition(" ")[0]
    return ""


def _first_line(path: str) -> str:
    return _read(path).partition("\n")[0]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
