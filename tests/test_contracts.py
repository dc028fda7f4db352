"""What crosses a package's border is typed: no mapping with string keys and values of any kind."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "whichbits"

UNTYPED = re.compile(r"\b(dict|Mapping|MutableMapping)\[str, (Any|object|Json|JsonValue)\]")

OPEN = {"Arguments"}
"""Aliases that are no mapping of anything: options of a serving engine, by its own names and with its own values."""

CONFIG = "config.json of a checkpoint, which Hugging Face and compressed-tensors define"
BODY = "the body of an HTTP answer or question, which OpenAI's protocol and its servers define"
WRITTEN = "YAML of a user, before it is checked"

FOREIGN: Mapping[str, str] = {
    "api.quantize.estimate_quantization": WRITTEN,
    "api.quantize.quantize": WRITTEN,
    "engines.http.requests.Answer.json": BODY,
    "engines.http.requests.HttpClient.post": BODY,
    "engines.http.requests.parse_json": BODY,
    "formats.checkpoint.recognize.refuse_older_key": CONFIG,
    "formats.checkpoint.recognize.stated_quantization": CONFIG,
    "formats.format.quantization_config": CONFIG,
    "models.configuration.library_configuration": CONFIG,
    "models.configuration.read_json": CONFIG,
    "quantization.recipe.options.fields_of": WRITTEN,
    "quantization.recipe.options.fitting": WRITTEN,
    "quantization.recipe.options.recipe_of": WRITTEN,
    "quantization.recipe.presets.recipe_fields": WRITTEN,
    "serving.traffic.resolve.with_lengths": WRITTEN,
    "serving.workload.parse_workload": WRITTEN,
    "studies.specification.schema.Candidate.recipe": WRITTEN,
    "studies.specification.schema.Specification.workloads": WRITTEN,
    "studies.specification.schema.specify": WRITTEN,
}
"""What takes or gives text of foreign origin as it was parsed, at the border, with what text that is."""


@dataclass(frozen=True)
class Public:
    """A public function, method or field of a class: `module.name` or `module.Class.name` below whichbits, and its types."""

    name: str
    types: tuple[str, ...]
    of_class: str | None

    @property
    def package(self) -> str:
        return self.name.split(".")[0]


def modules() -> dict[str, ast.Module]:
    """All modules by name, below whichbits."""
    files = {file.relative_to(PACKAGE).with_suffix(""): file for file in sorted(PACKAGE.rglob("*.py"))}
    return {".".join(path.parts): ast.parse(file.read_text(encoding="utf-8")) for path, file in files.items()}


def imports(tree: ast.Module) -> dict[str, str]:
    """Names that a module takes from whichbits, with what each is."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("whichbits."):
            for alias in node.names:
                found[alias.asname or alias.name] = f"{str(node.module).removeprefix('whichbits.')}.{alias.name}"
    return found


def aliases(trees: Mapping[str, ast.Module]) -> dict[str, str]:
    """Names that the tops of modules give to types, with what they stand for."""
    found = {}
    for module, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                if name[:1].isupper() and not name.isupper() and name not in OPEN:
                    found[f"{module}.{name}"] = ast.unparse(node.value)
    return found


class Types:
    """Types of a module as text, with aliases replaced by what they stand for."""

    def __init__(self, trees: Mapping[str, ast.Module]) -> None:
        self._names = {module: imports(tree) for module, tree in trees.items()}
        self._aliases = aliases(trees)

    def text(self, module: str, stated: ast.expr | str, depth: int = 4) -> str:
        text = stated if isinstance(stated, str) else ast.unparse(stated)
        for name in sorted(set(re.findall(r"[A-Za-z_]\w*", text))):
            full = self._names[module].get(name, f"{module}.{name}")
            if depth and full in self._aliases:
                meant = self.text(full.rpartition(".")[0], self._aliases[full], depth - 1)
                text = re.sub(rf"\b{name}\b", lambda _, meant=meant: meant, text)
        return text


def declared(trees: Mapping[str, ast.Module]) -> Iterator[Public]:
    """All that is public: names without an underscore in modules without one, and what public classes are made with."""
    types = Types(trees)
    for module, tree in trees.items():
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        for owner, body in [(None, tree.body), *((node.name, node.body) for node in classes)]:
            for node in body:
                stated: list[ast.expr | None] = []
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    name, given = node.name, [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                    stated = [*(arg.annotation for arg in given), node.returns]
                elif owner is not None and isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    name, stated = node.target.id, [node.annotation]
                full = ".".join(part for part in (module, owner, name if stated else None) if part)
                if stated and not any(part.startswith("_") for part in full.removesuffix(".__init__").split(".")):
                    texts = tuple(types.text(module, each) for each in stated if each is not None)
                    yield Public(full, texts, f"{module}.{owner}" if owner else None)


def untyped(trees: Mapping[str, ast.Module]) -> dict[str, str]:
    """What is public, used by another package, and takes or gives such a mapping, with its type.

    A method or a field counts as used where its class is imported, or where something reads the attribute and no other class
    has one of that name.
    """
    imported, read, owners = set[str](), dict[str, set[str]](), dict[str, set[str]]()
    for module, tree in trees.items():
        package, names = module.split(".")[0], imports(tree)
        reads = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        through = [f"{names[n.value.id]}.{n.attr}" for n in reads if isinstance(n.value, ast.Name) and n.value.id in names]
        imported |= {full for full in (*names.values(), *through) if full.split(".")[0] != package}
        for node in reads:
            read.setdefault(node.attr, set()).add(package)
    found = list(declared(trees))
    for each in found:
        if each.of_class:
            owners.setdefault(each.name.rpartition(".")[2], set()).add(each.of_class)
    loose = {}
    for each in found:
        attribute = each.name.rpartition(".")[2]
        elsewhere = {each.name, each.of_class} & imported or (
            each.of_class and owners[attribute] == {each.of_class} and read.get(attribute, set()) - {each.package}
        )
        if elsewhere and (types := [text for text in each.types if UNTYPED.search(text)]):
            loose[each.name] = types[0]
    return loose


def test_no_mapping_of_anything_crosses_a_package():
    found = untyped(modules())
    assert not {name: type for name, type in found.items() if name not in FOREIGN}


def test_each_exception_is_one():
    assert not set(FOREIGN) - set(untyped(modules()))


def test_what_is_looked_for_is_found():
    texts = {
        "one.rows": "Row = dict[str, Any]\nRows = list[Row]\ndef read() -> Rows: ...\ndef own(row: Row) -> None: ...\n",
        "one.things": "class Thing:\n    fields: Mapping[str, Any]\n    def put(self, row: 'int') -> dict[str, object]: ...\n",
        "one.hidden": "def _private(row: dict[str, Any]) -> None: ...\ndef plain(row: dict[str, int]) -> None: ...\n",
        "two.uses": "from whichbits.one.rows import read\nfrom whichbits.one.hidden import _private, plain\nx.put(y.fields)\n",
    }
    found = untyped({name: ast.parse(text) for name, text in texts.items()})
    assert set(found) == {"one.rows.read", "one.things.Thing.fields", "one.things.Thing.put"}
