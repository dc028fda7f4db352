"""Which of the catalogue's formats a ready checkpoint has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from whichbits.errors import UserError
from whichbits.formats.format import Format, load


def recognize(config: Mapping[str, Any]) -> Format:
    """The format of a ready checkpoint, from the bits and types that its config.json states.

    Raises UserError where it is none of the catalogue's.
    """
    stated = config.get("quantization_config") or {}
    catalogue = load()
    if not stated:
        return catalogue["bf16"]
    match stated.get("quant_method"):
        case "compressed-tensors":
            group = next(iter(stated["config_groups"].values()))
            for format in catalogue.values():
                if format.weights is not None and _same_numbers(format, group):
                    return format
        case "gptq" | "awq" if stated.get("bits") == 4:
            return catalogue["w4a16-int"]
        case "fp8":
            return catalogue["w8a8-fp"]
    raise UserError(
        f"the checkpoint's quantization ({stated.get('quant_method')}) is none of the catalogue's formats",
        remedy="choose a compressed-tensors, GPTQ, AWQ or FP8 checkpoint",
    )


def _same_numbers(format: Format, group: Mapping[str, Any]) -> bool:
    """Whether a compressed-tensors group has the format's bits, types and granularity."""

    def numbers(part: Any) -> tuple[Any, ...] | None:
        if part is None:
            return None
        fields = part if isinstance(part, Mapping) else part.model_dump(mode="json")
        keys = ("num_bits", "type", "strategy")
        return *(fields.get(key) for key in keys), fields.get("symmetric", True), bool(fields.get("dynamic"))

    return numbers(format.weights) == numbers(group.get("weights")) and numbers(format.activations) == numbers(
        group.get("input_activations")
    )
