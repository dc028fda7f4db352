"""What a model's config.json says, read by the library's own configuration class, which knows names and defaults."""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.names import TEXT_CONFIG
from whichbits.formats.checkpoint.recognize import stated_quantization
from whichbits.models.progress_bars import without_progress_bars

LLAMAS = ("PanguEmbedded", "openpangu_dense")
"""Model types that transformers does not know, and that compute what its Llama does with biases on q, k, v and o (`bias`)."""

POSITIONS = ("max_position_embeddings", "max_sequence_length", "seq_length", "max_seq_len", "n_ctx")
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
MOST = dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 1000) | dict.fromkeys(EXPERTS, 100_000)
"""More than any model has, by field: the library builds a list as long, and each layer is built to be compared."""

PREDICTION_LAYERS = ("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers")


@dataclass(frozen=True)
class Configuration:
    """A decoder's sizes, by the standard names, with the defaults of its class; of a multimodal model its language model's.

    `dtype` is what the file states (bfloat16, float16, float32, ...), None where it states none; `max_positions` the longest
    sequence in tokens, None where neither file nor class says so; `experts` 0 where there are none; `prediction_layers` the
    layers beyond `layers` that predict further tokens and are no part of the model; `quantization` what the file says of
    it, as it is there; `has_remote_code` whether it names Python code of the model's own that may run. `library` is
    transformers' object of the whole file, without what it states of the code that computes attention and experts.
    """

    model_type: str
    architecture: str | None
    dtype: str | None
    max_positions: int | None
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    experts: int = 0
    prediction_layers: int = 0
    multimodal: bool = False
    has_remote_code: bool = False
    beginning: int | None = None
    """Id of the beginning-of-text token, where the file names one."""
    quantization: Any = None
    library: Any = field(default=None, repr=False, compare=False)

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes that the keys and values of one token take in 16 bit, all layers together."""
        return 2 * 2 * self.layers * self.kv_heads * self.head_dim


def read_json(folder: Path) -> dict[str, Any]:
    """The config.json of `folder` as it is. Raises UserError where there is none, or it is no JSON object."""
    file = folder / "config.json"
    try:
        content = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{folder} holds no config.json", remedy="give a folder in the Hugging Face layout") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror})", remedy="download the model again") from error
    try:
        config = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8: {error}", remedy="save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        marked = content.startswith(codecs.BOM_UTF8)
        raise UserError(
            f"{file} is not JSON: {error}",
            remedy="save it as UTF-8 without a byte-order mark" if marked else "download the model again",
        ) from error
    if not isinstance(config, dict):
        raise UserError(f"{file} is not a JSON object", remedy="download the model again")
    again = "correct it, or download the model again"
    unsound = next(_not_finite(config), None)
    if unsound is not None:
        raise UserError(f"{file}: {unsound} is not a finite number", remedy=again)
    nested = config.get(TEXT_CONFIG)
    for name, value in (*config.items(), *(nested.items() if isinstance(nested, dict) else ())):
        if name in MOST and isinstance(value, int) and value > MOST[name]:
            raise UserError(f"{file}: {name} is {value}, and no model has more than {MOST[name]:,}", remedy=again)
    return config


def _not_finite(value: Any, name: str = "") -> Iterator[str]:
    """Names of the fields that hold NaN or infinity; limits of a range (`time_step_limit`) may be infinite."""
    if isinstance(value, float) and not math.isfinite(value):
        yield name
    for key, inner in value.items() if isinstance(value, dict) else ():
        if not key.endswith("_limit"):
            yield from _not_finite(inner, f"{name}.{key}" if name else key)
    for inner in value if isinstance(value, list) else ():
        yield from _not_finite(inner, name)


def read_configuration(folder: Path, *, trust_remote_code: bool = False) -> Configuration:
    """The configuration of the model in `folder`.

    A model's own Python code runs only where `trust_remote_code` says so, and that of LLAMAS is not needed. Raises UserError
    where the file is missing or no JSON, transformers does not know its model type (nor may its code run), or the model is no
    decoder.
    """
    stated = read_json(folder)
    whole = library_configuration(folder, stated, trust_remote_code=trust_remote_code)
    place = folder / "config.json"
    text = whole.get_text_config(decoder=True)
    if isinstance(text, dict):
        raise UserError(
            f"{place}: {whole.model_type} has no {TEXT_CONFIG}, and it is there", remedy="fix config.json, or download it again"
        )
    with _missing_fields(place, text):
        heads, hidden = int(text.num_attention_heads), int(text.hidden_size)
        return Configuration(
            model_type=str(whole.model_type),
            architecture=next(iter(whole.architectures or ()), None),
            dtype=_dtype(whole) or _dtype(text),
            max_positions=_first(text, POSITIONS) or _first(whole, POSITIONS),
            layers=int(text.num_hidden_layers),
            hidden=hidden,
            heads=heads,
            kv_heads=_first(text, ("num_key_value_heads",)) or heads,
            head_dim=_first(text, ("head_dim",)) or hidden // heads,
            vocabulary=int(text.vocab_size),
            tied=bool(getattr(whole, "tie_word_embeddings", False)),
            experts=_first(text, EXPERTS) or 0,
            prediction_layers=_first(text, PREDICTION_LAYERS) or _first(whole, PREDICTION_LAYERS) or 0,
            multimodal=text is not whole,
            has_remote_code=trust_remote_code and "auto_map" in stated,
            beginning=_first(text, ("bos_token_id",), least=0),
            quantization=stated_quantization(stated),
            library=whole,
        )


def stated_dtype(folder: Path) -> str | None:
    """The 16-bit dtype that the config.json of `folder` states, as torch names it; None where it states none or another.

    No class has a default for it, so none is asked.
    """
    config = read_json(folder)
    nested = config.get(TEXT_CONFIG)
    places = (config, nested if isinstance(nested, dict) else {})
    stated = next((place[key] for place in places for key in ("dtype", "torch_dtype") if place.get(key)), None)
    dtype = str(stated).removeprefix("torch.")
    return dtype if dtype in ("bfloat16", "float16") else None


def library_configuration(folder: Path, stated: Mapping[str, Any] | None = None, *, trust_remote_code: bool = False) -> Any:
    """transformers' object of the config.json of `folder`, whose content is `stated` where it has been read; see above."""
    stated = read_json(folder) if stated is None else stated
    try:
        from transformers import AutoConfig, LlamaConfig
    except ImportError as error:
        raise UserError(
            "reading a model needs transformers, which is not installed", remedy="install whichbits[quantize] or [measure]"
        ) from error
    if stated.get("model_type") in LLAMAS:
        own = {key: value for key, value in stated.items() if key not in ("model_type", "architectures", "auto_map", "bias")}
        return _without_kernels(LlamaConfig(**own | {"attention_bias": stated.get("bias", False)}))
    if "model_type" not in stated:
        raise UserError(f"{folder / 'config.json'} names no model_type", remedy="give a folder in the Hugging Face layout")
    with quiet():
        try:
            return _without_kernels(
                AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
            )
        except Exception as error:  # the library's classes check their fields in ways of their own
            known = f"model_type {stated['model_type']!r:.100}"
            if "auto_map" in stated and not trust_remote_code:
                raise UserError(
                    f"{folder / 'config.json'}: transformers does not know it ({known}), and the Python code that comes with "
                    "it (auto_map) runs only with trust_remote_code",
                    remedy="read that code, then allow it (--trust-remote-code), or choose a model that transformers knows",
                ) from error
            raise UserError(
                f"{folder / 'config.json'}: transformers cannot read it ({known}): {_line(error)}",
                remedy="fix config.json, or choose a model that this transformers knows",
            ) from error


def _without_kernels(config: Any) -> Any:
    """The configuration with the library's own choice of kernels: a name of a hub repository would be fetched and executed."""
    config._attn_implementation = None
    config._experts_implementation = None
    return config


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' warnings and bars: what they would say is looked at and said by us."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        with without_progress_bars():
            yield
    finally:
        logging.set_verbosity(level)


@contextmanager
def _missing_fields(file: Path, text: Any) -> Iterator[None]:
    """Say of a field that a decoder has, and this configuration does not, that it is no decoder's."""
    try:
        yield
    except (AttributeError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(
            f"{file}: model type {text.model_type} is not described as a decoder with attention: {_line(error)}",
            remedy="choose a decoder-only language model",
        ) from error


def _first(config: Any, names: tuple[str, ...], *, least: int = 1) -> int | None:
    """The first of these fields that holds a whole number from `least` on."""
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if type(value) is int and value >= least), None)


def _dtype(config: Any) -> str | None:
    stated = getattr(config, "dtype", None)
    return str(stated).removeprefix("torch.") if stated is not None else None


def _line(error: BaseException) -> str:
    """What an error says, in one line of at most 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__
