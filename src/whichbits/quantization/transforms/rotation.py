"""Rotations merged into the weights: the same function, with outlying channels spread over all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.names import (
    ATTENTION,
    EMBEDDINGS,
    FINAL_NORM,
    HEAD,
    HEAD_NORMS,
    MLPS,
    NORM_BEFORE_ATTENTION,
    NORM_BEFORE_MLP,
    NORM_BEHIND_MLP,
    ROUTERS,
    WRITERS,
)
from whichbits.models.configuration import Configuration
from whichbits.quantization.model.finite import check_tensors

if TYPE_CHECKING:
    import torch

NORM_OFFSETS = {
    "llama": 0.0, "mistral": 0.0, "qwen2": 0.0, "qwen3": 0.0, "phi3": 0.0, "granite": 0.0, "gemma": 1.0,
    "mixtral": 0.0, "qwen2_moe": 0.0, "qwen3_moe": 0.0, "PanguEmbedded": 0.0, "openpangu_dense": 0.0,
}  # fmt: skip
"""Model types with two RMSNorms a layer, before attention and MLP, and what a norm adds to its weight to scale by."""

LAYER_TENSOR = re.compile(r"(model\.layers\.\d+\.)(?:\w+\.)*?(\w+)\.(weight|bias)")
READ_MLP = (*(name for mlp in MLPS for name in mlp.inputs), *ROUTERS)
NORM_BEFORE = dict.fromkeys(ATTENTION.inputs, NORM_BEFORE_ATTENTION) | dict.fromkeys(READ_MLP, NORM_BEFORE_MLP)
"""The norm that a module reads."""

FACTOR = 64
"""Rows of the largest Hadamard matrix that is written out."""


def hadamard(x: torch.Tensor, size: int) -> torch.Tensor:
    """Multiply each run of `size` columns of `x` [..., columns] with the Hadamard matrix of that size, made orthogonal.

    `size` is a power of two that divides the columns. Sylvester's matrix of a b rows is the Kronecker product of those of a and
    of b, so it is applied by factors of at most FACTOR, as products of matrices.
    """
    import torch

    runs, step = x.reshape(-1, size), 1
    while step < size:
        factor = min(FACTOR, size // step)
        signs = torch.ones(1, 1, dtype=x.dtype, device=x.device)
        while len(signs) < factor:
            signs = torch.cat((torch.cat((signs, signs), dim=1), torch.cat((signs, -signs), dim=1)))
        # The matrix is symmetric; from behind it spares a product for each single column.
        runs = runs.reshape(-1, factor) @ signs if step == 1 else signs @ runs.reshape(-1, factor, step)
        step *= factor
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
    Constants that multiply the embeddings, a block's output or the logits (Gemma, Granite) commute with rotations.
    `tensors` are the checkpoint's, `configuration` what it is; `seed` draws the signs. Raises UserError for other models.
    Sources: QuaRot (Ashkboos et al., arXiv 2404.00456), section 4; SpinQuant (Liu et al., arXiv 2405.16406), section 3.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], configuration: Configuration, seed: int) -> None:
        import torch

        if any(NORM_BEHIND_MLP in name for name in tensors):
            raise UserError(
                f"rotation: the model ({configuration.model_type}) has norms behind attention and MLP, which scale each "
                "channel of the residual stream by itself, and a rotation would mix the channels",
                remedy="leave rotation out",
            )
        if configuration.model_type not in NORM_OFFSETS:
            raise UserError(
                f"rotation: model type {configuration.model_type} is not one of {', '.join(NORM_OFFSETS)}",
                remedy="leave rotation out",
            )
        self._tensors = tensors
        self._offset = NORM_OFFSETS[configuration.model_type]
        self._values = configuration.kv_heads * configuration.head_dim
        self._head = configuration.head_dim
        generator = torch.Generator().manual_seed(seed)
        self._signs = torch.randint(2, (configuration.hidden,), generator=generator).to(torch.float32) * 2 - 1

    def __iter__(self) -> Iterator[str]:
        yield from sorted({*self._tensors, HEAD})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> torch.Tensor:
        rotated = self._rotated(name)
        check_tensors({name: rotated}, "rotated")
        return rotated

    def _rotated(self, name: str) -> torch.Tensor:
        import torch

        if name == HEAD:
            head = self._tensors[name if name in self._tensors else EMBEDDINGS]
            return self._rotate(head * self._gain(FINAL_NORM)).to(head.dtype)
        stored = self._tensors[name]
        if name == EMBEDDINGS:
            return self._rotate(stored.to(torch.float32)).to(stored.dtype)
        match = LAYER_TENSOR.fullmatch(name)
        if name == f"{FINAL_NORM}.weight" or (match and match[2] in NORM_BEFORE.values()):
            return torch.full_like(stored, 1 - self._offset)
        if match is None or match[2] not in {*NORM_BEFORE, *HEAD_NORMS, *WRITERS}:
            raise UserError(f"rotation: the tensor {name} is not understood", remedy="leave rotation out")
        return self._in_layer(stored.to(torch.float32), match[1], match[2], match[3]).to(stored.dtype)

    def _in_layer(self, exact: torch.Tensor, layer: str, module: str, kind: str) -> torch.Tensor:
        import torch

        if module in NORM_BEFORE and kind == "weight":
            exact = self._rotate(exact * self._gain(layer + NORM_BEFORE[module]))
        if module in (ATTENTION.value, ATTENTION.fused):
            rest, values = exact[: -self._values], exact[-self._values :]
            exact = torch.cat((rest, hadamard(values.t(), largest_power_of_two(self._head)).t()))
        if module == ATTENTION.output and kind == "weight":
            exact = hadamard(exact, largest_power_of_two(self._head))
        if module in WRITERS:
            exact = self._rotate(exact.t()).t()
        return exact.contiguous()

    def _gain(self, norm: str) -> torch.Tensor:
        """What a norm multiplies each channel with, float32 [width]."""
        import torch

        return self._tensors[f"{norm}.weight"].to(torch.float32) + self._offset

    def _rotate(self, x: torch.Tensor) -> torch.Tensor:
        """`x` [..., width] times the rotation of the residual stream."""
        return hadamard(x * self._signs.to(x.device), largest_power_of_two(len(self._signs)))
