"""Where a finished checkpoint loads: transformers by trial, without any memory; vLLM by what is known of it."""

from __future__ import annotations

from contextlib import redirect_stderr
from importlib import metadata
from io import StringIO
from pathlib import Path

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.files import stored_tensors
from whichbits.formats.checkpoint.names import EXPERTS
from whichbits.models.configuration import Configuration, quiet, read_configuration
from whichbits.models.tensor_check import model_class

REFUSED_BY_VLLM_ON_CPUS = ("w8a8-int", "w8a8-int-static")
"""Formats of which vLLM 0.32's CPU build has no kernel for experts, and ends when it is given a mixture of them."""

TORCH_DTYPES = {
    "BF16": "bfloat16", "F16": "float16", "F32": "float32", "I8": "int8", "U8": "uint8", "I16": "int16", "I32": "int32",
    "I64": "int64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu", "BOOL": "bool",
}  # fmt: skip


def where_it_loads(folder: Path, format: str, *, trust_remote_code: bool = False) -> tuple[str, ...]:
    """Sentences on where the finished checkpoint in `folder`, of the format of that name, does not load; none where it does."""
    configuration = read_configuration(folder, trust_remote_code=trust_remote_code)
    said = []
    refused = refused_by_transformers(folder, configuration)
    if refused is not None:
        said.append(f"transformers {metadata.version('transformers')} does not load this checkpoint ({refused}).")
    if configuration.experts and format.partition("+")[0] in REFUSED_BY_VLLM_ON_CPUS:
        said.append("vLLM's CPU build does not load a mixture of experts in this format; serve it on a GPU.")
    return tuple(said)


def refused_by_transformers(folder: Path, configuration: Configuration) -> str | None:
    """Why transformers does not load the checkpoint in `folder`, None where it does: tried with tensors without memory.

    Packed experts cannot be tried so, since their numbers are looked at: transformers unpacks those without zero points.
    """
    import torch

    stored = stored_tensors(folder)
    experts = [name for name in stored if EXPERTS in name]
    if any(name.endswith(".weight_packed") and stored[name].dtype == "I32" for name in experts):
        return "it does not unpack experts with zero points" if any("zero_point" in name for name in experts) else None
    tensors = {
        name: torch.empty(tensor.shape, dtype=getattr(torch, TORCH_DTYPES[tensor.dtype]), device="meta")
        for name, tensor in stored.items()
    }
    with quiet(), redirect_stderr(StringIO()):  # compressed-tensors shows a bar of its own
        try:
            _, found = model_class(configuration, folder).from_pretrained(
                None,
                config=configuration.library,
                state_dict=tensors,
                device_map={"": "meta"},
                dtype="auto",
                output_loading_info=True,
            )
        except UserError as error:
            return error.message
        except Exception as error:  # noqa: BLE001 - the library refuses in ways of its own, and what it says is passed on
            told = " ".join(str(error).split())
            return "it cannot convert its experts" if "conversion of the weights" in told else told[:200]
    lacking = sorted(found["missing_keys"])
    return f"it lacks {lacking[0]} there" if lacking else None
