"""What model families call the parts of a decoder: the one table of their projections, prefixes and nested configurations.

Names are those of Hugging Face checkpoints. A family that calls a part otherwise gets its word here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DECODER = "model."
LAYERS = f"{DECODER}layers."
FINAL_NORM = f"{DECODER}norm"
EMBEDDINGS = f"{DECODER}embed_tokens.weight"
"""The matrix [vocabulary, width] that tokens are looked up in."""

LM_HEAD = "lm_head"
HEAD, HEAD_BIAS = f"{LM_HEAD}.weight", f"{LM_HEAD}.bias"
"""The matrix [vocabulary, width] that makes logits, and what is added to those."""

LANGUAGE_MODEL = "language_model"
LANGUAGE = f"{LANGUAGE_MODEL}."
"""What the names of a language model's tensors begin with in a checkpoint that holds other models beside it."""

TEXT_CONFIG = "text_config"
"""Where the config.json of such a checkpoint has the language model's fields."""

NORM_BEFORE_ATTENTION, NORM_BEFORE_MLP = "input_layernorm", "post_attention_layernorm"
NORM_BEHIND_MLP = "post_feedforward_layernorm"
HEAD_NORMS = ("q_norm", "k_norm")
"""Norms of each head's queries and keys."""

ROUTERS = ("gate", "shared_expert_gate")
"""What decides which experts a token goes to, and how much of a shared one it gets."""


@dataclass(frozen=True)
class Attention:
    """Projections of attention: apart, or queries, keys and values in one matrix, one below the other."""

    query: str
    key: str
    value: str
    output: str
    fused: str

    @property
    def apart(self) -> tuple[str, str, str]:
        """Queries, keys and values."""
        return self.query, self.key, self.value

    @property
    def inputs(self) -> tuple[str, ...]:
        """All that read what comes into attention."""
        return *self.apart, self.fused


@dataclass(frozen=True)
class Mlp:
    """Projections of a gated MLP, down(activation(gate(x)) * up(x)): apart, or gate above up in one matrix."""

    gate: str
    up: str
    down: str
    fused: str | None = None

    @property
    def apart(self) -> tuple[str, str, str]:
        """Gate, up and down."""
        return self.gate, self.up, self.down

    @property
    def inputs(self) -> tuple[str, ...]:
        """All that read what comes into the MLP."""
        return (self.gate, self.up) if self.fused is None else (self.gate, self.up, self.fused)


ATTENTION = Attention("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj")
MLP = Mlp("gate_proj", "up_proj", "down_proj", "gate_up_proj")
MLPS = (MLP, Mlp("w1", "w3", "w2"))
"""The second are Mixtral's experts."""

WRITERS = (ATTENTION.output, *(mlp.down for mlp in MLPS))
"""Projections whose output is added to the residual stream."""

MATRICES_OF_ONE = (ATTENTION.apart, (MLP.gate, MLP.up))
"""Linear layers that engines put into one matrix."""

EXPERTS = ".experts."
_EXPERT = re.compile(r"(?P<block>.+)\.experts\.(?P<number>\d+)\.(?P<part>.+)")
_LAYER = re.compile(r"model\.layers\.(\d+)\..+")


@dataclass(frozen=True)
class ExpertPart:
    """A part of one expert: the name of the block that the experts are in, the expert's number, the part's name within it."""

    block: str
    number: int
    part: str


def expert_part(name: str) -> ExpertPart | None:
    """What of an expert a tensor is; None where it is no single expert's."""
    found = _EXPERT.fullmatch(name)
    return None if found is None else ExpertPart(found["block"], int(found["number"]), found["part"])


def layer_prefix(number: int) -> str:
    """What the names of the tensors of a decoder layer begin with."""
    return f"{LAYERS}{number}."


def layer_number(name: str) -> int | None:
    """Number of the decoder layer that a tensor is in; None where it is in none."""
    found = _LAYER.fullmatch(name)
    return None if found is None else int(found[1])


def in_language_model(name: str) -> bool:
    """Whether a tensor is the decoder's or its head's."""
    return name.startswith((DECODER, f"{LM_HEAD}."))
