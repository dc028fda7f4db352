"""Hashes of what the quantizer writes: random models of several families, and the embedded model."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from command import digest, sha256, whichbits
from place import Place

EMBEDDED = "smollm2-135m-instruct"
SIZES: dict[str, Any] = {
    "vocab_size": 49152, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "head_dim": 32, "max_position_embeddings": 512, "initializer_range": 0.08, "bos_token_id": 1,
    "eos_token_id": 2, "pad_token_id": 0, "query_pre_attn_scalar": 32,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": {"tie_word_embeddings": True},
    "Qwen2": {"num_key_value_heads": 2, "head_dim": 64},
    "Gemma3Text": {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "Phi3": {},
    "Granite": {"embedding_multiplier": 6.0, "residual_multiplier": 0.5, "attention_multiplier": 0.1, "logits_scaling": 2.0},
    "Mixtral": {"num_local_experts": 4},
}
"""Model classes of transformers, each a family of its own to the quantizer, and what a small model of it is told."""
CALIBRATED = ["w4a16-int", "w8a8-int"]
SMALL = ["--calibration", "random", "--samples", "16", "--seq-length", "32"]


def checkpoints(place: Place) -> Iterator[tuple[str, Any]]:
    """Of each model: every format at `fast`, and two formats balanced, best and rotated."""
    recipe = place.work / "rotated.yaml"
    recipe.write_text("effort: balanced\nrotation: true\n")
    ways = {"balanced": ["--effort", "balanced"], "best": ["--effort", "best"], "rotated": ["--recipe", str(recipe)]}
    few = ["--calibration", "random", "--samples", "8", "--seq-length", "64"]
    yield from _made(place, "embedded", EMBEDDED, CALIBRATED, "fast", ["--effort", "fast", *few])
    embedded = embedded_folder()
    everything = catalogue()
    bases = {family: random_model(family, embedded, place.work / family) for family in FAMILIES}
    bases["embedded-3-layers"] = first_layers(embedded, 3, place.work / "embedded-3-layers")
    for name, base in bases.items():
        yield f"{name}/base", weights(base)
        formats = CALIBRATED if name.startswith("embedded") else everything
        yield from _made(place, name, base, formats, "fast", ["--effort", "fast", *SMALL])
        for way, options in ways.items():
            yield from _made(place, name, base, CALIBRATED, way, [*options, *SMALL])
    for way, options in ways.items() if place.embedded else ():
        yield from _made(place, "embedded", EMBEDDED, CALIBRATED, way, [*options, *few])


def _made(
    place: Place, name: str, base: str | Path, formats: list[str], way: str, options: list[str]
) -> Iterator[tuple[str, Any]]:
    """Hashes of the checkpoints of these formats, made in one pass; where that is refused, one after another."""
    out = place.work / "checkpoints"
    named = [word for each in formats for word in ("--format", each)]
    done = whichbits("quantize", base, *named, "--out", out, *options)
    if done.returncode and len(formats) > 1:
        for each in formats:
            yield from _made(place, name, base, [each], way, options)
        return
    if done.returncode:
        print(done.stderr[-500:], file=sys.stderr)
    for each in formats:
        yield f"{name}/{way}/{each}", weights(out / each) if not done.returncode else {"exit": done.returncode}
    shutil.rmtree(out, ignore_errors=True)


def weights(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of weights, and of `quantization_config` in config.json."""
    found = {path.name: sha256(path) for path in sorted(folder.glob("*.safetensors*"))}
    how = json.loads((folder / "config.json").read_text()).get("quantization_config")
    return found | ({"quantization_config": digest(how)} if how else {})


def catalogue() -> list[str]:
    """Formats that change weights, and one with a quantized key-value cache."""
    rows = json.loads(whichbits("formats", "--json").stdout)
    names = [row.get("format", row.get("name")) for row in rows]
    return [*(name for name in names if name not in ("bf16", "fp16")), "w8a8-fp+kv-fp8"]


def embedded_folder() -> Path:
    """The embedded model's checkpoint in whichbits' cache, where quantizing it has put it."""
    cache = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
    root = Path(os.environ.get("WHICHBITS_CACHE", Path(cache) / "whichbits"))
    found = [path.parent for path in sorted(root.glob(f"**/{EMBEDDED}*/config.json"))]
    if not found:
        raise SystemExit(f"{EMBEDDED} is not under {root}: `whichbits quantize {EMBEDDED}` failed")
    return found[-1]


def random_model(family: str, tokenizer: Path, folder: Path) -> Path:
    """A random model of two layers with another model's tokenizer; its norms are not one, some biases large."""
    import torch
    import transformers

    torch.manual_seed(0)
    model_class = getattr(transformers, family.removesuffix("Text") + "ForCausalLM")
    model = model_class(getattr(transformers, family + "Config")(**SIZES | FAMILIES[family]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1 and "norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
            elif name.endswith("bias"):
                parameter.normal_(std=0.3)
    model.to(torch.bfloat16).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return folder


def first_layers(base: Path, count: int, folder: Path) -> Path:
    """The first layers of a model as a model of its own: real weights, little work."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder, ignore=shutil.ignore_patterns("*.safetensors", "checksums.json"))
    tensors = load_file(base / "model.safetensors")
    layer = {name: int(name.split(".layers.")[1].split(".")[0]) if ".layers." in name else 0 for name in tensors}
    save_file({name: tensors[name] for name in tensors if layer[name] < count}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["num_hidden_layers"] = count
    if "layer_types" in config:
        config["layer_types"] = config["layer_types"][:count]
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return folder
