"""Checks that a ready checkpoint is of the base model, so that its loss is that of its format."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError
from whichbits.models.resolve import Model
from whichbits.models.tokenization import load_tokenizer

SIZES = ("layers", "hidden", "heads", "kv_heads", "head_dim", "vocabulary", "experts")
"""Fields of a Configuration that no format changes."""

ARITHMETIC = re.compile(
    r"hidden_act(ivation)?|activation_function|.*_eps(ilon)?|.*soft_?cap(ping)?|.*_multiplier|logits?_scal(e|ing)|scale_emb|"
    r"intermediate_size|n_inner|ffn_dim|num_experts_per_tok|query_pre_attn_scalar|rope_theta|partial_rotary_factor|rotary_pct|"
    r"rotary_dim|layer_types|no_rope_layers|sliding_window|attention_types|alibi|clip_qkv|use_parallel_residual|parallel_attn|"
    r"norm_topk_prob|routed_scaling_factor|scoring_func|topk_(group|method)|n_group|dim_model_base|scale_depth|swiglu_limit"
)
"""Fields of config.json that change what a model computes, and that no format changes."""


def refuse_another_model(base: Model, candidate: Model, *, trust_remote_code: bool = False) -> None:
    """Raise UserError where `candidate` cannot be a checkpoint of `base`: other sizes, other arithmetic, or other token ids."""
    for name, own, other in _differences(base, candidate):
        raise UserError(
            f"{candidate.reference} is a checkpoint of another model than {base.reference}: its {name} is {other!r:.80}, "
            f"and the base's {own!r:.80}",
            remedy="give a checkpoint made of the base, or name the model that it was made of as the base",
        )
    token = _other_id(base.path, candidate.path, trust_remote_code)
    if token is not None:
        raise UserError(
            f"{candidate.reference} has the tokenizer of another model than {base.reference}: {token!r:.80} has another id",
            remedy="put the base's tokenizer (tokenizer.json, tokenizer_config.json) into its folder",
        )


def likeness_notes(name: str, base: Model, candidate: Model, *, trust_remote_code: bool = False) -> tuple[str, ...]:
    """What the reader must know of a candidate's files beside its weights, in sentences."""
    own, other = (load_tokenizer(model.path, trust_remote_code=trust_remote_code).chat_template for model in (base, candidate))
    if own == other:
        return ()
    return (
        f"The chat template of {name} is not the base's. Both are scored with the base's; who serves {name} with its own "
        "asks it other prompts.",
    )


def _differences(base: Model, candidate: Model) -> Iterator[tuple[str, Any, Any]]:
    """Fields in which two models differ: name, the base's value, the candidate's."""
    for name in SIZES:
        own, other = getattr(base.configuration, name), getattr(candidate.configuration, name)
        if own != other:
            yield name, own, other
    texts = (model.configuration.library.get_text_config(decoder=True) for model in (base, candidate))
    mine, theirs = (_arithmetic(text.to_dict()) for text in texts)
    for name in sorted(mine.keys() & theirs.keys()):
        if mine[name] != theirs[name]:
            yield name, mine[name], theirs[name]


def _arithmetic(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields that change what a model computes, those of nested objects behind the object's name and a dot."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping) and (prefix or name.startswith("rope")):
            found |= _arithmetic(value, f"{prefix}{name}.")
        elif (prefix or ARITHMETIC.fullmatch(name)) and value is not None:
            found[prefix + name] = value
    return found


def _other_id(base: Path, candidate: Path, trust_remote_code: bool) -> str | None:
    """A token that two tokenizers give different ids; None where they agree on all that both have."""
    own, other = (load_tokenizer(path, trust_remote_code=trust_remote_code).get_vocab() for path in (base, candidate))
    return next((token for token, number in own.items() if other.get(token, number) != number), None)
