"""The tensors of a checkpoint compared with those of its model class, by the library's own loading, without any memory."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.names import DECODER, EXPERTS, HEAD, LANGUAGE, MLP, TEXT_CONFIG, expert_part
from whichbits.models.adapters import TENSOR
from whichbits.models.configuration import LLAMAS, Configuration, quiet

Shape = tuple[int, ...]

LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
IN_A_WORD = 8
"""The most codes of a word of 32 bits, of 4 bits each."""

AGAIN = "download the model again, or save it again with transformers' save_pretrained"

TASKS = tuple(f"MODEL_FOR_{task}_MAPPING_NAMES" for task in ("CAUSAL_LM", "IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM", "PRETRAINING"))
"""Where transformers lists classes that make text."""

NAMED = 3
"""How many tensors an error names."""


@dataclass(frozen=True)
class Comparison:
    """How a checkpoint's tensors differ from its model's, by name; all empty where it is that model's.

    `reshaped` holds name, stored shape and the model's; `prediction` are tensors of layers beyond the model's that predict
    further tokens, which it does not need. `tied` are the model's parameters that share another's numbers, with the other's
    name; `parameters` all shapes of the model, by its own names.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[tuple[str, Shape, Shape], ...]
    unconverted: tuple[str, ...]
    prediction: tuple[str, ...]
    tied: Mapping[str, str]
    parameters: Mapping[str, Shape]


def model_class(configuration: Configuration, folder: Path) -> Any:
    """transformers' class of the causal language model in `folder`, or the model's own, whose code then runs.

    Raises UserError where there is none.
    """
    from transformers.models.auto import modeling_auto as auto

    config = configuration.library
    own = getattr(config, "auto_map", None) or {}
    if configuration.has_remote_code and configuration.model_type not in LLAMAS and "AutoModelForCausalLM" in own:
        from transformers.dynamic_module_utils import get_class_from_dynamic_module

        return get_class_from_dynamic_module(own["AutoModelForCausalLM"], str(folder), local_files_only=True)
    for known in (auto.MODEL_FOR_CAUSAL_LM_MAPPING, auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING):
        if type(config) in known:
            _refuse_other_class(configuration, folder)
            return known[type(config)]
    raise UserError(
        f"{folder / 'config.json'}: transformers has no causal language model of model type {configuration.model_type}",
        remedy="choose a decoder-only language model",
    )


def _refuse_other_class(configuration: Configuration, folder: Path) -> None:
    """Raise UserError for an encoder, and where config.json names a class of another task, or of another model type."""
    from transformers.models.auto import modeling_auto as auto

    stated, own = configuration.architecture, configuration.model_type
    if own in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(configuration.library, "is_decoder", False):
        raise UserError(
            f"{folder / 'config.json'}: models of type {own} see the text behind a token too, so they give it no probability "
            "after what comes before",
            remedy="choose a decoder-only language model, or set is_decoder in config.json to true if it was trained as one",
        )
    tasks = {name: table for name, table in vars(auto).items() if name.endswith("_MAPPING_NAMES")}
    known = {
        (task, kind)
        for task, table in tasks.items()
        for kind, classes in table.items()
        if stated in (classes if isinstance(classes, tuple | list) else (classes,))
    }
    fitting = {(task, own) for task in TASKS}
    if known and own not in LLAMAS and not known & fitting and not str(stated).endswith("Model"):
        raise UserError(
            f"{folder / 'config.json'}: architectures is {stated}, which is no language model of model_type {own}",
            remedy="download config.json and weights of one model again",
        )


def compare(
    configuration: Configuration, shapes: Mapping[str, Shape | None], folder: Path, *, padding: bool = False
) -> Comparison:
    """Compare tensors of these names and shapes (None where unknown) with the model that `configuration` describes.

    With `padding` the last dimension may be stored up to a word of codes longer.

    Names are compared as transformers loads them, with its renamings, merged experts, tied parameters, and all that it
    ignores. Raises UserError where the model cannot be built.
    """
    import torch

    sure = all(shape is not None for shape in shapes.values())
    prediction = _prediction(shapes, configuration)
    extra = frozenset(prediction)
    tensors = {
        name: torch.empty(shape if shape is not None else (), device="meta")
        for name, shape in shapes.items()
        if name not in extra and (sure or not expert_part(name))
    }
    try:
        with quiet():
            config = _plain(configuration.library)
            model, found = model_class(configuration, folder).from_pretrained(
                None,
                config=config,
                state_dict=tensors,
                device_map={"": "meta"},
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except UserError:
        raise
    except Exception as error:  # the library's classes refuse sizes in ways of their own
        raise UserError(
            f"transformers cannot build the model of {folder / 'config.json'}: {' '.join(str(error).split())[:300]}",
            remedy="fix config.json, or download it again",
        ) from error
    missing, unexpected = sorted(found["missing_keys"]), sorted(found["unexpected_keys"])
    reshaped = sorted(
        (name, tuple(stored), tuple(own))
        for name, stored, own in found["mismatched_keys"]
        if not (padding and padded(tuple(stored), tuple(own)))
    )
    return Comparison(
        missing=tuple(name for name in missing if sure or not _merged(name)),
        unexpected=tuple(unexpected),
        reshaped=tuple(reshaped) if sure else (),
        unconverted=tuple(sorted(found["error_msgs"])) if sure else (),
        prediction=prediction,
        tied=dict(getattr(model, "all_tied_weights_keys", None) or {}),
        parameters={name: tuple(parameter.shape) for name, parameter in model.named_parameters()},
    )


def _plain(config: Any) -> Any:
    """The configuration without what it says of quantization, of which the names and shapes given here know nothing."""
    fields = config.to_dict()
    for place in (fields, fields.get(TEXT_CONFIG) or {}):
        place.pop("quantization_config", None)
        place.pop("compression_config", None)
    return type(config).from_dict(fields)


def padded(stored: Shape, own: Shape) -> bool:
    """Whether a matrix is stored with up to a word of codes more in each row than it has."""
    return stored[:-1] == own[:-1] and 0 <= stored[-1] - own[-1] < IN_A_WORD


def _prediction(names: Collection[str], configuration: Configuration) -> tuple[str, ...]:
    """Tensors of layers beyond the model's that predict further tokens: such a layer has parts that no other layer has."""
    layers = {name: (int(found[1]), name[found.end() :]) for name in names if (found := LAYER.search(name))}
    known = {part for number, part in layers.values() if number < configuration.layers}
    beyond = range(configuration.layers, configuration.layers + configuration.prediction_layers)
    predicting = {number for number, part in layers.values() if number in beyond and part not in known}
    return tuple(name for name, (number, _) in layers.items() if number in predicting)


def _merged(name: str) -> bool:
    """Whether the model's parameter is made of several stored ones, of which names alone do not tell."""
    return re.search(rf"experts\.({MLP.fused}|{MLP.down})", name) is not None


def refuse_names(configuration: Configuration, names: Collection[str], folder: Path) -> None:
    """Raise UserError where names alone show that a checkpoint is no whole model: adapters beside it, experts that lack."""
    adapters = [name for name in names if TENSOR.search(name)]
    if adapters:
        raise UserError(
            f"{folder} holds an adapter that is not merged: {_listed(adapters)}",
            remedy="merge it into its base first (PEFT: merge_and_unload, then save_pretrained)",
        )
    lost = list(islice(_lost_experts(names, configuration.experts), 10_000))
    if lost:
        raise UserError(f"{folder} lacks {_listed(lost)} of its {configuration.experts} experts", remedy=AGAIN)


def refuse_differences(found: Comparison, configuration: Configuration, folder: Path) -> None:
    """Raise UserError where the stored tensors are not the model's; it names some, and says what it may be."""
    odd = found.unexpected
    if odd and (prefix := _prefix(odd, found.missing)):
        raise UserError(
            f"{folder}: all tensors are named {prefix}..., where the model has {_listed(found.missing)}",
            remedy=f"save it again under the names of its model, without {prefix!r}",
        )
    beyond = sorted(name for name in odd if (layer := LAYER.search(name)) and int(layer[1]) >= configuration.layers)
    if beyond:
        raise UserError(
            f"{folder}: {_listed(beyond)} lie beyond num_hidden_layers = {configuration.layers} of config.json, and are no "
            "layers that predict further tokens (num_nextn_predict_layers)",
            remedy="fix num_hidden_layers, or download config.json and weights of one model",
        )
    head = HEAD
    if head in found.missing and not configuration.tied:
        raise UserError(
            f"{folder} lacks {head}, and tie_word_embeddings is false in config.json",
            remedy="set tie_word_embeddings to true if the head is the embeddings', else download the model again",
        )
    for what, differing in (("lacks", found.missing), ("holds tensors that are not its model's:", odd)):
        if differing:
            raise UserError(f"{folder} {what} {_listed(differing)} ({configuration.model_type})", remedy=AGAIN)
    if found.reshaped:
        name, stored, own = found.reshaped[0]
        raise UserError(
            f"{folder}: {name} has the shape {_by(stored)}, and the model that config.json describes {_by(own)}"
            + _more(found.reshaped),
            remedy="download config.json and weights of one model again",
        )
    if found.unconverted:
        raise UserError(f"{folder}: transformers cannot load it: {found.unconverted[0][:300]}", remedy=AGAIN)


def _lost_experts(names: Collection[str], experts: int) -> Iterator[str]:
    """Names that some expert of a block has and another lacks."""
    blocks: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for name in names:
        if expert := expert_part(name):
            blocks[f"{expert.block}.experts"][expert.part].add(expert.number)
    for block, parts in sorted(blocks.items()):
        for part, numbers in sorted(parts.items()):
            yield from (f"{block}.{number}.{part}" for number in range(experts) if number not in numbers)


def _prefix(odd: Sequence[str], missing: Sequence[str]) -> str:
    """What stands before all names that are not the model's, where without it they are those that are missing."""
    for name in missing:
        for other in odd:
            if other.endswith(name) and other != name:
                prefix = other.removesuffix(name)
                return prefix if all(each.startswith(prefix) for each in odd) else ""
    return ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + _more(names)


def _more(listed: Sequence[Any]) -> str:
    return f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""


def _by(shape: Shape) -> str:
    return " x ".join(map(str, shape)) or "of a scalar"


def own_shapes(parameters: Mapping[str, Shape], configuration: Configuration) -> dict[str, Shape]:
    """Shapes of a model's parameters under the names of checkpoints: experts one by one, no other model before the name."""
    shapes: dict[str, Shape] = {}
    for name, shape in parameters.items():
        for wrapped in (DECODER + LANGUAGE, LANGUAGE + DECODER):
            if name.startswith(wrapped):
                name = DECODER + name.removeprefix(wrapped)
        block, found, part = name.partition(EXPERTS)
        if not found or len(shape) != 3:
            shapes[name] = shape
            continue
        rows, columns = shape[1] // 2 if part == MLP.fused else shape[1], shape[2]
        for number in range(shape[0]):
            for own in (MLP.gate, MLP.up) if part == MLP.fused else (part,):
                shapes[f"{block}{EXPERTS}{number}.{own}.weight"] = (rows, columns)
    return shapes
