"""aiorun plan: what a bundle would do, without doing it."""

from __future__ import annotations

from aiorun.cli import bundle as bundles
from aiorun.cli.command import Command, ignores_cgroup_permissions
from aiorun.cli.output import write_stdout
from aiorun.cli.shared_flags import BUNDLE, FORMAT
from aiorun.cli.tables import table
from aiorun.errors import UsageError
from aiorun.runtime.compile import compile_for
from aiorun.runtime.create import Options as CreateOptions
from aiorun.waiter import PollWaiter, drive
from aiorun.wire.json import dumps_indented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options
    from aiorun.wire.plan import Plan

COMMAND = Command(
    name="plan",
    flags=(BUNDLE, FORMAT),
    description="""\
The plan command compiles a bundle's config.json and shows the steps that a container's first process would take, in
order, each with the part of config.json that it comes from. Nothing is made.
""",
    examples="""\
    # aiorun plan --bundle mybundle
    # aiorun plan --bundle mybundle --format json
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    if options.string("format") not in ("table", "json"):
        raise UsageError("invalid format option")
    bundle = bundles.enter(options)
    spec = bundles.load(bundle)
    console = bool(spec["process"].get("terminal"))
    chosen = CreateOptions(systemd_cgroup=context.systemd_cgroup, rootless=ignores_cgroup_permissions(context))
    plan, _cgroup = drive(compile_for("ID", spec, bundle, chosen, console=console, waiter=PollWaiter()))
    write_stdout(_table(plan) if options.string("format") == "table" else dumps_indented(_document(plan)) + "\n")
    return 0


def _table(plan: Plan) -> str:
    rows = [["STEP", "OPERATION", "WHAT"]]
    rows += [[str(number), type(step).__name__, step.describe()] for number, step in enumerate(plan.operations, 1)]
    return table(rows, minwidth=4, padding=2)


def _document(plan: Plan) -> dict[str, Any]:
    steps = [{"operation": type(step).__name__, "describe": step.describe(), **step.__dict__} for step in plan.operations]
    return {"cloneFlags": plan.clone_flags, "operations": steps}
