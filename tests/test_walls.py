"""The walls between the rooms hold, and go red where one is broken."""

from __future__ import annotations

import tomllib
from typing import Any

from grimp import ImportGraph

from tests.conftest import CHECKOUT
from tests.walls import Walls, room_of

ROOMS = {"rooms": ["wire:", "init: wire", "aiorun: *", "supervise: trio"], "guarded": ["trio"]}


def check(*imports: tuple[str, str]) -> dict[str, Any]:
    graph = ImportGraph()
    for importer, imported in imports:
        graph.add_import(importer=importer, imported=imported, line_number=7, line_contents="")
    contract = Walls(name="walls", session_options={}, contract_options={"name": "walls", "type": "walls", **ROOMS})
    checked = contract.check(graph, verbose=False)
    assert checked.kept == (not any(checked.metadata.values()))
    return dict(checked.metadata)


def test_what_a_room_may_import_passes() -> None:
    inside = ("aiorun.init.mounts", "aiorun.init.paths")
    allowed = [("aiorun.init.mounts", "aiorun.wire.ops"), ("aiorun.supervise", "trio"), ("aiorun.wire.json", "os")]
    assert check(inside, *allowed) == {"broken": [], "homeless": []}


def test_an_import_through_a_wall_is_named_with_its_line() -> None:
    found = check(("aiorun.wire.ops", "aiorun.init.mounts"))
    assert found["broken"] == ["aiorun.wire.ops imports aiorun.init.mounts (line 7)"]


def test_trio_in_a_room_that_a_command_loads_is_named() -> None:
    assert check(("aiorun.init.mounts", "trio"))["broken"] == ["aiorun.init.mounts imports trio (line 7)"]


def test_a_module_without_a_room_is_named() -> None:
    assert check(("aiorun.misc.things", "os"))["homeless"] == ["misc"]


def test_the_public_names_may_come_from_any_room() -> None:
    assert check(("aiorun", "aiorun.supervise")) == {"broken": [], "homeless": []}
    assert room_of("aiorun") == "aiorun"


def test_every_room_has_its_line() -> None:
    (contract,) = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    lines = {line.partition(":")[0] for line in contract["rooms"]}
    there = {path.stem for path in (CHECKOUT / "aiorun").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert there - {"__init__"} <= lines
