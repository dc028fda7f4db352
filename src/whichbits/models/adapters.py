"""Adapters of PEFT: changes of a base model that are kept apart from its weights, and what can be done about each kind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError

FILE = "adapter_config.json"

TENSOR = re.compile(
    r"(?:^|\.)(?:(?:lora|vera|pvera|vblora|randlora|delora|gralora|ia3|oft|boft|hada|lokr|hra|fourierft|waveft|bone|miss|shira"
    r"|c3a|road|ln_tuning|trainable_tokens)_\w+"
    r"|base_layer|base_model|modules_to_save|prompt_embeddings|prompt_encoder|adaption_\w+)(?:\.|$)"
)
"""Parts of names that adapters give their tensors, and the layers that they are put around: `prefix` of PEFT's tuners."""

PROMPTS = frozenset({"PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "ADAPTION_PROMPT"})
"""Kinds that put learned vectors before a prompt or into attention, and change no weight: PEFT cannot merge them."""


def refuse_adapter(folder: Path, *, whole: bool) -> None:
    """Raise UserError where `folder` holds an adapter, alone or beside the `whole` model's weights.

    transformers would load the base model that the adapter names, and other engines what lies beside it.
    """
    if not (folder / FILE).is_file():
        return
    stated = _stated(folder / FILE)
    kind, base = stated.get("peft_type"), stated.get("base_model_name_or_path")
    what = f"adapter of kind {kind}" if isinstance(kind, str) and kind else "adapter"
    named = f" ({base})" if isinstance(base, str) and base else ""
    if whole:
        raise UserError(
            f"{folder} holds a whole model and an {what} ({FILE}), and engines differ in which of them they take",
            remedy=f"where the weights are merged already, or the adapter is not meant, remove {FILE} and adapter_model.*; "
            "else give a folder of the merged model alone",
        )
    if kind in PROMPTS:
        raise UserError(
            f"{folder} is an {what} ({FILE}), which puts learned vectors before a prompt and changes no weight",
            remedy=f"give its base model{named}: the formats of weights are that model's, with the adapter or without",
        )
    raise UserError(
        f"{folder} is an {what} ({FILE}), which changes a base model's weights",
        remedy=f"merge it into its base{named} first (PEFT: merge_and_unload, then save_pretrained), and give that folder",
    )


def _stated(file: Path) -> dict[str, Any]:
    """What the adapter says of itself; nothing where that cannot be read."""
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
