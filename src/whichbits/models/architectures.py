"""Shapes from configurations: the decoders that are modelled, by `model_type`; all others are refused with what they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from whichbits.core.errors import UserError
from whichbits.models.fields import Fields
from whichbits.models.layer_types import sliding, without_experts
from whichbits.models.shape import Shape

KEYS: Mapping[str, tuple[str, ...]] = {
    "hidden": ("hidden_size",),
    "ffn": ("intermediate_size",),
    "layers": ("num_hidden_layers",),
    "heads": ("num_attention_heads",),
    "kv_heads": ("num_key_value_heads",),
    "head_dim": ("head_dim",),
    "vocab": ("vocab_size",),
    "context": ("max_position_embeddings",),
}
"""Names that configurations give the sizes, where an architecture names no others."""
DEEPEST = 10_000
"""Most layers that are read."""
PLAIN_WIDTH = 4
"""Width of a feed-forward layer without a gate that is left out, in widths of the hidden state."""
ROUTED = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
"""Keys that say how many experts there are."""
MARKS: Mapping[str, str] = {
    "kv_lora_rank": "multi-head latent attention",
    "ssm_cfg": "state-space layers",
    "mamba_d_state": "state-space layers",
    "mamba_num_heads": "state-space layers",
    "ssm_state_size": "state-space layers",
    "hybrid_override_pattern": "state-space layers",
    "conv_L_cache": "convolutions in place of attention",
    "linear_num_key_heads": "linear attention",
    "linear_attn_config": "linear attention",
    "attn_type_list": "linear attention",
    "index_topk": "sparse attention with an index",
    "is_encoder_decoder": "an encoder",
    "cross_attention_layers": "cross-attention",
    "num_nextn_predict_layers": "multi-token prediction",
    "mtp_num_hidden_layers": "multi-token prediction",
    "num_mtp_layers": "multi-token prediction",
    "num_mtp_modules": "multi-token prediction",
    "use_mtp": "multi-token prediction",
    "vision_config": "a vision tower",
    "visual": "a vision tower",
    "mm_vision_tower": "a vision tower",
    "audio_config": "an audio tower",
    "block_configs": "layers of different sizes",
    "hidden_size_per_layer_input": "embeddings in each layer",
    "zero_expert_num": "experts that compute nothing",
}
"""Keys of a configuration whose value, where there is one, means something that is not modelled."""


@dataclass(frozen=True)
class Experts:
    """Names of the keys of a mixture: see architectures.yaml."""

    count: Sequence[str]
    active: Sequence[str]
    width: Sequence[str]
    shared: Sequence[str] = ()
    shared_width: Sequence[str] = ()
    dense_width: Sequence[str] = KEYS["ffn"]
    dense: str | None = None


@dataclass(frozen=True)
class Architecture:
    """How the configuration of a decoder is read: see architectures.yaml."""

    defaults: Mapping[str, Any]
    feed_forward: str = "gated"
    keys: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sliding: str | int | None = None
    experts: Experts | None = None
    prediction: Sequence[str] = ()


@cache
def _data() -> Mapping[str, Any]:
    text = files("whichbits.models").joinpath("architectures.yaml").read_text(encoding="utf-8")
    contents: Mapping[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return contents


@cache
def architectures() -> Mapping[str, Architecture]:
    """The decoders that are modelled, by `model_type`."""
    return {
        name: Architecture(**{**entry, "experts": Experts(**entry["experts"]) if "experts" in entry else None})
        for name, entry in _data()["decoders"].items()
    }


@cache
def _refused() -> Mapping[str, str]:
    """What an architecture has that is not modelled, by `model_type`."""
    return {name: what for what, names in _data()["refused"].items() for name in names}


def from_config(config: Mapping[str, Any], *, identifier: str = "config.json") -> Shape:
    """Shape that a Hugging Face configuration describes; what it leaves out is its library's default.

    Raises UserError for an architecture, or a part of one, that is not modelled, and for sizes that cannot be.
    """
    if not isinstance(config, Mapping):
        raise UserError(f"model: {identifier} is no configuration", remedy="give the model's own config.json")
    name = config.get("model_type") or _by_class(config.get("architectures"))
    bare = Fields(config, identifier)
    listed = architectures().get(name) if isinstance(name, str) else None
    for key, what in MARKS.items():
        if config.get(key) and not _harmless(key, config[key]) and not (listed and key in listed.prediction):
            raise bare.refused(key, what)
    if isinstance(name, str) and name in _refused():
        raise bare.refused(f"model_type {name}", _refused()[name])
    if listed is None:
        modelled = ", ".join(sorted(architectures()))
        raise UserError(
            f"model: {identifier}: model_type {name!r:.100} is not one that the predictor models"
            if name is not None
            else f"model: {identifier} lacks 'model_type'",
            remedy=f"measure it (whichbits bench); modelled are {modelled}",
        )
    fields = Fields(config, identifier, listed.defaults)
    for key in ROUTED:
        known = listed.experts.count if listed.experts else ()
        if config.get(key) and config[key] != 1 and key not in known:
            raise fields.refused(key, f"experts that {name} is not known to have")
    return _shape(fields, listed)


def _by_class(classes: object) -> str | None:
    """The `model_type` that the name of a class of the library says, where a configuration has that alone."""
    if not isinstance(classes, list) or not classes or not isinstance(classes[0], str):
        return None
    stem = classes[0].removesuffix("ForCausalLM").removesuffix("LMHeadModel").lower().replace("_", "")
    return next((name for name in architectures() if name.lower().replace("_", "").removesuffix("text") == stem), None)


def _harmless(key: str, value: object) -> bool:
    """Whether a value that marks an architecture says that it is not so: `attn_type_list` with a 1 for each full layer."""
    return key == "attn_type_list" and isinstance(value, list) and all(value)


def _shape(fields: Fields, found: Architecture) -> Shape:
    keys = {**KEYS, **found.keys}
    hidden, layers, heads = (fields.whole(*keys[name]) for name in ("hidden", "layers", "heads"))
    if layers > DEEPEST:
        raise fields.wrong(keys["layers"][0], f"is more than {DEEPEST} layers")
    if fields.has("word_embed_proj_dim") and fields.whole("word_embed_proj_dim") != hidden:
        raise fields.refused("word_embed_proj_dim", "embeddings narrower than its layers")
    kv_heads = fields.whole(*keys["kv_heads"], default=heads)
    if heads % kv_heads:
        raise fields.wrong(keys["heads"][0], f"is not a multiple of {keys['kv_heads'][0]}, {kv_heads}")
    derived = hidden // heads
    head_dim = fields.whole(*keys["head_dim"], default=derived if derived and hidden % heads == 0 else 0)
    if not head_dim:
        raise fields.wrong(keys["hidden"][0], f"is not a multiple of {heads} heads, and head_dim is left out")
    window, windowed = sliding(fields, found.sliding, layers)
    plain = found.feed_forward == "plain"
    shape = Shape(
        id=fields.identifier,
        hidden=hidden,
        ffn=fields.whole(
            *(found.experts.width if found.experts else keys["ffn"]), default=PLAIN_WIDTH * hidden if plain else None
        ),
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=fields.whole(*keys["vocab"]),
        context=fields.whole(*keys["context"], default=0),
        tied=fields.flag("tie_word_embeddings", default=False),
        gated=not plain,
        sliding_window=window if windowed else 0,
        sliding_layers=windowed,
        **(_mixture(fields, found.experts, layers) if found.experts else {}),
    )
    return shape


def _mixture(fields: Fields, named: Experts, layers: int) -> dict[str, int]:
    """The sizes of a mixture of experts."""
    count, active = fields.whole(*named.count), fields.whole(*named.active)
    if active > count:
        raise fields.wrong(named.active[0], f"is more than the {count} experts")
    shared = fields.whole(*named.shared_width, least=0, default=0) if named.shared_width else 0
    if named.shared:
        shared = fields.whole(*named.shared, least=0, default=0) * fields.whole(*named.width)
    dense = without_experts(fields, named.dense, layers)
    sizes = {"dense_layers": dense, "dense_ffn": fields.whole(*named.dense_width)} if dense else {}
    return {"experts": count, "active_experts": active, "shared_ffn": shared, **sizes}
