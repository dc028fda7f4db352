"""Generation settings: greedy or sampled, and the ids that end a text; all others are left at their neutral values.

A `generation_config.json` can hold penalties, beams, forced or forbidden tokens and more. transformers fills whatever a call
leaves out from it, and then greedy is no longer greedy. Only the ids that end a text are taken from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError

FILE = "generation_config.json"


def end_ids(folder: Path, config: Any, tokenizer_eos: int | None = None) -> tuple[int, ...]:
    """Ids that end a text: the generation configuration's, else those of the model's `config`, and the tokenizer's.

    vLLM takes the same (with `--generation-config vllm` too). Raises UserError where the file is not what it should be.
    """
    stated = _stated(folder / FILE) if (folder / FILE).is_file() else _configured(config)
    ids = stated if isinstance(stated, list) else [stated]
    return tuple(dict.fromkeys(token for token in (*ids, tokenizer_eos) if token is not None))


def _configured(config: Any) -> Any:
    """End ids of the model's configuration, or of its text part."""
    own = getattr(config, "eos_token_id", None)
    return getattr(config.get_text_config(), "eos_token_id", None) if own is None else own


def _stated(path: Path) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error})", remedy="take the file from the model's page, or remove it") from error
    ids = content.get("eos_token_id") if isinstance(content, dict) else content
    listed = ids if isinstance(ids, list) else [ids]
    if not isinstance(content, dict) or any(type(token) is not int for token in listed if token is not None):
        raise UserError(f"{path}: eos_token_id is {ids!r}", remedy="write one token id, or a list of them")
    return ids


def neutral(model: Any) -> Any:
    """`model` with nothing that `generate` could fill in from it; returns the same model."""
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    model.__dict__.pop("generate", None)  # a function that came with the checkpoint
    return model


def generation_config(ends: Iterable[int], *, max_new_tokens: int, temperature: float = 0.0, min_new_tokens: int = 0) -> Any:
    """A transformers GenerationConfig: greedy at temperature 0, else plain sampling; no end before `min_new_tokens`."""
    from transformers import GenerationConfig

    listed = list(ends)
    sampling = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}
    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=max_new_tokens,
        min_new_tokens=min_new_tokens or None,
        do_sample=temperature > 0,
        num_beams=1,
        eos_token_id=listed or None,
        pad_token_id=listed[0] if listed else 0,
        **sampling,
    )
