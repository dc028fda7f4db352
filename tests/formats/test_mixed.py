from __future__ import annotations

import re

import pytest

from whichbits.core.errors import UserError
from whichbits.formats.catalogue import get
from whichbits.formats.format import quantization_config
from whichbits.formats.mixed import choose, matching, mix, targets, unit

SHAPES = {
    f"model.layers.{number}.{name}": shape
    for number in range(12)
    for name, shape in {
        "self_attn.q_proj": (256, 128), "self_attn.k_proj": (64, 128), "self_attn.v_proj": (64, 128),
        "self_attn.o_proj": (128, 256), "mlp.gate_proj": (192, 128), "mlp.up_proj": (192, 128), "mlp.down_proj": (128, 192),
    }.items()
}  # fmt: skip


def test_units_are_what_engines_put_together() -> None:
    attention = "model.layers.3.self_attn"
    assert len({unit(f"{attention}.{name}") for name in ("q_proj", "k_proj", "v_proj")}) == 1
    assert unit(f"{attention}.o_proj") == f"{attention}.o_proj" != unit(f"{attention}.q_proj")
    assert unit("a.mlp.gate_proj") == unit("a.mlp.up_proj") != unit("b.mlp.up_proj")
    assert unit("a.moe.experts.0.w1") == unit("a.moe.experts.7.w2") == "a.moe.experts"


def test_patterns_are_those_of_compressed_tensors() -> None:
    down = "model.layers.1.mlp.down_proj"
    patterns = (down, r"re:.*layers\.[01]\.mlp\.down", "down_proj", "re:down_proj")
    assert [matching(pattern, [down, "lm_head"]) for pattern in patterns] == [
        [True, False],
        [True, False],
        [False] * 2,
        [False] * 2,
    ]


@pytest.mark.parametrize("pattern", [r"re:(\w+\.?)+$(?<=!)", "re:(" * 2000, "re:(.*)*x", "re:a{99999999999}"])
def test_a_pattern_without_end_or_sense_is_an_error_of_its_field(pattern: str) -> None:
    with pytest.raises(UserError, match="layers: "):
        choose("w4a16-int", [(pattern, "bf16")], SHAPES)


def test_the_first_match_counts() -> None:
    chosen = choose("w4a16-int", [(r"re:.*\.0\.mlp", "bf16"), ("re:.*down_proj", "w8a8-int")], SHAPES)
    assert chosen["model.layers.0.mlp.down_proj"] == "bf16"
    assert chosen["model.layers.11.mlp.down_proj"] == "w8a8-int"
    assert chosen["model.layers.0.self_attn.o_proj"] == "w4a16-int"


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([("re:.*q_proj", "w8a8-int")], "k_proj is w4a16-int, and engines put them into one matrix"),
        ([("re:.*gate_proj", "bf16")], "up_proj is w4a16-int, and engines put them into one matrix"),
        ([("re:(", "bf16")], "no regular expression"),
        ([("lm_head", "bf16")], "'lm_head' means none of the model's linear layers"),
    ],
)
def test_what_cannot_be_is_refused(choices: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose("w4a16-int", choices, SHAPES)


def test_experts_of_a_layer_go_together() -> None:
    modules = [f"model.layers.0.moe.experts.{expert}.{name}" for expert in range(2) for name in ("w1", "w2", "w3")]
    with pytest.raises(UserError, match="engines put them into one matrix"):
        choose("w4a16-int", [("re:.*w2", "w8a8-int")], modules)
    assert set(choose("w4a16-int", [("re:.*experts", "w8a8-int")], modules).values()) == {"w8a8-int"}


def test_each_format_is_fitted_to_its_own_modules() -> None:
    """Groups of 128 do where the modules that 128 does not divide have another format."""
    chosen = choose("w4a16-int", [("re:.*down_proj", "w8a8-int"), (r"re:.*\.0\.self_attn", "bf16")], SHAPES)
    mixed = mix(get("w4a16-int"), {name: get(name) for name in chosen.values()}, chosen, SHAPES, None)
    assert mixed.weights and mixed.weights.group_size == 128
    ((part),) = mixed.parts
    assert part.format == get("w8a8-int")
    assert part.modules == tuple(name for name in SHAPES if "down_proj" in name)
    assert mixed.of("model.layers.4.mlp.down_proj").name == "w8a8-int"
    assert mixed.of("model.layers.4.mlp.up_proj") == mixed
    assert type(mixed).model_validate_json(mixed.model_dump_json()) == mixed
    with pytest.raises(UserError, match="no module is left for w4a16-int"):
        mix(get("w4a16-int"), {"w8a8-int": get("w8a8-int")}, dict.fromkeys(SHAPES, "w8a8-int"), SHAPES, None)


def test_targets_mean_their_modules_alone() -> None:
    modules = [name for name in SHAPES if "down_proj" in name and not name.startswith("model.layers.1.")]
    modules += [f"model.layers.2.moe.experts.{expert}.w1" for expert in range(12)]
    patterns = targets(modules)
    assert patterns == [
        r"re:model\.layers\.(?:0|2|3|4|5|6|7|8|9|10|11)\.mlp\.down_proj$", r"re:model\.layers\.(?:2)\.moe\.experts\.\d+\.w1$",
    ]  # fmt: skip
    everything = [*SHAPES, *modules, "model.layers.22.moe.experts.0.w1"]
    meant = {name for name in everything if any(re.match(pattern.removeprefix("re:"), name) for pattern in patterns)}
    assert meant == set(modules)


def test_targets_among_other_models_mean_the_language_model_by_either_name() -> None:
    """On disk and in vLLM it is language_model.model, in transformers model.language_model."""
    (pattern,) = targets(["model.layers.3.mlp.down_proj"], among_others=True)
    names = [f"{before}.layers.3.mlp.down_proj" for before in ("language_model.model", "model.language_model")]
    others = [f"{before}.layers.3.mlp.down_proj" for before in ("vision_tower.model", "model.vision_tower.encoder")]
    another = "language_model.model.layers.13.mlp.down_proj"
    assert matching(pattern, [*names, *others, another]) == [True, True, False, False, False]


def test_the_config_has_a_group_for_each_format() -> None:
    chosen = choose("w4a16-int", [("re:.*down_proj", "w8a8-int")], SHAPES)
    mixed = mix(get("w4a16-int"), {name: get(name) for name in chosen.values()}, chosen, SHAPES, None)
    config = quantization_config(mixed, ["lm_head"], [["re:a"], ["re:b"]])
    assert config["format"] == "mixed-precision"
    assert {name: (group["targets"], group["format"]) for name, group in config["config_groups"].items()} == {
        "group_0": (["re:a"], "pack-quantized"), "group_1": (["re:b"], "int-quantized"),
    }  # fmt: skip
