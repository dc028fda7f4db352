"""About how long a pass takes, and how much memory and disk: from the model's shape and what this machine was seen to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from whichbits.formats.checkpoint.names import ATTENTION, EXPERTS, layer_prefix
from whichbits.formats.checkpoint.writer import HELD_BYTES
from whichbits.formats.format import Format, fit
from whichbits.formats.mixed import unit
from whichbits.models.configuration import Configuration
from whichbits.models.shape import Shape
from whichbits.quantization.calibration.self_generated import float32_is_faster, samples_together
from whichbits.quantization.model.attention import LONGEST
from whichbits.quantization.model.decoder import LOGITS_AT_A_TIME, TOKENS_AT_A_TIME
from whichbits.quantization.passes.forward_check import LARGEST_LAYER, LENGTH, SAMPLES
from whichbits.quantization.recipe.recipe import Recipe
from whichbits.quantization.statistics.backward import EVERY, LARGEST_CURVATURE
from whichbits.quantization.transforms.awq import CLIPS, STRENGTHS

if TYPE_CHECKING:
    from whichbits.quantization.statistics.forward import InputStatistics

PROBE_ROWS, PROBE_COLUMNS = 256, 512
"""Size of the matrix that is rounded to see how fast that is."""

DECODED_TOGETHER, DECODED_WIDTH = 64, 4096
"""Samples, and width of a layer, at which it is seen how fast text is generated."""

PROBE_SECONDS = 0.2
"""How long each kind of work is watched."""

BYTES_16, BYTES_32, BYTES_64 = 2, 4, 8


@dataclass(frozen=True)
class Widths:
    """A decoder as the estimate sees it.

    Each of `layers` equal layers has distinct inputs: `inputs` are pairs of an input's width and the rows of each module that
    reads it. `outside` are the weights that stay in 16 bit, `head` those of them that a token is multiplied with, `kv_width`
    the numbers that a token leaves in a layer's key-value cache, `heads` those of its queries.
    """

    layers: int
    hidden: int
    heads: int
    kv_width: int
    outside: int
    head: int
    inputs: tuple[tuple[int, tuple[int, ...]], ...]

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """[rows, columns] of each module of a layer."""
        return [(rows, columns) for columns, readers in self.inputs for rows in readers]

    @property
    def bytes_16(self) -> int:
        """Bytes of the model in 16 bit."""
        return BYTES_16 * (self.layers * self.layer_weights + self.outside)

    @property
    def layer_weights(self) -> int:
        """Quantized weights of one layer."""
        return sum(rows * columns for rows, columns in self.matrices)


def widths_of(configuration: Configuration, shapes: Mapping[str, tuple[int, ...]], linears: Sequence[Sequence[str]]) -> Widths:
    """What an estimate sees of the model with tensors of these `shapes`, of which `linears` are quantized, layer by layer.

    All layers are taken to be as large as the largest.
    """
    largest = max(linears, key=lambda names: sum(prod(shapes[name]) for name in names))
    readers: dict[tuple[str, int], list[int]] = {}
    for name in largest:
        module = name.removesuffix(".weight")
        block, experts, own = module.partition(EXPERTS)
        number, _, projection = own.partition(".")
        together = f"{block}.{number}.{unit(f'{block}.{projection}')}" if experts else unit(module)
        rows, columns = shapes[name]
        readers.setdefault((together, columns), []).append(rows)
    quantized = {name for names in linears for name in names}
    return Widths(
        layers=len(linears),
        hidden=configuration.hidden,
        heads=configuration.heads,
        kv_width=2 * configuration.kv_heads * configuration.head_dim,
        outside=sum(prod(shape) for name, shape in shapes.items() if name not in quantized),
        head=configuration.hidden * configuration.vocabulary,
        inputs=tuple((columns, tuple(rows)) for (_, columns), rows in readers.items()),
    )


def widths_of_shape(shape: Shape) -> Widths:
    """What an estimate sees of a model that the catalogue knows."""
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    head = shape.hidden * shape.vocab
    inward = (shape.ffn, shape.ffn) if shape.gated else (shape.ffn,)
    feed_forward = ((shape.hidden, inward), (shape.ffn, (shape.hidden,)))
    return Widths(
        layers=shape.layers,
        hidden=shape.hidden,
        heads=shape.heads,
        kv_width=shape.kv_width,
        outside=head if shape.tied else 2 * head,
        head=head,
        inputs=((shape.hidden, (queries, keys, keys)), (queries, (shape.hidden,)), *feed_forward * max(1, shape.experts)),
    )


@dataclass(frozen=True)
class Speed:
    """What this machine was seen to do: operations a second in products of matrices.

    `exact` are those in float32, `layer` those of 16-bit linear layers on many tokens. `decode` and `decode_float32` are those
    of linear layers too large for the processor's caches, on as many tokens as samples of calibration text are generated
    together: in 16 bit and in float32. `choice` is how many logits a second become probabilities, summed up so that a token can
    be drawn by them.
    """

    exact: float
    layer: float
    decode: float
    decode_float32: float
    choice: float


@dataclass(frozen=True)
class Cost:
    """Seconds, bytes of memory at the peak beside the program's own, bytes of the finished checkpoint and of files beside it.

    `scratch` are those files: finished layers and hidden states, which are deleted at the end.
    """

    seconds: float
    memory: int
    disk: int
    scratch: int = 0


def measure_speed() -> Speed:
    """Multiply some matrices for a moment, with the threads that torch has."""
    import torch

    from whichbits.models.float32_products import float32_products

    def rate(rows: int, dtype: torch.dtype, width: int = 1024) -> float:
        inputs, weight = torch.ones(rows, width, dtype=dtype), torch.ones(width, width, dtype=dtype)
        return 2 * rows * width * width / _seconds(lambda: torch.nn.functional.linear(inputs, weight))

    logits = torch.ones(LOGITS_AT_A_TIME, 8192)
    choice = logits.numel() / _seconds(lambda: torch.softmax(logits, dim=-1).cumsum(dim=-1))
    with float32_products():  # as in the pass
        return Speed(
            exact=rate(512, torch.float32),
            layer=rate(512, torch.bfloat16),
            decode=rate(DECODED_TOGETHER, torch.bfloat16, DECODED_WIDTH),
            decode_float32=rate(DECODED_TOGETHER, torch.float32, DECODED_WIDTH),
            choice=choice,
        )


def measure_rounding(format: Format, recipe: Recipe) -> float:
    """Seconds that a weight takes to be rounded by `recipe`, seen on one small random matrix."""
    import torch

    from whichbits.quantization.passes.layer import quantize_layer

    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(PROBE_ROWS, PROBE_COLUMNS, generator=generator).to(torch.bfloat16)
    name = f"{layer_prefix(0)}self_attn.{ATTENTION.output}.weight"
    fitted = fit(format, [(PROBE_ROWS, PROBE_COLUMNS)], group_size=recipe.group_size)
    # The factor of the Hessian is computed once, for all that read an input: at the first call, which is not counted.
    statistics = {name: _statistics(recipe)} if recipe.needs_data(format) else None

    def work() -> None:
        for _ in quantize_layer({name: weight}, fitted, recipe, statistics):
            pass

    return _seconds(work) / weight.numel()


def cost(widths: Widths, format: Format, recipe: Recipe, speed: Speed, rounding: float, kept: int = 0) -> Cost:
    """What one checkpoint costs when it is made alone; `rounding` is that of `measure_rounding`.

    `kept` samples of the calibration text that the model generates are there already.
    """
    weights = widths.layers * widths.layer_weights
    fitted = fit(format, set(widths.matrices), group_size=recipe.group_size)
    stored = widths.layers * sum(
        rows * columns * fitted.bits_per_weight(rows, columns) / 8 for rows, columns in widths.matrices
    )
    disk = int(stored) + BYTES_16 * widths.outside
    largest = max(rows * columns for rows, columns in widths.matrices)
    # The shard that is being filled, and the largest weight in float32 with its rounded copy and its error.
    memory = min(disk, HELD_BYTES) + 3 * BYTES_32 * largest
    if not recipe.needs_data(format):
        return Cost(weights * rounding, memory, disk)
    states = BYTES_16 * recipe.calibration.samples * recipe.calibration.length * widths.hidden
    memory += _held_states(recipe) * states + _statistics_bytes(widths, recipe) + 2 * BYTES_16 * widths.layer_weights
    if recipe.rotation:  # the next layer too; one that is not rotated stays mapped to its file
        memory += BYTES_16 * widths.layer_weights
    memory += _running_memory(widths, recipe)
    return Cost(
        weights * rounding + _calibration_seconds(widths, recipe, speed, rounding) + text_seconds(widths, recipe, speed, kept),
        max(memory, _generating_memory(widths, recipe), _comparing_memory(widths)),
        disk,
        scratch=int(stored) + _sensitivity_bytes(widths, recipe, states),
    )


def _calibration_seconds(widths: Widths, recipe: Recipe, speed: Speed, rounding: float) -> float:
    """Seconds of a calibrated pass beside those of rounding at the probe's width."""
    tokens = recipe.calibration.samples * recipe.calibration.length
    draws = recipe.fisher_samples
    # Forward once, on the way back again, and for each draw the gradient; then, or without the loss in its place, forward once,
    # for the next layer, and for the base beside.
    passes = 2 + draws if draws else 0
    if recipe.propagates or not draws:
        passes += 1 + recipe.propagates + recipe.corrects
    squares = sum(columns**2 for columns, _ in widths.inputs)
    layer = 2 * passes * tokens * widths.layer_weights / speed.layer
    # The Hessians (half of each).
    layer += tokens * squares / speed.exact + _factor_seconds(widths, speed)
    if draws and recipe.propagates:
        layer += tokens * squares / speed.exact
    if recipe.corrects:
        # What inputs and stream lack, and the weights that make up for it.
        layer += 2 * tokens * (squares + _residual_numbers(widths)) / speed.exact
        layer += 6 * sum(rows * columns**2 for rows, columns in widths.matrices) / speed.exact
    if draws:
        seen = [(rows, columns) for rows, columns in widths.matrices if rows <= LARGEST_CURVATURE]
        curvature = draws * tokens / EVERY * sum(rows**2 for rows, _ in seen)
        tall = sum(4 * rows**3 / 3 + rows * columns * max(0, rows - PROBE_ROWS) for rows, columns in seen)
        layer += (curvature + tall) / speed.exact
    seconds = widths.layers * layer
    if draws:
        seconds += tokens * (4 * widths.head / speed.layer + widths.head / widths.hidden / speed.choice)
    weights = widths.layers * widths.layer_weights
    if recipe.awq:
        products = 2 * sum(rows * columns**2 for rows, columns in widths.matrices)
        seconds += len(CLIPS) * weights * rounding
        seconds += (1 + len(STRENGTHS)) * (weights * rounding + widths.layers * products / speed.exact)
    return seconds


def _factor_seconds(widths: Widths, speed: Speed) -> float:
    """Seconds of a layer beside those of rounding at the probe's width, which each checkpoint of a pass takes."""
    # The Hessians' Cholesky factors with the triangular inverses.
    cubes = sum(columns**3 for columns, _ in widths.inputs)
    # GPTQ's updates behind each block of columns, and the two errors of the output that are compared.
    wide = 3 * sum(rows * columns * max(0, columns - PROBE_COLUMNS) for rows, columns in widths.matrices)
    return (4 * cubes / 3 + wide) / speed.exact


def further_seconds(widths: Widths, format: Format, recipe: Recipe, speed: Speed, rounding: float) -> float:
    """Seconds that one more checkpoint adds to a pass: its own stream where it propagates its error, else its rounding."""
    seconds = widths.layers * widths.layer_weights * rounding
    if not recipe.needs_data(format):
        return seconds
    if recipe.propagates:
        return seconds + _calibration_seconds(widths, recipe, speed, rounding)
    return seconds + widths.layers * _factor_seconds(widths, speed)


def text_seconds(widths: Widths, recipe: Recipe, speed: Speed, kept: int = 0) -> float:
    """Seconds in which the model generates the calibration text of a recipe, of which `kept` samples are there already."""
    if recipe.calibration.source != "self":
        return 0.0
    tokens = max(0, recipe.calibration.samples - kept) * recipe.calibration.length
    rate = speed.decode_float32 if float32_is_faster(widths.bytes_16) else speed.decode
    products = 2 * (widths.layers * widths.layer_weights + widths.head) / rate
    return tokens * (products + widths.head / widths.hidden / speed.choice)


def _held_states(recipe: Recipe) -> int:
    """How often the hidden states of all samples are in memory: a layer's inputs and outputs, or gradients in their place."""
    forwards = 4 if recipe.corrects else 2
    return max(3, 1 + 2 * recipe.fisher_samples, forwards) if recipe.fisher_samples else forwards


def _residual_numbers(widths: Widths) -> int:
    """Weights of a layer that can add to the residual stream."""
    return sum(rows * columns for rows, columns in widths.matrices if rows == widths.hidden)


def _curvatures(widths: Widths) -> list[int]:
    """Numbers of the curvature at each module's output, where it is measured."""
    return [rows**2 for rows, _ in widths.matrices if rows <= LARGEST_CURVATURE]


def _sensitivity_bytes(widths: Widths, recipe: Recipe, states: int) -> int:
    """Bytes on disk while the loss is asked: hidden states before each layer, and what is kept for a pass forwards."""
    if not recipe.fisher_samples:
        return 0
    return widths.layers * (states + (BYTES_32 * sum(_curvatures(widths)) if recipe.propagates else 0))


def _statistics_bytes(widths: Widths, recipe: Recipe) -> int:
    """Bytes of a layer's Hessians, their factors, what they are factorised in, and of the curvature between rows."""
    squares = [columns**2 for columns, _ in widths.inputs]
    numbers = (3 if recipe.corrects else 2) * sum(squares) + 3 * max(squares)
    if recipe.corrects:
        numbers += _residual_numbers(widths) + widths.layer_weights  # what each weight is to come near
    if recipe.fisher_samples:
        numbers += sum(_curvatures(widths)) + 4 * max(_curvatures(widths), default=0)
    return BYTES_32 * numbers


def _running_memory(widths: Widths, recipe: Recipe) -> int:
    """Bytes while a layer runs on some samples: what modules give, and on the way back what follows from it, and logits."""
    length = recipe.calibration.length
    tokens = max(TOKENS_AT_A_TIME, length)
    outputs = tokens * sum(rows for rows, _ in widths.matrices)
    logits, kept = 0, 0
    if recipe.fisher_samples:
        logits = LOGITS_AT_A_TIME * widths.head // widths.hidden
        # What attention gives each earlier token.
        kept = tokens * widths.heads * length // 2 if length <= LONGEST else 0
    return BYTES_16 * (3 * outputs + kept) + 4 * BYTES_32 * logits


def _generating_memory(widths: Widths, recipe: Recipe) -> int:
    """Bytes while the model generates its own calibration text: keys and values, and in float32 the model itself."""
    if recipe.calibration.source != "self":
        return 0
    wide = float32_is_faster(widths.bytes_16)
    a_token = widths.layers * widths.kv_width * (BYTES_32 if wide else BYTES_16)
    together = min(recipe.calibration.samples, samples_together(a_token, recipe.calibration.length))
    return together * recipe.calibration.length * a_token + (2 * widths.bytes_16 if wide else 0)


def _comparing_memory(widths: Widths) -> int:
    """Bytes while the model is compared with the library's own forward: a layer, scaled and not, or the head with logits."""
    number = BYTES_64 if widths.layer_weights <= LARGEST_LAYER else BYTES_32
    vocabulary = widths.head // widths.hidden
    return number * max(2 * widths.layer_weights, widths.head + 4 * SAMPLES * LENGTH * vocabulary)


def _statistics(recipe: Recipe) -> InputStatistics:
    """Statistics of random inputs of the probe's width, and of the loss at its output where `recipe` asks."""
    import torch

    from whichbits.quantization.statistics.forward import InputStatistics

    inputs = torch.randn(2 * PROBE_COLUMNS, PROBE_COLUMNS)
    found = InputStatistics(inputs.T @ inputs, inputs.abs().amax(dim=0))
    if recipe.fisher_samples:
        slopes = torch.randn(2 * PROBE_ROWS, PROBE_ROWS)
        found.curvature = {ATTENTION.output: slopes.T @ slopes}
    return found


def _seconds(work: Callable[[], object]) -> float:
    """Seconds of one call, as the mean over a moment after a first call that is not counted."""
    work()
    began, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - began < PROBE_SECONDS:
        work()
        calls += 1
    return (time.perf_counter() - began) / calls
