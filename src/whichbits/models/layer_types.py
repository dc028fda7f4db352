"""Sliding-window layers and layers without experts, counted as transformers' configuration classes do."""

from __future__ import annotations

from whichbits.models.fields import Fields

KINDS = {"full_attention": False, "sliding_attention": True, "chunked_attention": True}
"""Kinds of attention that are modelled, and whether they see only a window (of a chunk: at most)."""


def sliding(fields: Fields, rule: object, layers: int) -> tuple[int, int]:
    """The window and how many of `layers` layers see only that, by the configuration's `layer_types`, else by the rule.

    Rules: `all`; `from`: those from `max_window_layers` on; a number n: all but each n-th, where the configuration names no
    other; `chunk`: all but each `no_rope_layer_interval`-th; `refused`: a window is not modelled; None: there is none.
    Raises UserError.
    """
    if fields.has("use_sliding_window") and not fields.flag("use_sliding_window", default=False):
        return 0, 0
    if rule == "refused":
        raise fields.refused("use_sliding_window", "a sliding window")
    window_name = "attention_chunk_size" if rule == "chunk" else "sliding_window"
    kinds = _kinds(fields, layers)
    if kinds is not None:
        count = sum(KINDS[kind] for kind in kinds)
        return (fields.whole(window_name), count) if count else (0, 0)
    window = fields.whole(window_name, least=0, default=0)
    if rule is None or not window:
        return 0, 0
    if rule == "all":
        return window, layers
    if rule == "from":
        return window, max(0, layers - fields.whole("max_window_layers", least=0))
    named = ("no_rope_layer_interval",) if rule == "chunk" else ("sliding_window_pattern", "_sliding_window_pattern")
    every = fields.whole(*named, default=rule if isinstance(rule, int) else 4)
    return window, layers - layers // every


def _kinds(fields: Fields, layers: int) -> list[str] | None:
    """The configuration's `layer_types`, where it has them. Raises UserError for a kind of layer that is not modelled."""
    value = fields.given.get("layer_types")
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != layers or not all(isinstance(kind, str) for kind in value):
        raise fields.wrong("layer_types", f"does not name a kind for each of {layers} layers")
    other = sorted(set(value) - KINDS.keys())
    if other:
        raise fields.refused("layer_types", f"layers of {', '.join(other)}")
    return value


def without_experts(fields: Fields, rule: str | None, layers: int) -> int:
    """How many layers of a mixture have a feed-forward layer in place of experts.

    Rules: `first`: the first `first_k_dense_replace`, and those between multiples of `moe_layer_freq`; `step`: all but each
    `decoder_sparse_step`-th, and those of `mlp_only_layers`; `interleave`: all but `moe_layers`, or each
    `interleave_moe_layer_step`-th; `range`: those outside `moe_layer_start_index` to `moe_layer_end_index`, and all but each
    `moe_layer_interval`-th; None: none. Raises UserError.
    """
    if rule == "first":
        first, every = fields.whole("first_k_dense_replace", least=0, default=0), fields.whole("moe_layer_freq", default=1)
        routed = {i for i in range(layers) if i >= first and i % every == 0}
    elif rule == "step":
        every, only = fields.whole("decoder_sparse_step", default=1), fields.listed("mlp_only_layers") or ()
        routed = {i for i in range(layers) if (i + 1) % every == 0 and i not in only}
    elif rule == "interleave":
        every, listed = fields.whole("interleave_moe_layer_step", default=1), fields.listed("moe_layers")
        routed = set(range(every - 1, layers, every) if listed is None else listed) & set(range(layers))
    elif rule == "range":
        first, last = fields.whole("moe_layer_start_index", least=0), fields.whole("moe_layer_end_index", least=-1, default=-1)
        every = fields.whole("moe_layer_interval", default=1)
        routed = {i for i in range(layers) if (i + 1) % every == 0 and first <= i <= (layers if last == -1 else last)}
    else:
        return 0
    return layers - len(routed)
