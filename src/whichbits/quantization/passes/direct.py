"""From a base checkpoint to a quantized one, a layer at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.formats.checkpoint.files import language_prefix, shard_files, tensor_files
from whichbits.formats.checkpoint.writer import ShardWriter
from whichbits.formats.format import Format
from whichbits.quantization.model.devices import computing_devices
from whichbits.quantization.model.memory import trim_heap
from whichbits.quantization.output.folder import base_hashes, complete, folder_aside
from whichbits.quantization.output.manifest import Manifest, ModuleError
from whichbits.quantization.passes.calibrated import Target, quantize_calibrated
from whichbits.quantization.passes.fitting import SHARD_BYTES, Progress, fit_to
from whichbits.quantization.passes.layer import quantize_layer
from whichbits.quantization.recipe.recipe import Recipe
from whichbits.quantization.rounding.kv_cache import cache_scales
from whichbits.quantization.transforms.base_tensors import base_tensors

if TYPE_CHECKING:
    import torch


def quantize_checkpoint(
    base: Path,
    format: Format,
    recipe: Recipe,
    out: Path,
    *,
    base_files: Mapping[str, str] | None = None,
    on_progress: Progress | None = None,
    shard_bytes: int = SHARD_BYTES,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[Manifest, tuple[ModuleError, ...]]:
    """Write the checkpoint folder `out`: `base` in `format`, made by `recipe`.

    Every linear layer of the decoder layers is quantized; embeddings, norms and lm_head stay as they are, but for what the
    recipe merges into them; tokenizer, chat template and generation config are carried along. At most a layer and a shard are
    in memory, and for a calibrated recipe the next layer and the hidden states of its samples. `out` appears once it is
    complete. `base_files` are the SHA-256 of the base's files where they are known already; `on_progress(done, all)` counts
    modules; it is computed on `device` (see `computing_devices`); a model's own Python code runs only where `trust_remote_code`
    says so. Returns the manifest and the error of each module.

    Raises UserError where the format cannot be written or does not fit, the base cannot be quantized, `out` exists, or the
    disk is too full; for a calibrated recipe also as `quantize_calibrated`.
    """
    fitted, layers = fit_to(base, format, recipe, trust_remote_code=trust_remote_code)
    if recipe.needs_data(format):
        (result,) = quantize_calibrated(
            base,
            [Target(format, recipe, out)],
            base_files=base_files,
            on_progress=on_progress,
            shard_bytes=shard_bytes,
            device=device,
            trust_remote_code=trust_remote_code,
        )
        return result
    linears = [name for layer in layers for name in layer]
    with folder_aside(out, needed=sum(file.stat().st_size for file in shard_files(base))) as aside:
        writer = ShardWriter(aside, shard_bytes=shard_bytes, prefix=language_prefix(tensor_files(base)))
        tensors = base_tensors(base, recipe, computing_devices(device)[0], trust_remote_code=trust_remote_code)
        errors = _write_weights(tensors, layers, fitted, recipe, writer, on_progress)
        manifest = complete(
            aside, base, fitted, recipe, linears, base_files or base_hashes(base), trust_remote_code=trust_remote_code
        )
    return manifest, errors


def _write_weights(
    tensors: Mapping[str, torch.Tensor],
    layers: list[list[str]],
    format: Format,
    recipe: Recipe,
    writer: ShardWriter,
    on_progress: Progress | None,
) -> tuple[ModuleError, ...]:
    """Copy what is not quantized, then quantize layer by layer."""
    linears = {name for layer in layers for name in layer}
    for name in (name for name in tensors if name not in linears):
        writer.add(name, tensors[name].cpu())
    if format.kv_cache:
        for name, tensor in cache_scales(tensors, format.kv_cache, tensors[next(iter(linears))].dtype, None).items():
            writer.add(name, tensor)
    errors: list[ModuleError] = []
    for layer in layers:
        for quantized in quantize_layer({name: tensors[name] for name in layer}, format, recipe):
            for name, tensor in quantized.tensors.items():
                writer.add(name, tensor.cpu())
            errors.append(quantized.errors)
            if on_progress:
                on_progress(len(errors), len(linears))
        trim_heap()
    writer.finish()
    return tuple(errors)
