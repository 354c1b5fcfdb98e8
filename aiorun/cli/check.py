"""aiorun check: what this host and a bundle lack."""

from __future__ import annotations

import os

from aiorun.cli import bundle as bundles
from aiorun.cli.command import Command
from aiorun.cli.output import write_stdout
from aiorun.cli.shared_flags import BUNDLE, FORMAT
from aiorun.cli.tables import table
from aiorun.cli.version import libseccomp_version
from aiorun.errors import UsageError
from aiorun.runtime.check import NEEDED, OK, Finding, check
from aiorun.wire.json import dumps_indented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options

COMMAND = Command(
    name="check",
    flags=(BUNDLE, FORMAT),
    description="""\
The check command looks at what this host has for containers, and at the bundle in the current directory or that of
--bundle, where there is one. It tries things out rather than looking at versions, and leaves nothing behind.

"ok" is there. "absent" isn't, which is no harm as long as nothing asks for it. "needed" isn't, and aiorun or the bundle
does ask for it: the line says where, and the exit status is 1. After "->" is what to do about it.
""",
    examples="""\
    # aiorun check
    # aiorun check --bundle mybundle --format json
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    if options.string("format") not in ("table", "json"):
        raise UsageError("invalid format option")
    bundle = bundles.enter(options)
    if not options.is_set("bundle") and not os.path.lexists("config.json"):
        bundle = ""
    findings = check(context.root, bundle, libseccomp=libseccomp_version(), systemd_cgroup=context.systemd_cgroup)
    document = [finding.__dict__ for finding in findings]
    write_stdout(_table(findings) if options.string("format") == "table" else dumps_indented(document) + "\n")
    return int(any(finding.status == NEEDED for finding in findings))


def _table(findings: list[Finding]) -> str:
    rows = [["STATUS", "WHAT", "FOUND"]]
    for finding in findings:
        asked = f" (asked for by {', '.join(finding.at)})" if finding.at else ""
        rows.append([finding.status, finding.name, finding.found + asked])
        if finding.status != OK and finding.remedy:
            rows.append(["", "", f"-> {finding.remedy}"])
    return table(rows, minwidth=0, padding=2)
