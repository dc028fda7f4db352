"""What a kind of step depends on is recorded: where that changes, its version is raised, or a change without effect recorded.

`python tests/studies/steps/test_registry.py` records it anew.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

import whichbits
from whichbits.accuracy.kinds.registry import KINDS as TASK_KINDS
from whichbits.accuracy.replies.registry import MEASURES as REPLY_MEASURES
from whichbits.quantization.recipe.methods import ROUNDERS, TRANSFORMS
from whichbits.serving.importers.registry import SPEED_IMPORTERS
from whichbits.serving.metrics.registry import METRICS
from whichbits.similarity.measures.registry import MEASURES
from whichbits.studies.steps.registry import KINDS as ALL
from whichbits.studies.steps.registry import REGISTRY
from whichbits.studies.steps.step import Kind

KINDS: dict[str, Kind] = {name: ALL[name] for name in REGISTRY.ours}
GOLDEN = Path(__file__).parents[2] / "golden" / "steps.json"
SOURCE = Path(whichbits.__file__).parent
NAMED = {
    "whichbits.accuracy.sandbox.run": ("whichbits.accuracy.sandbox.child",),
    "whichbits.accuracy.kinds.registry": tuple(module for module, _ in TASK_KINDS.ours.values()),
    "whichbits.accuracy.replies.registry": tuple(module for module, _ in REPLY_MEASURES.ours.values()),
    "whichbits.serving.importers.registry": tuple(module for module, _ in SPEED_IMPORTERS.ours.values()),
    "whichbits.serving.metrics.registry": tuple(module for module, _ in METRICS.ours.values()),
    "whichbits.similarity.measures.registry": tuple(module for module, _ in MEASURES.ours.values()),
    "whichbits.quantization.recipe.methods": tuple(
        dict.fromkeys(module for methods in (ROUNDERS, TRANSFORMS) for module, _ in methods.ours.values())
    ),
}
"""What a module starts, or loads, by a name in a text."""

SERVED, SERVERS = "whichbits.studies.steps.shared.served", "whichbits.studies.execution.servers"
"""The module by which steps ask for a server, and the one that starts servers when they do."""

WITHOUT_EFFECT = {
    "whichbits": "the public functions, which call the steps and are called by none",
    "whichbits.core.errors": "what a mistake says: a step that raises has no result",
    "whichbits.core.terminal": "how text is shown",
}
"""Modules that cannot change a result, and why."""


def dependencies(kind: str) -> list[Path]:
    """Files that a kind's `run` depends on: modules by imports, wherever in a module, and what else lies in their packages.

    Of the kind's own file only what `run` uses counts, and where its steps are shards `merge`: planning and predicted seconds
    change no result.
    """
    own = f"whichbits.studies.steps.{kind}"
    found = {own}
    left = list(_named(own, (node for statement in _used_by_run(kind) for node in _running(statement))))
    while left:
        module = left.pop()
        if module not in found and module not in WITHOUT_EFFECT:
            found.add(module)
            left += [*_imports(module), *NAMED.get(module, ()), *(_start_up() if module == SERVED else ())]
    modules = {_file(module) for module in found}
    folders = {path.parent for path in modules}
    data = {
        path
        for folder in folders - {SOURCE}
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts and _nearest(path) in folders
    }
    return sorted(modules | data)


def _used_by_run(kind: str) -> list[ast.stmt]:
    """Statements of a kind's file that its `run` uses, directly or through others of them, in their order."""
    body = ast.parse(_file(f"whichbits.studies.steps.{kind}").read_text()).body
    named: dict[str, ast.stmt] = {}
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                named[name] = statement
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                named.update({alias.asname or alias.name.partition(".")[0]: statement for alias in aliases})
            case ast.Assign() | ast.AnnAssign():
                named.update({node.id: statement for node in ast.walk(statement) if _is_target(node)})
    used: set[str] = set()
    left = ["run", "merge"]
    while left:
        name = left.pop()
        if name in named and name not in used:
            used.add(name)
            left += [node.id for node in ast.walk(named[name]) if isinstance(node, ast.Name)]
    return [statement for statement in body if any(named[name] is statement for name in used)]


def _is_target(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _start_up() -> tuple[str, ...]:
    """Modules that decide how a server is started: what the one that starts them uses of the engines, its types included."""
    return tuple(name for name in _imports(SERVERS, types=True) if name.startswith("whichbits.engines."))


def _nearest(path: Path) -> Path:
    """The package that a data file belongs to: the nearest folder above it that holds modules."""
    return next(folder for folder in path.parents if any(folder.glob("*.py")))


def _file(module: str) -> Path:
    path = SOURCE.parent / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _exists(module: str) -> bool:
    return module.partition(".")[0] == "whichbits" and _file(module).is_file()


@cache
def _imports(module: str, types: bool = False) -> tuple[str, ...]:
    """Modules of whichbits that a module imports when it runs, or with `types` for types too; with the packages above them."""
    tree = ast.parse(_file(module).read_text())
    return _named(module, ast.walk(tree) if types else _running(tree))


def _named(module: str, nodes: Iterable[ast.AST]) -> tuple[str, ...]:
    """Modules of whichbits that nodes of a module import, with the packages above them."""
    names: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = module.rsplit(".", node.level)[0] if node.level else ""
            source = ".".join(part for part in (above, node.module) if part)
            names += [source, *(f"{source}.{alias.name}" for alias in node.names)]
    parents = [name.rsplit(".", depth)[0] for name in names for depth in range(1, name.count(".") + 1)]
    return tuple(name for name in dict.fromkeys([*names, *parents]) if _exists(name))


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes, without those under `if TYPE_CHECKING`."""
    yield node
    skipped = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    for child in node.orelse if isinstance(node, ast.If) and skipped else ast.iter_child_nodes(node):
        yield from _running(child)


def fingerprint(kind: str) -> str:
    """SHA-256 over all that a kind's `run` depends on: code without comments and docstrings, and data."""
    own = _file(f"whichbits.studies.steps.{kind}")
    digest = hashlib.sha256()
    for path in dependencies(kind):
        digest.update(str(path.relative_to(SOURCE)).encode())
        if path == own:
            digest.update(_code(ast.Module(_used_by_run(kind), [])))
        else:
            digest.update(_module(path) if path.suffix == ".py" else path.read_bytes())
    return digest.hexdigest()


@cache
def _module(path: Path) -> bytes:
    return _code(ast.parse(path.read_text()))


def current() -> dict[str, dict[str, object]]:
    return {name: {"version": kind.version, "source": fingerprint(name)} for name, kind in sorted(KINDS.items())}


def _code(tree: ast.Module) -> bytes:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [
                statement
                for statement in node.body
                if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
            ]
    return ast.dump(tree).encode()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_changed_dependency_has_a_raised_version_or_is_recorded_anew(kind: str):
    golden, version = json.loads(GOLDEN.read_text()), KINDS[kind].version
    assert golden[kind] == {"version": version, "source": fingerprint(kind)}, (
        f"something that `{kind}` depends on has changed: raise its version in steps/{kind}.py if a result can change, "
        "then run python tests/studies/steps/test_registry.py"
    )


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_no_kind_depends_on_how_studies_are_planned_run_or_reported(kind: str):
    reached = {str(path.relative_to(SOURCE)) for path in dependencies(kind)}
    outside = ("studies/planning", "studies/execution", "studies/store", "studies/specification", "verdict", "reporting")
    assert not [path for path in reached if path.startswith((*outside, "prediction", "cli", "api"))]


def test_dependencies_are_found_through_imports_in_functions_and_with_data():
    def reached(kind: str) -> set[str]:
        return {str(path.relative_to(SOURCE)) for path in dependencies(kind)}

    assert {"quantization/passes/direct.py", "formats/format.py", "studies/steps/shared/items.py"} <= reached("quantize")
    assert "engines/emulation/model.py" in reached("evaluate"), "imported by a function of steps/served.py"
    assert "engines/emulation/model.py" not in reached("compare")
    assert "models/architectures.yaml" in reached("quantize")
    assert "serving/measure.py" in reached("serve"), "imported by a function that `run` calls"
    assert "studies/steps/shared/on_engine.py" not in reached("evaluate"), "imported for `plan` alone"
    # The sandbox starts its program, which imports by a relative name.
    assert {"accuracy/sandbox/child.py", "accuracy/sandbox/seccomp.py"} <= reached("evaluate")


@pytest.mark.parametrize("kind", ["evaluate", "generate", "serve"])
def test_how_a_server_is_started_belongs_to_the_steps_that_ask_for_one(kind: str):
    """Its command line, arguments, environment and supervisor can change what it answers and how fast."""
    started = {"server", "command", "server_arguments", "supervisor"}
    assert {f"engines/vllm/{name}.py" for name in started} <= {str(path.relative_to(SOURCE)) for path in dependencies(kind)}


def test_each_kind_is_the_one_of_its_file():
    assert all(kind.name == name and kind.run.__module__ == f"whichbits.studies.steps.{name}" for name, kind in KINDS.items())


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(current(), indent=1) + "\n")
