"""Remedies of models that are resolved: their tensors, dtypes, files and tokenizers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.models.folders import DOWN, NORM, WEIGHTS, Make, change, configure


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
