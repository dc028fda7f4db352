"""How large the error of INT8 linear layers is after SmoothQuant, its strength searched for each input, and after balancing.

    python benchmarks/quantizers/strengths.py --tokens WORK/tokens.jsonl [--model M]

Prints, for each kind of input that scales can be merged into, the squared error of the outputs of the layers that read it, of
2048 tokens, relative to that without scales (geometric mean over the decoder's layers). Weights are rounded to nearest with a
scale for each channel, inputs with one for each token.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean, median

import torch
from tokens import written

from whichbits.formats.catalogue import get
from whichbits.models.resolve import resolve
from whichbits.quantization.model.decoder import empty, empty_model, first_inputs
from whichbits.quantization.model.replicas import Replica, filled, run
from whichbits.quantization.model.tensors import layer_tensors, outside_layers
from whichbits.quantization.recipe.recipe import Recipe
from whichbits.quantization.rounding.fake_quantize import quantized_activations
from whichbits.quantization.rounding.weight import round_weight
from whichbits.quantization.statistics.forward import InputStatistics, observe
from whichbits.quantization.transforms.balancing import balancing_scale
from whichbits.quantization.transforms.base_tensors import base_tensors
from whichbits.quantization.transforms.smoothquant import smoothing_scale

FORMAT = get("w8a8-int")
STRENGTHS = [step / 20 for step in range(21)]
CUSTOMARY = 0.8
INPUTS = {"q_proj": "q, k, v", "gate_proj": "gate, up", "down_proj": "down"}


def main() -> None:
    """Walk the decoder, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="folder, or an embedded model's name")
    given = parser.parse_args()
    torch.set_num_threads(1)
    base = resolve(given.model).path
    decoder, tensors = empty_model(base), base_tensors(base, Recipe())
    hidden, calls = first_inputs(decoder, outside_layers(tensors), written(given.tokens))
    found: dict[str, list[Mapping[str, float]]] = defaultdict(list)
    for number, layer in enumerate(decoder.layers):
        own = layer_tensors(tensors, number)
        replicas = filled(layer, own, calls[number], ["cpu"])
        linears = [name for name, module in layer.named_modules() if isinstance(module, torch.nn.Linear)]
        observation = observe(replicas, linears, hidden)
        inputs = _inputs(replicas[0], linears, hidden[0])
        for fed in observation.statistics:
            kinds = [INPUTS[module.rpartition(".")[2]] for module in fed.modules if module.rpartition(".")[2] in INPUTS]
            for kind in kinds:
                found[kind].append(_errors(inputs[fed.modules[0]], fed, [own[f"{module}.weight"] for module in fed.modules]))
        hidden = observation.outputs
        empty(layer)
    print(_table(found))


@torch.no_grad()
def _inputs(replica: Replica, linears: Sequence[str], hidden: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each linear layer is fed for `hidden`, float32 [tokens, columns]."""
    inputs = {}
    hooks = [
        replica.layer.get_submodule(name).register_forward_pre_hook(
            lambda _, args, name=name: inputs.update({name: args[0].flatten(0, -2).float()})
        )
        for name in linears
    ]
    run([replica], [hidden])
    for hook in hooks:
        hook.remove()
    return inputs


def _errors(x: torch.Tensor, fed: InputStatistics, weights: Sequence[torch.Tensor]) -> dict[str, float]:
    """Squared errors by how the input is scaled, relative to that without scales; the strength that served best."""
    largest = torch.stack([weight.abs().amax(dim=0) for weight in weights]).amax(dim=0).float()
    energy = torch.stack([weight.float().square().sum(dim=0) for weight in weights]).sum(dim=0)
    plain = _error(x, weights, torch.ones_like(largest))
    smoothed = {strength: _error(x, weights, smoothing_scale(fed.largest, largest, strength)) for strength in STRENGTHS}
    best = min(smoothed, key=lambda strength: smoothed[strength])
    balanced = _error(x, weights, balancing_scale(fed.fourth, energy, 1.0))
    customary = smoothed[CUSTOMARY]
    return {"customary": customary / plain, "strength": best, "best": smoothed[best] / plain, "balanced": balanced / plain}


def _error(x: torch.Tensor, weights: Sequence[torch.Tensor], scale: torch.Tensor) -> float:
    """Squared error of the outputs, the input divided by `scale` and the weights multiplied with it."""
    assert FORMAT.activations is not None
    assert FORMAT.weights is not None
    rounded = quantized_activations(x / scale, FORMAT.activations)
    error = 0.0
    for weight in weights:
        scaled = (weight.float() * scale).to(weight.dtype)
        near = round_weight(scaled, FORMAT.weights, Recipe(scales="minmax"), None, None).weight.float()
        error += float((rounded @ near.T - x @ weight.float().T).square().sum())
    return error


def _table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    lines = [
        f"| input of | SmoothQuant {CUSTOMARY} | best of {len(STRENGTHS)} (median) | balancing | balancing is smaller in |",
        "|---|---|---|---|---|",
    ]
    for kind, rows in found.items():
        customary, best, balanced = (geometric_mean(row[name] for row in rows) for name in ("customary", "best", "balanced"))
        wins = sum(row["balanced"] < row["best"] for row in rows)
        strength = median(row["strength"] for row in rows)
        lines.append(
            f"| {kind} | {customary:.3f} | {best:.3f} ({strength:g}) | {balanced:.3f} | {wins} of {len(rows)} layers |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
