"""The features document: what this aiorun can do, whatever the host. features.md, features-linux.md.

Read off the tables that the rest goes by, so that who teaches aiorun something needn't think of this file.
"""

from __future__ import annotations

from aiorun.linux import libseccomp, seccomp
from aiorun.plan import capabilities, namespaces, options
from aiorun.spec.defaults import OCI_VERSION
from aiorun.spec.shapes import MEMORY_POLICY_FLAGS, MEMORY_POLICY_MODES, STAGES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MOUNT_EXTENSIONS = {"idmap", "ridmap"}  # options that mean more than a flag
_UNSAFE_ANNOTATIONS = (
    "org.criu.config",
    "org.systemd.property.",
)  # they change what is done: their names, or what these begin with


def document(*, checkpoint: bool, libseccomp: str = "") -> dict[str, Any]:
    """The document. `checkpoint`: whether there are commands for it; `libseccomp`: the version of the installed one."""
    annotations = {"org.opencontainers.runc.checkpoint.enabled": "true" if checkpoint else "false"}
    if libseccomp:
        annotations["io.github.seccomp.libseccomp.version"] = libseccomp
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": list(STAGES),
        "mountOptions": sorted(options.known() | _MOUNT_EXTENSIONS),
        "annotations": annotations,
        "potentiallyUnsafeConfigAnnotations": list(_UNSAFE_ANNOTATIONS),
        "linux": _linux(),
    }


def _linux() -> dict[str, Any]:
    return {
        "namespaces": sorted(namespaces.FLAGS),
        "capabilities": [f"CAP_{name}" for name in capabilities.NAMES],
        "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
        "seccomp": _seccomp(),
        "apparmor": {"enabled": True},
        "selinux": {"enabled": True},
        "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
        "netDevices": {"enabled": True},
        "mountExtensions": {"idmap": {"enabled": True}},
        "memoryPolicy": {"modes": list(MEMORY_POLICY_MODES), "flags": list(MEMORY_POLICY_FLAGS)},
    }


def _seccomp() -> dict[str, Any]:
    """The names of config.json; `supportedFlags` are those that this kernel takes."""
    return {
        "enabled": True,
        "actions": sorted(seccomp.ACTIONS),
        "operators": sorted(libseccomp.OPERATORS),
        "archs": sorted(libseccomp.ARCHITECTURES),
        "knownFlags": list(seccomp.FLAGS),
        "supportedFlags": seccomp.supported_flags(),
    }
