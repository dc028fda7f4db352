"""Shapes of models: what a forward pass reads and computes, from the catalogue or from a config.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from whichbits.errors import UserError

_CHECKPOINT_SUFFIX = re.compile(
    r"[-_.](quantized\.w\d+a\d+|fp8[-_]dynamic|fp8([-_]block)?|nvfp4(a16)?|mxfp4|fp4|w\d+a\d+(-[a-z0-9]+)?|awq(-int4)?|gptq(-int[48])?|int[48]|bf16)$",
    re.IGNORECASE,
)
_UNSUPPORTED = {
    "kv_lora_rank": "multi-head latent attention",
    "ssm_cfg": "state-space layers",
    "mamba_d_state": "state-space layers",
}


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder-only transformer with gated feed-forward layers and grouped-query attention.

    `ffn` is the feed-forward width (of one expert where `experts` > 0); `shared_ffn` that of an expert every token visits;
    of `layers`, `sliding_layers` see only the last `sliding_window` tokens.
    """

    id: str
    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    tied: bool = False
    experts: int = 0
    active_experts: int = 0
    shared_ffn: int = 0
    sliding_window: int = 0
    sliding_layers: int = 0

    @property
    def block_parameters(self) -> int:
        """Weights of the linear layers in all transformer blocks (what quantization touches)."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        feed_forward = 3 * self.hidden * (self.ffn * max(1, self.experts) + self.shared_ffn)
        return self.layers * (attention + feed_forward + self.hidden * self.experts)

    @property
    def kv_width(self) -> int:
        """Numbers that one token leaves in the KV cache of one layer."""
        return 2 * self.kv_heads * self.head_dim


@cache
def catalogue() -> Mapping[str, Shape]:
    """Every known model by hub id; ids with the same shape share one `Shape`, whose `id` is the first of them."""
    text = files("whichbits.models").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    shapes = {}
    for entry in yaml.load(text, loader):
        ids = entry.pop("ids")
        shape = Shape(id=ids[0], **entry)
        shapes.update(dict.fromkeys(ids, shape))
    return MappingProxyType(shapes)


@cache
def _short_names() -> Mapping[str, Shape]:
    return {identifier.rsplit("/", 1)[-1].lower(): shape for identifier, shape in catalogue().items()}


def find_shape(reference: str, *, allow_download: bool = True) -> Shape:
    """Shape of a hub id, a folder with config.json or such a file.

    The catalogue is asked first, also by the name without its owner or without a suffix such as `-FP8-dynamic`; a hub id that
    it lacks is looked up on the hub (config.json alone). Raises UserError where there is no shape or the architecture is one
    the predictor does not know.
    """
    path = Path(reference)
    if path.exists():
        file = path / "config.json" if path.is_dir() else path
        return _from_file(file, reference)
    known = catalogue().get(reference) or _short_names().get(_base_name(reference))
    if known is not None:
        return known
    if allow_download and re.fullmatch(r"[\w.-]+/[\w.-]+", reference):
        return _from_hub(reference)
    raise UserError(
        f"model: {reference!r} is neither in the catalogue nor a folder with config.json",
        remedy="give a hub id (owner/name) or the path of a config.json",
    )


def _base_name(reference: str) -> str:
    name = reference.rsplit("/", 1)[-1].lower()
    if name in _short_names():
        return name
    shorter = _CHECKPOINT_SUFFIX.sub("", name)
    while shorter != name:
        name, shorter = shorter, _CHECKPOINT_SUFFIX.sub("", shorter)
    return name


def _from_file(file: Path, reference: str) -> Shape:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"model: cannot read {file}: {error}", remedy="give a folder with a valid config.json") from error
    return from_config(config, identifier=reference)


def _from_hub(reference: str) -> Shape:
    shape = _asked_hub(reference)
    if isinstance(shape, UserError):
        raise shape
    return shape


@cache
def _asked_hub(reference: str) -> Shape | UserError:
    """What the hub says of a model; a failure is remembered too, since the hub's client takes long to give up."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        return UserError(
            f"model: {reference!r} is not in the catalogue",
            remedy="install whichbits[measure] to ask the hub, or give the path of its config.json",
        )
    try:
        return replace(_from_file(Path(hf_hub_download(reference, "config.json")), reference), id=reference)
    except UserError as error:
        return error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError):
        return UserError(
            f"model: {reference!r} is not in the catalogue and the hub gave no config.json",
            remedy="check the id and HF_TOKEN, or give the path of its config.json",
        )


def from_config(config: Mapping[str, Any], *, identifier: str = "config.json") -> Shape:
    """Shape that a Hugging Face configuration describes (the text part of a multimodal one)."""
    if "text_config" in config:
        inner = dict(config["text_config"])
        inner.setdefault("tie_word_embeddings", config.get("tie_word_embeddings", False))
        config = inner
    for key, what in _UNSUPPORTED.items():
        if config.get(key):
            raise UserError(
                f"model: {identifier} has {what}", remedy="the predictor knows grouped-query attention only; measure it"
            )
    try:
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        layers = int(config["num_hidden_layers"])
        experts = int(config.get("num_local_experts") or config.get("num_experts") or 0)
        ffn = (
            int(config.get("moe_intermediate_size") or config["intermediate_size"])
            if experts
            else int(config["intermediate_size"])
        )
        shape = Shape(
            id=identifier,
            hidden=hidden,
            ffn=ffn,
            layers=layers,
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            vocab=int(config["vocab_size"]),
            context=int(config.get("max_position_embeddings") or 0),
            tied=bool(config.get("tie_word_embeddings", False)),
            experts=experts,
            active_experts=int(config.get("num_experts_per_tok") or config.get("experts_per_token") or 0),
            shared_ffn=int(config.get("shared_expert_intermediate_size") or 0),
            **_sliding(config, layers),
        )
    except KeyError as error:
        raise UserError(
            f"model: {identifier} lacks {error.args[0]!r}", remedy="the predictor needs a Llama-like configuration"
        ) from error
    return shape


def _sliding(config: Mapping[str, Any], layers: int) -> dict[str, int]:
    window = config.get("sliding_window")
    if not window or config.get("use_sliding_window") is False:
        return {}
    kinds = config.get("layer_types")
    count = sum(kind == "sliding_attention" for kind in kinds) if kinds else layers
    return {"sliding_window": int(window), "sliding_layers": count}
