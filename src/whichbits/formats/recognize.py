"""Which of the catalogue's formats a ready checkpoint has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from whichbits.errors import UserError
from whichbits.formats.format import Format, get, load, load_kv_caches


def recognize(config: Mapping[str, Any]) -> Format:
    """The format of a ready checkpoint, from the bits and types that its config.json states.

    Of several formats in one checkpoint, the one that is stated first. Raises UserError where it is none of the catalogue's.
    """
    stated = config.get("quantization_config") or {}
    catalogue = load()
    if not stated:
        return catalogue["bf16"]
    match stated.get("quant_method"):
        case "compressed-tensors":
            if found := _compressed(stated):
                return get(found)
        case "gptq" if stated.get("bits") == 4:
            return catalogue["w4a16-int" if stated.get("sym", True) else "w4a16-int-asym"]
        case "awq" if stated.get("bits") == 4:
            return catalogue["w4a16-int-asym" if stated.get("zero_point", True) else "w4a16-int"]
        case "fp8":
            return catalogue["w8a8-fp"]
    raise UserError(
        f"the checkpoint's quantization ({stated.get('quant_method')}) is none of the catalogue's formats",
        remedy="choose a compressed-tensors, GPTQ, AWQ or FP8 checkpoint",
    )


def _compressed(stated: Mapping[str, Any]) -> str | None:
    """Name of the format, and of its key-value cache, that a compressed-tensors configuration states."""
    group = next(iter(stated["config_groups"].values()))
    layout = group.get("format") or stated.get("format")
    same = [format for format in load().values() if format.weights is not None and _same_numbers(format, group)]
    # Formats may differ in their layout on disk alone.
    name = next((format.name for format in sorted(same, key=lambda format: format.storage != layout)), None)
    scheme = stated.get("kv_cache_scheme")
    if scheme is None or name is None:
        return name
    caches = load_kv_caches().items()
    return next((f"{name}+{cache}" for cache, (_, values) in caches if _numbers(values) == _numbers(scheme)), None)


def _same_numbers(format: Format, group: Mapping[str, Any]) -> bool:
    """Whether a compressed-tensors group has the format's bits, types and granularity."""
    stated = (_numbers(group.get("weights")), _numbers(group.get("input_activations")))
    return (_numbers(format.weights), _numbers(format.activations)) == stated


def _numbers(part: Any) -> tuple[Any, ...] | None:
    """What decides the numbers that a tensor is stored in, of compressed-tensors' arguments as an object or as JSON."""
    if part is None:
        return None
    fields = part if isinstance(part, Mapping) else part.model_dump(mode="json")
    keys = ("num_bits", "type", "strategy")
    return *(fields.get(key) for key in keys), fields.get("symmetric", True), bool(fields.get("dynamic"))
