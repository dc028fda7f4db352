"""Which tensors of a checkpoint are the linear layers to quantize, found by structure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.files import BUFFER, language_prefix, stored_tensors
from whichbits.formats.checkpoint.names import DECODER, LM_HEAD, expert_part, in_language_model, layer_number
from whichbits.formats.mixed import targets
from whichbits.models.adapters import TENSOR
from whichbits.models.configuration import Configuration
from whichbits.models.tensor_check import compare, refuse_differences

Shape = tuple[int, ...]


def tensor_shapes(folder: Path) -> dict[str, Shape]:
    """Shape of every tensor of the checkpoint in `folder`, named as in `tensors.StoredTensors`; reads headers only."""
    shapes = {name: tensor.shape for name, tensor in stored_tensors(folder).items() if not BUFFER.fullmatch(name)}
    prefix = language_prefix(shapes)
    return {name.removeprefix(prefix): shape for name, shape in shapes.items()}


def layer_linears(configuration: Configuration, shapes: Mapping[str, Shape]) -> list[list[str]]:
    """Names of the weights to quantize, layer by layer: every 2-D weight under `model.layers.N` but routers.

    Layers beyond the model's own, which predict further tokens, stay as they are. Raises UserError where the model is quantized
    already, holds an adapter that is not merged, or something that is not understood.
    """
    if configuration.quantization:
        raise UserError(
            "the base is quantized already (quantization_config in its config.json)", remedy="give the 16-bit model"
        )
    adapters = sorted(name for name in shapes if TENSOR.search(name))
    if adapters:
        raise UserError(
            f"the base holds an adapter that is not merged into it: {adapters[0]} and {len(adapters) - 1} more tensors",
            remedy="merge it first (PEFT's merge_and_unload), and give the merged model",
        )
    routing = routers(shapes)
    if configuration.experts > 1 and not _experts(shapes):
        raise _not_understood("it is a mixture of experts, and no tensor is named experts.0.… as a single expert's would be")
    layers: dict[int, list[str]] = defaultdict(list)
    for name, shape in sorted(shapes.items()):
        number = layer_number(name)
        if number is None or len(shape) < 2 or number >= configuration.layers:
            continue
        if len(shape) > 2 or not name.endswith(".weight"):
            raise _not_understood(f"{name} of shape {' x '.join(map(str, shape))} is not the weight of a linear layer")
        if name not in routing:
            layers[number].append(name)
    if not layers:
        beginnings = sorted({name.split(".")[0] for name in shapes})
        raise _not_understood(
            f"it has no linear layers under model.layers.N (its tensors are under {', '.join(beginnings) or 'nothing'})"
        )
    return [layers[number] for number in sorted(layers)]


def routers(shapes: Mapping[str, Shape]) -> set[str]:
    """The matrices that decide which experts a token goes to, and how much of a shared one it gets.

    They stand beside the experts, in the same block, and have a row for each expert at most.
    """
    experts = _experts(shapes)
    return {
        name
        for name, shape in shapes.items()
        if len(shape) == 2 and (block := name.rsplit(".", 2)[0]) in experts and shape[0] <= experts[block]
    }


def _experts(shapes: Mapping[str, Shape]) -> dict[str, int]:
    """Number of experts of each block that has some, by the block's name."""
    numbers: dict[str, int] = {}
    for name in shapes:
        if expert := expert_part(name):
            numbers[expert.block] = max(numbers.get(expert.block, 0), expert.number + 1)
    return numbers


def _not_understood(what: str) -> UserError:
    return UserError(
        f"the base's structure is not understood: {what}", remedy="give a ready checkpoint of the format as the candidate"
    )


def beside_language_model(configuration: Configuration, base: Path, shapes: Mapping[str, Shape]) -> frozenset[str]:
    """Names of those tensors of the checkpoint in `base` that belong to other models beside the language model.

    There are none but in a multimodal checkpoint, all of whose tensors the library's class of the whole has to know. Raises
    UserError where it does not.
    """
    if not configuration.multimodal:
        return frozenset()
    stored = {name: tensor.shape for name, tensor in stored_tensors(base).items() if not BUFFER.fullmatch(name)}
    refuse_differences(compare(configuration, stored, base), configuration, base)
    return frozenset(filter(_beside, shapes))


def _beside(name: str) -> bool:
    """Whether a tensor of a multimodal checkpoint, named as in `tensor_shapes`, is not the language model's."""
    return not in_language_model(name)


def ignored(configuration: Configuration, shapes: Mapping[str, Shape], linears: Collection[str]) -> list[str]:
    """Modules that engines must leave in 16 bit: lm_head, routers, and other 2-D weights that are not embeddings of tokens.

    Of a checkpoint with other models beside the language model, all of those, by patterns: engines name them differently.
    """
    if configuration.multimodal:
        beside = {name.split(".")[0] for name in shapes if _beside(name)}
        inside = {name: shape for name, shape in shapes.items() if name.startswith(DECODER)}
        alone = replace(configuration, multimodal=False)
        own = [name for name in ignored(alone, inside, linears) if name != LM_HEAD]
        return [f"re:.*{LM_HEAD}$", *targets(own, among_others=True), *sorted(rf"re:.*\b{name}\b" for name in beside)]
    others = {
        name.removesuffix(".weight")
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2 and name not in linears and shape[0] != configuration.vocabulary
    }
    return sorted({LM_HEAD, *others})
