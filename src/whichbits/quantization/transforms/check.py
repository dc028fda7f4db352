"""Check that a layer computes the same after scales were merged into its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from whichbits.quantization.model.replicas import Replica, refill
from whichbits.quantization.statistics.forward import InputStatistics, norm_offsets, observe
from whichbits.quantization.transforms.rescale import rescale

if TYPE_CHECKING:
    import torch


def scaled_at_random(
    replicas: Sequence[Replica],
    tensors: Mapping[str, torch.Tensor],
    modules: Sequence[str],
    inputs: torch.Tensor,
    *,
    balanced: bool,
) -> Sequence[Replica]:
    """The filled layer of `replicas`, the inputs of its linear `modules` scaled by powers of two from a quarter to four.

    `tensors` are the layer's by name within it, `inputs` [samples, length, width] what reaches it; which inputs are scaled is
    found as the pass finds it, with `balanced` those of `o_proj` too.
    """
    import torch

    generator = torch.Generator().manual_seed(0)

    def find(fed: InputStatistics, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        columns = next(iter(weights.values())).shape[1]
        return torch.exp2(torch.randint(-2, 3, (columns,), generator=generator)).to(inputs.device)

    layer = replicas[0].layer
    statistics = observe(replicas, modules, [inputs]).statistics
    head: int | None = layer.self_attn.head_dim if balanced else None  # type: ignore[assignment, union-attr]
    scaled, _ = rescale(tensors, statistics, norm_offsets(layer), find, head)
    refill(replicas, scaled)
    return replicas
