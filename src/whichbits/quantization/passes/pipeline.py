"""The calibrated pass: the decoder is walked layer by layer, and each layer is quantized for every job on its inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.compress import decompress
from whichbits.formats.checkpoint.names import layer_prefix
from whichbits.formats.format import Format
from whichbits.quantization.model.decoder import NEAREST, Call, empty, empty_model, first_inputs, samples_at_a_time
from whichbits.quantization.model.finite import check_states, check_tensors
from whichbits.quantization.model.memory import trim_heap
from whichbits.quantization.model.prefetch import prefetched_layers
from whichbits.quantization.model.ranks import ALONE, Ranks
from whichbits.quantization.model.replicas import filled, in_turn, refill, run
from whichbits.quantization.model.tensors import outside_layers
from whichbits.quantization.output.manifest import ModuleError
from whichbits.quantization.passes.fitting import Progress
from whichbits.quantization.passes.layer import quantize_layer
from whichbits.quantization.passes.layer_store import FisherStore
from whichbits.quantization.recipe.recipe import Recipe
from whichbits.quantization.rounding.kv_cache import cache_scales, largest_keys_and_values
from whichbits.quantization.statistics.backward import ObservedLayer, observe_backwards
from whichbits.quantization.statistics.forward import InputStatistics, norm_offsets, observe
from whichbits.quantization.transforms.base_tensors import base_tensors
from whichbits.quantization.transforms.transform import CalibratedLayer, asked

if TYPE_CHECKING:
    import torch

Tensors = Mapping[str, "torch.Tensor"]


@dataclass(frozen=True)
class Job:
    """One checkpoint of the pass: a fitted format and a calibrated recipe."""

    format: Format
    recipe: Recipe


@dataclass(frozen=True)
class QuantizedLayer:
    """A decoder layer as job number `job` stores it: all its tensors by full name, and the error of each module."""

    job: int
    number: int
    tensors: Tensors
    errors: tuple[ModuleError, ...]


@dataclass(frozen=True)
class CalibratedPass:
    """What is quantized for which checkpoints on which tokens, and where.

    All of it happens on the first of `devices`, but that all of them run the samples, in turn. Of several `ranks` each runs its
    own samples; the first alone quantizes, and asks `done`.
    """

    layers: Sequence[Sequence[str]]
    """Names of the weights to quantize, layer by layer."""
    jobs: Sequence[Job]
    tokens: torch.Tensor
    """int64 [samples, length]."""
    done: Callable[[int, int], Tensors | None]
    """The stored tensors of a job's layer that an earlier run has finished, None for others."""
    scratch: Path
    """Folder for what the base says of its tokens."""
    devices: Sequence[str] = ("cpu",)
    ranks: Ranks = ALONE
    on_layer: Progress | None = None
    """Counts the layers that are run forward and back where the loss is asked."""

    def own_batches(self, samples: torch.Tensor) -> torch.Tensor:
        """This rank's share of `samples` [samples, ...] of all."""
        return self.ranks.own_samples(samples, samples_at_a_time(self.tokens.shape[1]))

    def linears(self, number: int) -> list[str]:
        """Names within a layer of its weights to quantize."""
        return [name.removeprefix(layer_prefix(number)) for name in self.layers[number]]

    def waiting(self, jobs: Iterable[int], number: int) -> list[int]:
        """Those of the jobs, by their numbers, whose layer is not finished, on every rank."""
        return self.ranks.of_first(lambda: [job for job in jobs if self.done(job, number) is None])


@dataclass
class _Stream:
    """The jobs that are calibrated together: the layers that they start from, by number, the hidden states of each batch.

    `reference` are the base's hidden states, where jobs correct for the difference; `fisher` is the Fisher information.
    """

    jobs: tuple[int, ...]
    layers: Iterator[Tensors]
    inputs: list[torch.Tensor]
    propagates: bool
    reference: list[torch.Tensor] | None
    fisher: FisherStore | None


def stream(base: Path, calibrated: CalibratedPass, *, trust_remote_code: bool = False) -> Iterator[QuantizedLayer]:
    """Quantize each decoder layer of `base` for each job; yields layers as they are finished, on the first rank alone.

    A job that propagates its error sees what its own stored layers give; the others share what the base gives, and so its
    statistics. A layer that is done is not quantized again. In memory are one layer and the next of each stream, its Hessians,
    and their hidden states. A model's own Python code runs only where `trust_remote_code` says so.
    """
    jobs, devices, count = calibrated.jobs, calibrated.devices, len(calibrated.layers)
    decoder = empty_model(base, trust_remote_code=trust_remote_code, device=devices[0])
    empty_layers = list(decoder.layers)
    streams = []
    for numbers in _kinds(jobs):
        recipe = jobs[numbers[0]].recipe
        tensors = base_tensors(base, recipe, devices[0], trust_remote_code=trust_remote_code)
        shared = tuple(number for number in numbers if not jobs[number].recipe.propagates)
        together: list[tuple[int, ...]] = [(number,) for number in numbers if jobs[number].recipe.propagates]
        fisher = None
        if recipe.fisher_samples:
            rotated = "-rotated" if recipe.rotation else ""
            fisher = FisherStore(calibrated.scratch / f"fisher-{recipe.fisher_samples}{rotated}") if together else None
            if calibrated.ranks.of_first(partial(_to_ask, calibrated, shared, fisher)):
                yield from _backwards(calibrated, decoder, tensors, recipe, shared, fisher)
        elif shared:
            together.append(shared)
        for members in together:
            inputs, calls = first_inputs(decoder, outside_layers(tensors), calibrated.own_batches(calibrated.tokens))
            inputs, ahead = in_turn(inputs, devices), prefetched_layers(tensors, range(count))
            own = jobs[members[0]].recipe
            reference = inputs if own.corrects else None
            streams.append(_Stream(members, ahead, inputs, own.propagates, reference, fisher))
    if not streams:
        return
    del decoder
    for number, (layer, call) in enumerate(zip(empty_layers, calls, strict=True)):
        for each in streams:
            yield from _advance(calibrated, each, number, layer, call)
        empty(layer)


def _advance(
    calibrated: CalibratedPass, each: _Stream, number: int, layer: torch.nn.Module, call: Call
) -> Iterator[QuantizedLayer]:
    """Quantize a layer for the jobs of a stream, and pass its hidden states through the layer."""
    ranks, jobs, device = calibrated.ranks, calibrated.jobs, calibrated.devices[0]
    linears, prefix = calibrated.linears(number), layer_prefix(number)
    waiting = calibrated.waiting(each.jobs, number)
    tensors = next(each.layers)
    replicas = filled(layer, tensors, call, calibrated.devices)
    own: Tensors | None = None
    if waiting:
        modules = [name.removesuffix(".weight") for name in linears]
        weights = _weights(each.fisher, number, each.inputs, ranks) if each.fisher else None
        observation = observe(replicas, modules, each.inputs, each.reference, weights, ranks)
        if each.fisher and ranks.first:
            curvature = {name: kept.to(device) for name, kept in each.fisher.curvature(number).items()}
            for fed in observation.statistics:
                fed.curvature = {module: curvature[module] for module in fed.modules if module in curvature}
        reference, outputs = observation.reference, observation.outputs
        offsets = norm_offsets(layer)
    else:
        reference = None if each.reference is None else run(replicas, each.reference)
        outputs = [] if each.propagates else run(replicas, each.inputs)
    cached = any(jobs[job].format.kv_cache for job in waiting)
    largest = largest_keys_and_values(replicas, each.inputs, ranks) if cached else None
    for job in waiting if ranks.first else ():
        prepared = _prepared(jobs[job], layer, tensors, observation.statistics, offsets, prefix)
        quantized = QuantizedLayer(job, number, *_quantize(jobs[job], *prepared, linears, largest, prefix))
        yield quantized
        if each.propagates:
            own = quantized.tensors
        del prepared, quantized
        trim_heap()
    if each.propagates and number + 1 < len(calibrated.layers):
        (job,) = each.jobs
        stored = ranks.of_first(lambda: own if waiting else calibrated.done(job, number))
        assert stored is not None
        refill(replicas, _restored(stored, tensors, linears, jobs[job].format, prefix))
        outputs = run(replicas, each.inputs)
    check_states(outputs, f"the hidden states behind layer {number}")
    each.inputs, each.reference = outputs, reference


def _to_ask(calibrated: CalibratedPass, shared: Sequence[int], fisher: FisherStore | None) -> bool:
    """Whether the loss is still to be asked, for jobs that are quantized on the way back or for what is kept of it."""
    waiting = any(calibrated.done(job, 0) is None for job in shared)  # on the way back the first layer comes last
    return waiting or (fisher is not None and not fisher.has_all(len(calibrated.layers)))


def _weights(fisher: FisherStore, number: int, inputs: Sequence[torch.Tensor], ranks: Ranks) -> list[dict[str, torch.Tensor]]:
    """The weights of the tokens of each of a rank's batches `inputs` [samples, length, width], where the batch is."""
    import torch

    length = inputs[0].shape[1]
    weights: list[dict[str, torch.Tensor]] = [{} for _ in inputs]
    for name, kept in ranks.of_first(lambda: fisher.weights(number)).items():
        for batch, own, part in zip(
            inputs, weights, ranks.own(torch.split(kept, samples_at_a_time(length) * length)), strict=True
        ):
            own[name] = part.to(batch.device)
    return weights


def _backwards(
    calibrated: CalibratedPass,
    decoder: Any,
    tensors: Tensors,
    recipe: Recipe,
    shared: Sequence[int],
    kept: FisherStore | None,
) -> Iterator[QuantizedLayer]:
    """Ask the loss about each layer, from the last to the first, as `recipe` has it.

    The `shared` jobs are quantized on the way; what the loss says is `kept` for those that propagate their error.
    """
    modules = [
        [name.removesuffix(".weight") for name in calibrated.linears(number)] for number in range(len(calibrated.layers))
    ]
    for observed in observe_backwards(
        decoder,
        tensors,
        modules,
        calibrated.tokens,
        recipe.fisher_samples,
        recipe.seed,
        calibrated.scratch,
        calibrated.devices,
        calibrated.ranks,
        calibrated.on_layer,
    ):
        if kept and calibrated.ranks.first:
            kept.put(observed)
        yield from _quantize_observed(calibrated, observed, shared)
        # Its statistics are as large as the layer, and the next one's come before the name is used again.
        del observed


def _quantize_observed(calibrated: CalibratedPass, observed: ObservedLayer, shared: Sequence[int]) -> Iterator[QuantizedLayer]:
    """Quantize a layer seen on the way back, for those of the `shared` jobs not yet done."""
    number, ranks, jobs = observed.number, calibrated.ranks, calibrated.jobs
    layer, tensors = observed.replicas[0].layer, observed.tensors
    linears, prefix = calibrated.linears(number), layer_prefix(number)
    waiting = calibrated.waiting(shared, number)
    offsets = norm_offsets(layer)
    cached = any(jobs[job].format.kv_cache for job in waiting)
    largest = largest_keys_and_values(observed.replicas, observed.inputs, ranks) if cached else None
    for job in waiting if ranks.first else ():
        prepared = _prepared(jobs[job], layer, tensors, observed.statistics, offsets, prefix)
        yield QuantizedLayer(job, number, *_quantize(jobs[job], *prepared, linears, largest, prefix))
        del prepared
        trim_heap()


def _prepared(
    job: Job,
    layer: torch.nn.Module,
    tensors: Tensors,
    statistics: Sequence[InputStatistics],
    offsets: Mapping[str, float],
    prefix: str,
) -> tuple[Tensors, Sequence[InputStatistics]]:
    """The layer's tensors transformed as the job has it, before any rounding, and the statistics of its new inputs."""
    wanted = asked(job.recipe)
    for each in wanted:
        calibrated = CalibratedLayer(tensors, statistics, offsets, job.format, prefix, layer)
        tensors, statistics = each.transform.apply(calibrated, each.strength)
    if wanted:
        how = " and ".join(each.name for each in wanted)
        check_tensors({prefix + name: tensor for name, tensor in tensors.items()}, f"scaled by {how}")
    return tensors, statistics


def _kinds(jobs: Sequence[Job]) -> list[list[int]]:
    """The numbers of the jobs that start from the same tensors and ask the loss alike."""
    kinds: dict[tuple[bool, int], list[int]] = {}
    for number, job in enumerate(jobs):
        kinds.setdefault((job.recipe.rotation, job.recipe.fisher_samples), []).append(number)
    return [kinds[kind] for kind in sorted(kinds)]


def _by_weight(observed: Sequence[InputStatistics], linears: Sequence[str], prefix: str) -> dict[str, InputStatistics]:
    """Statistics by the full name of the weight. Raises UserError where a weight was not used as a linear layer's."""
    found = {f"{module}.weight": statistics for statistics in observed for module in statistics.modules}
    unseen = sorted(set(linears) - set(found))
    if unseen:
        raise UserError(
            f"{prefix}{unseen[0]} was not reached by the calibration data, so the model's structure is not understood",
            remedy=NEAREST,
        )
    return {f"{prefix}{name}": found[name] for name in linears}


def _quantize(
    job: Job,
    tensors: Tensors,
    observed: Sequence[InputStatistics],
    linears: Sequence[str],
    largest: tuple[float, float] | None,
    prefix: str,
) -> tuple[Tensors, tuple[ModuleError, ...]]:
    """All tensors of the layer as they are stored, by full name, and the error of each module.

    `largest` are the largest magnitudes of its keys and values, where its cache is quantized.
    """
    stored = {f"{prefix}{name}": tensor for name, tensor in tensors.items() if name not in linears}
    errors = []
    weights = {f"{prefix}{name}": tensors[name] for name in linears}
    for module in quantize_layer(weights, job.format, job.recipe, _by_weight(observed, linears, prefix)):
        stored.update(module.tensors)
        errors.append(module.errors)
    if job.format.kv_cache:
        dtype = next(iter(tensors.values())).dtype
        stored |= cache_scales((prefix + name for name in tensors), job.format.kv_cache, dtype, largest)
    return stored, tuple(errors)


def _restored(stored: Tensors, tensors: Tensors, linears: Sequence[str], format: Format, prefix: str) -> Tensors:
    """The layer's 16-bit tensors by name within it, its weights unpacked from what is stored, as an engine would."""
    restored = {}
    for name, original in tensors.items():
        module = prefix + name.removesuffix("weight")
        if name in linears:
            packed = {
                key.removeprefix(module): tensor
                for key, tensor in stored.items()
                if key.startswith(module) and key != f"{module}bias"
            }
            restored[name] = decompress(packed, format.of(module.removesuffix("."))).to(original)
        else:
            restored[name] = stored[prefix + name].to(original.device)
    return restored
