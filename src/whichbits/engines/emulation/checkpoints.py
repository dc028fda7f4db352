"""Which checkpoints are emulated, by what their config.json states of quantization."""

from __future__ import annotations

from collections.abc import Mapping

EMULATED = "compressed-tensors"


def not_emulated(quantization: object) -> str | None:
    """Why a checkpoint of this quantization_config is not emulated; None where it is, and for one in 16 bit.

    transformers would load others without the arithmetic of their activations, and some without their scales.
    """
    method = quantization.get("quant_method", EMULATED) if isinstance(quantization, Mapping) else EMULATED
    return None if method == EMULATED else f"the checkpoint is quantized by {method}; emulated are {EMULATED} checkpoints"
