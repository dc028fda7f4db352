"""Check that our forward pass equals transformers' own, before the calibrated pass begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.files import shard_files
from whichbits.formats.checkpoint.names import EMBEDDINGS, HEAD, HEAD_BIAS, layer_number, layer_prefix
from whichbits.models.configuration import Configuration, read_configuration
from whichbits.quantization.model.attention import BLOCK
from whichbits.quantization.model.decoder import (
    NEAREST,
    Call,
    empty,
    empty_library_model,
    empty_model,
    final_norm,
    first_inputs,
    hooked,
    logits_of,
)
from whichbits.quantization.model.finite import check_states
from whichbits.quantization.model.library import Filling
from whichbits.quantization.model.replicas import Replica, filled, run
from whichbits.quantization.model.structure import beside_language_model, layer_linears, tensor_shapes
from whichbits.quantization.model.tensors import (
    StoredTensors,
    TensorsAs,
    head_bias_of,
    head_of,
    layer_tensors,
    outside_layers,
)
from whichbits.quantization.recipe.recipe import Recipe
from whichbits.quantization.transforms.check import scaled_at_random
from whichbits.quantization.transforms.rotation import RotatedTensors
from whichbits.quantization.transforms.transform import asked

if TYPE_CHECKING:
    import torch

Tensors = Mapping[str, "torch.Tensor"]

SAMPLES = 2
"""Sequences that are compared: what is recorded of one (positions, mask) has to hold for another."""

LENGTH = BLOCK + 8
"""Tokens of each: more than one block of queries of `attention`."""

LARGEST_LAYER = 2**30
"""Weights of a layer up to which float64 is computed in, which takes 8 GiB for so many."""

TRANSFORMED = 2**-8
"""Difference that a transform may make: weights go through float32 once more; what does change the model changes it by more."""


@dataclass(frozen=True)
class Difference:
    """Where pass and library part: what is compared, how far apart it is relative to its length, and how far it may be."""

    what: str
    size: float
    allowed: float


def check_agreement(
    base: Path, recipes: Sequence[Recipe] = (), *, device: str = "cpu", trust_remote_code: bool = False
) -> None:
    """Compare the walk through the layers of the model in `base` with the library's own forward, on a few tokens.

    Compared are what reaches the first layer, each layer's output for what the library gives it, what passes from a layer to
    the next, what reaches the head, logits, and the loss. Scales and rotations that `recipes` merge into weights are tried too:
    they must change nothing. It is computed on `device`, in float64 (float32 where a layer is too large for that). The
    library's forward runs by its own code; embeddings, each layer and the head are filled, by the library's own loading, when
    they are called, and emptied before the walk's are filled. So one of them is in memory at a time (a layer twice while it is
    scaled). Of a checkpoint with other models beside the language model, that alone is compared. The model's own Python code
    runs only where `trust_remote_code` says so.
    A model of FP16 is run in FP16 as well. Raises UserError that names what differs first, what cannot be run, or where hidden
    states leave the range of FP16.
    """
    files = tuple(
        (str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in [base / "config.json", *shard_files(base)]
    )
    _agrees(base, files, _merged(recipes), device, trust_remote_code)


@dataclass(frozen=True)
class Merged:
    """What recipes merge into weights: scales, those of `o_proj`'s input too, and a rotation by its seed."""

    scales: bool
    heads: bool
    rotation: int | None


def _merged(recipes: Sequence[Recipe]) -> Merged:
    transforms = [each.transform for recipe in recipes for each in asked(recipe)]
    heads = any(transform.scales_heads for transform in transforms)
    return Merged(bool(transforms), heads, next((recipe.seed for recipe in recipes if recipe.rotation), None))


@cache
def _agrees(base: Path, files: tuple[tuple[str, int, int], ...], merged: Merged, device: str, trust_remote_code: bool) -> None:
    """Compare a model of these `files` once in the life of a process. Raises UserError as `check_agreement`."""
    comparison = _Comparison(base, merged, device, trust_remote_code)
    try:
        found = next(comparison.differences(), None)
    except UserError:
        raise
    except Exception as error:  # whatever a model's own code may raise
        cause = " ".join(str(error).split())[:300]
        raise UserError(
            f"the layers of {base.name} cannot be walked one by one: {type(error).__name__}: {cause}", remedy=NEAREST
        ) from error
    if found is not None:
        raise UserError(
            f"the calibrated pass does not compute what the library's own forward of {base.name} does: {found.what} differs by "
            f"{found.size:.0e} of its length, where rounding makes {found.allowed:.0e} at most",
            remedy=NEAREST,
        )


def computed_in(shapes: Mapping[str, tuple[int, ...]]) -> torch.dtype:
    """The type that a model of these tensors is compared in."""
    import torch

    sizes: dict[int | None, int] = {}
    for name, shape in shapes.items():
        number = layer_number(name)
        sizes[number] = sizes.get(number, 0) + prod(shape)
    return torch.float64 if max(sizes.values()) <= LARGEST_LAYER else torch.float32


def tolerance(dtype: torch.dtype) -> float:
    """How far rounding may take two ways to compute the same apart, relative to the length of what is computed.

    In float64 the two ways themselves differ by some 1e-14. But norms, routers, rotary angles and capped attention are rounded
    to float32 whatever they are given, and softmax multiplies the error of a score by its size, some hundred: 2**8 units of
    float32. In float32 a sum of K terms errs by about the root of K units (Higham and Mary 2019) besides: for sums of 2**12
    terms 2**14 units.
    """
    import torch

    unit = torch.finfo(torch.float32).eps / 2
    return (2**8 if dtype == torch.float64 else 2**14) * unit


def some_tokens(config: Any) -> torch.Tensor:
    """Token ids to compare on, int64 [SAMPLES, LENGTH] or as many as the model reads."""
    import torch

    length = min(LENGTH, getattr(config, "max_position_embeddings", None) or LENGTH)
    return torch.randint(config.vocab_size, (SAMPLES, length), generator=torch.Generator().manual_seed(0))


class _Comparison:
    """The walk's layers run on the same hidden states while the library's forward runs."""

    def __init__(self, base: Path, merged: Merged, device: str, trust_remote_code: bool) -> None:
        self._base = base
        self._merged = merged
        self._device = device
        self._trust_remote_code = trust_remote_code
        self._shapes = tensor_shapes(base)
        self._dtype = computed_in(self._shapes)
        self._stored = StoredTensors(base)
        self._tensors = TensorsAs(self._stored, self._dtype, device)
        self._allowed = tolerance(self._dtype)
        self._found: list[Difference] = []
        self._kinds: set[tuple[tuple[str, tuple[int, ...]], ...]] = set()
        self._calls: list[Call] = []
        self._layers: list[Any] = []
        self._passed_on: torch.Tensor | None = None
        self._states: torch.Tensor | None = None

    def differences(self) -> Iterator[Difference]:
        """What differs by more than rounding, in the order of the forward."""
        import torch

        configuration = read_configuration(self._base, trust_remote_code=self._trust_remote_code)
        linears = layer_linears(configuration, self._shapes)
        model = self._library_model()
        walk = self._walk()
        tokens = some_tokens(model.config).to(self._device)
        self._layers = list(walk.layers)
        if len(self._layers) != len(linears):
            raise UserError(
                f"{self._base.name} holds linear layers in {len(linears)} decoder layers, the model has {len(self._layers)}",
                remedy="give a checkpoint that holds all of the model's tensors",
            )
        (self._passed_on, *_), self._calls = first_inputs(walk, outside_layers(self._tensors), tokens)
        empty(walk.get_input_embeddings())
        with torch.no_grad(), hooked(self._hooks(model, configuration, linears)):
            result = model(input_ids=tokens, labels=tokens, use_cache=False)
        self._behind_layers(walk, self._tensors, self._passed_on, tokens, result)
        if self._merged.rotation is not None:
            rotated = RotatedTensors(self._tensors, configuration, self._merged.rotation)
            self._rotated(walk, TensorsAs(rotated, self._dtype, self._device), tokens, result)
        yield from self._found
        self._in_range(tokens)

    def _in_range(self, tokens: torch.Tensor) -> None:
        """Run the tokens in FP16, where that is the model's type. Raises UserError where hidden states leave its range."""
        import torch

        walk = empty_model(self._base, trust_remote_code=self._trust_remote_code, device=self._device)
        if walk.dtype != torch.float16:
            return
        tensors = TensorsAs(StoredTensors(self._base), walk.dtype, self._device)
        layers = list(walk.layers)
        hidden, calls = first_inputs(walk, outside_layers(tensors), tokens)
        for number, (layer, call) in enumerate(zip(layers, calls, strict=True)):
            hidden = run(filled(layer, layer_tensors(tensors, number), call, [self._device]), hidden)
            check_states(hidden, f"the hidden states behind layer {number}")
            empty(layer)

    def _library_model(self) -> Any:
        model = empty_library_model(
            self._base, trust_remote_code=self._trust_remote_code, device=self._device, dtype=self._dtype
        )
        # Other ways to run fused experts know no float64, and others to run attention no cap.
        model.set_experts_implementation("eager")
        if getattr(model.config, "attn_logit_softcapping", None) is not None:
            model.set_attn_implementation("eager")
        return model

    def _walk(self) -> Any:
        return empty_model(self._base, trust_remote_code=self._trust_remote_code, device=self._device, dtype=self._dtype)

    def _hooks(self, model: Any, configuration: Configuration, linears: Sequence[Sequence[str]]) -> Iterator[tuple[Any, Any]]:
        """What is hooked into the library's model: pairs of what registers a hook, and the hook.

        Embeddings and head, which may be larger than a layer, are filled before they are called and emptied behind.
        """
        filling = Filling(model, self._dtype, self._device)
        beside = beside_language_model(configuration, self._base, self._shapes)
        outside = [name for name in self._stored if layer_number(name) is None and name not in beside]
        of_head = [name for name in outside if name in (HEAD, HEAD_BIAS)]
        filling.load(self._named(name for name in outside if name not in (EMBEDDINGS, *of_head)))
        embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
        if configuration.tied or HEAD not in of_head:
            of_head = [EMBEDDINGS, *(name for name in of_head if name != HEAD)]

        def fill_with(names: Sequence[str], *_: Any) -> None:
            filling.load(self._named(names))
            if EMBEDDINGS in names:
                model.tie_weights()

        def empty_both(*_: Any) -> None:
            empty(embeddings)
            empty(head)

        def reached_head(_: Any, args: tuple[Any, ...]) -> None:
            self._states = args[0]

        yield embeddings.register_forward_pre_hook, partial(fill_with, [EMBEDDINGS])
        yield embeddings.register_forward_hook, empty_both
        for number, layer in enumerate(model.get_decoder().layers):
            yield layer.register_forward_pre_hook, self._before(filling, number)
            yield layer.register_forward_hook, self._behind(number, linears[number])
        yield head.register_forward_pre_hook, reached_head
        yield head.register_forward_pre_hook, partial(fill_with, of_head)
        yield head.register_forward_hook, empty_both

    def _named(self, names: Iterable[str]) -> Tensors:
        return {name: self._stored[name] for name in names}

    def _before(self, filling: Filling, number: int) -> Any:
        def before(layer: torch.nn.Module, args: tuple[Any, ...]) -> None:
            what = f"what layer {number - 1} passes on to layer {number}" if number else "the embedding"
            self._compare(what, self._passed_on, args[0])
            filling.load(self._named(name for name in self._stored if layer_number(name) == number), layer_prefix(number))

        return before

    def _behind(self, number: int, linears: Sequence[str]) -> Any:
        def behind(layer: torch.nn.Module, args: tuple[Any, ...], output: Any) -> None:
            theirs = output[0] if isinstance(output, tuple) else output
            empty(layer)
            walked, own = self._layers[number], layer_tensors(self._tensors, number)
            replicas = filled(walked, own, self._calls[number], [self._device])
            (ours,) = run(replicas, [args[0]])
            self._compare(f"the output of layer {number}", ours, theirs, theirs - args[0])
            kind = tuple((name, tuple(tensor.shape)) for name, tensor in sorted(own.items()))
            if kind not in self._kinds:
                self._kinds.add(kind)
                self._scaled(number, replicas, own, linears, args[0], theirs)
            empty(walked)
            self._passed_on = theirs

        return behind

    def _scaled(
        self,
        number: int,
        replicas: Sequence[Replica],
        own: Tensors,
        linears: Sequence[str],
        inputs: torch.Tensor,
        theirs: torch.Tensor,
    ) -> None:
        """Compare a layer of each kind with itself, scales merged into its weights where a recipe merges some."""
        if not self._merged.scales:
            return
        modules = [name.removeprefix(layer_prefix(number)).removesuffix(".weight") for name in linears]
        (ours,) = run(scaled_at_random(replicas, own, modules, inputs, balanced=self._merged.heads), [inputs])
        what = f"the output of layer {number} whose inputs are scaled (smoothing, balancing, awq)"
        self._compare(what, ours, theirs, theirs - inputs, TRANSFORMED)

    def _rotated(self, walk: Any, tensors: Tensors, tokens: torch.Tensor, result: Any) -> None:
        """Compare the logits of the rotated model, walked through on its own."""
        import torch

        walk.layers = torch.nn.ModuleList(self._layers)
        hidden, calls = first_inputs(walk, outside_layers(tensors), tokens)
        for number, (layer, call) in enumerate(zip(self._layers, calls, strict=True)):
            hidden = run(filled(layer, layer_tensors(tensors, number), call, [self._device]), hidden)
            empty(layer)
        with torch.no_grad():
            states = final_norm(walk)(torch.cat(hidden))
            logits = logits_of(states, head_of(tensors), walk.config, head_bias_of(tensors))
        self._compare("the logits of the rotated model", logits, result.logits, allowed=TRANSFORMED)

    def _behind_layers(self, walk: Any, tensors: Tensors, hidden: torch.Tensor, tokens: torch.Tensor, result: Any) -> None:
        """Compare what reaches the head, logits, and loss."""
        import torch

        with torch.no_grad():
            states = final_norm(walk)(hidden)
            logits = logits_of(states, head_of(tensors), walk.config, head_bias_of(tensors))
            loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        self._compare("what reaches the head", states, self._states)
        self._compare("the logits", logits, result.logits)
        self._compare("the loss", loss, result.loss)

    def _compare(
        self,
        what: str,
        ours: torch.Tensor | None,
        theirs: torch.Tensor | None,
        changed: torch.Tensor | None = None,
        allowed: float | None = None,
    ) -> None:
        allowed = self._allowed if allowed is None else allowed
        size = (
            float("inf") if ours is None or theirs is None else distance(ours, theirs, theirs if changed is None else changed)
        )
        if not size <= allowed:  # what is no number agrees with nothing
            self._found.append(Difference(what, size, allowed))


def distance(ours: torch.Tensor, theirs: torch.Tensor, changed: torch.Tensor) -> float:
    """Length of the difference of two tensors over that of `changed`, which is what was computed; inf for unlike shapes.

    What was computed counts as a thousandth of the whole at least, to whose size rounding is proportional.
    """
    import torch

    if ours.shape != theirs.shape:
        return float("inf")
    length = torch.linalg.vector_norm
    difference = length(ours.double() - theirs.double())
    size = torch.maximum(length(changed.double()), 1e-3 * length(theirs.double()))
    return 0.0 if float(difference) == 0 else float(difference / size)
