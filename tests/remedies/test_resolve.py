"""Remedies of models that are resolved: their tensors, dtypes, files, tokenizers and quantization."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Make = Callable[..., Path]
WEIGHTS = "model.safetensors"
NORM = "model.layers.1.input_layernorm.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"


def change(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    """Edit the tensors of the folder's one file."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    edit(tensors)
    kept = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def configure(folder: Path, **fields: Any) -> Path:
    """Change config.json; None leaves a field out."""
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return folder


def _third_layer(tensors: dict[str, Any]) -> None:
    tensors |= {name.replace(".1.", ".2."): tensor for name, tensor in tensors.items() if ".layers.1." in name}


def _prefixed(prefix: str) -> Callable[[dict[str, Any]], None]:
    def rename(tensors: dict[str, Any]) -> None:
        for name in list(tensors):
            tensors[prefix + name] = tensors.pop(name)

    return rename


def _without_prefix(tensors: dict[str, Any]) -> None:
    for name in list(tensors):
        tensors[name.removeprefix("module.")] = tensors.pop(name)


SPOILT: dict[str, Callable[[dict[str, Any]], Any]] = {
    "holds an adapter that is not merged: {adapters}": lambda t: t.update({DOWN.replace("weight", "lora_A.weight"): t[DOWN]}),
    "{folder} {what} {differing} ({model_type})": lambda t: t.pop(NORM),
    "lacks {head}, and tie_word_embeddings is false": lambda t: t.pop("lm_head.weight"),
    "{folder}: {beyond} lie beyond num_hidden_layers": _third_layer,
    "{folder}: {name} has the shape {stored}, and the model": lambda t: t.update({DOWN: t[DOWN].t()}),
    "{folder}: all tensors are named {prefix}": _prefixed("module."),
    "numbers of {name} are not finite": lambda t: t[DOWN][3].fill_(float("nan")),
    "all numbers of {zero}{more} are zero": lambda t: t[DOWN].zero_(),
    "{stated}, and {others}{more} {…} stored in {kind}": lambda t: t.update({DOWN: t[DOWN].half()}),
    "{path}: {whole} is stored as {dtype}": lambda t: t.update({NORM: t[NORM] > 0}),
    "and those of {norms} other norms are not": lambda t: t[NORM].zero_(),
    "is a quantized checkpoint's, and config.json says nothing": lambda t: t.update({DOWN + "_scale": t[NORM][:, None]}),
}


@pytest.mark.parametrize("error", SPOILT)
def test_tensors_of_the_whole_model(follow: Any, make: Make, resolved: Any, error: str) -> None:
    """Downloaded, merged or saved again, the tensors are the model's."""
    spoilt, whole = make(name="spoilt"), make(name="whole")
    change(spoilt, SPOILT[error])
    follow(
        error,
        mistake=lambda: resolved(spoilt),
        remedy=lambda: (shutil.copy(whole / WEIGHTS, spoilt / WEIGHTS), resolved(spoilt)),
    )


def test_tensors_that_the_configuration_can_be_mended_for(follow: Any, make: Make, resolved: Any) -> None:
    deeper = change(make(name="deeper"), _third_layer)
    follow(
        "lie beyond num_hidden_layers",
        mistake=lambda: resolved(deeper),
        remedy=lambda: resolved(configure(deeper, num_hidden_layers=3)),
    )
    headless = change(make(name="headless"), lambda t: t.pop("lm_head.weight"))
    follow(
        "lacks {head}, and",
        mistake=lambda: resolved(headless),
        remedy=lambda: resolved(configure(headless, tie_word_embeddings=True)),
    )
    wrapped = change(make(name="wrapped"), _prefixed("module."))
    follow(
        "all tensors are named {prefix}",
        mistake=lambda: resolved(wrapped),
        remedy=lambda: resolved(change(wrapped, _without_prefix)),
    )
    half = change(make(name="half"), lambda t: t.update({name: t[name].half() for name in t}))
    follow(
        "{stated}, and {others}{more} {…} stored in {kind}",
        mistake=lambda: resolved(half),
        remedy=lambda: resolved(configure(half, dtype="float16")),
    )


@pytest.mark.parametrize("kept", [True, False])
def test_a_tied_model_with_a_head(follow: Any, make: Make, resolved: Any, kept: bool) -> None:
    tied = make(tie_word_embeddings=True)
    change(tied, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] + 1}))

    def fix() -> None:
        if kept:
            configure(tied, tie_word_embeddings=False)
        else:
            change(tied, lambda t: t.pop("lm_head.weight"))
        resolved(tied)

    follow("tie_word_embeddings is true in config.json, and", mistake=lambda: resolved(tied), remedy=fix)


def test_a_mixture_that_lacks_an_expert(follow: Any, make: Make, resolved: Any) -> None:
    whole = make("Mixtral", num_local_experts=2, name="whole")
    lacking = make("Mixtral", num_local_experts=2, name="lacking")
    change(lacking, lambda t: t.pop(next(name for name in t if ".experts.1." in name)))
    follow(
        "of its {experts} experts",
        mistake=lambda: resolved(lacking),
        remedy=lambda: (shutil.copy(whole / WEIGHTS, lacking / WEIGHTS), resolved(lacking)),
    )


def test_dtypes(follow: Any, make: Make, resolved: Any) -> None:
    stated = configure(make(name="stated"), dtype="float32")
    follow(
        "says dtype {dtype}, and the weights are stored in",
        mistake=lambda: resolved(stated),
        remedy=lambda: resolved(configure(stated, dtype="bfloat16")),
    )
    wide = change(make(name="wide"), lambda t: t.update({name: t[name].float() for name in t}))
    configure(wide, dtype=None)

    def save() -> None:
        from transformers import AutoModelForCausalLM

        AutoModelForCausalLM.from_pretrained(wide, dtype="bfloat16").save_pretrained(wide)
        assert resolved(wide).dtype == "bfloat16"

    follow("has dtype {dtype}, and candidates are compared", mistake=lambda: resolved(wide), remedy=save)


def test_numbers_beyond_float16(follow: Any, make: Make, resolved: Any) -> None:
    def widen(tensors: dict[str, Any]) -> None:
        tensors.update({name: tensors[name].float() for name in tensors})
        tensors[DOWN][0, 0] = 70_000

    folder = configure(change(make(), widen), dtype="float16")

    def save() -> None:
        from transformers import AutoModelForCausalLM

        AutoModelForCausalLM.from_pretrained(folder, dtype="bfloat16").save_pretrained(folder)
        assert resolved(folder).dtype == "bfloat16"

    follow("holds numbers that float16 rounds to infinity", mistake=lambda: resolved(folder), remedy=save)


def test_a_configuration_that_is_not_built(follow: Any, make: Make, resolved: Any) -> None:
    folder = configure(make(), hidden_act="no-such-function")
    follow(
        "transformers cannot build the model of {folder}",
        mistake=lambda: resolved(folder),
        remedy=lambda: resolved(configure(folder, hidden_act="silu")),
    )


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        ("{unsound} is not a finite number", {"rms_norm_eps": float("nan")}),
        ("{name} is {value}, and no model has more", {"num_hidden_layers": 10**9}),
        ("has no {TEXT_CONFIG}, and it is there", {"text_config": {"vocab_size": 64}}),
        ("is no language model of model_type {own}", {"architectures": ["LlamaForTokenClassification"]}),
    ],
)
def test_a_configuration_that_cannot_be_meant(
    follow: Any, make: Make, resolved: Any, error: str, fields: dict[str, Any]
) -> None:
    folder = make()
    own = (folder / "config.json").read_text()
    follow(
        error,
        mistake=lambda: resolved(configure(folder, **fields)),
        remedy=lambda: ((folder / "config.json").write_text(own), resolved(folder)),
    )


def test_a_configuration_in_another_encoding(follow: Any, make: Make, resolved: Any) -> None:
    folder = make()
    file = folder / "config.json"
    own = file.read_text()
    file.write_text(own, encoding="utf-16")
    follow(
        "{file} is not UTF-8",
        mistake=lambda: resolved(folder),
        remedy=lambda: (file.write_text(own, "utf-8"), resolved(folder)),
    )


@pytest.mark.parametrize(("error", "name"), [("{shard} cannot be read", WEIGHTS), ("{file} cannot be read", "config.json")])
def test_a_link_that_leads_nowhere(follow: Any, make: Make, resolved: Any, error: str, name: str) -> None:
    folder = make()
    own = (folder / name).read_bytes()
    (folder / name).unlink()
    (folder / name).symlink_to(name)

    def again() -> None:
        (folder / name).unlink()
        (folder / name).write_bytes(own)
        resolved(folder)

    follow(error, mistake=lambda: resolved(folder), remedy=again)


def test_an_encoder(follow: Any, make: Make, resolved: Any) -> None:
    folder = make("Bert")
    follow(
        "see the text behind a token too",
        mistake=lambda: resolved(folder),
        remedy=lambda: resolved(configure(folder, is_decoder=True)),
    )


def test_a_model_that_is_no_decoder(follow: Any, make: Make, resolved: Any) -> None:
    folder = configure(make(), model_type="albert")
    follow(
        "transformers has no causal language model of model type",
        mistake=lambda: resolved(folder),
        remedy=lambda: resolved(configure(folder, model_type="llama")),
    )


def test_a_length_that_nothing_says(follow: Any, make: Make, resolved: Any) -> None:
    folder = make("Bloom")
    configure(folder, max_position_embeddings=None)
    follow(
        "does not say how long a sequence may be",
        mistake=lambda: resolved(folder),
        remedy=lambda: resolved(configure(folder, max_position_embeddings=128)),
    )


def test_folders_that_are_no_model(follow: Any, make: Make, resolved: Any) -> None:
    folder = make()
    follow("is neither a folder nor a hub id", mistake=lambda: resolved(Path("no-such-model")), remedy=lambda: resolved(folder))
    follow("cannot be a hub id", mistake=lambda: resolved(Path("a--b/c")), remedy=lambda: resolved(folder))
    stated = folder / "adapter_config.json"
    stated.write_text('{"peft_type": "VERA"}')
    follow(
        "holds a whole model and an {what} (adapter_config.json)",
        mistake=lambda: resolved(folder),
        remedy=lambda: (stated.unlink(), resolved(folder)),
    )
    (folder / WEIGHTS).rename(folder / "weights.safetensors")
    follow(
        "holds neither {SINGLE} nor {INDEX}",
        mistake=lambda: resolved(folder),
        remedy=lambda: ((folder / "weights.safetensors").rename(folder / WEIGHTS), resolved(folder)),
    )


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("LORA", "is an {what} (adapter_config.json), which changes a base model's weights"),
        ("PREFIX_TUNING", "is an {what} (adapter_config.json), which puts learned vectors before a prompt"),
    ],
)
def test_an_adapter(follow: Any, make: Make, resolved: Any, tmp_path: Path, kind: str, error: str) -> None:
    base, adapter = make(), tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": kind, "base_model_name_or_path": str(base)}))
    raised = follow(error, mistake=lambda: resolved(adapter), remedy=lambda: resolved(base))  # merged, or the base
    assert str(base) in raised.remedy


Q = "model.layers.0.self_attn.q_proj"


def test_a_shape_that_packed_codes_state(follow: Any, make: Make, resolved: Any, tmp_path: Path) -> None:
    from whichbits.formats.catalogue import get
    from whichbits.quantization.passes.direct import quantize_checkpoint
    from whichbits.quantization.recipe.recipe import parse

    base, recipe = make(), parse({"rounding": "rtn", "scales": "minmax"})
    for name in ("whole", "spoilt"):
        quantize_checkpoint(base, get("w4a16-int-channel"), recipe, tmp_path / name)
    spoilt = tmp_path / "spoilt"
    change(spoilt, lambda tensors: tensors[f"{Q}.weight_shape"].fill_(1))
    follow(
        "{path}: {name} states {stated}, and the model's weights have the shape",
        mistake=lambda: resolved(spoilt),
        remedy=lambda: (shutil.copy(tmp_path / "whole" / WEIGHTS, spoilt / WEIGHTS), resolved(spoilt)),
    )


def test_a_checkpoint_that_is_not_emulated(follow: Any, make: Make, resolved: Any) -> None:
    from dataclasses import replace

    from whichbits.formats.catalogue import get
    from whichbits.studies.planning.resolve import refuse_emulation

    whole = resolved(make())
    foreign = replace(
        whole, format=get("fp8-block"), configuration=replace(whole.configuration, quantization={"quant_method": "fp8"})
    )
    follow(
        "{path} cannot be emulated: {why}",
        mistake=lambda: refuse_emulation(foreign),
        remedy=lambda: refuse_emulation(whole),
    )


def test_code_of_its_own(follow: Any, make: Make, resolved: Any) -> None:
    folder = configure(make(), auto_map={"AutoModel": "modeling.Model"})
    (folder / "modeling.py").write_text("Model = None")
    follow(
        "comes with Python code of its own",
        mistake=lambda: resolved(folder),
        remedy=lambda: resolved(folder, trust_remote_code=True),
    )


def test_quantization_beside_the_configuration(follow: Any, make: Make, resolved: Any) -> None:
    quantized, whole = make(name="quantized"), make(name="whole")
    (quantized / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "FP8"}}))
    follow("is quantized and says so in {beside} alone", mistake=lambda: resolved(quantized), remedy=lambda: resolved(whole))


@pytest.fixture(scope="module")
def int8(built: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the model in INT8."""
    from whichbits.formats.catalogue import get
    from whichbits.quantization.passes.direct import quantize_checkpoint
    from whichbits.quantization.recipe.recipe import parse

    out = tmp_path_factory.mktemp("int8") / "model"
    quantize_checkpoint(built(), get("w8a8-int"), parse({"rounding": "rtn", "scales": "minmax"}), out)
    return out


def _full(tensors: dict[str, Any]) -> None:
    """The weight of a module in 16 bit."""
    tensors[f"{Q}.weight"] = tensors[f"{Q}.weight"].to(tensors[NORM].dtype)
    del tensors[f"{Q}.weight_scale"]


def _all_full(tensors: dict[str, Any]) -> None:
    for name in [name for name in tensors if name.endswith("_scale")]:
        module = name.removesuffix("_scale")
        tensors[module] = tensors[module].to(tensors[NORM].dtype)
        del tensors[name]


@pytest.mark.parametrize(
    ("error", "edit"),
    [
        ("config.json states quantization, and all tensors are stored in 16 bit", _all_full),
        (
            "and its weights have {rows} rows and {columns} columns{shared}",
            lambda t: t.update({f"{Q}.weight_scale": t[NORM][:5, None]}),
        ),
        ("is stored in 16 bit, and config.json says that it is quantized", _full),
        ("is stored as {dtype}, where config.json says", lambda t: t.update({f"{Q}.weight": t[f"{Q}.weight"].short()})),
        ("is quantized, and config.json leaves it in 16 bit", {"ignore": ["lm_head", Q]}),
        ("is quantized, and no group of config.json means it", ["re:.*down_proj"]),
    ],
)
def test_a_quantized_checkpoint(follow: Any, int8: Path, tmp_path: Path, resolved: Any, error: str, edit: Any) -> None:
    folder = Path(shutil.copytree(int8, tmp_path / "quantized"))
    stated = json.loads((folder / "config.json").read_text())["quantization_config"]
    if isinstance(edit, list):
        stated["config_groups"]["group_0"]["targets"] = edit
    if callable(edit):
        change(folder, edit)
    else:
        configure(folder, quantization_config=stated | (edit if isinstance(edit, dict) else {}))

    def again() -> None:
        for name in ("config.json", WEIGHTS):
            shutil.copy(int8 / name, folder / name)
        assert resolved(folder).format.name == "w8a8-int"

    follow(error, mistake=lambda: resolved(folder), remedy=again)


def test_a_cache_without_scales(follow: Any, int8: Path, tmp_path: Path, resolved: Any) -> None:
    folder = Path(shutil.copytree(int8, tmp_path / "quantized"))
    stated = json.loads((folder / "config.json").read_text())["quantization_config"]
    cache = {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True, "dynamic": False}
    configure(folder, quantization_config={**stated, "kv_cache_scheme": cache})
    follow(
        "layers lack their {scale}",
        mistake=lambda: resolved(folder),
        remedy=lambda: resolved(configure(folder, quantization_config=stated)),
    )


@pytest.mark.parametrize(
    ("error", "pattern", "fixed"),
    [
        ("{pattern} is no regular expression", "re:model.(layers", "re:model.layers.9"),
        ("on the model's {names} names", r"re:(\w+\.?)+$x", "re:.*lm_head$"),
    ],
)
def test_patterns_of_a_checkpoint(
    follow: Any, int8: Path, tmp_path: Path, resolved: Any, error: str, pattern: str, fixed: str
) -> None:
    folder = Path(shutil.copytree(int8, tmp_path / "copy"))
    stated = json.loads((folder / "config.json").read_text())["quantization_config"]

    def state(entry: str) -> None:
        configure(folder, quantization_config={**stated, "ignore": [*stated["ignore"], entry]})
        resolved(folder)

    follow(error, mistake=lambda: state(pattern), remedy=lambda: state(fixed))
    follow(error, mistake=lambda: state(pattern), remedy=lambda: resolved(int8))
