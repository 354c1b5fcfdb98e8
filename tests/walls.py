"""The contract type that pyproject.toml's walls are written in: who may import whom, one line a room.

import-linter's own types either list what is forbidden (some eighty pairs here) or layers, which these
rooms are not. A room that isn't written yet is no fault; a module that belongs to no room is one.
"""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class Walls(Contract):
    """`rooms`: lines `room: what it may import`, of our rooms and of `guarded` packages; `*` is everything.

    Only direct imports count: that `cli` reaches `linux` through `runtime` is what walls are for.
    """

    rooms = fields.ListField(subfield=fields.StringField())
    guarded = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        allowed = dict(_row(line) for line in self._field("rooms"))
        guarded = self._field("guarded")
        homeless = sorted({room_of(name) for name in graph.modules if _is_ours(name)} - allowed.keys())
        broken = []
        for importer in sorted(filter(_is_ours, graph.modules)):
            room = room_of(importer)
            may = allowed.get(room, frozenset("*"))
            for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                if _is_ours(imported):
                    fault = room_of(imported) not in may | {room}
                else:
                    fault = imported in guarded and imported not in may
                if fault and "*" not in may:
                    (first, *_) = graph.get_import_details(importer=importer, imported=imported)
                    broken.append(f"{importer} imports {imported} (line {first['line_number']})")
        return ContractCheck(kept=not broken and not homeless, metadata={"broken": broken, "homeless": homeless})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["broken"]:
            output.print_error(line)
        for room in check.metadata["homeless"]:
            output.print_error(f"{room} has no line in pyproject.toml's walls")

    def _field(self, name: str) -> list[str]:
        lines: list[str] = getattr(self, name)
        return lines


def room_of(module: str) -> str:
    """The room's name: the second part of a module of aiorun, the first of any other."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "aiorun" and rest else package


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("aiorun", "recvtty")


def _row(line: str) -> tuple[str, frozenset[str]]:
    room, _, rest = line.partition(":")
    return room.strip(), frozenset(rest.split())
