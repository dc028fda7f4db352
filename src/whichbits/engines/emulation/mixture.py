"""A quantized mixture of experts in transformers, its experts as linear layers of their own.

transformers holds the experts of a layer in one tensor, which it fills from 16-bit, FP8 and packed INT4 checkpoints alone, and
multiplies without quantizing activations; so such checkpoints are loaded here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from whichbits.engines.errors import EngineError
from whichbits.formats.checkpoint.experts import separate_experts
from whichbits.formats.checkpoint.files import read_tensor, tensor_files
from whichbits.formats.checkpoint.names import EXPERTS, layer_number, layer_prefix


def is_quantized_mixture(checkpoint: Path, config: Any) -> bool:
    """Whether the checkpoint (of this configuration) is quantized and has experts."""
    quantized = getattr(config, "quantization_config", None) is not None
    return quantized and any(f"{EXPERTS}0." in name for name in tensor_files(checkpoint))


def load_mixture(checkpoint: Path, config: Any, dtype: torch.dtype | None) -> Any:
    """The model of a compressed-tensors checkpoint of a mixture of experts, its linear layers as stored, each with its scheme.

    `config` is the checkpoint's configuration; `dtype` that of what is not quantized, as stored unless given. Raises
    EngineError where the checkpoint's tensors are not the model's, UserError where its experts are not understood.
    """
    from accelerate import init_empty_weights
    from compressed_tensors.compressors.base import compress_module
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
    from transformers import AutoModelForCausalLM

    plain = type(config).from_dict({key: value for key, value in config.to_dict().items() if key != "quantization_config"})
    with init_empty_weights(include_buffers=False):
        model: Any = AutoModelForCausalLM.from_config(plain, dtype=dtype or config.dtype)  # type: ignore[no-untyped-call]
    own = len(model.get_decoder().layers)  # those beyond predict further tokens
    files = {name: file for name, file in tensor_files(checkpoint).items() if (layer_number(name) or 0) < own}
    for number, layer in enumerate(model.get_decoder().layers):
        prefix = layer_prefix(number)
        separate_experts(layer, [name.removeprefix(prefix) for name in _weights(files) if name.startswith(prefix)])
    apply_quantization_config(model, QuantizationConfig.model_validate(config.quantization_config))
    for module in model.modules():
        compress_module(module)  # so that each has the parameters that the checkpoint holds
    tensors = {name: _as(read_tensor(files, name), dtype) for name in files}
    missing, unexpected = model.load_state_dict(tensors, strict=False, assign=True)
    model.tie_weights()
    lost = [name for name in missing if model.get_parameter(name).is_meta]
    if lost or unexpected:
        raise EngineError(f"the checkpoint lacks {len(lost)} tensors of the model {lost[:3]} and has others {unexpected[:3]}")
    model.config = config
    return model


def _weights(names: Any) -> list[str]:
    """Names with what a weight is stored as put back to `weight`."""
    return [name.replace(".weight_packed", ".weight") for name in names]


def _as(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.dtype in (torch.bfloat16, torch.float16) else tensor
