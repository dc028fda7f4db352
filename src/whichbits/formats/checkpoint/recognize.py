"""Which of the catalogue's formats a ready checkpoint has, and how its codes are stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from whichbits.core.errors import UserError
from whichbits.formats.catalogue import get, load, load_kv_caches
from whichbits.formats.checkpoint.codes import Layout
from whichbits.formats.checkpoint.names import TEXT_CONFIG
from whichbits.formats.format import Format

SIDE_FILES = (
    "hf_quant_config.json",
    "quantize_config.json",
    "quant_config.json",
    "quantization_config.json",
    "quant_model_description.json",
)
"""Where tools state quantization beside config.json: ModelOpt, GPTQ, AWQ, others, msModelSlim."""

NAIVE = "naive-quantized"
"""compressed-tensors' name of the layout with a code an element, of any type."""

OTHER = "choose a compressed-tensors, GPTQ, AWQ or FP8 checkpoint of a format that `whichbits formats` lists"


@dataclass(frozen=True)
class Recognized:
    """A checkpoint's format, and the layout of its codes; None for a base in 16 bit."""

    format: Format
    layout: Layout | None = None


def recognize(config: Mapping[str, Any]) -> Format:
    """The format of a ready checkpoint, from the bits and types that its config.json states.

    Of several formats in one checkpoint, the one that is stated first. Raises UserError where one is none of the catalogue's.
    """
    refuse_older_key(config)
    return recognize_stated(stated_quantization(config)).format


def refuse_older_key(config: Mapping[str, Any]) -> None:
    """Raise UserError where quantization is stated under a key that some engines no longer read."""
    if config.get("compression_config") and not config.get("quantization_config"):
        raise UserError(
            "quantization is stated under compression_config, which transformers does not read",
            remedy="rename the key to quantization_config in config.json, or make the checkpoint again",
        )


def stated_quantization(config: Mapping[str, Any]) -> Any:
    """What a config.json says of quantization, under its keys of then and now; None where it says nothing."""
    nested = config.get(TEXT_CONFIG)
    places = (config, nested if isinstance(nested, Mapping) else {})
    keys = ("quantization_config", "compression_config")
    return next((place[key] for place in places for key in keys if place.get(key)), None)


def recognize_stated(stated: Any) -> Recognized:
    """The format and layout of what a config.json states of quantization. Raises UserError as `recognize`."""
    catalogue = load()
    if not stated:
        return Recognized(catalogue["bf16"])
    if not isinstance(stated, Mapping):
        raise UserError("quantization_config in config.json is not a JSON object", remedy="download the checkpoint again")
    method = stated.get("quant_method", "compressed-tensors" if "config_groups" in stated else None)
    size = stated.get("group_size")
    shared: int | Literal["row"] | None = "row" if size == -1 else size if type(size) is int and size > 0 else None
    match method:
        case "compressed-tensors":
            return _compressed(stated)
        case "gptq" if stated.get("bits") == 4 and stated.get("checkpoint_format", "gptq") in ("gptq", "gptq_v2"):
            if stated.get("is_marlin_format"):
                raise _none_of_ours("quant_method gptq with is_marlin_format")
            if _changed_for_some(stated.get("dynamic")):
                raise _none_of_ours("quant_method gptq with dynamic")
            symmetric = stated.get("sym", True)
            if size != -1 or not symmetric:
                found = catalogue["w4a16-int" if symmetric else "w4a16-int-asym"]
            else:
                found = catalogue["w4a16-int-channel"]
            return Recognized(found, Layout(4, 0, True, ("qzeros", "scales"), ("I32",), shared))
        case "awq" if stated.get("bits") == 4 and str(stated.get("version", "gemm")).lower() == "gemm":
            zeros = stated.get("zero_point", True)
            beside = ("qzeros", "scales") if zeros else ("scales",)
            return Recognized(
                catalogue["w4a16-int-asym" if zeros else "w4a16-int"], Layout(4, 1, True, beside, ("I32",), shared)
            )
        case "fp8" if stated.get("activation_scheme", "dynamic") == "dynamic":
            block = stated.get("weight_block_size")
            if block is None:
                return Recognized(catalogue["w8a8-fp"], Layout(8, dtypes=("F8_E4M3",)))
            if isinstance(block, list) and block == [128, 128]:
                return Recognized(catalogue["fp8-block"], Layout(8, dtypes=("F8_E4M3",), shared="block"))
    details = {key: stated[key] for key in ("bits", "activation_scheme", "weight_block_size", "quant_algo") if key in stated}
    raise _none_of_ours(", ".join([f"quant_method {method}", *(f"{key} {value}" for key, value in details.items())]))


def _compressed(stated: Mapping[str, Any]) -> Recognized:
    """The format, and the key-value cache, that a compressed-tensors configuration states: of several groups the first's."""
    sparsity = stated.get("sparsity_config") or {}
    if not isinstance(sparsity, Mapping) or sparsity.get("format", "dense") != "dense":
        raise _none_of_ours(f"sparsity_config {sparsity.get('format') if isinstance(sparsity, Mapping) else sparsity}")
    if not _strings(stated.get("ignore") or []):
        raise _none_of_ours("compressed-tensors with an ignore that is no list of names")
    groups = stated.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise _none_of_ours("compressed-tensors without config_groups")
    if stated.get("transform_config"):
        raise _none_of_ours("compressed-tensors with transform_config")
    found = [_of_group(name, group, stated.get("format")) for name, group in groups.items()]
    formats = [each.format for each in found]
    format, layout = formats[0], found[0].layout
    others = [other.title for other in dict(zip([each.name for each in formats], formats, strict=True)).values()][1:]
    if others:
        format = format.model_copy(update={"title": f"{format.title} beside {', '.join(others)}"})
        dtypes = tuple(dtype for each in found if each.layout for dtype in each.layout.dtypes)
        layout = Layout(None, beside=("weight_scale",), dtypes=dtypes)
    scheme = stated.get("kv_cache_scheme")
    if scheme is None:
        return Recognized(format, layout)
    for name, cache in load_kv_caches().items():
        if _numbers(cache.values) == _numbers(scheme):
            return Recognized(get(f"{format.name}+{name}"), layout)
    raise _none_of_ours("kv_cache_scheme")


def _of_group(name: str, group: Any, storage: Any) -> Recognized:
    if not isinstance(group, Mapping) or not isinstance(group.get("weights"), Mapping) or group.get("output_activations"):
        raise _none_of_ours(f"config_groups.{name} of compressed-tensors")
    if not group.get("targets") or not _strings(group["targets"]):
        raise _none_of_ours(f"config_groups.{name} of compressed-tensors without targets")
    storage = group.get("format") or storage
    same = [format for format in load().values() if format.weights is not None and _same_numbers(format, group)]
    if not same:
        numbers = ", ".join(f"{key} {group['weights'].get(key)}" for key in ("num_bits", "type", "strategy"))
        raise _none_of_ours(f"config_groups.{name} of compressed-tensors: weights {numbers}")
    # Formats may differ in their layout on disk alone. Any format that is not packed can be called naive-quantized.
    format = min(same, key=lambda format: format.storage != storage and (storage != NAIVE or _packed(format)))
    if storage not in (None, format.storage) and (storage != NAIVE or _packed(format)):
        raise _none_of_ours(f"{format.name} in compressed-tensors' format {storage}")
    return Recognized(format, _layout(format, group["weights"].get("group_size"), name))


def _layout(format: Format, size: Any, name: str) -> Layout:
    """How compressed-tensors stores a format's codes; `size` is the group size that the group called `name` states."""
    assert format.weights is not None and format.storage is not None
    shared: int | Literal["row", "block"] | None = None
    match format.weights.strategy:
        case "channel":
            shared = "row"
        case "block":
            shared = "block"
        case "group" | "tensor_group":
            if type(size) is not int or size < 1:
                raise _none_of_ours(f"config_groups.{name} of compressed-tensors: groups of size {size}")
            shared = size
    beside = ["weight_scale"]
    if not format.weights.symmetric:
        beside.append("weight_zero_point")
    if format.weights.strategy == "tensor_group":
        beside.append("weight_global_scale")
    if format.activations is not None and format.activations.dynamic is False:
        beside.append("input_scale" if format.activations.strategy != "tensor_group" else "input_global_scale")
    packed = 1 if _packed(format) else None
    if format.storage == "pack-quantized":
        beside.append("weight_shape")
    whole = "I8" if format.weights.num_bits <= 8 else "I16"
    dtypes = {("int", None): whole, ("int", 1): "I32", ("float", None): "F8_E4M3", ("float", 1): "U8"}
    dtype = dtypes[format.weights.type, packed]
    return Layout(format.weights.num_bits, packed, False, tuple(beside), (dtype,), shared)


def _packed(format: Format) -> bool:
    """Whether several codes share a word on disk."""
    return format.storage is not None and "pack" in format.storage


def _changed_for_some(dynamic: Any) -> bool:
    """Whether GPTQModel's `dynamic` gives some modules other numbers; leaving some out (`-:`) does not."""
    return isinstance(dynamic, Mapping) and any(name[:2] != "-:" and changes for name, changes in dynamic.items())


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _same_numbers(format: Format, group: Mapping[str, Any]) -> bool:
    """Whether a compressed-tensors group has the format's bits, types and granularity."""
    stated = (_numbers(group.get("weights")), _numbers(group.get("input_activations")))
    return (_numbers(format.weights), _numbers(format.activations)) == stated


def _numbers(part: Any) -> tuple[Any, ...] | None:
    """What decides the numbers that a tensor is stored in, of compressed-tensors' arguments as an object or as JSON."""
    if part is None:
        return None
    fields = part if isinstance(part, Mapping) else part.model_dump(mode="json")
    block = fields.get("block_structure") if fields.get("strategy") == "block" else None
    keys = ("num_bits", "type", "strategy")
    return *(fields.get(key) for key in keys), fields.get("symmetric", True), bool(fields.get("dynamic")), tuple(block or ())


def side_quantization(folder: Path) -> str | None:
    """The file beside the config.json of `folder` that states quantization, and what it names; None where none does."""
    for name in SIDE_FILES:
        file = folder / name
        if not file.is_file():
            continue
        try:
            stated = json.loads(file.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError):
            return f"{name} (which is not JSON)"
        inner = stated.get("quantization", stated) if isinstance(stated, dict) else stated
        if not isinstance(inner, dict):
            return name
        what = [f"{key} {inner[key]}" for key in ("quant_algo", "kv_cache_quant_algo", "bits", "w_bit") if inner.get(key)]
        if what or ("quant_algo" not in inner and inner):
            return f"{name} ({', '.join(what)})" if what else name
    return None


def _none_of_ours(what: str) -> UserError:
    return UserError(f"the checkpoint's quantization ({what}) is none of the catalogue's formats", remedy=OTHER)
