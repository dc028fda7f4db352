"""Experts that transformers holds in one tensor, as linear layers of their own, named as checkpoints name them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.names import MLP, MLPS, expert_part

PROJECTION = re.compile(r"\w+\.weight")


class Expert(nn.Module):
    """down(activation(gate(x)) * up(x)), its matrices under the names of the checkpoint."""

    def __init__(self, names: tuple[str, str, str], width: int, inner: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._names = names
        self._activation = activation
        for name, (rows, columns) in zip(names, ((inner, width), (inner, width), (width, inner)), strict=True):
            self.add_module(name, nn.Linear(columns, rows, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Output [tokens, width] of `x` [tokens, width]."""
        gate, up, down = (self.get_submodule(name) for name in self._names)
        result: Tensor = down(self._activation(gate(x)) * up(x))
        return result


class Experts(nn.ModuleList):
    """A mixture's experts, each run on the tokens that the router sends it.

    An expert that fewer tokens reach than its even share also sees others, spread evenly over the sample, so that its linear
    layers are calibrated on no fewer; what it makes of them is dropped.
    """

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Weighted sum [tokens, width] over the experts chosen for each token; indices and weights are [tokens, chosen]."""
        result = torch.zeros_like(hidden_states)
        tokens, chosen = top_k_index.shape
        share = ceil(top_k_index.numel() / len(self))
        by_expert = top_k_index.flatten().argsort(stable=True)
        # Sizes come to the host once for all experts: a GPU that is waited for meanwhile has nothing to do.
        counts = torch.bincount(top_k_index.flatten(), minlength=len(self)).tolist()
        for number, (expert, places) in enumerate(zip(self, torch.split(by_expert, counts), strict=True)):
            token, place = places // chosen, places % chosen
            unseen = tokens - len(token)
            lacking = min(max(0, share - len(token)), unseen)
            seen = token
            if lacking:
                others = (top_k_index == number).any(dim=1).byte().argsort(stable=True)  # those that are not sent come first
                seen = torch.cat((token, others[torch.arange(lacking, device=token.device) * unseen // lacking]))
            output = expert(hidden_states[seen])[: len(token)]
            result.index_add_(0, token, (output * top_k_weights[token, place, None]).to(result.dtype))
        return result


def separate_experts(layer: nn.Module, names: Iterable[str]) -> None:
    """Give an empty decoder layer, in place, experts as the checkpoint has them.

    `names` are the checkpoint's tensors by name within the layer. The module around the experts takes the checkpoint's name
    too (Mixtral's `block_sparse_moe`). Raises UserError where the module is not of the kind that is understood: a gated MLP
    without biases for each expert.
    """
    matches = [part for name in names if (part := expert_part(name)) and PROJECTION.fullmatch(part.part)]
    fused = [name for name, module in layer.named_modules() if _is_fused(module)]
    if not matches and not fused:
        return
    parents = {match.block for match in matches}
    if len(fused) != 1 or len(parents) != 1:
        raise _not_understood(layer, f"{len(fused)} groups of experts in the model and {len(parents)} in the checkpoint")
    (parent,) = parents
    projections = {match.part.removesuffix(".weight") for match in matches}
    known = next((mlp.apart for mlp in MLPS if set(mlp.apart) == projections), None)
    if known is None:
        raise _not_understood(layer, f"the matrices of an expert are called {', '.join(sorted(projections))}")
    around = fused[0].rpartition(".")[0]
    module: Any = layer.get_submodule(fused[0])
    if not _is_gated_mlp(module):
        raise _not_understood(layer, f"{type(module).__name__} computes something else than gated MLPs")
    count, width, inner = module.down_proj.shape
    with torch.device("meta"):
        experts = Experts(Expert(known, width, inner, module.act_fn) for _ in range(count))
    layer.set_submodule(fused[0], experts.to(module.down_proj.dtype).eval())
    if around != parent:
        # The layer still finds the block under its own name, but keeps and loads its tensors under the checkpoint's.
        block = layer._modules.pop(around)
        layer.add_module(parent, block)
        object.__setattr__(layer, around, block)


def _is_fused(module: nn.Module) -> bool:
    parameters = dict(module.named_parameters(recurse=False))
    return set(parameters) == {MLP.fused, MLP.down} and all(tensor.dim() == 3 for tensor in parameters.values())


def _is_gated_mlp(module: Any) -> bool:
    """Whether fused experts compute what `Expert` does, from what transformers says about the class."""
    plain = not (module.is_transposed or module.has_bias) and module.has_gate and module.is_concatenated
    return plain and type(module)._apply_gate.__name__ == "_default_apply_gate"


def _not_understood(layer: nn.Module, what: str) -> UserError:
    return UserError(
        f"the mixture of experts of {type(layer).__name__} is not understood: {what}",
        remedy="give --recipe nearest, with a format other than *-static and nvfp4: it asks nothing of the model",
    )
