"""What operations there are, told by their files and without running them: each is one file of `imaging/operations`.

They draw with libraries that take seconds to load, and whoever only wants their names needs none of that.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "imaging" / "operations"

REMOVE_BACKGROUND = "remove-background"


@dataclass(frozen=True)
class Operation:
    """`defaults`: of options, where they are others than usual. `needs`, `refuses`: options that have to, or must not,
    be named. `opaque`: its results are never transparent."""

    name: str
    summary: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ()
    opaque: bool = False


@cache
def operations(folder: Path = FOLDER) -> Mapping[str, Operation]:
    """All of them by name: a file's name, with dashes. The first is the default one."""
    found = [_read(path) for path in sorted(folder.glob("[!_]*.py"))]
    found.sort(key=lambda operation: (operation.name != REMOVE_BACKGROUND, operation.name))
    return {operation.name: operation for operation in found}


def _read(path: Path) -> Operation:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    said = {
        target.id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in {"DEFAULTS", "NEEDS", "REFUSES", "OPAQUE"}
    }
    return Operation(
        name=path.stem.replace("_", "-"),
        summary=(ast.get_docstring(tree) or "").partition("\n")[0],
        defaults=said.get("DEFAULTS", {}),
        needs=said.get("NEEDS", ()),
        refuses=said.get("REFUSES", ()),
        opaque=said.get("OPAQUE", False),
    )
