from __future__ import annotations

import ast
import re
from pathlib import Path

import whichbits
from whichbits.formats.checkpoint import names
from whichbits.formats.checkpoint.names import expert_part, in_language_model, layer_number, layer_prefix

SOURCE = Path(whichbits.__file__).parent
WORDS = re.compile(
    r"\b(q_proj|k_proj|v_proj|o_proj|qkv_proj|gate_proj|up_proj|down_proj|gate_up_proj|language_model|text_config"
    r"|input_layernorm|post_attention_layernorm|embed_tokens|lm_head)\b|^w[123]$|\bmodel\.layers\.|\.experts\.(?!\*)"
)
ELSEWHERE = {"formats/checkpoint/names.py", "models/gguf.py"}
"""The table, and what llama.cpp's names mean in the embedded model alone."""


def strings(tree: ast.Module) -> list[str]:
    """Constants of a module that are no docstrings and no parts of messages."""
    told = {id(each) for node in ast.walk(tree) if isinstance(node, ast.Expr) for each in ast.walk(node)}
    told |= {
        id(each)
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise | ast.Call) and _message(node)
        for each in ast.walk(node)
    }
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in told)
    return [node.value for node in found if isinstance(node.value, str)]


def _message(node: ast.Raise | ast.Call) -> bool:
    return isinstance(node, ast.Raise) or (isinstance(node.func, ast.Name) and node.func.id in ("UserError", "_not_understood"))


def test_names_of_parts_stand_in_the_table_alone() -> None:
    found = {
        f"{path.relative_to(SOURCE)}: {text}"
        for path in SOURCE.rglob("*.py")
        if str(path.relative_to(SOURCE)) not in ELSEWHERE
        for text in strings(ast.parse(path.read_text(encoding="utf-8")))
        if WORDS.search(text)
    }
    assert found == set()


def test_a_part_of_an_expert() -> None:
    found = expert_part("model.layers.3.mlp.experts.12.w1.weight")
    assert found is not None
    assert (found.block, found.number, found.part) == ("model.layers.3.mlp", 12, "w1.weight")
    assert expert_part("model.layers.3.mlp.experts.gate_up_proj") is None


def test_layers_by_number() -> None:
    assert layer_number(layer_prefix(17) + "mlp.up_proj.weight") == 17
    assert layer_number("model.embed_tokens.weight") is None
    assert layer_number("vision.model.layers.1.weight") is None


def test_what_belongs_to_the_language_model() -> None:
    assert in_language_model("lm_head.weight")
    assert in_language_model("model.norm.weight")
    assert not in_language_model("vision_tower.norm.weight")


def test_derived_words() -> None:
    assert names.WRITERS == ("o_proj", "down_proj", "w2")
    assert names.MATRICES_OF_ONE == (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
    assert names.ATTENTION.inputs == ("q_proj", "k_proj", "v_proj", "qkv_proj")
    assert [mlp.inputs for mlp in names.MLPS] == [("gate_proj", "up_proj", "gate_up_proj"), ("w1", "w3")]
