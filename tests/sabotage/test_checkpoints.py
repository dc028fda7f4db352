"""A damaged checkpoint is refused in one line that names the damage, or comes out inferior with a caveat; never in silence."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import whichbits
from whichbits.core.errors import UserError
from whichbits.studies.specification.schema import Specification
from whichbits.verdict.words.caveats import caveats

Tensors = dict[str, torch.Tensor]
Q_PROJ = "model.layers.0.self_attn.q_proj.weight"
K_PROJ = "model.layers.1.self_attn.k_proj.weight"
DOWN_PROJ = "model.layers.1.mlp.down_proj.weight"


@dataclass(frozen=True)
class Damage:
    """A way to damage a copy of a checkpoint. `names` is a regular expression that the error's line matches."""

    id: str
    apply: Callable[[Path], None]
    names: str


def read(folder: Path) -> Tensors:
    """All tensors of a checkpoint."""
    found: Tensors = {}
    for file in sorted(folder.glob("model*.safetensors")):
        found |= load_file(file)
    return found


def write(folder: Path, tensors: Tensors) -> None:
    """Replace a checkpoint's weights by one file."""
    for file in folder.glob("model*.safetensors*"):
        file.unlink()
    save_file(
        {name: tensor.contiguous().clone() for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"}
    )


def tensors(change: Callable[[Tensors], Any]) -> Callable[[Path], None]:
    """Damage of the tensors, in place."""

    def apply(folder: Path) -> None:
        found = read(folder)
        change(found)
        write(folder, found)

    return apply


def config(change: Callable[[dict[str, Any]], Any], file: str = "config.json") -> Callable[[Path], None]:
    """Damage of a JSON file, in place."""

    def apply(folder: Path) -> None:
        path = folder / file
        fields = json.loads(path.read_text(encoding="utf-8"))
        change(fields)
        path.write_text(json.dumps(fields), encoding="utf-8")

    return apply


def one(name: str, change: Callable[[torch.Tensor], torch.Tensor | None]) -> Callable[[Path], None]:
    """Damage of one tensor: a new one, or in place where the function returns None."""

    def changed(found: Tensors) -> None:
        new = change(found[name])
        if new is not None:
            found[name] = new

    return tensors(changed)


def _fill(value: float, count: int = 1) -> Callable[[torch.Tensor], None]:
    def change(tensor: torch.Tensor) -> None:
        tensor.view(-1)[:count] = value

    return change


def _rename(found: Tensors, old: str, new: str) -> None:
    found[new] = found.pop(old)


def _prefixed(found: Tensors) -> None:
    for name in list(found):
        _rename(found, name, f"student.{name}")


def _head_missing(folder: Path) -> None:
    config(lambda fields: fields.update(tie_word_embeddings=False))(folder)
    tensors(lambda found: found.pop("lm_head.weight", None))(folder)


def _doubled(folder: Path) -> None:
    found = read(folder)
    write(folder, found)
    other = {Q_PROJ: found[Q_PROJ].flip(0).contiguous()}
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    save_file(other, folder / "model-00002-of-00002.safetensors", {"format": "pt"})


def _layer_more(found: Tensors) -> None:
    for name in [name for name in found if ".layers.1." in name]:
        found[name.replace(".layers.1.", ".layers.2.")] = found[name].clone()


def _sharded(folder: Path, *, keep_second: bool) -> None:
    found = read(folder)
    names = sorted(found)
    halves = names[: len(names) // 2], names[len(names) // 2 :]
    write(folder, {})
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for number, half in enumerate(halves, 1):
        file = f"model-0000{number}-of-00002.safetensors"
        if number == 1 or keep_second:
            save_file({name: found[name] for name in half}, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(half, file)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8"
    )


def _lora(found: Tensors) -> None:
    rows, columns = found[Q_PROJ].shape
    found[Q_PROJ.replace("weight", "lora_A.weight")] = torch.ones(4, columns, dtype=torch.bfloat16)
    found[Q_PROJ.replace("weight", "lora_B.weight")] = torch.ones(rows, 4, dtype=torch.bfloat16)


def _weights_file(folder: Path) -> Path:
    write(folder, read(folder))
    return folder / "model.safetensors"


def _truncated(folder: Path) -> None:
    path = _weights_file(folder)
    path.write_bytes(path.read_bytes()[:-4096])


def _header(folder: Path) -> None:
    path = _weights_file(folder)
    data = bytearray(path.read_bytes())
    data[8:40] = b"\0" * 32
    path.write_bytes(data)


def _empty(folder: Path) -> None:
    _weights_file(folder).write_bytes(b"")


def _pickled(folder: Path) -> None:
    found = read(folder)
    for file in folder.glob("model*.safetensors*"):
        file.unlink()
    torch.save(found, folder / "pytorch_model.bin")


def _without_tokenizer(folder: Path) -> None:
    for pattern in ("tokenizer*", "special_tokens_map.json", "vocab.json", "merges.txt"):
        for file in folder.glob(pattern):
            file.unlink()


def _larger_tokenizer(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["amber", "birch", "cedar"])
    tokenizer.save_pretrained(folder)


WHOLE = (
    Damage("a projection is missing", tensors(lambda found: found.pop(Q_PROJ)), r"layers\.0\.self_attn\.q_proj"),
    Damage("the head is missing", _head_missing, "lm_head"),
    Damage("a tensor is stored twice, with other values", _doubled, r"layers\.0\.self_attn\.q_proj"),
    Damage("a tensor is renamed", tensors(lambda found: _rename(found, Q_PROJ, Q_PROJ + "s")), r"layers\.0\.self_attn\.q_proj"),
    Damage("all tensors stand behind a prefix", tensors(_prefixed), r"student\."),
    Damage("a projection is transposed", one(K_PROJ, lambda tensor: tensor.T), r"layers\.1\.self_attn\.k_proj"),
    Damage("the vocabulary is cut", one("model.embed_tokens.weight", lambda tensor: tensor[:-7]), "embed_tokens"),
    Damage("weights are integers without scales", one(Q_PROJ, lambda tensor: tensor.to(torch.int8)), r"q_proj|I8|int8"),
    Damage(
        "weights are FP8 codes without scales", one(Q_PROJ, lambda tensor: tensor.to(torch.float8_e4m3fn)), r"q_proj|F8|float8"
    ),
    Damage("a weight is not a number", one(DOWN_PROJ, _fill(float("nan"))), r"layers\.1\.mlp\.down_proj"),
    Damage("a weight is infinite", one(DOWN_PROJ, _fill(float("-inf"))), r"layers\.1\.mlp\.down_proj"),
    Damage("a norm is not a number", one("model.norm.weight", _fill(float("nan"))), r"model\.norm"),
    Damage("a projection is all zeros", one(DOWN_PROJ, lambda tensor: torch.zeros_like(tensor)), r"layers\.1\.mlp\.down_proj"),
    Damage("the file is truncated", _truncated, r"model\.safetensors"),
    Damage("the file's header is damaged", _header, r"model\.safetensors"),
    Damage("the file is empty", _empty, r"model\.safetensors"),
    Damage("a layer too many is stored", tensors(_layer_more), r"layers\.2"),
    Damage("a layer too few is stored", config(lambda fields: fields.update(num_hidden_layers=3)), r"layers\.2"),
    Damage("the index names a file that is not there", lambda folder: _sharded(folder, keep_second=False), "00002-of-00002"),
    Damage("adapters lie among the weights", tensors(_lora), "lora"),
    Damage("weights are of another width", config(lambda fields: fields.update(intermediate_size=192)), r"mlp\.|intermediate"),
    Damage("only pickled weights are there", _pickled, "safetensors"),
    Damage("the tokenizer is missing", _without_tokenizer, "tokenizer"),
    Damage("the tokenizer is of a larger vocabulary", _larger_tokenizer, r"tokenizer|vocabulary|vocab_size"),
)
"""Damages of a checkpoint in 16 bit."""

SCALE = Q_PROJ + "_scale"


def _other_ids(folder: Path) -> None:
    """Two words of the vocabulary exchanged."""

    def change(fields: dict[str, Any]) -> None:
        words = fields["model"]["vocab"]
        first, second = list(words)[40:42]
        words[first], words[second] = words[second], words[first]

    config(change, "tokenizer.json")(folder)


ANOTHER_MODEL = (
    Damage("the vocabulary has other ids", _other_ids, "tokenizer"),
    Damage(
        "rotary positions turn faster", config(lambda fields: fields["rope_parameters"].update(rope_theta=500.0)), "rope_theta"
    ),
    Damage("norms have another epsilon", config(lambda fields: fields.update(rms_norm_eps=0.1)), "rms_norm_eps"),
    Damage("the activation is another", config(lambda fields: fields.update(hidden_act="gelu")), "hidden_act"),
    Damage(
        "there are other heads",
        config(lambda fields: fields.update(num_attention_heads=8, head_dim=8)),
        "heads|head_dim|q_proj|k_proj",
    ),
)
"""Damages of a candidate's side files, which make another model of it than the base."""

QUANTIZED = (
    Damage("a scale is missing", tensors(lambda found: found.pop(SCALE)), "q_proj.*scale"),
    Damage("a scale is not a number", one(SCALE, _fill(float("nan"))), "q_proj.*scale"),
    Damage("scales are all zeros", one(SCALE, lambda tensor: torch.zeros_like(tensor)), "q_proj.*scale"),
    Damage("scales are of another shape", one(SCALE, lambda tensor: tensor[:3]), "q_proj.*scale"),
    Damage("codes are cut", one(Q_PROJ, lambda tensor: tensor[:, :-8]), "q_proj"),
    Damage("the configuration says nothing of it", config(lambda fields: fields.pop("quantization_config")), "scale|quantiz"),
    Damage(
        "the configuration says 4 bits",
        config(lambda fields: fields["quantization_config"]["config_groups"]["group_0"]["weights"].update(num_bits=4)),
        "bit|format|q_proj|weight",
    ),
    Damage("one tensor is not quantized", one(Q_PROJ, lambda tensor: tensor.to(torch.bfloat16)), "q_proj"),
)  # fmt: skip
"""Damages of a checkpoint in w8a8-int."""


def _swapped(found: Tensors) -> None:
    for name in [name for name in found if ".layers.0." in name]:
        other = name.replace(".layers.0.", ".layers.1.")
        found[name], found[other] = found[other], found[name]


def _another_model(found: Tensors) -> None:
    generator = torch.Generator().manual_seed(7)
    for name, tensor in found.items():
        if tensor.dim() == 2:
            found[name] = (tensor.float().std() * torch.randn(tensor.shape, generator=generator)).to(tensor.dtype)


def _shuffled(found: Tensors) -> None:
    for part in ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"):
        tensor = found[f"model.layers.0.{part}.weight"]
        order = torch.randperm(tensor.numel(), generator=torch.Generator().manual_seed(3))
        found[f"model.layers.0.{part}.weight"] = tensor.reshape(-1)[order].reshape(tensor.shape)


def _scaled(found: Tensors) -> None:
    for name in [name for name in found if ".layers.0." in name and name.endswith("proj.weight")]:
        found[name] = found[name] * 2


def _transposed(found: Tensors) -> None:
    for number in (0, 1):
        for part in ("q_proj", "o_proj"):
            name = f"model.layers.{number}.self_attn.{part}.weight"
            found[name] = found[name].T


UNLIKE_THE_BASE = (
    Damage("another model of the same shapes", tensors(_another_model), ""),
    Damage("two layers are swapped", tensors(_swapped), ""),
    Damage("square projections are transposed", tensors(_transposed), ""),
    Damage("a layer's weights are shuffled", tensors(_shuffled), ""),
    Damage("a layer's weights are doubled", tensors(_scaled), ""),
)
"""Damages that leave a checkpoint well formed: only its answers tell."""


OTHER_TEMPLATE = Damage(
    "the chat template is another",
    lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}"),
    "chat template",
)


def damaged(checkpoint: Path, folder: Path, damage: Damage) -> Path:
    """A damaged copy."""
    shutil.copytree(checkpoint, folder)
    damage.apply(folder)
    return folder


def refused(error: UserError, damage: Damage) -> None:
    line = str(error)
    assert "\n" not in line
    assert re.search(damage.names, line), line


@pytest.mark.parametrize("damage", WHOLE, ids=lambda damage: damage.id)
def test_a_damaged_model_is_not_scored(damage: Damage, small_model: Path, own_choices: Path, tmp_path: Path):
    folder = damaged(small_model, tmp_path / "model", damage)
    with pytest.raises(UserError) as raised:
        whichbits.evaluate(str(folder), [str(own_choices)], emulated=True, store=tmp_path / "store")
    refused(raised.value, damage)


@pytest.mark.parametrize("damage", QUANTIZED, ids=lambda damage: damage.id)
def test_a_damaged_candidate_is_refused(damage: Damage, small_model: Path, small_quantized: Path, tmp_path: Path):
    folder = damaged(small_quantized, tmp_path / "candidate", damage)
    with pytest.raises(UserError) as raised:
        whichbits.compare(str(small_model), str(folder), emulated=True, store=tmp_path / "store")
    refused(raised.value, damage)


@pytest.mark.parametrize("damage", ANOTHER_MODEL, ids=lambda damage: damage.id)
def test_a_candidate_of_another_model_is_refused(damage: Damage, small_model: Path, small_quantized: Path, tmp_path: Path):
    folder = damaged(small_quantized, tmp_path / "candidate", damage)
    with pytest.raises(UserError) as raised:
        whichbits.compare(str(small_model), str(folder), emulated=True, store=tmp_path / "store")
    refused(raised.value, damage)


def test_a_wellformed_candidate_that_is_another_model_is_inferior_with_a_caveat(
    small_model: Path, small_quantized: Path, own_choices: Path, tmp_path: Path
):
    """One study of them all; the undamaged copy is no part of the caveats."""
    folders = {"whole": small_quantized}
    for number, damage in enumerate(UNLIKE_THE_BASE):
        folders[f"damaged-{number}"] = damaged(small_model, tmp_path / f"damaged-{number}", damage)
    folders["other-template"] = damaged(small_quantized, tmp_path / "template", OTHER_TEMPLATE)
    outcome = whichbits.study(
        Specification.model_validate(
            {
                "version": 1,
                "name": "sabotage",
                "model": str(small_model),
                "margin": 0.1,
                "candidates": [{"checkpoint": str(path), "name": name, "run": "emulated"} for name, path in folders.items()],
                "tasks": [{"name": "own", "jsonl": str(own_choices)}],
            }
        ),
        store=tmp_path / "store",
        quiet=True,
    )
    states = {decision.candidate: decision.state for decision in outcome.verdict.formats}
    named = {loss.candidate for loss in outcome.verdict.implausible}
    assert states.pop("whole") in ("non-inferior", "inconclusive")
    assert states.pop("other-template") in ("non-inferior", "inconclusive")
    assert any("chat template" in caveat and "other-template" in caveat for caveat in caveats(outcome.verdict))
    assert states.pop("bf16") == "base"
    assert set(states.values()) == {"inferior"}
    assert named == set(states)
    assert all(any(name in caveat for caveat in caveats(outcome.verdict)) for name in named)


def test_the_suite_damages_checkpoints_in_forty_ways():
    damages = (*WHOLE, *QUANTIZED, *ANOTHER_MODEL, *UNLIKE_THE_BASE, OTHER_TEMPLATE)
    assert len({damage.id for damage in damages}) == len(damages) >= 40
