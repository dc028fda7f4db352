"""Calibrated checkpoints: every format of one pass over the model, resumable layer by layer."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.files import language_prefix, shard_files, tensor_files
from whichbits.formats.checkpoint.names import layer_number
from whichbits.formats.checkpoint.writer import ShardWriter
from whichbits.formats.format import Format
from whichbits.quantization.calibration.data import CalibrationData, calibration_data
from whichbits.quantization.model.decoder import batches
from whichbits.quantization.model.devices import computing_devices
from whichbits.quantization.model.ranks import ALONE, Ranks
from whichbits.quantization.output.folder import base_hashes, complete, folder_aside, refuse_existing
from whichbits.quantization.output.manifest import FILE, Manifest, ModuleError, Used, versions
from whichbits.quantization.passes.fitting import SHARD_BYTES, Progress, fit_to
from whichbits.quantization.passes.forward_check import check_agreement
from whichbits.quantization.passes.layer_store import LayerStore, drop_states, kept_data, scratch_of, unfinished
from whichbits.quantization.passes.pipeline import CalibratedPass, Job, stream
from whichbits.quantization.recipe.recipe import Recipe
from whichbits.quantization.transforms.base_tensors import base_tensors

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Target:
    """A checkpoint to make: its format, its recipe, and its folder.

    `kept` is where finished layers of a calibrated pass are kept, and stay after it; None for a folder beside `out`, which goes
    once `out` is complete.
    """

    format: Format
    recipe: Recipe
    out: Path
    kept: Path | None = None

    @property
    def calibrated(self) -> bool:
        """Whether making it takes tokens run through the model."""
        return self.recipe.needs_data(self.format)

    @property
    def layers(self) -> Path:
        """Folder of the finished layers."""
        return self.kept or unfinished(self.out)


def quantize_calibrated(
    base: Path,
    targets: Sequence[Target],
    *,
    base_files: Mapping[str, str] | None = None,
    on_progress: Progress | None = None,
    on_token: Progress | None = None,
    on_layer: Progress | None = None,
    texts: Path | None = None,
    shard_bytes: int = SHARD_BYTES,
    device: str | None = None,
    ranks: Ranks = ALONE,
    trust_remote_code: bool = False,
) -> list[tuple[Manifest, tuple[ModuleError, ...]]]:
    """Write the checkpoint folder of each target in one pass over `base`; returns the manifest and errors of each.

    All are calibrated on the same tokens. Those and finished layers are kept in folders `.NAME.layers` beside the checkpoints
    until they are complete, or where the targets say: run again after an interruption, the pass goes on there, and ends in the
    same bytes. Tokens are shared by all passes that name the same folder `texts`.
    `on_token(done, all)` counts the tokens of calibration text that the model generates itself, `on_layer(done, all)` the
    layers that are run forward and back where the loss is asked; the pass is computed on `device`; arguments otherwise as
    `quantize_checkpoint`. Raises UserError where the recipes' calibration or seed differ, the calibration data cannot be had, a
    Hessian cannot be factorised, the model is not understood, or kept layers were made with
    other settings.
    Of several `ranks` each runs its share of the batches of samples. The first makes the tokens, keeps the layers, writes, and
    alone returns something. Kept layers serve any number of ranks. Raises UserError also where ranks have other settings, or
    one has no batch.
    Before anything else the model is compared with the library's own forward (see `check_agreement`).
    """
    from whichbits.models.float32_products import float32_products

    devices = computing_devices(device)
    folders = [target.layers for target in targets]
    for target, folder in zip(targets, folders, strict=True):
        if ranks.first and not folder.exists():
            refuse_existing(target.out)
    if len({(target.recipe.calibration, target.recipe.seed) for target in targets}) != 1:
        raise UserError("the formats of one pass differ in calibration or seed", remedy="make them in separate passes")
    fitted = [fit_to(base, target.format, target.recipe, trust_remote_code=trust_remote_code) for target in targets]
    layers, recipe = fitted[0][1], targets[0].recipe
    if any(others != layers for _, others in fitted):
        raise UserError("the formats of one pass leave different modules in 16 bit", remedy="make them in separate passes")
    known = dict(base_files or base_hashes(base))

    def checked_data() -> CalibrationData:
        check_agreement(base, [target.recipe for target in targets], device=devices[0], trust_remote_code=trust_remote_code)
        return kept_data(
            folders[0] if texts is None else texts,
            {
                "base": known,
                "versions": versions(calibrated=True),
                "seed": recipe.seed,
                "data": recipe.calibration.model_dump(),
            },
            lambda: calibration_data(
                base,
                recipe.calibration,
                recipe.seed,
                on_token,
                device=devices[0],
                trust_remote_code=trust_remote_code,
                base_files=known,
            ),
            shared=texts is not None,
        )

    data = ranks.of_first(checked_data)
    used = Used(fingerprint=data.fingerprint, tokens=data.tokens.numel(), warnings=data.warnings)
    jobs = [Job(format, target.recipe) for (format, _), target in zip(fitted, targets, strict=True)]
    settings = [_settings(job, known, data.fingerprint, devices) for job in jobs]
    stores = []
    if ranks.first:
        stores = [
            LayerStore(target.layers, own, replace=target.kept is not None)
            for target, own in zip(targets, settings, strict=True)
        ]
        drop_states(folders[0])
    _check_ranks(ranks, settings, data.tokens)
    linears = [name for layer in layers for name in layer]
    finished = sum(len(layer) for store in stores for number, layer in enumerate(layers) if store.has(number))
    with scratch_of(folders[0], ranks) as scratch, float32_products():
        calibrated = CalibratedPass(
            layers, jobs, data.tokens, lambda job, number: stores[job].get(number), scratch, devices, ranks, on_layer
        )
        for quantized in stream(base, calibrated, trust_remote_code=trust_remote_code):
            stores[quantized.job].put(quantized.number, quantized.tensors, quantized.errors)
            finished += len(quantized.errors)
            if on_progress:
                on_progress(finished, len(linears) * len(jobs))
    if not ranks.first:
        ranks.wait()
        return []
    results = []
    for target, job, store in zip(targets, jobs, stores, strict=True):
        errors = tuple(error for number in range(len(layers)) for error in store.errors(number))
        manifest = _complete_already(target.out, job)
        if manifest is None:
            with folder_aside(target.out, needed=sum(file.stat().st_size for file in shard_files(base))) as aside:
                writer = ShardWriter(aside, shard_bytes=shard_bytes, prefix=language_prefix(tensor_files(base)))
                _write_weights(base_tensors(base, job.recipe, trust_remote_code=trust_remote_code), store, len(layers), writer)
                manifest = complete(
                    aside, base, job.format, job.recipe, linears, known, used, errors, trust_remote_code=trust_remote_code
                )
        results.append((manifest, errors))
    # Not one by one: a run that was interrupted between two of them goes on with the second.
    for target in targets:
        if target.kept is None:
            shutil.rmtree(target.layers)
    ranks.wait()  # all end together, so that none is missed that has failed
    return results


def _complete_already(out: Path, job: Job) -> Manifest | None:
    """The manifest of a checkpoint that an interrupted run had completed; None where there is none of this job."""
    if not (out / FILE).is_file():
        return None
    manifest = Manifest.model_validate_json((out / FILE).read_text(encoding="utf-8"))
    return manifest if (manifest.format, manifest.recipe) == (job.format, job.recipe) else None


def _check_ranks(ranks: Ranks, settings: Sequence[dict[str, object]], tokens: torch.Tensor) -> None:
    """Before layers are walked: raises UserError where ranks would make something else, or one has no samples."""
    first, *others = ranks.to_all(settings)
    for rank, theirs in enumerate(others, start=1):
        differ = sorted({key for one, other in zip(first, theirs, strict=True) for key in one if one[key] != other[key]})
        if differ:
            raise UserError(
                f"process {rank} of the {ranks.count} of this pass has another {', '.join(differ)} than the first",
                remedy="give all of them the same command, the same model and the same versions",
            )
    there = batches(*tokens.shape)
    if there < ranks.count:
        raise UserError(
            f"{ranks.count} processes share the calibration, and its {len(tokens)} samples are {there} batches",
            remedy="start as many as there are batches at most, or give more or longer samples",
        )


def _settings(job: Job, base: Mapping[str, str], fingerprint: str, devices: Sequence[str]) -> dict[str, object]:
    """Everything that decides what a layer becomes."""
    return {
        "versions": versions(calibrated=True) | job.recipe.packages,
        "base": dict(base),
        "format": job.format.model_dump(mode="json"),
        "recipe": job.recipe.model_dump(mode="json"),
        "calibration": fingerprint,
        "devices": [device.partition(":")[0] for device in devices],
    }


def _write_weights(tensors: Mapping[str, torch.Tensor], store: LayerStore, layers: int, writer: ShardWriter) -> None:
    """Copy what is outside the layers, then the finished layers."""
    for name in tensors:
        layer = layer_number(name)
        if layer is None or layer >= layers:  # beyond the model's own are those that predict further tokens
            writer.add(name, tensors[name])
    for number in range(layers):
        for name, tensor in (store.get(number) or {}).items():
            writer.add(name, tensor)
    writer.finish()
