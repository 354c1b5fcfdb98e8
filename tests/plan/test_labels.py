"""AppArmor's profile and SELinux's labels → operations."""

from __future__ import annotations

from typing import Any

from aiorun.plan.options import Options
from aiorun.wire import ops
from tests.plan.plans import document, order, steps

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


def labelled(**process: str) -> dict[str, Any]:
    made = document()
    made["process"] |= process
    return made


def test_the_apparmor_profile_is_set_before_the_ids() -> None:
    made = labelled(apparmorProfile="docker-default")
    assert steps(made, ops.SetLabel) == [ops.SetLabel("AppArmor", "docker-default", "process.apparmorProfile")]
    names = order(made)
    assert names.index("PivotRoot") < names.index("SetLabel") < names.index("SetNoNewPrivileges") < names.index("SetIds")


def test_selinuxs_labels_are_set_where_they_are_needed() -> None:
    made = labelled(selinuxLabel=LABEL)
    at = "process.selinuxLabel"
    assert [step for step in steps(made) if isinstance(step, (ops.SetLabel, ops.JoinKeyring))] == [
        ops.SetLabel("keyring", LABEL, at),
        ops.JoinKeyring("_ses.x"),
        ops.SetLabel("keyring", "", at),
        ops.SetLabel("SELinux", LABEL, at),
    ]
    assert [step.kind for step in steps(made, ops.SetLabel, no_new_keyring=True)] == ["SELinux"]


def test_the_mount_label_is_each_new_file_systems() -> None:
    made = document(mountLabel=LABEL)
    made["mounts"].append({"destination": "/x", "type": "bind", "source": "/src", "options": ["bind"]})
    labels = {step.kind: dict(step.parameters).get("context") for step in steps(made, ops.Mount)}
    assert {kind for kind, label in labels.items() if label is None} <= {"proc", "sysfs", "mqueue", "cgroup", "cgroup2"}
    assert {kind: labels[kind] for kind in ("tmpfs", "devpts")} == {"tmpfs": LABEL, "devpts": LABEL}
    assert {step.label for step in steps(made, ops.Mask)} == {LABEL}


def test_without_labels_nothing_is_labelled() -> None:
    assert "SetLabel" not in order(document())
    assert not any("context" in dict(step.parameters) for step in steps(document(), ops.Mount))


def test_a_context_of_the_options_is_quoted_where_mount_has_it() -> None:
    """As engines write it: for mount(2), which splits at commas. fsconfig(2) takes the quotes for a part of it."""
    options = Options(["size=1m", f'context="{LABEL}"'], "mounts[0]", kind="tmpfs")
    assert options.parameters == [("size", "1m"), ("context", LABEL)]
    assert options.text == f'size=1m,context="{LABEL}"'
    assert Options([f"rootcontext={LABEL}"], "mounts[0]", kind="tmpfs").text == f'rootcontext="{LABEL}"'
