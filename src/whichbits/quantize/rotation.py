"""Rotations merged into the weights: the same function, with outlying channels spread over all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from whichbits.errors import UserError

if TYPE_CHECKING:
    import torch

UNDERSTOOD = ("llama", "mistral", "qwen2", "qwen3")
"""Model types with RMSNorms that scale by their weight alone, two a layer, before attention and MLP."""

LAYER_TENSOR = re.compile(r"(model\.layers\.\d+\.)(?:self_attn\.|mlp\.)?(\w+)\.(weight|bias)")
NORM_BEFORE = {
    "q_proj": "input_layernorm", "k_proj": "input_layernorm", "v_proj": "input_layernorm",
    "gate_proj": "post_attention_layernorm", "up_proj": "post_attention_layernorm",
}  # fmt: skip
HEAD_NORMS = ("q_norm", "k_norm")


def hadamard(x: torch.Tensor, size: int) -> torch.Tensor:
    """Multiply each run of `size` columns of `x` [..., columns] with the Hadamard matrix of that size, made orthogonal.

    `size` is a power of two that divides the columns. Sylvester's construction, by log2(size) steps of sums and differences.
    """
    import torch

    runs = x.reshape(-1, size)
    step = 1
    while step < size:
        first, second = runs.reshape(-1, size // (2 * step), 2, step).unbind(2)
        runs = torch.stack((first + second, first - second), dim=2).reshape(-1, size)
        step *= 2
    result: torch.Tensor = (runs / size**0.5).reshape(x.shape)
    return result


def largest_power_of_two(width: int) -> int:
    """The largest power of two that divides `width`: the size of the blocks of its Hadamard rotation."""
    return width & -width


class RotatedTensors(Mapping[str, "torch.Tensor"]):
    """The tensors of a checkpoint, computed when they are asked for, after two rotations that leave its function as it is.

    The residual stream is multiplied with random signs and a block Hadamard matrix (QuaRot's Q, SpinQuant's R1), each value
    head with a Hadamard matrix (R2). The weights of RMSNorms go into the layers behind them first and become 1; lm_head, into
    which the last norm goes, is no longer the embeddings' transpose. Arithmetic in float32, dtypes as they were.
    `tensors` are the checkpoint's, `config` its config.json; `seed` draws the signs. Raises UserError for other models.
    Sources: QuaRot (Ashkboos et al., arXiv 2404.00456), section 4; SpinQuant (Liu et al., arXiv 2405.16406), section 3.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any], seed: int) -> None:
        import torch

        if config["model_type"] not in UNDERSTOOD:
            raise UserError(
                f"rotation: model type {config['model_type']} is not one of {', '.join(UNDERSTOOD)}",
                remedy="leave rotation out",
            )
        self._tensors = tensors
        self._head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        generator = torch.Generator().manual_seed(seed)
        self._signs = torch.randint(2, (config["hidden_size"],), generator=generator).to(torch.float32) * 2 - 1

    def __iter__(self) -> Iterator[str]:
        yield from sorted({*self._tensors, "lm_head.weight"})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> torch.Tensor:
        import torch

        embeddings = "model.embed_tokens.weight"
        if name == "lm_head.weight":
            head = self._tensors[name if name in self._tensors else embeddings]
            return self._rotate(head * self._tensors["model.norm.weight"].to(torch.float32)).to(head.dtype)
        stored = self._tensors[name]
        if name == embeddings:
            return self._rotate(stored.to(torch.float32)).to(stored.dtype)
        match = LAYER_TENSOR.fullmatch(name)
        if name == "model.norm.weight" or (match and match[2] in NORM_BEFORE.values()):
            return torch.ones_like(stored)
        if match is None or match[2] not in {*NORM_BEFORE, *HEAD_NORMS, "o_proj", "down_proj"}:
            raise UserError(f"rotation: the tensor {name} is not understood", remedy="leave rotation out")
        return self._in_layer(stored.to(torch.float32), match[1], match[2], match[3]).to(stored.dtype)

    def _in_layer(self, exact: torch.Tensor, layer: str, module: str, kind: str) -> torch.Tensor:
        import torch

        if module in NORM_BEFORE and kind == "weight":
            exact = self._rotate(exact * self._tensors[f"{layer}{NORM_BEFORE[module]}.weight"].to(torch.float32))
        if module == "v_proj":
            exact = hadamard(exact.t(), largest_power_of_two(self._head)).t()
        if module == "o_proj" and kind == "weight":
            exact = hadamard(exact, largest_power_of_two(self._head))
        if module in ("o_proj", "down_proj"):
            exact = self._rotate(exact.t()).t()
        return exact.contiguous()

    def _rotate(self, x: torch.Tensor) -> torch.Tensor:
        """`x` [..., width] times the rotation of the residual stream."""
        return hadamard(x * self._signs, largest_power_of_two(len(self._signs)))
