"""Who may import whom, read from the source; nothing is imported here.

    cli -> api -> commands, running -> report -> experiment -> engine -> world -> scenario, draws

A module may import its own layer and those to the right of it. Below `running`, the simulator knows
`recommenders.base` (the interface), `recommenders.contract` (its rules), `recommenders.plugins` (how a part is found by
name), `recommenders.limits` (what ends a hang) and what reads files for both packages only; recommenders know nothing
of the simulator; SimPy stays in the engine and torch in the recommenders. An import for the type checker alone must
keep the direction, but may close a cycle.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYER = {
    "allocator": 0,
    "draws": 0,
    "scenario": 0,
    "world": 1,
    "engine": 2,
    "experiment": 3,
    "report": 4,
    "progress": 4,
    "api": 5,
    "gym": 6,
    "executors": 5,
    "finished": 5,
    "histories": 5,
    "interruption": 5,
    "unfinished": 5,
    "measuring": 5,
    "run_logs": 5,
    "running": 5,
    "workers": 5,
    "commands": 5,
    "cli": 6,
}
FIRST_COMPOSING_LAYER = LAYER["running"]
CONTRACT = {f"recommenders.{name}" for name in ("base", "contract", "files", "limits", "parquet_files", "plugins")}
HOME = {
    "gymnasium": "simulator.gym",
    "ray": "simulator.executors",
    "simpy": "simulator.engine",
    "torch": "recommenders",
}


@dataclass(frozen=True)
class Import:
    """One import: `target` is a module where it is ours, else the name that stands in the source."""

    source: str
    target: str
    line: int
    types_only: bool

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


def sources() -> dict[str, str]:
    """Module name -> text, for both packages."""
    paths = [path for package in ("simulator", "recommenders") for path in (ROOT / package).rglob("*.py")]
    return {module_name(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in sorted(paths)}


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(module: str, text: str, known: set[str]) -> Iterator[Import]:
    tree = ast.parse(text)
    types_only = {id(inner) for node in ast.walk(tree) if is_type_checking(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            targets = [whole_or_part(node, alias.name, known) for alias in node.names]
        else:
            continue
        for target in dict.fromkeys(targets):
            yield Import(module, target, node.lineno, id(node) in types_only)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def whole_or_part(node: ast.ImportFrom, name: str, known: set[str]) -> str:
    """`from package import module` means the module, `from module import name` the module that has the name."""
    base = "." * node.level + (node.module or "")
    return f"{base}.{name}" if f"{base}.{name}" in known else base


def violations(modules: Mapping[str, str]) -> list[str]:
    """Every broken rule, in words."""
    found = [i for module, text in modules.items() for i in imports_of(module, text, set(modules))]
    return [f"{i}: {rule}" for i in found for rule in broken_rules(i)] + cycles(found)


def broken_rules(i: Import) -> Iterator[str]:
    """The rules that an import breaks."""
    top = i.target.split(".")[0]
    ours = i.source.split(".")[0]
    if i.target.startswith("."):
        yield "imports are absolute"
    if top in HOME and not f"{i.source}.".startswith(f"{HOME[top]}."):
        yield f"{top} belongs to {HOME[top]}"
    if ours == "recommenders" and top == "simulator":
        yield "recommenders know nothing of the simulator"
    if ours == "simulator" and top == "recommenders":
        if layer_of(i.source) < FIRST_COMPOSING_LAYER and i.target not in CONTRACT:
            yield "this layer knows the contract only"
    elif ours == top == "simulator" and layer_of(i.target) > layer_of(i.source) and not is_offer(i):
        yield "against the direction of the layers"


def is_offer(i: Import) -> bool:
    """The bare package offers the interface for Python under its own name: for the type checker, and lazily else."""
    return i.source == "simulator" and i.target == "simulator.api" and i.types_only


def layer_of(module: str) -> int:
    """The layer of a module of the simulator; the bare package stands under all others, and may import nothing."""
    parts = module.split(".")
    if len(parts) == 1:
        return -1
    if parts[1] not in LAYER:
        raise AssertionError(
            f"{module}: got a part of the simulator without a layer, expected it in LAYER of this test"
        )
    return LAYER[parts[1]]


def cycles(found: list[Import]) -> list[str]:
    graph: dict[str, set[str]] = {}
    for i in found:
        if not i.types_only and i.target != i.source:
            graph.setdefault(i.source, set()).add(i.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return ["a cycle: " + " -> ".join(error.args[1])]
    return []


def test_imports_keep_the_direction() -> None:
    modules = sources()
    assert {"simulator.draws", "recommenders.base"} <= set(modules)
    assert violations(modules) == []


@pytest.mark.parametrize(
    ("module", "text", "rule"),
    [
        ("recommenders.gru", "import simulator.draws", "recommenders know nothing of the simulator"),
        ("recommenders.gru", "def f():\n    import simpy", "simpy belongs to simulator.engine"),
        ("simulator.world.users", "import simpy", "simpy belongs to simulator.engine"),
        ("simulator.running", "import torch.nn", "torch belongs to recommenders"),
        ("simulator.engine.pool", "from recommenders import registry", "this layer knows the contract only"),
        ("simulator.report.html", "from recommenders.topk import top_k", "this layer knows the contract only"),
        ("simulator.world.users", "from simulator.engine.log import EventLog", "against the direction"),
        ("simulator.draws", "from simulator import world", "against the direction"),
        ("simulator.scenario.loader", "import simulator.running", "against the direction"),
        (
            "simulator.world.users",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import simulator.cli",
            "against the direction",
        ),
        ("simulator.world.users", "from .state import UserState", "imports are absolute"),
        ("simulator.world.state", "from simulator.world import users", "a cycle"),
        ("simulator", "from simulator.draws import Draws", "against the direction"),
        ("simulator", "from simulator.api import run", "against the direction"),
    ],
)
def test_a_planted_violation_is_found(module: str, text: str, rule: str) -> None:
    modules = {
        "recommenders": "",
        "recommenders.base": "import numpy",
        "recommenders.registry": "import torch\nfrom recommenders.base import Recommender",
        "recommenders.topk": "",
        "simulator": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from simulator.api import run",
        "simulator.draws": "",
        "simulator.world": "",
        "simulator.world.state": "from simulator.draws import Draws",
        "simulator.world.users": "from simulator.world.state import UserState",
        "simulator.engine.log": "import simpy\nfrom recommenders.base import Feedback",
        "simulator.api": "from simulator.running import main",
        "simulator.running": "from recommenders import registry\nfrom simulator.engine import log",
        "simulator.cli": "from simulator.running import main",
    }
    assert violations(modules) == []
    found = violations({**modules, module: f"{modules.get(module, '')}\n{text}"})
    assert len(found) == 1
    assert rule in found[0]


def test_a_cycle_for_types_alone_is_allowed() -> None:
    modules = {
        "simulator.world.a": "import simulator.world.b",
        "simulator.world.b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import simulator.world.a",
    }
    assert violations(modules) == []


def test_a_new_part_of_the_simulator_needs_a_layer() -> None:
    with pytest.raises(AssertionError, match=r"simulator\.helpers: got a part of the simulator without a layer"):
        violations({"simulator.helpers": "import simulator.draws"})
