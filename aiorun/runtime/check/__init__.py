"""What this host and a bundle lack for a container to run: found out by trying, with what to do about it."""

from __future__ import annotations

from aiorun.runtime.check import bundle as bundles
from aiorun.runtime.check import host, kernel
from aiorun.runtime.check.finding import ABSENT, NEEDED, OK, Finding

__all__ = ["ABSENT", "NEEDED", "OK", "Finding", "check"]


def check(root: str, bundle: str, *, libseccomp: str = "", systemd_cgroup: bool = False) -> list[Finding]:
    """Every finding, the host's first; `bundle` is empty where only the host is of interest. Nothing is left behind.

    `root` is where containers would be kept, `libseccomp` the version of the installed one; `systemd_cgroup` whether
    systemd is to make the cgroup. To be called with one thread.
    """
    found = [*host.look(root, libseccomp=libseccomp), *kernel.look()]
    if not bundle:
        return found
    faults, needs = bundles.look(bundle, systemd_cgroup=systemd_cgroup)
    found = [_needed(finding, needs) for finding in found]
    found += faults
    if not any(finding.status == NEEDED for finding in found):
        found.append(Finding("bundle", f'"{bundle}" has all that it needs here'))
    return found


def _needed(finding: Finding, needs: dict[str, tuple[str, ...]]) -> Finding:
    """What isn't there and is asked for."""
    if finding.status == ABSENT and finding.name in needs:
        return Finding(finding.name, finding.found, NEEDED, finding.remedy, needs[finding.name])
    return finding
